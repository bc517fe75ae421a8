//! Service `Accounts`. `accounts/convert.rs` reads and writes its messages.

mod client_keys;
pub(super) mod convert;

use proxyxai_contract::{
    Invalid,
    client_key::ClientKey,
    wire::{self, accounts_server::Accounts},
};
use tonic::{Request, Response, Status};

use self::convert::{
    account_to_wire, change_from_wire, filter_from_wire, identifier, new_from_wire,
};
use super::{auth, count, page_from_wire};
use crate::{Control, Error, model::AccountChange, ops};

#[derive(Debug)]
pub(super) struct AccountsService(pub(super) Control);

#[tonic::async_trait]
impl Accounts for AccountsService {
    async fn create_account(
        &self,
        request: Request<wire::CreateAccountRequest>,
    ) -> Result<Response<wire::CreateAccountResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let new = new_from_wire(request.into_inner())?;
        let (changed, key) = ops::accounts::create(&self.0, &caller, new).await?;
        Ok(Response::new(wire::CreateAccountResponse {
            account: Some(account_to_wire(changed.account)),
            client_key: key.expose().to_owned(),
        }))
    }

    async fn get_account(
        &self,
        request: Request<wire::GetAccountRequest>,
    ) -> Result<Response<wire::Account>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::GetAccountRequest { account } = request.into_inner();
        let account = ops::accounts::find(&self.0, &caller, &identifier(account)?).await?;
        Ok(Response::new(account_to_wire(account)))
    }

    async fn list_accounts(
        &self,
        request: Request<wire::ListAccountsRequest>,
    ) -> Result<Response<wire::ListAccountsResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (filter, page) = filter_from_wire(request.into_inner())?;
        let page = page_from_wire(page).map_err(Error::from)?;
        let listing = ops::accounts::list(&self.0, &caller, filter, page).await?;
        Ok(Response::new(wire::ListAccountsResponse {
            accounts: listing.rows.into_iter().map(account_to_wire).collect(),
            total: count(listing.total),
        }))
    }

    async fn update_account(
        &self,
        request: Request<wire::UpdateAccountRequest>,
    ) -> Result<Response<wire::Account>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (account, change) = change_from_wire(request.into_inner())?;
        let changed = ops::accounts::update(&self.0, &caller, &account, change).await?;
        Ok(Response::new(account_to_wire(changed.account)))
    }

    async fn delete_account(
        &self,
        request: Request<wire::DeleteAccountRequest>,
    ) -> Result<Response<wire::DeleteAccountResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::DeleteAccountRequest { account } = request.into_inner();
        let changed = ops::accounts::delete(&self.0, &caller, &identifier(account)?).await?;
        Ok(Response::new(wire::DeleteAccountResponse {
            account: Some(account_to_wire(changed.account)),
            refund_nanos: changed.refund.nanos(),
            pending_nanos: changed.pending.nanos(),
        }))
    }

    async fn send_verification(
        &self,
        request: Request<wire::SendVerificationRequest>,
    ) -> Result<Response<wire::SendVerificationResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::SendVerificationRequest { account } = request.into_inner();
        let sent = ops::verification::ask(&self.0, &caller, &identifier(account)?).await?;
        Ok(Response::new(wire::SendVerificationResponse {
            sent: sent.into_iter().map(str::to_owned).collect(),
        }))
    }

    async fn grant_credit(
        &self,
        request: Request<wire::GrantCreditRequest>,
    ) -> Result<Response<wire::GrantCreditResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (account, change) = grant_from_wire(request.into_inner())?;
        let changed = ops::accounts::update(&self.0, &caller, &account, change).await?;
        Ok(Response::new(wire::GrantCreditResponse {
            account: Some(account_to_wire(changed.account)),
        }))
    }

    async fn rotate_key(
        &self,
        request: Request<wire::RotateKeyRequest>,
    ) -> Result<Response<wire::RotateKeyResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::RotateKeyRequest {
            account,
            client_key,
            overlap_seconds,
        } = request.into_inner();
        let account = account.map(|named| identifier(Some(named))).transpose()?;
        let chosen = Some(client_key).filter(|key| !key.is_empty());
        let chosen = chosen.map(|key| ClientKey::parse(&key).map_err(Error::from));
        let chosen = chosen.transpose()?;
        let key = match (account, chosen) {
            (account, None) => {
                let account = account.as_deref();
                ops::accounts::rotate_key(&self.0, &caller, account, overlap_seconds).await?
            }
            (None, chosen) => {
                ops::accounts::rotate_root(&self.0, &caller, chosen, overlap_seconds).await?
            }
            (Some(_), Some(_)) => {
                let problem = "is only for the caller's own key, without an account";
                return Err(Error::from(Invalid::new("client_key", problem)).into());
            }
        };
        Ok(Response::new(wire::RotateKeyResponse {
            client_key: key.expose().to_owned(),
        }))
    }

    async fn list_client_keys(
        &self,
        request: Request<wire::ListClientKeysRequest>,
    ) -> Result<Response<wire::ListClientKeysResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::ListClientKeysRequest { account } = request.into_inner();
        let account = client_keys::whose(account)?;
        let keys = ops::client_keys::list(&self.0, &caller, account.as_deref()).await?;
        Ok(Response::new(wire::ListClientKeysResponse {
            keys: keys.into_iter().map(client_keys::key_to_wire).collect(),
        }))
    }

    async fn create_client_key(
        &self,
        request: Request<wire::CreateClientKeyRequest>,
    ) -> Result<Response<wire::CreateClientKeyResponse>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (account, new) = client_keys::new_from_wire(request.into_inner())?;
        let made = ops::client_keys::create(&self.0, &caller, account.as_deref(), &new);
        let (key, secret) = made.await?;
        Ok(Response::new(wire::CreateClientKeyResponse {
            key: Some(client_keys::key_to_wire(key)),
            client_key: secret.expose().to_owned(),
        }))
    }

    async fn update_client_key(
        &self,
        request: Request<wire::UpdateClientKeyRequest>,
    ) -> Result<Response<wire::ClientKey>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let (account, id, change) = client_keys::change_from_wire(request.into_inner())?;
        let what = (id, &change);
        let key = ops::client_keys::update(&self.0, &caller, account.as_deref(), what).await?;
        Ok(Response::new(client_keys::key_to_wire(key)))
    }

    async fn delete_client_key(
        &self,
        request: Request<wire::DeleteClientKeyRequest>,
    ) -> Result<Response<wire::ClientKey>, Status> {
        let caller = auth::caller(&self.0, &request).await?;
        let wire::DeleteClientKeyRequest { account, id } = request.into_inner();
        let (account, id) = (client_keys::whose(account)?, client_keys::key_id(id)?);
        let key = ops::client_keys::delete(&self.0, &caller, account.as_deref(), id).await?;
        Ok(Response::new(client_keys::key_to_wire(key)))
    }
}

fn grant_from_wire(request: wire::GrantCreditRequest) -> Result<(String, AccountChange), Error> {
    let wire::GrantCreditRequest {
        account,
        credit_nanos,
        days_micros,
        reference,
    } = request;
    if credit_nanos == 0 {
        return Err(Invalid::new("credit_nanos", "must not be 0").into());
    }
    let change = AccountChange {
        credit: Some(convert::money(credit_nanos)),
        days_micros,
        reference: (!reference.is_empty()).then_some(reference),
        ..AccountChange::default()
    };
    Ok((identifier(account)?, change))
}

//! The command line's client of service `Prices`. It asks a running control plane, so that the ledger has one writer.
//! Plain values in and out.

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    convert::{millis_from_wire, millis_to_wire},
    id::AccountId,
    money::Money,
    secret::Secret,
    wire::{self, prices_client::PricesClient},
};
use tonic::{Request, Status, transport::Channel};

use crate::{model::RerateResult, prices::diff::PriceChange};

/// A table of thousands of models has about 1 MiB, and so has a correction of as many accounts.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a running control plane did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It refused, or could not be reached.
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    /// Its response cannot be read.
    #[error(transparent)]
    Answer(#[from] Invalid),
}

/// A client of a running control plane, with root's rights.
#[derive(Debug)]
pub struct ControlClient {
    client: PricesClient<Channel>,
    key: Secret,
}

/// A version of the prices.
#[derive(Debug)]
pub struct PriceVersionInfo {
    /// Its unique name.
    pub version: String,
    /// When it comes into force.
    pub valid_from: Millis,
    /// `built-in` or `loaded`.
    pub source: String,
    /// Why it was created.
    pub note: String,
}

/// A version and its table.
#[derive(Debug)]
pub struct PriceTableInfo {
    /// The version.
    pub version: PriceVersionInfo,
    /// The table as JSON.
    pub table: String,
    /// The overrides from `PRICING`.
    pub overrides: String,
    /// The newest versions.
    pub versions: Vec<PriceVersionInfo>,
}

/// A table to be loaded.
#[derive(Debug)]
pub struct PriceTableDraft {
    /// As JSON.
    pub text: String,
    /// `None` means now.
    pub valid_from: Option<Millis>,
    /// Why it is loaded.
    pub note: String,
    /// Whether implausible prices are intended.
    pub force: bool,
    /// The version that it was made from, which must still be in force; empty if that does not matter.
    pub over: String,
}

/// The usage to price anew. Empty texts mean all accounts, and the version in force at the time.
#[derive(Debug)]
pub struct RerateOptions {
    /// First day.
    pub from: String,
    /// Last day.
    pub to: String,
    /// One account.
    pub account: String,
    /// Version to price with.
    pub version: String,
    /// True posts nothing.
    pub dry_run: bool,
}

// === impl ControlClient ===

impl ControlClient {
    /// Calls over a channel with root's key.
    pub fn new(channel: Channel, key: Secret) -> Self {
        let client = PricesClient::new(channel)
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        Self { client, key }
    }

    /// A version by its name; an empty name means the one in force.
    ///
    /// # Errors
    /// The error of the control plane.
    pub async fn prices(&mut self, version: &str) -> Result<PriceTableInfo, RemoteError> {
        let request = self.request(wire::GetPricesRequest {
            version: version.to_owned(),
            time: None,
        })?;
        let answer = self.client.get_prices(request).await?.into_inner();
        let wire::GetPricesResponse {
            version,
            table,
            overrides,
            versions,
        } = answer;
        Ok(PriceTableInfo {
            version: read_version(version.unwrap_or_default())?,
            table,
            overrides,
            versions: versions
                .into_iter()
                .map(read_version)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The changes that loading a table would bring.
    ///
    /// # Errors
    /// The error of the control plane.
    pub async fn diff(
        &mut self,
        table: String,
        valid_from: Option<Millis>,
    ) -> Result<Vec<PriceChange>, RemoteError> {
        let request = self.request(wire::DiffPricesRequest {
            table,
            valid_from: valid_from.map(millis_to_wire),
        })?;
        let answer = self.client.diff_prices(request).await?.into_inner();
        read_changes(answer.changes)
    }

    /// Loads a table.
    ///
    /// # Errors
    /// The error of the control plane.
    pub async fn load(
        &mut self,
        table: PriceTableDraft,
    ) -> Result<(PriceVersionInfo, Vec<PriceChange>), RemoteError> {
        let PriceTableDraft {
            text,
            valid_from,
            note,
            force,
            over,
        } = table;
        let request = self.request(wire::LoadPricesRequest {
            table: text,
            valid_from: valid_from.map(millis_to_wire),
            note,
            force,
            over_version: over,
        })?;
        let answer = self.client.load_prices(request).await?.into_inner();
        let version = read_version(answer.version.unwrap_or_default())?;
        Ok((version, read_changes(answer.changes)?))
    }

    /// Prices stored usage anew.
    ///
    /// # Errors
    /// The error of the control plane.
    pub async fn rerate(&mut self, period: RerateOptions) -> Result<RerateResult, RemoteError> {
        let RerateOptions {
            from,
            to,
            account,
            version,
            dry_run,
        } = period;
        let request = self.request(wire::RerateRequest {
            start_date: from,
            end_date: to,
            account,
            version,
            dry_run,
        })?;
        let answer = self.client.rerate(request).await?.into_inner();
        let count = |count: i64| u64::try_from(count).unwrap_or_default();
        let correction = |correction: wire::AccountCorrection| {
            let difference = Money::from_nanos(correction.difference_nanos);
            AccountId::new(correction.account_id)
                .map(|account| (account, (count(correction.records), difference)))
        };
        Ok(RerateResult {
            records: count(answer.records),
            unpriced: count(answer.unpriced),
            corrections: answer
                .corrections
                .into_iter()
                .map(correction)
                .collect::<Result<_, _>>()?,
        })
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, RemoteError> {
        let mut request = Request::new(message);
        let key = format!("Bearer {}", self.key.expose()).parse();
        let key = key.map_err(|_| Invalid::new("key", "cannot be sent"))?;
        request.metadata_mut().insert("authorization", key);
        Ok(request)
    }
}

fn read_version(version: wire::PriceVersion) -> Result<PriceVersionInfo, RemoteError> {
    let wire::PriceVersion {
        version,
        valid_from,
        source,
        note,
        create_time: _,
        created_by: _,
    } = version;
    Ok(PriceVersionInfo {
        version,
        valid_from: millis_from_wire("valid_from", valid_from.as_ref())?,
        source,
        note,
    })
}

fn read_changes(changes: Vec<wire::PriceChange>) -> Result<Vec<PriceChange>, RemoteError> {
    let changes = changes.into_iter().map(PriceChange::try_from);
    changes.collect::<Result<_, _>>().map_err(Into::into)
}

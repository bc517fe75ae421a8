//! Requests for units of windows, and grants. Whether an account or a window exists is checked by control.

use super::{
    leases::{client_key_from_wire, client_key_to_wire},
    millis_from_wire, millis_to_wire, signed, unsigned,
};
use crate::{
    Invalid,
    id::AccountId,
    window::{LimitWindow, WindowAsk, WindowGrant, WindowKey},
    wire,
};

/// Limits by model accept no longer patterns.
const MODEL_BYTES_MAX: usize = 255;

/// Reads a request for units.
///
/// # Errors
/// Errors if a field is invalid; the error names it.
pub fn window_ask_from_wire(ask: wire::WindowAsk) -> Result<WindowAsk, Invalid> {
    let wire::WindowAsk {
        key,
        limit,
        need,
        want,
        overspent,
    } = ask;
    Ok(WindowAsk {
        key: key_from_wire(key)?,
        limit: unsigned("limit", limit)?,
        need: unsigned("need", need)?,
        want: unsigned("want", want)?,
        overspent: unsigned("overspent", overspent)?,
    })
}

/// A request for units for the wire.
pub fn window_ask_to_wire(ask: &WindowAsk) -> wire::WindowAsk {
    let WindowAsk {
        key,
        limit,
        need,
        want,
        overspent,
    } = ask;
    wire::WindowAsk {
        key: Some(key_to_wire(key)),
        limit: signed(*limit),
        need: signed(*need),
        want: signed(*want),
        overspent: signed(*overspent),
    }
}

/// Reads a grant.
///
/// # Errors
/// Errors if a field is invalid; the error names it.
pub fn window_grant_from_wire(grant: wire::WindowGrant) -> Result<WindowGrant, Invalid> {
    let wire::WindowGrant {
        key,
        granted,
        total,
    } = grant;
    Ok(WindowGrant {
        key: key_from_wire(key)?,
        granted: unsigned("granted", granted)?,
        total: unsigned("total", total)?,
    })
}

/// A grant for the wire.
pub fn window_grant_to_wire(grant: &WindowGrant) -> wire::WindowGrant {
    let WindowGrant {
        key,
        granted,
        total,
    } = grant;
    wire::WindowGrant {
        key: Some(key_to_wire(key)),
        granted: signed(*granted),
        total: signed(*total),
    }
}

fn key_from_wire(key: Option<wire::WindowKey>) -> Result<WindowKey, Invalid> {
    let wire::WindowKey {
        account_id,
        window,
        model,
        start_time,
        client_key_id,
    } = key.ok_or_else(|| Invalid::new("key", "is missing"))?;
    let window = match wire::Window::try_from(window).unwrap_or_default() {
        wire::Window::Rpm => LimitWindow::Rpm,
        wire::Window::Rph => LimitWindow::Rph,
        wire::Window::Rpd => LimitWindow::Rpd,
        wire::Window::Tpm => LimitWindow::Tpm,
        wire::Window::Tph => LimitWindow::Tph,
        wire::Window::Tpd => LimitWindow::Tpd,
        wire::Window::Unspecified => return Err(Invalid::new("window", "is not known")),
    };
    if model.len() > MODEL_BYTES_MAX || model.contains('\0') {
        return Err(Invalid::new("model", "is no pattern of a model limit"));
    }
    Ok(WindowKey {
        account: AccountId::new(account_id)?,
        window,
        model,
        start: millis_from_wire("start_time", start_time.as_ref())?,
        client_key: client_key_from_wire(client_key_id)?,
    })
}

fn key_to_wire(key: &WindowKey) -> wire::WindowKey {
    let WindowKey {
        account,
        window,
        model,
        start,
        client_key,
    } = key;
    let window = match window {
        LimitWindow::Rpm => wire::Window::Rpm,
        LimitWindow::Rph => wire::Window::Rph,
        LimitWindow::Rpd => wire::Window::Rpd,
        LimitWindow::Tpm => wire::Window::Tpm,
        LimitWindow::Tph => wire::Window::Tph,
        LimitWindow::Tpd => wire::Window::Tpd,
    };
    wire::WindowKey {
        account_id: account.get(),
        window: window.into(),
        model: model.clone(),
        start_time: Some(millis_to_wire(*start)),
        client_key_id: client_key_to_wire(*client_key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Millis, id::ClientKeyId};

    #[test]
    fn asks_and_grants_read_back() {
        for window in LimitWindow::ALL {
            let key = WindowKey {
                account: AccountId::new(7).unwrap(),
                window,
                model: "gpt-4*".to_owned(),
                start: Millis(1_793_534_400_000),
                client_key: ClientKeyId::new(9).ok(),
            };
            let ask = WindowAsk {
                key: key.clone(),
                limit: 5,
                need: 1,
                want: 2,
                overspent: 3,
            };
            assert_eq!(window_ask_from_wire(window_ask_to_wire(&ask)), Ok(ask));
            let grant = WindowGrant {
                key,
                granted: 1,
                total: 4,
            };
            assert_eq!(
                window_grant_from_wire(window_grant_to_wire(&grant)),
                Ok(grant)
            );
        }
        assert!(window_ask_from_wire(wire::WindowAsk::default()).is_err());
        let unknown = wire::WindowKey {
            account_id: 7,
            window: 9,
            ..wire::WindowKey::default()
        };
        assert!(key_from_wire(Some(unknown)).is_err());
        let mut long = key_to_wire(&WindowKey {
            account: AccountId::ROOT,
            window: LimitWindow::Rpm,
            model: String::new(),
            start: Millis(0),
            client_key: None,
        });
        long.model = "m".repeat(MODEL_BYTES_MAX + 1);
        assert!(key_from_wire(Some(long)).is_err());
    }
}

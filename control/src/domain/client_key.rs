//! Rules of further client keys: names, expiry and limits.

use jiff::civil::Date;
use proxyxai_contract::{Invalid, clock::Millis, money::Money};

use super::account::check_label;
use crate::model::{ClientKeyChange, ClientKeyInfo, Expiry};

/// Needs beyond this are better served by accounts.
pub(crate) const KEYS_MAX: u64 = 100;
/// The longest overlap of a replaced key.
const OVERLAP_SECONDS_MAX: i64 = 30 * 86_400;
const NAME_BYTES_MAX: usize = 63;
const MODELS_BYTES_MAX: usize = 4096;
const DAYS_MICROS_MAX: i64 = 3_650 * 1_000_000;
/// A millionth of a day is 86.4 ms.
const MS_PER_10_MICROS: i64 = 864;
/// The most that the wire and the database can hold.
const RPM_MAX: u64 = i64::MAX.unsigned_abs();

/// Applies the requested changes.
///
/// # Errors
/// Names the field that cannot be used.
pub(crate) fn apply(
    view: &mut ClientKeyInfo,
    change: &ClientKeyChange,
    now: Millis,
) -> Result<(), Invalid> {
    let ClientKeyChange {
        name,
        enabled,
        expires,
        credit_limit,
        rpm,
        allow_models,
    } = change;
    if let Some(name) = name {
        view.name = self::name(name)?;
    }
    view.enabled = enabled.unwrap_or(view.enabled);
    if let Some(expires) = expires {
        view.expires = end(*expires, now)?;
    }
    if let Some(limit) = credit_limit {
        if limit.is_negative() {
            return Err(Invalid::new("CreditLimit", "must not be negative"));
        }
        view.credit_limit = Some(*limit).filter(|limit| *limit > Money::ZERO);
    }
    if let Some(rpm) = rpm {
        if *rpm > RPM_MAX {
            return Err(Invalid::new("RPM", "is out of range"));
        }
        view.rpm = Some(*rpm).filter(|rpm| *rpm > 0);
    }
    if let Some(edit) = allow_models {
        let models = view.models.edited(edit);
        view.models = models.map_err(|error| error.under("AllowModels"))?;
        // All keys of all accounts are in the configuration of each data plane.
        if view.models.text().len() > MODELS_BYTES_MAX {
            let problem = format!("must be at most {MODELS_BYTES_MAX} bytes");
            return Err(Invalid::new("AllowModels", problem));
        }
    }
    Ok(())
}

/// Checks a name.
///
/// # Errors
/// Errors if it is empty, too long, or has hidden characters.
pub(crate) fn name(name: &str) -> Result<String, Invalid> {
    let name = check_label("Name", name, NAME_BYTES_MAX)?;
    if name.is_empty() {
        return Err(Invalid::new("Name", "is missing"));
    }
    Ok(name)
}

/// The moment at which a key expires; `None` means never.
fn end(expires: Expiry, now: Millis) -> Result<Option<Millis>, Invalid> {
    match expires {
        Expiry::Never => Ok(None),
        Expiry::At(end) if end > now => Ok(Some(end)),
        Expiry::At(_) => Err(Invalid::new("ExpiresAt", "must be in the future")),
        Expiry::In(micros @ 1..=DAYS_MICROS_MAX) => {
            let ms = micros.saturating_mul(MS_PER_10_MICROS) / 10;
            Ok(Some(now.plus(ms.max(1))))
        }
        Expiry::In(_) => Err(Invalid::new("Days", "must be more than 0 and at most 3650")),
    }
}

/// The overlap of a replaced key in milliseconds; `None` means none.
///
/// # Errors
/// Errors if it is negative or too long.
pub(crate) fn overlap_ms(seconds: i64) -> Result<Option<i64>, Invalid> {
    match seconds {
        0 => Ok(None),
        1..=OVERLAP_SECONDS_MAX => Ok(Some(seconds.saturating_mul(1000))),
        _ => Err(Invalid::new(
            "overlap",
            format!("must be from 0 to {OVERLAP_SECONDS_MAX} seconds"),
        )),
    }
}

/// The name of a replaced key: the day of its replacement, with a number if the name is taken.
pub(crate) fn former_name(replaced: Date, taken: impl Fn(&str) -> bool) -> String {
    let name = format!("former key, replaced {replaced}");
    let numbered = |number: u64| match number {
        1 => name.clone(),
        number => format!("{name} ({number})"),
    };
    let free = (1..=KEYS_MAX).map(numbered).find(|name| !taken(name));
    free.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyxai_contract::{
        access::ModelList,
        id::{AccountId, ClientKeyId},
    };

    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn key() -> ClientKeyInfo {
        ClientKeyInfo {
            id: ClientKeyId::new(1).unwrap(),
            account: AccountId::ROOT,
            name: "ci".to_owned(),
            partial_key: String::new(),
            enabled: true,
            expires: None,
            credit_limit: None,
            rpm: None,
            models: ModelList::Any,
            credit_used: Money::ZERO,
            requests: 0,
            used: None,
            created: NOW,
            updated: NOW,
        }
    }

    fn changed(change: &ClientKeyChange) -> Result<ClientKeyInfo, String> {
        let mut view = key();
        apply(&mut view, change, NOW)
            .map(|()| view)
            .map_err(|error| error.field)
    }

    #[test]
    fn nothing_is_changed_that_is_not_asked_for() {
        assert_eq!(changed(&ClientKeyChange::default()), Ok(key()));
    }

    #[test]
    fn a_limit_of_nothing_is_no_limit() {
        let limits = |dollars: i64, rpm| ClientKeyChange {
            credit_limit: Some(Money::from_nanos(dollars)),
            rpm: Some(rpm),
            ..ClientKeyChange::default()
        };
        let some = changed(&limits(5, 6)).unwrap();
        assert_eq!(
            (some.credit_limit, some.rpm),
            (Some(Money::from_nanos(5)), Some(6))
        );
        let none = changed(&limits(0, 0)).unwrap();
        assert_eq!((none.credit_limit, none.rpm), (None, None));
        assert_eq!(changed(&limits(-1, 0)), Err("CreditLimit".to_owned()));
        assert_eq!(changed(&limits(0, u64::MAX)), Err("RPM".to_owned()));
    }

    #[test]
    fn a_key_ends_in_the_future_or_never() {
        let expiring = |expires| {
            changed(&ClientKeyChange {
                expires: Some(expires),
                ..ClientKeyChange::default()
            })
            .map(|view| view.expires)
        };
        assert_eq!(expiring(Expiry::Never), Ok(None));
        assert_eq!(expiring(Expiry::At(NOW.plus(1))), Ok(Some(NOW.plus(1))));
        assert_eq!(expiring(Expiry::At(NOW)), Err("ExpiresAt".to_owned()));
        assert_eq!(
            expiring(Expiry::In(500_000)),
            Ok(Some(NOW.plus(43_200_000)))
        );
        for days in [0, -1, DAYS_MICROS_MAX + 1, i64::MAX] {
            assert_eq!(expiring(Expiry::In(days)), Err("Days".to_owned()));
        }
    }

    #[test]
    fn a_name_can_be_shown() {
        assert_eq!(name(" ci "), Ok("ci".to_owned()));
        for bad in ["", "  ", "a\nb", "<b>", &"x".repeat(64)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn former_keys_of_one_day_have_names_of_their_own() {
        let day = jiff::civil::date(2026, 11, 29);
        let first = former_name(day, |_| false);
        assert_eq!(first, "former key, replaced 2026-11-29");
        let second = former_name(day, |name| name == first);
        assert_eq!(second, "former key, replaced 2026-11-29 (2)");
        assert!(name(&second).is_ok());
    }

    proptest! {
        #[test]
        fn an_overlap_is_bounded(seconds in any::<i64>()) {
            match overlap_ms(seconds) {
                Ok(None) => prop_assert_eq!(seconds, 0),
                Ok(Some(ms)) => prop_assert!(ms > 0 && ms <= OVERLAP_SECONDS_MAX * 1000),
                Err(_) => prop_assert!(!(0..=OVERLAP_SECONDS_MAX).contains(&seconds)),
            }
        }

        #[test]
        fn an_end_is_never_before_now(micros in any::<i64>()) {
            if let Ok(end) = end(Expiry::In(micros), NOW) {
                prop_assert!(end.is_some_and(|end| end > NOW));
            }
        }
    }
}

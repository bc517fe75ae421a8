//! Rate limits: a child's are never wider than its parent's. Data planes count the calls.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use proxyxai_contract::{Invalid, window::RateLimits};

use crate::model::RateLimitsChange;

/// The limits of a new account: its parent's unless narrower ones are requested.
pub(crate) fn inherit(parent: RateLimits, change: RateLimitsChange) -> Result<RateLimits, Invalid> {
    changed(parent, parent, change)
}

/// The limits of an account after a change. Only changed limits are checked against the parent's, so that narrowing a
/// parent later blocks no unrelated change. At use the narrower one applies anyway.
pub(crate) fn changed(
    own: RateLimits,
    parent: RateLimits,
    change: RateLimitsChange,
) -> Result<RateLimits, Invalid> {
    let RateLimitsChange {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = change;
    Ok(RateLimits {
        rpm: window("RPM", own.rpm, parent.rpm, rpm)?,
        rph: window("RPH", own.rph, parent.rph, rph)?,
        rpd: window("RPD", own.rpd, parent.rpd, rpd)?,
        tpm: window("TPM", own.tpm, parent.tpm, tpm)?,
        tph: window("TPH", own.tph, parent.tph, tph)?,
        tpd: window("TPD", own.tpd, parent.tpd, tpd)?,
    })
}

fn window(field: &str, own: u64, parent: u64, asked: Option<u64>) -> Result<u64, Invalid> {
    match asked {
        Some(asked) if asked > parent => Err(Invalid::new(
            field,
            format!("must not be above the parent's {parent}"),
        )),
        Some(asked) => Ok(asked),
        None => Ok(own),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_asked_for_is_inherited() {
        let change = RateLimitsChange {
            rpm: Some(10),
            tpd: Some(0),
            ..RateLimitsChange::default()
        };
        let limits = inherit(RateLimits::WIDE, change).unwrap();
        let expected = RateLimits {
            rpm: 10,
            tpd: 0,
            ..RateLimits::WIDE
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn each_window_is_held_against_its_own() {
        let parent = RateLimits {
            rpm: 1,
            rph: 2,
            rpd: 3,
            tpm: 4,
            tph: 5,
            tpd: 6,
        };
        let none = RateLimitsChange::default();
        let over = [
            (
                "RPM",
                RateLimitsChange {
                    rpm: Some(2),
                    ..none
                },
            ),
            (
                "RPH",
                RateLimitsChange {
                    rph: Some(3),
                    ..none
                },
            ),
            (
                "RPD",
                RateLimitsChange {
                    rpd: Some(4),
                    ..none
                },
            ),
            (
                "TPM",
                RateLimitsChange {
                    tpm: Some(5),
                    ..none
                },
            ),
            (
                "TPH",
                RateLimitsChange {
                    tph: Some(6),
                    ..none
                },
            ),
            (
                "TPD",
                RateLimitsChange {
                    tpd: Some(7),
                    ..none
                },
            ),
        ];
        for (field, change) in over {
            assert_eq!(inherit(parent, change).unwrap_err().field, field);
        }
    }

    #[test]
    fn a_parent_narrowed_later_does_not_stand_in_the_way() {
        let narrow = RateLimits {
            rpm: 1,
            ..RateLimits::WIDE
        };
        let change = RateLimitsChange {
            tpm: Some(5),
            ..RateLimitsChange::default()
        };
        let limits = changed(RateLimits::WIDE, narrow, change).unwrap();
        assert_eq!((limits.rpm, limits.tpm), (RateLimits::WIDE.rpm, 5));
        let change = RateLimitsChange {
            rpm: Some(2),
            ..RateLimitsChange::default()
        };
        assert!(changed(RateLimits::WIDE, narrow, change).is_err());
        assert!(changed(narrow, RateLimits::WIDE, change).is_ok());
    }

    fn any_change() -> impl Strategy<Value = RateLimitsChange> {
        let window = || prop::option::of(0u64..20);
        (window(), window(), window(), window(), window(), window()).prop_map(
            |(rpm, rph, rpd, tpm, tph, tpd)| RateLimitsChange {
                rpm,
                rph,
                rpd,
                tpm,
                tph,
                tpd,
            },
        )
    }

    proptest! {
        #[test]
        fn no_descendant_is_wider_than_its_ancestor(changes in prop::collection::vec(any_change(), 1..5)) {
            let text = |limits: RateLimits| [limits.rpm, limits.rph, limits.rpd, limits.tpm, limits.tph, limits.tpd];
            let mut limits = RateLimits::WIDE;
            for change in changes {
                if let Ok(child) = inherit(limits, change) {
                    prop_assert!(text(child).iter().zip(text(limits)).all(|(child, parent)| *child <= parent));
                    limits = child;
                }
            }
        }
    }
}

//! Money: a whole number of nano-dollars, with checked arithmetic and one rounding rule.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use std::{fmt, iter, str::FromStr as _};

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive as _};

use crate::Invalid;

/// An amount in nano-dollars (1e-9 USD). The range is about ±9.2 billion dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Money(i64);

impl Money {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);
    /// Nano-dollars of a dollar.
    pub const PER_DOLLAR: i64 = 1_000_000_000;

    /// From nano-dollars.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nano-dollars.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// From dollars as a JSON number, rounded half away from zero to a nano-dollar.
    ///
    /// # Errors
    /// Errors if it is not finite or out of range.
    pub fn from_dollars(dollars: f64) -> Result<Self, Invalid> {
        // The shortest text of a float is what its sender typed, so this avoids binary errors.
        Decimal::from_str(&dollars.to_string())
            .or_else(|_| Decimal::from_scientific(&format!("{dollars:e}")))
            .map_err(|_| out_of_range())
            .and_then(Self::from_decimal_dollars)
    }

    /// From decimal dollars, rounded half away from zero to a nano-dollar.
    ///
    /// # Errors
    /// Errors if it is out of range.
    pub fn from_decimal_dollars(dollars: Decimal) -> Result<Self, Invalid> {
        dollars
            .checked_mul(Decimal::from(Self::PER_DOLLAR))
            .map(round)
            .and_then(|nanos| nanos.to_i64())
            .map(Self)
            .ok_or_else(out_of_range)
    }

    /// Dollars, only for JSON responses.
    pub fn dollars(self) -> f64 {
        Decimal::new(self.0, 9).to_f64().unwrap_or_default()
    }

    /// Sum. Returns `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Difference. Returns `None` on overflow.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Sum, clamped to the range.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference, clamped to the range.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The negated amount, clamped to the range.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// `self × numerator / denominator`, rounded half away from zero. Returns `None` if it is out of range.
    pub fn scale(self, numerator: Multiplier, denominator: Multiplier) -> Option<Self> {
        let product = i128::from(self.0).checked_mul(i128::from(numerator.0))?;
        div_round(product, i128::from(denominator.0)).map(Self)
    }

    /// The next multiple of `step` dollars at or above this amount. Returns `None` if it is out of range.
    pub fn ceil_to_dollars(self, step: i64) -> Option<Self> {
        let step = step.checked_mul(Self::PER_DOLLAR)?;
        let rest = self.0.checked_rem_euclid(step)?;
        if rest == 0 {
            return Some(self);
        }
        self.0.checked_sub(rest)?.checked_add(step).map(Self)
    }

    /// Whether it is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// Sum of amounts. Returns `None` on overflow.
pub fn sum(amounts: impl IntoIterator<Item = Money>) -> Option<Money> {
    amounts
        .into_iter()
        .try_fold(Money::ZERO, Money::checked_add)
}

impl iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = Decimal::new(self.0, 9).abs().normalize();
        write!(f, "{sign}${amount}")
    }
}

/// A price multiplier in millionths: `Rates`, `Factor`. From 0.000001 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Multiplier(i64);

impl Multiplier {
    /// The multiplier that changes nothing.
    pub const ONE: Self = Self(1_000_000);
    const MAX_MICROS: i64 = 1_000_000_000_000;

    /// From millionths.
    ///
    /// # Errors
    /// Errors if it is not positive, or above a million.
    pub fn from_micros(micros: i64) -> Result<Self, Invalid> {
        if (1..=Self::MAX_MICROS).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(Invalid::new(
                "multiplier",
                "must be above 0 and at most 1000000",
            ))
        }
    }

    /// From a JSON number.
    ///
    /// # Errors
    /// Errors if it is not a finite number in range.
    pub fn from_number(number: f64) -> Result<Self, Invalid> {
        Decimal::from_str(&number.to_string())
            .ok()
            .and_then(|value| value.checked_mul(Decimal::from(1_000_000)))
            .and_then(|micros| round(micros).to_i64())
            .map_or_else(|| Self::from_micros(0), Self::from_micros)
    }

    /// Millionths.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The plain number, only for JSON responses.
    pub fn number(self) -> f64 {
        Decimal::new(self.0, 6).to_f64().unwrap_or_default()
    }
}

/// The one rounding rule: to the nearest integer, halves away from zero.
fn round(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero)
}

/// The same rule on integers. Returns `None` on overflow or division by zero.
pub(crate) fn div_round(numerator: i128, denominator: i128) -> Option<i64> {
    let quotient = numerator.checked_div(denominator)?;
    let rest = numerator.checked_rem(denominator)?;
    let twice = rest.checked_abs()?.checked_mul(2)?;
    let away = if twice >= denominator.checked_abs()? {
        numerator.signum().checked_mul(denominator.signum())?
    } else {
        0
    };
    i64::try_from(quotient.checked_add(away)?).ok()
}

fn out_of_range() -> Invalid {
    Invalid::new("amount", "is out of range")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dollars_are_taken_as_typed() {
        assert_eq!(Money::from_dollars(0.1).unwrap().nanos(), 100_000_000);
        assert_eq!(Money::from_dollars(129.8).unwrap().nanos(), 129_800_000_000);
        assert_eq!(Money::from_dollars(-50.0).unwrap().nanos(), -50_000_000_000);
        assert_eq!(Money::from_dollars(1e-10).unwrap(), Money::ZERO);
        assert_eq!(Money::from_dollars(5e-10).unwrap().nanos(), 1);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for bad in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e10,
            1e300,
            -1e19,
        ] {
            assert!(Money::from_dollars(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn halves_round_away_from_zero() {
        assert_eq!(div_round(5, 2), Some(3));
        assert_eq!(div_round(-5, 2), Some(-3));
        assert_eq!(div_round(4, 3), Some(1));
        assert_eq!(div_round(1, 0), None);
    }

    #[test]
    fn limits_round_up_to_full_steps() {
        let dollars = |d| Money::from_dollars(d).unwrap();
        assert_eq!(dollars(180.0).ceil_to_dollars(100), Some(dollars(200.0)));
        assert_eq!(dollars(100.0).ceil_to_dollars(100), Some(dollars(100.0)));
        assert_eq!(dollars(0.0).ceil_to_dollars(100), Some(dollars(0.0)));
    }

    proptest! {
        #[test]
        fn json_dollars_survive_the_round_trip(nanos in -1_000_000_000_000_000i64..1_000_000_000_000_000) {
            let money = Money::from_nanos(nanos);
            prop_assert_eq!(Money::from_dollars(money.dollars()).unwrap(), money);
        }

        #[test]
        fn scaling_there_and_back_is_off_by_at_most_one_step(
            nanos in 0i64..1_000_000_000_000_000, to in 1_000_000i64..10_000_000,
        ) {
            let to = Multiplier::from_micros(to).unwrap();
            let there = Money::from_nanos(nanos).scale(to, Multiplier::ONE).unwrap();
            let back = there.scale(Multiplier::ONE, to).unwrap();
            prop_assert!((back.nanos() - nanos).abs() <= 1);
        }
    }
}

//! A bill as one line of text, which is how it is stored: `above 200000;rates 1500000;input_text 600 2500000000`.

use std::fmt::Write as _;

use crate::{
    Invalid,
    bill::{CallBill, PriceLine},
    money::{Money, Multiplier},
    part::BillPart,
};

const ABOVE: &str = "above";
const RATES: &str = "rates";
/// Written in place of the price of a part that has none.
const UNPRICED: &str = "-";

impl CallBill {
    /// The stored form.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let mut add = |words: std::fmt::Arguments<'_>| {
            let _written = text.write_fmt(words);
        };
        if let Some(above) = self.above {
            add(format_args!("{ABOVE} {above};"));
        }
        if self.rates != Multiplier::ONE {
            add(format_args!("{RATES} {};", self.rates.micros()));
        }
        for PriceLine {
            part,
            quantity,
            price,
        } in &self.lines
        {
            match price {
                Some(price) => add(format_args!(
                    "{} {quantity} {};",
                    part.name(),
                    price.nanos()
                )),
                None => add(format_args!("{} {quantity} {UNPRICED};", part.name())),
            }
        }
        text.pop();
        text
    }

    /// Reads what `text` wrote.
    ///
    /// # Errors
    /// Errors if the text has another form.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("bill", format!("{text:?} cannot be read"));
        let mut sum = Self::default();
        for words in text.split(';').filter(|words| !words.is_empty()) {
            let mut words = words.split(' ');
            let name = words.next().ok_or_else(invalid)?;
            let number = words.next().ok_or_else(invalid)?;
            let quantity = number.parse().map_err(|_| invalid())?;
            match (name, words.next()) {
                (ABOVE, None) => sum.above = Some(quantity),
                (RATES, None) => {
                    let micros = i64::try_from(quantity).map_err(|_| invalid())?;
                    sum.rates = Multiplier::from_micros(micros)?;
                }
                (name, Some(price)) => {
                    let nanos = Some(price).filter(|price| *price != UNPRICED);
                    let nanos: Option<i64> =
                        nanos.map(str::parse).transpose().map_err(|_| invalid())?;
                    sum.lines.push(PriceLine {
                        part: BillPart::parse(name).ok_or_else(invalid)?,
                        quantity,
                        price: nanos.map(Money::from_nanos),
                    });
                }
                _ => return Err(invalid()),
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bill_is_stored_in_words() {
        let line = |part, quantity, nanos: Option<i64>| PriceLine {
            part,
            quantity,
            price: nanos.map(Money::from_nanos),
        };
        let sum = CallBill {
            lines: vec![
                line(BillPart::InputText, 600, Some(2_500_000_000)),
                line(BillPart::WebSearch, 3, None),
            ],
            above: Some(200_000),
            rates: Multiplier::from_micros(1_500_000).unwrap(),
        };
        let text = "above 200000;rates 1500000;input_text 600 2500000000;web_search 3 -";
        assert_eq!(sum.text(), text);
        assert_eq!(CallBill::parse(text).unwrap(), sum);
        assert_eq!(CallBill::default().text(), "");
        assert_eq!(CallBill::parse("").unwrap(), CallBill::default());
        for bad in [
            "x",
            "input_text",
            "input_text 1",
            "nothing 1 2",
            "input_text 1 x",
            "above 1 2",
            "rates 0",
        ] {
            assert!(CallBill::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_stored_bill_is_the_same(
            lines in proptest::collection::vec((0..crate::part::PARTS, any::<u64>(), proptest::option::of(0i64..)), 0..9),
            above in proptest::option::of(any::<u64>()), rates in 1i64..1_000_000_000_000,
        ) {
            let line = |(part, quantity, nanos): (usize, u64, Option<i64>)| PriceLine {
                part: BillPart::all().nth(part).unwrap(), quantity, price: nanos.map(Money::from_nanos),
            };
            let sum = CallBill {
                lines: lines.into_iter().map(line).collect(), above, rates: Multiplier::from_micros(rates).unwrap(),
            };
            prop_assert_eq!(CallBill::parse(&sum.text()).unwrap(), sum);
        }
    }
}

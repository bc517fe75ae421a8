//! A bill in words, so that the payer can add it up by hand: `600 input_text × $2.5 / 1M tokens = $0.0015`.

use crate::{
    bill::{CallBill, PriceLine},
    money::{Money, Multiplier},
    part::PartUnit,
};

impl PriceLine {
    /// The line in words. Durations are in milliseconds.
    pub fn words(&self) -> String {
        let unit = self.part.unit();
        let measured = match unit {
            PartUnit::Hour | PartUnit::Second => " ms",
            PartUnit::Token | PartUnit::Character | PartUnit::Piece => "",
        };
        let what = format!("{}{measured} {}", self.quantity, self.part.name());
        let (Some(price), Some(amount)) = (self.price, self.amount()) else {
            return format!("{what} without a price");
        };
        match unit {
            PartUnit::Piece => format!("{what} × {price} = {amount}"),
            PartUnit::Token | PartUnit::Character | PartUnit::Hour | PartUnit::Second => {
                format!("{what} × {price} / {} = {amount}", unit.name())
            }
        }
    }
}

impl CallBill {
    /// The whole bill in words: its lines, their multipliers, and the cost. Each line is rounded for itself and the
    /// cost once, so they may differ in the last digit.
    pub fn words(&self, multipliers: [(&str, Option<Multiplier>); 2], cost: Money) -> String {
        let mut words: Vec<String> = self.lines.iter().map(PriceLine::words).collect();
        if let Some(above) = self.above {
            words.push(format!("prices above {above} input tokens"));
        }
        let [rates, factor] = multipliers;
        let times: Vec<String> = [("Rates of the model", Some(self.rates)), rates, factor]
            .into_iter()
            .filter_map(|(name, by)| Some((name, by.filter(|by| *by != Multiplier::ONE)?)))
            .map(|(name, by)| format!(" × {} ({name})", by.number()))
            .collect();
        let times = times.concat();
        let base = self.base(Multiplier::ONE).unwrap_or_default();
        words.push(match (self.lines.is_empty(), times.is_empty()) {
            (true, _) => format!("cost {cost}"),
            (false, true) => format!("together {cost}"),
            (false, false) => format!("together {base}{times} = {cost}"),
        });
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::BillPart;

    fn line(part: BillPart, quantity: u64, nanos: Option<i64>) -> PriceLine {
        PriceLine {
            part,
            quantity,
            price: nanos.map(Money::from_nanos),
        }
    }

    #[test]
    fn a_line_can_be_added_up_by_hand() {
        for (part, quantity, nanos, words) in [
            (
                BillPart::InputText,
                600,
                Some(2_500_000_000),
                "600 input_text × $2.5 / 1M tokens = $0.0015",
            ),
            (
                BillPart::WebSearch,
                3,
                Some(10_000_000),
                "3 web_search × $0.01 = $0.03",
            ),
            (
                BillPart::AudioHour,
                90_000,
                Some(360_000_000),
                "90000 ms audio × $0.36 / hour = $0.009",
            ),
            (BillPart::Maps, 2, None, "2 maps without a price"),
        ] {
            assert_eq!(line(part, quantity, nanos).words(), words);
        }
    }

    #[test]
    fn a_bill_says_what_its_lines_are_multiplied_by() {
        let two = Multiplier::from_number(2.0).ok();
        let mut sum = CallBill {
            lines: vec![line(BillPart::InputText, 600, Some(2_500_000_000))],
            ..CallBill::default()
        };
        let cost = Money::from_nanos(1_500_000);
        let plain = [("Rates", Some(Multiplier::ONE)), ("Factor", None)];
        let lines = "600 input_text × $2.5 / 1M tokens = $0.0015";
        assert_eq!(sum.words(plain, cost), format!("{lines}; together $0.0015"));
        sum.above = Some(200_000);
        sum.rates = Multiplier::from_number(1.5).unwrap();
        let cost = sum.cost(two.unwrap(), Multiplier::ONE).unwrap();
        assert_eq!(
            sum.words([("Rates", two), ("Factor", None)], cost),
            format!(
                "{lines}; prices above 200000 input tokens; \
                 together $0.0015 × 1.5 (Rates of the model) × 2 (Rates) = $0.0045"
            )
        );
        let none = CallBill::default().words(plain, Money::from_nanos(7));
        assert_eq!(none, "cost $0.000000007");
    }
}

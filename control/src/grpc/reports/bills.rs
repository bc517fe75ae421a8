//! Converts bills from and to wire messages.

use jiff::civil::Date;
use proxyxai_contract::wire;

use super::{
    super::{accounts::convert, count, page_from_wire},
    days_from_wire, named,
};
use crate::{
    Error,
    model::{
        AccountLabels, AccountTotals, Bill, BillFilter, DateRange, DayTotals, ModelTotals, Page,
        UsageTotals,
    },
};

pub(super) fn accounts_from_wire(
    request: wire::GetAccountsBillRequest,
    today: Date,
) -> Result<(BillFilter, DateRange, Page), Error> {
    let wire::GetAccountsBillRequest {
        account,
        level,
        gear,
        role,
        tier,
        factor_micros,
        start_date,
        end_date,
        page,
    } = request;
    let of = BillFilter {
        account: named(&account).map(ToOwned::to_owned),
        labels: AccountLabels {
            level: level.map(convert::level).transpose()?,
            gear: gear.map(convert::gear_from_wire).transpose()?,
            role,
            tier,
            factor: convert::multiplier("factor_micros", factor_micros)?,
        },
    };
    let days = days_from_wire(&start_date, &end_date, today)?;
    Ok((of, days, page_from_wire(page)?))
}

pub(super) fn accounts_to_wire(bill: Bill) -> wire::GetAccountsBillResponse {
    let Bill {
        days: rows,
        total,
        accounts,
    } = bill;
    let mut days: Vec<wire::DayUsage> = Vec::new();
    for DayTotals { day, model, totals } in rows {
        let (date, model) = (
            day.to_string(),
            model_to_wire(ModelTotals { model, totals }),
        );
        match days.last_mut().filter(|last| last.date == date) {
            Some(last) => last.models.push(model),
            None => days.push(wire::DayUsage {
                date,
                models: vec![model],
            }),
        }
    }
    let account = |account: AccountTotals| wire::AccountUsage {
        account_id: account.id.get(),
        name: account.name,
        email: account.email,
        total: Some(total_to_wire(account.totals)),
    };
    wire::GetAccountsBillResponse {
        days,
        total: Some(total_to_wire(total)),
        accounts: accounts.rows.into_iter().map(account).collect(),
        accounts_total: count(accounts.total),
    }
}

pub(super) fn to_wire(models: Vec<ModelTotals>) -> wire::GetBillResponse {
    let total = models
        .iter()
        .fold(UsageTotals::default(), |sum, model| sum.and(model.totals));
    wire::GetBillResponse {
        models: models.into_iter().map(model_to_wire).collect(),
        total: Some(total_to_wire(total)),
    }
}

fn total_to_wire(totals: UsageTotals) -> wire::ModelUsage {
    model_to_wire(ModelTotals {
        model: String::new(),
        totals,
    })
}

fn model_to_wire(model: ModelTotals) -> wire::ModelUsage {
    let ModelTotals { model, totals } = model;
    let UsageTotals {
        requests,
        input,
        cached,
        output,
        cost,
    } = totals;
    wire::ModelUsage {
        model,
        requests: count(requests),
        input_tokens: count(input),
        cached_tokens: count(cached),
        output_tokens: count(output),
        cost_nanos: cost.nanos(),
    }
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::money::Money;

    use super::*;

    #[test]
    fn the_total_is_the_sum_of_the_models() {
        let model = |model: &str, requests, cost| ModelTotals {
            model: model.to_owned(),
            totals: UsageTotals {
                requests,
                input: 10,
                cached: 1,
                output: 3,
                cost: Money::from_nanos(cost),
            },
        };
        let bill = to_wire(vec![model("a", 2, 500), model("b", 5, 7)]);
        let total = bill.total.unwrap();
        assert_eq!((total.requests, total.cost_nanos), (7, 507));
        assert_eq!(
            (total.input_tokens, total.cached_tokens, total.output_tokens),
            (20, 2, 6)
        );
        assert_eq!(total.model, "");
    }
}

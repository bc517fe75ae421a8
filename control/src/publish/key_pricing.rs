//! What calls on each key cost the operator, ready for posting: the rules of all keys, deleted ones included, applied
//! to the prices in force. Data planes get none of it.

use std::{collections::HashMap, sync::Arc};

use proxyxai_contract::{
    id::KeyId,
    key_price::{ExpenseRule, KeyPrice},
    price::PriceTable,
    price_file::PriceEntries,
    provider::BaseUrl,
};

use crate::store::KeyRecord;

/// Terms by key.
pub(crate) type TermsByKey = HashMap<KeyId, Arc<ExpenseRule>>;

/// The cost rules of keys, and the terms computed from them.
#[derive(Debug, Default)]
pub(super) struct KeyPricing {
    /// Host and rule of each key, deleted ones included: their calls may not be posted yet.
    given: HashMap<KeyId, (String, KeyPrice)>,
    /// The price table in force, as entries.
    fields: PriceEntries,
    terms: Arc<TermsByKey>,
}

/// The rule of a key.
pub(super) fn rule(record: &KeyRecord) -> (KeyId, (String, KeyPrice)) {
    let view = &record.key;
    let host = BaseUrl::parse(&view.provider).map(|provider| provider.host().to_owned());
    let host = host.unwrap_or_else(|_| view.provider.clone());
    (view.id, (host, view.config.price.clone()))
}

impl KeyPricing {
    /// Applies changed rules and prices.
    pub(super) fn apply(
        &mut self,
        rules: Vec<(KeyId, (String, KeyPrice))>,
        fields: Option<PriceEntries>,
        list: &PriceTable,
    ) {
        if rules.is_empty() && fields.is_none() {
            return;
        }
        let all = fields.is_some();
        self.fields = fields.unwrap_or_else(|| std::mem::take(&mut self.fields));
        let changed: Vec<_> = rules.iter().map(|(key, _)| *key).collect();
        self.given.extend(rules);
        let terms = |key: &KeyId| {
            let (host, price) = self.given.get(key)?;
            Some((*key, Arc::new(price.terms(host, list, &self.fields))))
        };
        let fresh: TermsByKey = if all {
            self.given.keys().filter_map(terms).collect()
        } else {
            changed.iter().filter_map(terms).collect()
        };
        // A report that is being posted keeps the old terms. For keys without a change only the pointers are copied.
        let mut whole = if all {
            TermsByKey::new()
        } else {
            self.terms.as_ref().clone()
        };
        whole.extend(fresh);
        self.terms = Arc::new(whole);
    }

    pub(super) fn terms(&self) -> Arc<TermsByKey> {
        Arc::clone(&self.terms)
    }
}

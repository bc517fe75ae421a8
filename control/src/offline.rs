//! What can be asked of the store without serving, also while a control plane serves from it. Changes
//! nothing.

use std::fmt;

use proxyxai_contract::clock::{Clock, Zone};

use crate::{
    Error,
    config::Config,
    domain::account::Dna,
    model::{DateRange, LedgerVerification},
    ops::export::CsvExport,
    store::{self, Store},
};

/// A store that is looked at.
pub struct OfflineStore {
    store: Store,
    zone: Zone,
}

impl OfflineStore {
    /// Opens the store.
    ///
    /// # Errors
    /// When it is not there, cannot be opened, or a control plane of this version has not yet run on it.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            store: Store::open_existing(&config.database).await?,
            zone: config.zone.clone(),
        })
    }

    /// Recomputes the books.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn verify(&self) -> Result<LedgerVerification, Error> {
        let tx = self.store.begin_reading().await?;
        store::books::verify(&tx).await
    }

    /// The days of the month up to now.
    pub fn month(&self, clock: &Clock) -> DateRange {
        let today = self.zone.day(clock.now());
        DateRange {
            start: today.first_of_month(),
            end: today,
        }
    }

    /// Single calls of everybody over some days as CSV, in pieces.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn usage(&self, days: DateRange) -> Result<CsvPieces<'_>, Error> {
        let zone = self.zone.clone();
        let export =
            CsvExport::usage(&self.store, (Dna::root().as_str(), true), days, zone).await?;
        Ok(CsvPieces {
            store: &self.store,
            export,
        })
    }

    /// The ledger over some days as CSV, in pieces.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ledger(&self, days: DateRange) -> Result<CsvPieces<'_>, Error> {
        let export = CsvExport::ledger(&self.store, days, self.zone.clone()).await?;
        Ok(CsvPieces {
            store: &self.store,
            export,
        })
    }
}

impl fmt::Debug for OfflineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Offline").field(&self.store).finish()
    }
}

/// CSV, a piece at a time.
#[derive(Debug)]
pub struct CsvPieces<'a> {
    store: &'a Store,
    export: CsvExport,
}

impl CsvPieces<'_> {
    /// The next piece, of whole lines; none when all has been given.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        self.export.next(self.store).await
    }
}

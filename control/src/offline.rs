//! Reads the store without serving, even while a control plane serves from it. It changes nothing.

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

/// A store opened for reading.
pub struct OfflineStore {
    store: Store,
    zone: Zone,
}

impl OfflineStore {
    /// Opens the store.
    ///
    /// # Errors
    /// Errors if it does not exist, cannot be opened, or was not yet used by a control plane of this version.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            store: Store::open_existing(&config.database).await?,
            zone: config.zone.clone(),
        })
    }

    /// Recomputes the ledger.
    ///
    /// # Errors
    /// Errors if the store cannot be read.
    pub async fn verify(&self) -> Result<LedgerVerification, Error> {
        let tx = self.store.begin_reading().await?;
        store::books::verify(&tx).await
    }

    /// The days of this month up to today.
    pub fn month(&self, clock: &Clock) -> DateRange {
        let today = self.zone.day(clock.now());
        DateRange {
            start: today.first_of_month(),
            end: today,
        }
    }

    /// The single calls of all accounts over some days as CSV, in pieces.
    ///
    /// # Errors
    /// Errors if the store cannot be read.
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
    /// Errors if the store cannot be read.
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

/// CSV in pieces.
#[derive(Debug)]
pub struct CsvPieces<'a> {
    store: &'a Store,
    export: CsvExport,
}

impl CsvPieces<'_> {
    /// Returns the next piece of whole lines, or `None` at the end.
    ///
    /// # Errors
    /// Errors if the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        self.export.next(self.store).await
    }
}

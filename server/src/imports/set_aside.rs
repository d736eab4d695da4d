//! Rows that imports set aside: told for queries, and taken up again on request.

use millrace_storage::lake::import::{Again, BadRowLine, read_bad_rows};
use millrace_storage::meta::keys::import_set_aside::scan_set_aside;
use millrace_storage::time::Timestamp;

use super::worker::of_lake;
use super::{ImportRun, Imports, paused};
use crate::error::{Error, Kind, Result};

/// Rows that were set aside together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSetAside {
    /// The import.
    pub import: String,
    /// The object that holds them.
    pub url: String,
    /// The run that set them aside.
    pub run: u64,
    /// When.
    pub at: Timestamp,
    /// The run that took them up again.
    pub replayed_run: Option<u64>,
}

impl Imports {
    /// What all imports have set aside, by import and oldest first.
    pub async fn set_aside(&self) -> Result<Vec<ImportSetAside>> {
        let names: Vec<String> = self.inner.entries.read().keys().cloned().collect();
        let mut all = Vec::new();
        for name in names {
            let found = scan_set_aside(&*self.parts().meta, &name).await?;
            all.extend(found.into_iter().map(|(key, stored)| ImportSetAside {
                import: key.import,
                url: stored.value.url,
                run: stored.value.run,
                at: Timestamp(stored.value.at_ms),
                replayed_run: Some(stored.value.replayed_run).filter(|run| *run > 0),
            }));
        }
        Ok(all)
    }

    /// The rows of one object.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where it is gone; [`Kind::DataLoss`] where it is not as it was written.
    pub async fn read_set_aside(&self, aside: &ImportSetAside) -> Result<Vec<BadRowLine>> {
        read_bad_rows(&self.parts().store, &aside.url).await.map_err(of_lake)
    }

    /// Takes up again all rows that an import has set aside, each once, and returns what its run did when that has ended. What
    /// fails again is set aside again.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::FailedPrecondition`] where the import is paused, or was asked for the same already.
    pub async fn replay(&self, name: &str, again: Again) -> Result<ImportRun> {
        let entry = self.entry(name)?;
        if !entry.wanted.borrow().running {
            return Err(paused(name));
        }
        let answered = entry.progress.borrow().replayed.0;
        let mut number = 0;
        let asked = entry.wanted.send_if_modified(|wanted| {
            let is_free = wanted.replays.0 == answered;
            if is_free {
                number = answered + 1;
                wanted.replays = (number, again);
            }
            is_free
        });
        if !asked {
            let words = format_args!("import {name} takes up what it has set aside already");
            return Err(Error::new(Kind::FailedPrecondition, words));
        }
        let run = entry.until(|progress| progress.replayed.0 >= number).await?.replayed.1;
        run.map(ImportRun::from).ok_or_else(|| Error::new(Kind::Internal, "a run that ended has no end"))
    }
}

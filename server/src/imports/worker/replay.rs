//! A run over what was set aside: each object that holds such rows is taken up like one of the source, under the same producer,
//! so that its rows come into the stream once.
//!
//! Such an object is written once and never changes, and it is known only from the commit that moved the import behind its rows.

use millrace_storage::lake::import::{Again, Source};
use millrace_storage::meta::keys::import::{ImportObjectKey, ImportObjectState};

use super::object::Taking;
use super::run::{Found, of_lake};
use super::{Halt, Worker};
use crate::error::{Error, Kind};
use crate::imports::entry::Declared;
use crate::imports::ledger::{Aside, ended};

impl Worker {
    /// Takes up all that was set aside before the run began.
    pub(super) async fn replay(&mut self, declared: &Declared, again: Again, found: &mut Found) -> Result<(), Halt> {
        self.finish_replay(declared, found).await?;
        if let Some(current) = &self.ledger.position().current {
            // The sequence that the rows would take is in doubt until that object is read on.
            let words = format_args!("{} was not read to its end; run the import first", current.url);
            return Err(Halt::Failed(Error::new(Kind::FailedPrecondition, words)));
        }
        let run = self.ledger.position().run.as_ref().map_or(0, |run| run.number);
        let mut asides = self.ledger.open_asides().await?;
        // What the run itself sets aside waits for the next one.
        asides.retain(|aside| aside.value.run < run);
        for aside in &asides {
            found.seen += 1;
            self.take_up_again(declared, aside, again, found).await?;
        }
        Ok(())
    }

    /// Goes on with the object of set-aside rows that is the current one: before anything else its chunk that may be stored
    /// must be asked about.
    pub(super) async fn finish_replay(&mut self, declared: &Declared, found: &mut Found) -> Result<(), Halt> {
        let Some(current) = self.ledger.position().current.clone() else { return Ok(()) };
        let asides = self.ledger.open_asides().await?;
        let Some(aside) = asides.iter().find(|aside| aside.value.url == current.url) else { return Ok(()) };
        found.seen += 1;
        // How it is taken up was noted with it.
        self.take_up_again(declared, aside, Again::ByFormat, found).await
    }

    async fn take_up_again(
        &mut self,
        declared: &Declared,
        aside: &Aside,
        again: Again,
        found: &mut Found,
    ) -> Result<(), Halt> {
        let source = Source::of(self.parts.store.clone());
        let url = &aside.value.url;
        let find = || async { source.find_unchanging(url).await.map_err(of_lake) };
        let Some(object) = self.retried(declared, &format!("looking for {url}"), find).await? else {
            tracing::warn!(import = self.name(), url, "rows that were set aside are gone, and cannot be taken up");
            found.left_open += 1;
            found.last_error = format!("{url} is gone, with {} rows that were set aside", aside.value.rows);
            return self.leave_gone(url).await;
        };
        let known = self.ledger.known_one(&self.ledger.key_of(&object)).await?;
        self.import_object(&source, declared, &object, known, Some(Taking { aside, again }), found).await
    }

    /// Gives up the current object where it is one that is gone.
    async fn leave_gone(&mut self, url: &str) -> Result<(), Halt> {
        let Some(current) = self.ledger.position().current.clone().filter(|current| current.url == url) else {
            return Ok(());
        };
        let key = ImportObjectKey { import: self.name(), url: current.url, version: current.version };
        let value = self.ledger.known_one(&key).await?.unwrap_or_default();
        let value = ended(&value, ImportObjectState::Changed, self.changed_words(&value));
        self.leave(&key, &value, None).await
    }
}

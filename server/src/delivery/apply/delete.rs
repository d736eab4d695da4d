//! Removing a delivery.

use millrace_storage::meta::keys;
use millrace_storage::meta::keys::delivery::DeliveryKey;
use millrace_storage::meta::keys::intent::IntentKey;

use crate::delivery::Deliveries;
use crate::delivery::entry::Entry;
use crate::error::{Error, Kind, Result};

impl Deliveries {
    /// Removes a delivery; what it delivered stays. Should a delivery of the same name over the same stream be declared
    /// later, it goes on where this one ended, so that nothing is delivered twice.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`]; [`crate::error::Kind::Unavailable`] where a batch under way cannot be finished within `drain_timeout`: its
    /// files would stay visible although nothing tells of them.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let _turn = self.inner.changes.lock().await;
        let entry = self.entry(name)?;
        if self.has_open_rebuild(name).await? {
            let words = format_args!("delivery {name} has a rebuild that is not ended; delete it afterwards");
            return Err(Error::new(Kind::FailedPrecondition, words));
        }
        let was_running = entry.wanted.borrow().running;
        entry.wanted.send_modify(|wanted| wanted.running = false);
        let mut progress = entry.progress.clone();
        let finished = progress.wait_for(|progress| progress.paused || progress.ended);
        let finished = tokio::time::timeout(self.parts().settings.drain_timeout, finished).await.is_ok();
        let deleted = if finished { self.forget(name).await } else { Err(unfinished(&entry)) };
        if deleted.is_err() {
            entry.wanted.send_modify(|wanted| wanted.running = was_running);
            return deleted;
        }
        entry.stop.cancel();
        entry.ended().await;
        self.inner.entries.write().remove(name);
        self.parts().metrics.remove(name);
        self.parts().transforms.forget_delivery(name);
        tracing::info!(delivery = name, "deleted a delivery");
        Ok(())
    }

    async fn forget(&self, name: &str) -> Result<()> {
        let (delivery, intent) = (DeliveryKey { name: name.to_owned() }, IntentKey { delivery: name.to_owned() });
        Ok(self.parts().meta.commit(vec![keys::absent(&intent)], vec![keys::delete(&delivery)]).await?)
    }
}

fn unfinished(entry: &Entry) -> Error {
    let why =
        entry.progress.borrow().last_error().map_or("it takes long".to_owned(), |failure| failure.message.clone());
    let name = &entry.name;
    Error::unavailable(format_args!("delivery {name} has a batch under way that must be finished before: {why}"))
}

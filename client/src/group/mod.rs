//! A member of a consumer group: it reads the shards that the group gives it, hands their records to a function, and notes
//! how far it came.
//!
//! What the function is given is processed at least once: a batch counts as processed when the function has returned, and
//! is given again, here or to another member, when it has not. A shard is with one member at a time; one that lost its shard
//! can no longer note anything, whatever it was in the middle of.

mod settings;
mod connections;
mod membership;
mod batch;
mod reader;
mod worker;
mod run;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::future::Future;

pub use batch::GroupBatch;
pub use settings::{Checkpointing, GroupSettings};

use crate::Result;
use crate::connection::Connector;

/// A member of a consumer group, before it runs.
///
/// ```no_run
/// # async fn store(_: &millrace_client::GroupBatch) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: millrace_client::Client) -> Result<(), millrace_client::Error> {
/// // Ends when the process is told to: what is in hand is finished, noted, and the shards go to other members at once.
/// let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
/// client
///     .group_consumer("flights", "billing")
///     .run(shutdown, |batch| async move {
///         store(&batch).await?; // An error: the same batch comes again, after a while.
///         Ok::<_, std::io::Error>(())
///     })
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a consumer does nothing until it runs"]
pub struct GroupConsumer {
    stream: String,
    group: String,
    settings: GroupSettings,
    connector: Connector,
}

impl GroupConsumer {
    pub(crate) fn new(connector: Connector, stream: String, group: String) -> Self {
        Self { stream, group, settings: GroupSettings::default(), connector }
    }

    /// The same consumer with other settings.
    pub fn with_settings(mut self, settings: GroupSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Joins the group and works until `shutdown` is ready; then finishes the batches in hand, notes them and leaves.
    ///
    /// `handler` is called once for each batch, for one batch of a shard at a time and for the shards in parallel. Where it
    /// fails, it is called with the same batch again, after a wait that grows; how often, [`GroupBatch::attempt`] tells.
    /// Where the member loses the shard meanwhile, the handler's future is dropped at its next `await`.
    ///
    /// Whatever may be over soon, a server that is away among it, is waited for.
    ///
    /// # Errors
    /// What waiting does not mend: no such stream, a name that breaks a rule, a group or stream with too many members or
    /// groups.
    pub async fn run<H, F, E>(self, shutdown: impl Future<Output = ()>, handler: H) -> Result<()>
    where
        H: Fn(GroupBatch) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        self.settings.validate()?;
        run::run(self, shutdown, handler).await
    }
}

//! SQL over tables and log tails, planned from Iceberg metadata and run by DataFusion. It only reads.

mod settings;
mod error;
mod metrics;
mod history;
mod tail;
mod engine;
mod statement;
mod parameters;
mod planner;
mod namespaces;
mod guarded;
mod system;
mod tables;
mod schema;
mod table;
mod files;
mod adapter;
mod adapt;
mod run;
mod watch;
mod stream;
#[cfg(test)]
mod tests;

pub use engine::{ListedTable, QueryEngine};
pub use namespaces::CATALOG;
pub use planner::Schemas;
pub use settings::QuerySettings;
pub use statement::Statement;
pub use stream::QueryStream;
pub use system::{SystemTable, system_tables};
pub use tail::{NoTail, Offsets, Tail, TailError, TailPart, TailSource};

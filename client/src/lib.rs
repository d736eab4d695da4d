//! The client of Millrace, for services that put records, read them, administer the server or ask it in SQL.
//!
//! A [`Client`] is one lazy connection that clones share. It gives five handles:
//!
//! | handle | does |
//! |---|---|
//! | [`Producer`] | puts records: batched, pipelined, bounded in memory, each with its own result |
//! | [`Consumer`] | reads records: pushed by the server, resumed after a broken connection without gap or repeat |
//! | [`GroupConsumer`] | shares a stream's shards with the other members of its group, and goes on where the group was |
//! | [`Admin`] | streams, deliveries, tables, pipeline files |
//! | `Query` | SQL answers as Arrow batches (feature `query`) |
//!
//! ```no_run
//! # async fn example() -> Result<(), millrace_client::Error> {
//! use millrace_client::{Client, PutRecord};
//!
//! let client = Client::connect("http://127.0.0.1:7070")?;
//! let producer = client.producer("flights");
//! let fate = producer.send(PutRecord::new("UA", r#"{"carrier":"UA","flight":1545}"#)).await?;
//! let placed = fate.await?; // durable from here on
//! println!("shard {} offset {}", placed.shard, placed.offset);
//! producer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here knows how the server keeps records; the wire is all it shares with it.

mod connection;
mod client;
mod error;
mod retry;
mod record;
mod producer;
mod consumer;
mod group;
mod admin;
#[cfg(feature = "query")]
mod query;
#[cfg(test)]
mod fake;

pub use admin::Admin;
pub use client::{CA_FILE_VARIABLE, Client, DEFAULT_ENDPOINT, ENDPOINT_VARIABLE, TOKEN_VARIABLE};
pub use connection::ConnectionSettings;
pub use consumer::{Consumer, Page, Position, Skipped, Subscription};
pub use error::{Error, Kind, Result};
pub use group::{Checkpointing, GroupBatch, GroupConsumer, GroupSettings};
pub use millrace_proto::v1 as proto;
pub use producer::{Producer, ProducerSettings, PutFuture, RetrySettings};
#[cfg(feature = "query")]
pub use query::{Query, Rows};
pub use record::{BatchName, Placed, PutRecord, Record};

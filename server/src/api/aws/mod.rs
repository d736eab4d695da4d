//! The AWS protocols: what SDKs, the CLI and agents for Kinesis speak, over the same streams as gRPC.
//!
//! `protocol` is what all services share, `model` what AWS demands of each request, and a folder is a service: it calls the
//! streams and maps what they say; `sts` is one question that producers ask first. Nothing here stores a record or moves a shard
//! by itself.

mod settings;
mod metrics;
mod auth;
mod model;
mod protocol;
mod arn;
mod token;
mod rates;
mod control_rates;
mod store;
mod sts;
mod kinesis;
mod firehose;
#[cfg(any(test, feature = "fuzzing"))]
mod agreement;
#[cfg(feature = "fuzzing")]
pub mod fuzz;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use millrace_storage::catalog::Catalog;
use millrace_storage::meta::MetaStore;
use millrace_storage::time::Clock;

pub use settings::{AwsSettings, FirehoseSettings, KinesisSettings};

use self::arn::Arns;
use self::control_rates::ControlRates;
use self::firehose::Firehose;
use self::kinesis::Kinesis;
use self::metrics::AwsMetrics;
use self::protocol::Front;
use self::store::Store;
use self::token::Tokens;
use crate::auth::Auth;
use crate::delivery::Deliveries;
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::streams::Streams;

/// What the services work on.
#[derive(Debug)]
pub struct Foundation {
    /// The streams.
    pub streams: Streams,
    /// The deliveries.
    pub deliveries: Deliveries,
    /// The catalog of the tables.
    pub catalog: Catalog,
    /// Where the services keep what is their own.
    pub meta: Arc<dyn MetaStore>,
    /// Who may do what.
    pub auth: Auth,
}

/// The AWS protocols of a server.
#[derive(Clone)]
pub struct Aws {
    front: Arc<Front>,
}

impl Aws {
    /// Opens the services.
    ///
    /// # Errors
    /// Where a setting is wrong, or the key of tokens can neither be read nor made.
    pub async fn open(
        foundation: Foundation,
        aws: &AwsSettings,
        kinesis: &KinesisSettings,
        firehose: &FirehoseSettings,
        metrics: &Metrics,
    ) -> Result<Self> {
        let Foundation { streams, deliveries, catalog, meta, auth } = foundation;
        let (store, metrics) = (Store::new(meta), AwsMetrics::new(metrics));
        let key = store.token_key().await.map_err(|error| {
            Error::new(Kind::Unavailable, format_args!("the key of clients' tokens: {}", error.message()))
        })?;
        let tokens = Tokens::new(&key, kinesis.token_lifetime, Clock::system());
        let arns = Arns::new(aws)?;
        let control = Arc::new(ControlRates::new(aws.control_rates_multiple, metrics.clone()));
        let parts = firehose::Parts {
            streams: streams.clone(),
            deliveries,
            catalog,
            store: store.clone(),
            arns: arns.clone(),
            control: Arc::clone(&control),
            metrics: metrics.clone(),
        };
        let firehose = Firehose::open(parts, firehose.clone()).await?;
        let parts = kinesis::Parts { streams, store, arns, tokens, control, metrics: metrics.clone() };
        let kinesis = Kinesis::new(parts, kinesis.clone());
        let front = Front::new(vec![Arc::new(kinesis), firehose], auth, aws, metrics);
        Ok(Self { front: Arc::new(front) })
    }

    /// The route that all services share: `POST /`.
    pub fn router(&self) -> Router {
        protocol::router(Arc::clone(&self.front))
    }

    /// Takes no more requests, and waits for those in flight, at most for so long.
    pub async fn drain(&self, timeout: Duration) {
        self.front.drain(timeout).await;
    }
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").finish_non_exhaustive()
    }
}

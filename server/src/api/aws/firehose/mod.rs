//! Amazon Data Firehose over streams and deliveries: a file for each group of operations.
//!
//! A delivery stream is a declaration in the meta store; a hidden stream takes its records, where clients put them directly,
//! and a delivery carries them into the store. The declaration comes first and goes last, so that a start can finish what a
//! crash left half made. A record is acknowledged when the stream says that it is durable, never before.

mod name;
mod target;
mod source;
mod destination;
mod table;
mod prefix;
mod processors;
mod conversion;
mod pipeline;
mod create;
mod delete;
mod recover;
mod update;
mod describe;
mod list;
mod put;
mod encryption;
mod tags;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_storage::catalog::Catalog;
use millrace_storage::log::ShardKey;
use parking_lot::Mutex;

use self::source::Sources;
#[cfg(any(test, feature = "fuzzing"))]
use super::agreement::{Agree, agree};
use super::arn::Arns;
use super::control_rates::ControlRates;
use super::metrics::AwsMetrics;
use super::model::{self, FIREHOSE};
use super::protocol::{AwsError, Call, Reply, Service};
use super::rates::Rates;
use super::settings::FirehoseSettings;
use super::store::Store;
use crate::delivery::Deliveries;
use crate::streams::Streams;

/// The operations whose requests are read without a tree.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) const READ_QUICKLY: [(&str, Agree); 2] =
    [("PutRecord", agree::<put::RecordInput>), ("PutRecordBatch", agree::<put::BatchInput>)];

/// The service `Firehose_20150804`.
pub(super) struct Firehose {
    streams: Streams,
    deliveries: Deliveries,
    catalog: Catalog,
    store: Store,
    arns: Arns,
    settings: FirehoseSettings,
    control: Arc<ControlRates>,
    metrics: AwsMetrics,
    puts: Rates<ShardKey>,
    sources: Sources,
    /// One change of delivery streams at a time.
    changes: tokio::sync::Mutex<()>,
    /// Why those that a start could not finish are as they are, by name.
    failures: Mutex<BTreeMap<String, String>>,
}

/// What the service stands on.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) streams: Streams,
    pub(super) deliveries: Deliveries,
    pub(super) catalog: Catalog,
    pub(super) store: Store,
    pub(super) arns: Arns,
    pub(super) control: Arc<ControlRates>,
    pub(super) metrics: AwsMetrics,
}

impl Firehose {
    /// Opens the service: what a crash left half made is finished, or told by `DescribeDeliveryStream`.
    ///
    /// # Errors
    /// Where a setting is wrong, or the meta store cannot be read.
    pub(super) async fn open(parts: Parts, settings: FirehoseSettings) -> crate::error::Result<Arc<Self>> {
        settings.validate()?;
        let Parts { streams, deliveries, catalog, store, arns, control, metrics } = parts;
        let firehose = Self {
            streams,
            deliveries,
            catalog,
            store,
            arns,
            settings,
            control,
            metrics,
            puts: Rates::new(),
            sources: Sources::default(),
            changes: tokio::sync::Mutex::default(),
            failures: Mutex::default(),
        };
        firehose.recover().await?;
        Ok(Arc::new(firehose))
    }
}

#[async_trait]
impl Service for Firehose {
    fn model(&self) -> &'static model::Service {
        &FIREHOSE
    }

    async fn call(&self, call: Call) -> Result<Reply, AwsError> {
        let call = &call;
        match call.operation.name {
            "PutRecord" => self.put_record(call).await,
            "PutRecordBatch" => self.put_record_batch(call).await,
            "CreateDeliveryStream" => self.create_delivery_stream(call).await,
            "DeleteDeliveryStream" => self.delete_delivery_stream(call).await,
            "DescribeDeliveryStream" => self.describe_delivery_stream(call).await,
            "ListDeliveryStreams" => self.list_delivery_streams(call).await,
            "UpdateDestination" => self.update_destination(call).await,
            "StartDeliveryStreamEncryption" => self.start_encryption(call).await,
            "StopDeliveryStreamEncryption" => self.stop_encryption(call).await,
            "TagDeliveryStream" => self.tag_delivery_stream(call).await,
            "UntagDeliveryStream" => self.untag_delivery_stream(call).await,
            "ListTagsForDeliveryStream" => self.list_tags(call).await,
            other => Err(AwsError::internal(format!("{other} is in the model, and nothing answers it"))),
        }
    }
}

impl std::fmt::Debug for Firehose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Firehose").field("settings", &self.settings).finish_non_exhaustive()
    }
}

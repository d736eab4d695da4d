//! `CreateDeliveryStream`: done when it is answered.

use std::collections::BTreeMap;

use millrace_storage::meta::keys::delivery_stream::{DeliveryStreamState, DeliveryStreamValue};
use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Firehose;
use super::destination::{Destination, read, refuse_unknown_places};
use super::encryption::KeyInput;
use super::name::Name;
use super::pipeline::Pipelines;
use super::tags::{self, Tag};
use super::target::{allow, told};
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::delivery::Action;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    delivery_stream_name: String,
    delivery_stream_type: Option<String>,
    direct_put_source_configuration: Option<DirectPut>,
    kinesis_stream_source_configuration: Option<Source>,
    delivery_stream_encryption_configuration_input: Option<KeyInput>,
    s3_destination_configuration: Option<Value>,
    extended_s3_destination_configuration: Option<Value>,
    iceberg_destination_configuration: Option<Value>,
    tags: Option<Vec<Tag>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct DirectPut {
    #[serde(rename = "ThroughputHintInMBs")]
    hint_mib: u32,
}

#[derive(Debug, Deserialize)]
struct Source {
    #[serde(rename = "KinesisStreamARN")]
    stream_arn: String,
    #[serde(rename = "RoleARN")]
    role_arn: String,
}

#[derive(Debug, Serialize)]
struct Output {
    #[serde(rename = "DeliveryStreamARN")]
    arn: String,
}

impl Firehose {
    pub(super) async fn create_delivery_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let name = self.name(call, &input.delivery_stream_name)?;
        let value = self.declaration(input)?;
        let _turn = self.changes.lock().await;
        let existing = self.store.delivery_streams().await?;
        if existing.iter().any(|(taken, _)| taken == name.as_str()) {
            return Err(self.exists(&name));
        }
        let count_max = self.settings.delivery_streams_max as usize;
        if existing.len() >= count_max {
            self.metrics.throttled("firehose_delivery_streams_max");
            return Err(AwsError::limit(format!("{count_max} delivery streams exist, and that is the limit")));
        }
        let makes_table = self.check_table(&value).await?;
        let pipeline = self.pipelines().of(&name, &value, makes_table)?;
        let changes = self.deliveries.declare(&pipeline, true, &|asked| allow(call, &asked)).await.map_err(told)?;
        let taken = changes.iter().find(|change| change.kind != "table" && change.action != Action::Created);
        if let Some(taken) = taken {
            let message = format!("a {} is named {} already", taken.kind, taken.name);
            return Err(AwsError::in_use(message));
        }
        self.store.set_delivery_stream(name.as_str(), None, Some(&value)).await?;
        if let Err(error) = self.deliveries.declare(&pipeline, false, &|_| Ok(())).await {
            return Err(self.undo(&name, told(error)).await);
        }
        self.sources.note(&name, &value);
        self.set_state(&name, DeliveryStreamState::Active).await?;
        tracing::info!(delivery_stream = %name, "created a delivery stream");
        call.reply(&Output { arn: self.arns.delivery_stream(name.as_str()) })
    }

    pub(super) const fn pipelines(&self) -> Pipelines<'_> {
        Pipelines { arns: &self.arns, settings: &self.settings }
    }

    fn exists(&self, name: &Name) -> AwsError {
        let account = self.arns.account_id();
        AwsError::in_use(format!("Firehose {name} under accountId {account} already exists"))
    }

    fn declaration(&self, input: Input) -> Result<DeliveryStreamValue, AwsError> {
        refuse_unknown_places(&input.others)?;
        let source = match (input.delivery_stream_type.as_deref(), input.kinesis_stream_source_configuration) {
            (None | Some("DirectPut"), None) => None,
            (Some("KinesisStreamAsSource"), Some(source)) => Some(source),
            (Some("KinesisStreamAsSource"), None) => {
                return Err(AwsError::invalid("KinesisStreamAsSource needs a KinesisStreamSourceConfiguration"));
            }
            (None | Some("DirectPut"), Some(_)) => {
                return Err(AwsError::invalid(
                    "KinesisStreamSourceConfiguration is only for the DeliveryStreamType KinesisStreamAsSource",
                ));
            }
            (Some(other), _) => {
                return Err(AwsError::invalid(format!(
                    "DeliveryStreamType {other} is not supported; DirectPut and KinesisStreamAsSource are"
                )));
            }
        };
        let key = input.delivery_stream_encryption_configuration_input;
        if source.is_some() && key.is_some() {
            return Err(AwsError::invalid("only a DirectPut delivery stream has an encryption of its own"));
        }
        let (key_type, key_arn) = key.map(KeyInput::checked).transpose()?.unwrap_or_default();
        let destination = match (
            input.s3_destination_configuration,
            input.extended_s3_destination_configuration,
            input.iceberg_destination_configuration,
        ) {
            (Some(s3), None, None) | (None, Some(s3), None) => Destination::S3(read("the S3 destination", s3)?),
            (None, None, Some(iceberg)) => Destination::Iceberg(read("the Iceberg destination", iceberg)?),
            (None, None, None) => return Err(AwsError::invalid("a delivery stream needs a destination configuration")),
            _ => return Err(AwsError::invalid("a delivery stream has exactly one destination configuration")),
        };
        let tags = tags::read(input.tags.unwrap_or_default())?;
        tags::check_count(tags.len(), self.settings.tags_max as usize)?;
        let (source_stream_arn, source_role_arn) =
            source.map(|source| (source.stream_arn, source.role_arn)).unwrap_or_default();
        Ok(DeliveryStreamValue {
            created_at_ms: Timestamp::now().as_millis(),
            updated_at_ms: 0,
            version: 1,
            state: DeliveryStreamState::Creating.into(),
            source_stream_arn,
            source_role_arn,
            destination_json: destination.with_defaults()?.to_json()?,
            tags,
            was_encrypted: !key_type.is_empty(),
            key_type,
            key_arn,
            throughput_hint_mib: input.direct_put_source_configuration.map_or(0, |given| given.hint_mib),
        })
    }

    /// Takes back what a failed creation made. Where that fails too, the next start finishes the creation.
    async fn undo(&self, name: &Name, error: AwsError) -> AwsError {
        if let Err(left) = self.remove_parts(name, true).await {
            tracing::warn!(delivery_stream = %name, message = left.message(), "a creation failed and is finished at the next start");
        }
        error
    }

    pub(super) async fn set_state(&self, name: &Name, state: DeliveryStreamState) -> Result<(), AwsError> {
        self.change(name, |value| {
            value.state = state.into();
            Ok(())
        })
        .await
    }
}

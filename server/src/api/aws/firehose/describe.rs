//! `DescribeDeliveryStream`: what was declared, with its defaults.

use millrace_storage::meta::keys::delivery_stream::{DeliveryStreamState, DeliveryStreamValue};
use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Firehose;
use super::destination::{Destination, S3Destination};
use super::name::Name;
use crate::api::aws::protocol::{AwsError, Call, Reply, Time};

/// The one destination that a delivery stream has.
pub(super) const DESTINATION_ID: &str = "destinationId-000000000001";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    delivery_stream_name: String,
    exclusive_start_destination_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    delivery_stream_description: Description,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    delivery_stream_name: String,
    #[serde(rename = "DeliveryStreamARN")]
    arn: String,
    delivery_stream_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_description: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_stream_encryption_configuration: Option<Encryption>,
    delivery_stream_type: &'static str,
    version_id: String,
    create_timestamp: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_update_timestamp: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    destinations: Vec<Value>,
    has_more_destinations: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    r#type: &'static str,
    details: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encryption {
    #[serde(rename = "KeyARN", skip_serializing_if = "Option::is_none")]
    key_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_type: Option<String>,
    status: &'static str,
}

#[derive(Debug, Serialize)]
enum Source {
    #[serde(rename = "KinesisStreamSourceDescription")]
    Kinesis {
        #[serde(rename = "KinesisStreamARN")]
        stream_arn: String,
        #[serde(rename = "RoleARN")]
        role_arn: String,
        #[serde(rename = "DeliveryStartTimestamp")]
        start: Time,
    },
    #[serde(rename = "DirectPutSourceDescription")]
    DirectPut {
        #[serde(rename = "ThroughputHintInMBs")]
        hint_mib: u32,
    },
}

impl Firehose {
    pub(super) async fn describe_delivery_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let name = self.name(call, &input.delivery_stream_name)?;
        let found = self.found(&name).await?;
        let mut description = self.description(&name, found.value)?;
        if input.exclusive_start_destination_id.as_deref() == Some(DESTINATION_ID) {
            description.destinations.clear();
        }
        call.reply(&Output { delivery_stream_description: description })
    }

    fn description(&self, name: &Name, value: DeliveryStreamValue) -> Result<Description, AwsError> {
        let failure = self.failures.lock().get(name.as_str()).cloned();
        let status = match (value.state(), failure.is_some()) {
            (DeliveryStreamState::Creating, false) => "CREATING",
            (DeliveryStreamState::Creating, true) => "CREATING_FAILED",
            (DeliveryStreamState::Active, _) => "ACTIVE",
            (DeliveryStreamState::Deleting, false) => "DELETING",
            (DeliveryStreamState::Deleting, true) => "DELETING_FAILED",
        };
        let is_direct = value.source_stream_arn.is_empty();
        let created_at = Time(Timestamp(value.created_at_ms));
        let source = match (is_direct, value.throughput_hint_mib) {
            (true, 0) => None,
            (true, hint_mib) => Some(Source::DirectPut { hint_mib }),
            (false, _) => Some(Source::Kinesis {
                stream_arn: value.source_stream_arn.clone(),
                role_arn: value.source_role_arn.clone(),
                start: created_at,
            }),
        };
        let destination = described(Destination::from_json(&value.destination_json)?)?;
        Ok(Description {
            delivery_stream_name: name.to_string(),
            arn: self.arns.delivery_stream(name.as_str()),
            delivery_stream_status: status,
            failure_description: failure.map(|details| Failure { r#type: "UNKNOWN_ERROR", details }),
            delivery_stream_encryption_configuration: is_direct.then(|| encryption_of(&value)),
            delivery_stream_type: if is_direct { "DirectPut" } else { "KinesisStreamAsSource" },
            version_id: value.version.to_string(),
            create_timestamp: created_at,
            last_update_timestamp: (value.updated_at_ms > 0).then_some(Time(Timestamp(value.updated_at_ms))),
            source,
            destinations: vec![destination],
            has_more_destinations: false,
        })
    }
}

fn encryption_of(value: &DeliveryStreamValue) -> Encryption {
    let status = if value.key_type.is_empty() { "DISABLED" } else { "ENABLED" };
    let filled = |text: &String| (!text.is_empty()).then(|| text.clone());
    Encryption { key_arn: filled(&value.key_arn), key_type: filled(&value.key_type), status }
}

/// `DestinationDescription`.
fn described(destination: Destination) -> Result<Value, AwsError> {
    match destination {
        Destination::S3(s3) => Ok(json!({
            "DestinationId": DESTINATION_ID,
            "S3DestinationDescription": plain(&s3)?,
            "ExtendedS3DestinationDescription": extended(&s3)?,
        })),
        Destination::Iceberg(iceberg) => {
            let s3 = plain(&iceberg.s3_configuration)?;
            let mut described = object(serde_json::to_value(&*iceberg))?;
            described.remove("S3Configuration");
            described.insert("S3DestinationDescription".to_owned(), s3);
            Ok(json!({"DestinationId": DESTINATION_ID, "IcebergDestinationDescription": described}))
        }
    }
}

/// The members that every S3 destination has.
fn plain(s3: &S3Destination) -> Result<Value, AwsError> {
    const MEMBERS: [&str; 8] = [
        "RoleARN",
        "BucketARN",
        "Prefix",
        "ErrorOutputPrefix",
        "BufferingHints",
        "CompressionFormat",
        "EncryptionConfiguration",
        "CloudWatchLoggingOptions",
    ];
    let mut described = object(serde_json::to_value(s3))?;
    described.retain(|member, _| MEMBERS.contains(&member.as_str()));
    Ok(Value::Object(described))
}

fn extended(s3: &S3Destination) -> Result<Value, AwsError> {
    let mut described = object(serde_json::to_value(s3))?;
    if described.remove("S3BackupConfiguration").is_some() {
        let backup = s3.s3_backup_configuration.as_deref().map(plain).transpose()?;
        described.extend(backup.map(|backup| ("S3BackupDescription".to_owned(), backup)));
    }
    Ok(Value::Object(described))
}

fn object(value: Result<Value, serde_json::Error>) -> Result<Map<String, Value>, AwsError> {
    match value {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(AwsError::internal("a destination cannot be described")),
    }
}

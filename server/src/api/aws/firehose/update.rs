//! `UpdateDestination`: the members that are given replace those in force; the rest stays.

use std::collections::BTreeMap;

use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Firehose;
use super::describe::DESTINATION_ID;
use super::destination::{Destination, refuse_unknown_places};
use super::target::{allow, told};
use crate::api::aws::protocol::{AwsError, Call, Reply};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    delivery_stream_name: String,
    current_delivery_stream_version_id: String,
    destination_id: String,
    s3_destination_update: Option<Map<String, Value>>,
    extended_s3_destination_update: Option<Map<String, Value>>,
    iceberg_destination_update: Option<Map<String, Value>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize)]
struct Output {}

impl Firehose {
    pub(super) async fn update_destination(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let name = self.name(call, &input.delivery_stream_name)?;
        let _turn = self.changes.lock().await;
        let before = self.found(&name).await?;
        refuse_unknown_places(&input.others)?;
        let version = before.value.version;
        if input.current_delivery_stream_version_id != version.to_string() {
            let given = &input.current_delivery_stream_version_id;
            let message = format!(
                "Cannot update firehose: {name} since the current version id: {version} and specified version id: {given} do not match"
            );
            return Err(AwsError::new("ConcurrentModificationException", message));
        }
        if input.destination_id != DESTINATION_ID {
            let id = &input.destination_id;
            return Err(AwsError::invalid(format!("Destination Id {id} not found")));
        }
        let destination = Destination::from_json(&before.value.destination_json)?;
        let s3 = input.extended_s3_destination_update.or(input.s3_destination_update);
        let destination = match (destination, s3, input.iceberg_destination_update) {
            (Destination::S3(s3), Some(update), None) => Destination::S3(Box::new(s3.updated(update)?)),
            (Destination::Iceberg(iceberg), None, Some(update)) => {
                Destination::Iceberg(Box::new(iceberg.updated(update)?))
            }
            (_, None, None) => return Err(AwsError::invalid("the request has no update of a destination")),
            _ => {
                return Err(AwsError::invalid(
                    "the update must be of the kind of destination that the delivery stream has",
                ));
            }
        };
        let mut value = before.value.clone();
        value.destination_json = destination.with_defaults()?.to_json()?;
        value.version += 1;
        value.updated_at_ms = Timestamp::now().as_millis();
        let makes_table = self.check_table(&value).await?;
        let pipeline = self.pipelines().of(&name, &value, makes_table)?;
        self.deliveries.declare(&pipeline, true, &|asked| allow(call, &asked)).await.map_err(told)?;
        self.store.set_delivery_stream(name.as_str(), Some(&before), Some(&value)).await?;
        self.sources.note(&name, &value);
        // What fails from here on is finished at the next start.
        self.deliveries.declare(&pipeline, false, &|_| Ok(())).await.map_err(told)?;
        tracing::info!(delivery_stream = %name, version = value.version, "updated a destination");
        call.reply(&Output {})
    }
}

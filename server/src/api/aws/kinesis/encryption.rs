//! `StartStreamEncryption` and `StopStreamEncryption`: the streams' own encryption at rest. The key id is kept and told; what
//! wraps the data keys is the master key of the settings.

use serde::Deserialize;

use super::Kinesis;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::error::Error;
use crate::streams::{StreamName, StreamOptions};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(flatten)]
    stream: StreamRef,
    encryption_type: String,
    key_id: String,
}

impl Kinesis {
    pub(super) async fn start_encryption(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        check_kms(&input)?;
        let options = StreamOptions { encryption: Some(true), ..StreamOptions::default() };
        let started = self.streams.update(stream.name(), &options).await;
        started.map_err(|error| self.not_encrypted(error, stream.name()))?;
        self.store
            .change_attributes(&stream, |attributes| {
                attributes.kms_key_id.clone_from(&input.key_id);
                Ok(())
            })
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn stop_encryption(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        check_kms(&input)?;
        self.change(&stream, &StreamOptions { encryption: Some(false), ..StreamOptions::default() }).await?;
        self.store
            .change_attributes(&stream, |attributes| {
                attributes.kms_key_id.clear();
                Ok(())
            })
            .await?;
        Ok(Reply::Empty)
    }

    /// A master key that is not there is a key that is not found.
    fn not_encrypted(&self, error: Error, stream: &StreamName) -> AwsError {
        let is_of_key = error.objects().iter().any(|(noun, _)| *noun == "data_key");
        if is_of_key && !error.is_retryable() {
            return AwsError::new("KMSNotFoundException", error.to_string());
        }
        self.told(error, stream)
    }
}

fn check_kms(input: &Input) -> Result<(), AwsError> {
    if input.encryption_type == "KMS" {
        return Ok(());
    }
    Err(AwsError::invalid("The only valid encryption type for this operation is KMS."))
}

//! `StartStreamEncryption` and `StopStreamEncryption`: the streams' own encryption at rest. The key id is kept and told; what
//! wraps the data keys is the master key of the settings.

use serde::Deserialize;

use super::Kinesis;
use super::target::StreamRef;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::error::{Error, Kind};
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
        let other_key = self.store.attributes(&stream).await?.kms_key_id != input.key_id;
        let started = if stream.spec().encryption && other_key {
            // Another key for what is encrypted already: what comes from now on is sealed anew.
            self.streams.rotate_key(stream.name()).await
        } else {
            let options = StreamOptions { encryption: Some(true), ..StreamOptions::default() };
            self.streams.update(stream.name(), &options).await
        };
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

    /// As Kinesis limits how often a stream gets a key, a stream has so many data keys here.
    fn not_encrypted(&self, error: Error, stream: &StreamName) -> AwsError {
        let is_of_key = error.objects().iter().any(|(noun, _)| *noun == "data_key");
        if is_of_key && error.key_fault().is_none() && *error.kind() == Kind::FailedPrecondition {
            return AwsError::limit(error.to_string());
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

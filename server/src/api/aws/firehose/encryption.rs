//! `StartDeliveryStreamEncryption` and `StopDeliveryStreamEncryption`: the hidden stream's own encryption at rest. The key is
//! kept and told; what wraps the data keys is the master key of the settings.

use millrace_storage::meta::keys::delivery_stream::DeliveryStreamValue;
use serde::{Deserialize, Serialize};

use super::Firehose;
use super::target::told;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::streams::StreamOptions;

const OWNED: &str = "AWS_OWNED_CMK";
const MANAGED: &str = "CUSTOMER_MANAGED_CMK";

/// `DeliveryStreamEncryptionConfigurationInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyInput {
    #[serde(rename = "KeyARN")]
    key_arn: Option<String>,
    key_type: String,
}

impl KeyInput {
    /// Type and ARN, where they fit together.
    ///
    /// # Errors
    /// `InvalidArgumentException`.
    pub(super) fn checked(self) -> Result<(String, String), AwsError> {
        match (self.key_type.as_str(), self.key_arn) {
            (OWNED, None) => Ok((self.key_type, String::new())),
            (MANAGED, Some(arn)) => Ok((self.key_type, arn)),
            (OWNED, Some(_)) => Err(AwsError::invalid(format!("KeyARN is not for the KeyType {OWNED}"))),
            _ => Err(AwsError::invalid(format!("the KeyType {MANAGED} needs a KeyARN"))),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    delivery_stream_name: String,
    delivery_stream_encryption_configuration_input: Option<KeyInput>,
}

#[derive(Debug, Serialize)]
struct Output {}

impl Firehose {
    pub(super) async fn start_encryption(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let key = input.delivery_stream_encryption_configuration_input.map(KeyInput::checked).transpose()?;
        let (key_type, key_arn) = key.unwrap_or_else(|| (OWNED.to_owned(), String::new()));
        self.set_encryption(call, &input.delivery_stream_name, true, |value| {
            (value.key_type, value.key_arn, value.was_encrypted) = (key_type, key_arn, true);
        })
        .await
    }

    pub(super) async fn stop_encryption(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        self.set_encryption(call, &input.delivery_stream_name, false, |value| {
            value.key_type.clear();
            value.key_arn.clear();
        })
        .await
    }

    /// First the stream, which may refuse; a start makes it again what the declaration says.
    async fn set_encryption(
        &self,
        call: &Call,
        name: &str,
        on: bool,
        change: impl FnOnce(&mut DeliveryStreamValue) + Send,
    ) -> Result<Reply, AwsError> {
        let name = self.name(call, name)?;
        let _turn = self.changes.lock().await;
        let found = self.found(&name).await?;
        if !found.value.source_stream_arn.is_empty() {
            return Err(AwsError::invalid(
                "only a DirectPut delivery stream has an encryption of its own; the source stream has it",
            ));
        }
        let options = StreamOptions { encryption: Some(on), ..StreamOptions::default() };
        self.streams.update(&name.stream()?, &options).await.map_err(told)?;
        self.change(&name, |value| {
            change(value);
            Ok(())
        })
        .await?;
        call.reply(&Output {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_arn_fit_together() {
        for (key_type, key_arn, fits) in
            [(OWNED, None, true), (OWNED, Some("a"), false), (MANAGED, Some("a"), true), (MANAGED, None, false)]
        {
            let input = KeyInput { key_type: key_type.to_owned(), key_arn: key_arn.map(str::to_owned) };
            assert_eq!(input.checked().is_ok(), fits, "{key_type} {key_arn:?}");
        }
    }
}

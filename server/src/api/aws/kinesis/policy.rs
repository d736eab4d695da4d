//! Resource policies of streams and consumers: kept and told as they came. They are not enforced: grants to principals are.

use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::tags::Tagged;
use crate::api::aws::protocol::{AwsError, Call, Reply, json_tree};

/// The most bytes of a policy, as Kinesis has it.
const POLICY_BYTES_MAX: usize = 20 << 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    #[serde(default)]
    policy: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    policy: String,
}

impl Kinesis {
    pub(super) async fn put_resource_policy(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let tagged = self.tagged(call, &input.resource_arn).await?;
        check(&input.policy)?;
        self.set_policy(&tagged, &input.policy).await
    }

    pub(super) async fn get_resource_policy(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let policy = match self.tagged(call, &input.resource_arn).await? {
            Tagged::Stream(stream) => self.store.attributes(&stream).await?.policy,
            Tagged::Consumer(_, consumer) => consumer.value.policy,
        };
        // Kinesis answers an empty policy where there is none.
        call.reply(&Output { policy: if policy.is_empty() { "{}".to_owned() } else { policy } })
    }

    pub(super) async fn delete_resource_policy(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let tagged = self.tagged(call, &input.resource_arn).await?;
        let has_none = match &tagged {
            Tagged::Stream(stream) => self.store.attributes(stream).await?.policy.is_empty(),
            Tagged::Consumer(_, consumer) => consumer.value.policy.is_empty(),
        };
        if has_none {
            return Err(AwsError::not_found(format!("No resource policy found for {}", input.resource_arn)));
        }
        self.set_policy(&tagged, "").await
    }

    async fn set_policy(&self, tagged: &Tagged, policy: &str) -> Result<Reply, AwsError> {
        match tagged {
            Tagged::Stream(stream) => {
                let set = |value: &mut millrace_storage::meta::keys::stream_attribute::StreamAttributeValue| {
                    policy.clone_into(&mut value.policy);
                    Ok(())
                };
                self.store.change_attributes(stream, set).await?;
            }
            Tagged::Consumer(stream, consumer) => {
                let set = |value: &mut millrace_storage::meta::keys::stream_consumer::StreamConsumerValue| {
                    policy.clone_into(&mut value.policy);
                    Ok(())
                };
                self.store.change_consumer(stream, &consumer.name, set).await?;
            }
        }
        Ok(Reply::Empty)
    }
}

/// A policy is a JSON object with statements, within its size.
fn check(policy: &str) -> Result<(), AwsError> {
    if policy.len() > POLICY_BYTES_MAX {
        let message = format!("a policy of {} bytes is past the limit of {POLICY_BYTES_MAX}", policy.len());
        return Err(AwsError::limit(message));
    }
    match json_tree(policy.as_bytes()) {
        Ok(policy) if policy.get("Statement").is_some() => Ok(()),
        Ok(_) => Err(AwsError::invalid("the policy is not a JSON object with a Statement")),
        Err(error) => Err(AwsError::invalid(format!("the policy is not JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_holds_at_its_size_and_not_one_past() {
        let policy = |bytes: usize| format!(r#"{{"Statement":"{}"}}"#, "x".repeat(bytes - 16));
        assert_eq!(policy(POLICY_BYTES_MAX).len(), POLICY_BYTES_MAX);
        assert!(check(&policy(POLICY_BYTES_MAX)).is_ok());
        assert_eq!(check(&policy(POLICY_BYTES_MAX + 1)).unwrap_err().code(), "LimitExceededException");
        for wrong in ["", "[]", "{}", "{", "1"] {
            assert_eq!(check(wrong).unwrap_err().code(), "InvalidArgumentException", "{wrong}");
        }
    }
}

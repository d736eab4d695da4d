//! Tags of streams and registered consumers, by the operations of both generations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::target::StreamRef;
use crate::api::aws::arn::Resource;
use crate::api::aws::protocol::{AwsError, Call, Reply};
use crate::api::aws::store::Consumer;
use crate::streams::StreamState;

/// Tags in one answer of `ListTagsForStream` where the caller does not say.
const LIMIT_DEFAULT: usize = 50;
/// What no tag's key begins with but AWS' own.
const RESERVED: &str = "aws:";

type Tags = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AddInput {
    #[serde(flatten)]
    stream: StreamRef,
    tags: Tags,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RemoveInput {
    #[serde(flatten)]
    stream: StreamRef,
    tag_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    #[serde(flatten)]
    stream: StreamRef,
    exclusive_start_tag_key: Option<String>,
    limit: Option<usize>,
}

/// A request about a resource: its tags to set or its keys to remove, or neither.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceInput {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_more_tags: Option<bool>,
}

/// What carries tags and a policy.
#[derive(Debug)]
pub(super) enum Tagged {
    Stream(Arc<StreamState>),
    Consumer(Arc<StreamState>, Consumer),
}

impl Kinesis {
    pub(super) async fn add_tags_to_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: AddInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        self.add_tags(&Tagged::Stream(stream), &input.tags).await
    }

    pub(super) async fn remove_tags_from_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: RemoveInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        self.remove_tags(&Tagged::Stream(stream), &input.tag_keys).await
    }

    pub(super) async fn list_tags_for_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: ListInput = call.input()?;
        let stream = self.stream(call, &input.stream)?;
        let tags = self.store.attributes(&stream).await?.tags;
        let after = input.exclusive_start_tag_key.as_deref().unwrap_or_default();
        let limit = input.limit.unwrap_or(LIMIT_DEFAULT);
        let mut rest = tags.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let tags = rest.by_ref().take(limit).map(tag).collect();
        call.reply(&ListOutput { tags, has_more_tags: Some(rest.next().is_some()) })
    }

    pub(super) async fn tag_resource(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: ResourceInput = call.input()?;
        let tagged = self.tagged(call, &input.resource_arn).await?;
        self.add_tags(&tagged, &input.tags).await
    }

    pub(super) async fn untag_resource(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: ResourceInput = call.input()?;
        let tagged = self.tagged(call, &input.resource_arn).await?;
        self.remove_tags(&tagged, &input.tag_keys).await
    }

    pub(super) async fn list_tags_for_resource(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: ResourceInput = call.input()?;
        let tags = match self.tagged(call, &input.resource_arn).await? {
            Tagged::Stream(stream) => self.store.attributes(&stream).await?.tags,
            Tagged::Consumer(_, consumer) => consumer.value.tags,
        };
        call.reply(&ListOutput { tags: tags.iter().map(tag).collect(), has_more_tags: None })
    }

    /// The stream or consumer that an ARN names, where the caller may do this to it.
    pub(super) async fn tagged(&self, call: &Call, arn: &str) -> Result<Tagged, AwsError> {
        match self.arns.parse(arn)? {
            Resource::Stream(_) => {
                let named = StreamRef { stream_arn: Some(arn.to_owned()), ..StreamRef::default() };
                Ok(Tagged::Stream(self.stream(call, &named)?))
            }
            Resource::Consumer(_) => {
                let (stream, consumer) = self.consumer(call, arn).await?;
                Ok(Tagged::Consumer(stream, consumer))
            }
        }
    }

    async fn add_tags(&self, tagged: &Tagged, tags: &Tags) -> Result<Reply, AwsError> {
        let count_max = self.settings.tags_max as usize;
        check(tags, count_max)?;
        self.change_tags(tagged, |held| {
            held.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            check_count(held.len(), count_max)
        })
        .await
    }

    async fn remove_tags(&self, tagged: &Tagged, keys: &[String]) -> Result<Reply, AwsError> {
        self.change_tags(tagged, |held| {
            held.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await
    }

    async fn change_tags(
        &self,
        tagged: &Tagged,
        mut change: impl FnMut(&mut Tags) -> Result<(), AwsError> + Send,
    ) -> Result<Reply, AwsError> {
        match tagged {
            Tagged::Stream(stream) => self.store.change_attributes(stream, |value| change(&mut value.tags)).await?,
            Tagged::Consumer(stream, consumer) => {
                self.store.change_consumer(stream, &consumer.name, |value| change(&mut value.tags)).await?;
            }
        }
        Ok(Reply::Empty)
    }
}

fn tag((key, value): (&String, &String)) -> Tag {
    Tag { key: key.clone(), value: value.clone() }
}

/// Checks tags that are to be set: how many, and what the model does not say of their characters.
pub(super) fn check(tags: &Tags, count_max: usize) -> Result<(), AwsError> {
    check_count(tags.len(), count_max)?;
    let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
    for (key, value) in tags {
        if key.starts_with(RESERVED) {
            return Err(AwsError::invalid(format!("the tag key {key} begins with {RESERVED}, which is reserved")));
        }
        if !key.chars().chain(value.chars()).all(allowed) {
            let message = "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, \
                           _ . / = + - % @.";
            return Err(AwsError::invalid(message));
        }
    }
    Ok(())
}

fn check_count(count: usize, count_max: usize) -> Result<(), AwsError> {
    if count <= count_max {
        return Ok(());
    }
    Err(AwsError::limit(format!("{count} tags are past the limit of {count_max} for a resource")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(count: usize) -> Tags {
        (0..count).map(|number| (format!("key-{number}"), String::new())).collect()
    }

    #[test]
    fn tags_hold_at_their_limit_and_not_one_past() {
        assert!(check(&tags(50), 50).is_ok());
        assert_eq!(check(&tags(51), 50).unwrap_err().code(), "LimitExceededException");
    }

    #[test]
    fn characters_that_tags_may_not_have_are_refused() {
        for (key, value, allowed) in [
            ("Größe", "1 + 2 = 3", true),
            ("a:b", "x@y/z", true),
            ("aws:x", "", false),
            ("a;b", "", false),
            ("a", "\u{1F980}", false),
        ] {
            let tags = Tags::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(check(&tags, 50).is_ok(), allowed, "{key} {value}");
        }
    }
}

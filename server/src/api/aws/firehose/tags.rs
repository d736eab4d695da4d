//! Tags of delivery streams.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::Firehose;
use crate::api::aws::protocol::{AwsError, Call, Reply};

/// Tags in one answer where the caller does not say.
const LIMIT_DEFAULT: usize = 50;

/// `Tag`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagInput {
    delivery_stream_name: String,
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UntagInput {
    delivery_stream_name: String,
    tag_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    delivery_stream_name: String,
    exclusive_start_tag_key: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    tags: Vec<Tag>,
    has_more_tags: bool,
}

#[derive(Debug, Serialize)]
struct Output {}

impl Firehose {
    pub(super) async fn tag_delivery_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: TagInput = call.input()?;
        let name = self.name(call, &input.delivery_stream_name)?;
        let _turn = self.changes.lock().await;
        let tags = read(input.tags)?;
        let count_max = self.settings.tags_max as usize;
        self.change(&name, |value| {
            value.tags.extend(tags);
            check_count(value.tags.len(), count_max)
        })
        .await?;
        call.reply(&Output {})
    }

    pub(super) async fn untag_delivery_stream(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: UntagInput = call.input()?;
        let name = self.name(call, &input.delivery_stream_name)?;
        let _turn = self.changes.lock().await;
        self.change(&name, |value| {
            value.tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(())
        })
        .await?;
        call.reply(&Output {})
    }

    pub(super) async fn list_tags(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: ListInput = call.input()?;
        let name = self.name(call, &input.delivery_stream_name)?;
        let tags = self.found(&name).await?.value.tags;
        let after = match input.exclusive_start_tag_key.as_deref() {
            Some(key) => Bound::Excluded(key),
            None => Bound::Unbounded,
        };
        let mut rest = tags.range::<str, _>((after, Bound::Unbounded));
        let tag = |(key, value): (&String, &String)| Tag { key: key.clone(), value: Some(value.clone()) };
        let tags = rest.by_ref().take(input.limit.unwrap_or(LIMIT_DEFAULT)).map(tag).collect();
        call.reply(&ListOutput { tags, has_more_tags: rest.next().is_some() })
    }
}

/// Tags by key.
///
/// # Errors
/// `InvalidArgumentException` where a key comes twice, or has characters that the model means to leave out.
pub(super) fn read(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, AwsError> {
    let mut by_key = BTreeMap::new();
    for Tag { key, value } in tags {
        let value = value.unwrap_or_default();
        let fits = |c: char| c.is_alphanumeric() || c.is_whitespace() && !c.is_control() || "_.:/=+-@%".contains(c);
        if let Some(wrong) = key.chars().chain(value.chars()).find(|c| !fits(*c)) {
            return Err(AwsError::invalid(format!("the tag {key} has the character {wrong:?}, which no tag has")));
        }
        if by_key.contains_key(&key) {
            return Err(AwsError::invalid(format!("the tag {key} is given twice")));
        }
        by_key.insert(key, value);
    }
    Ok(by_key)
}

/// # Errors
/// `LimitExceededException`.
pub(super) fn check_count(count: usize, count_max: usize) -> Result<(), AwsError> {
    if count > count_max {
        return Err(AwsError::limit(format!("{count} tags are more than a delivery stream may have: {count_max}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.to_owned(), value: Some(value.to_owned()) }
    }

    #[test]
    fn tags_are_read_once_each() {
        let tags = read(vec![tag("b", "1"), tag("größe", "2 %")]).unwrap();
        assert_eq!(tags.into_iter().collect::<Vec<_>>(), [("b".into(), "1".into()), ("größe".into(), "2 %".into())]);
        assert_eq!(read(vec![tag("a", "1"), tag("a", "2")]).unwrap_err().code(), "InvalidArgumentException");
        assert!(read(vec![tag("a", "\u{1F980}")]).is_err());
    }

    #[test]
    fn the_number_of_tags_holds_at_its_limit_and_not_one_past() {
        assert!(check_count(50, 50).is_ok());
        assert_eq!(check_count(51, 50).unwrap_err().code(), "LimitExceededException");
    }
}

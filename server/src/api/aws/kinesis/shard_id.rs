//! `shardId-000000000000`: a shard's number as Kinesis writes it.

use std::fmt;

use millrace_storage::log::ShardId;
use serde::{Serialize, Serializer};

const PREFIX: &str = "shardId-";

/// A shard's id on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShardName(pub(super) ShardId);

impl ShardName {
    /// Reads a shard's id; leading zeros may be missing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let plain = !digits.is_empty() && digits.len() <= 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten().map(|number| Self(ShardId(number)))
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:012}", self.0.0)
    }
}

impl Serialize for ShardName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_and_others_are_none() {
        for number in [0, 7, u32::MAX] {
            let text = ShardName(ShardId(number)).to_string();
            assert_eq!(text.len(), 20);
            assert_eq!(ShardName::parse(&text), Some(ShardName(ShardId(number))));
        }
        assert_eq!(ShardName::parse("shardId-7"), Some(ShardName(ShardId(7))));
        for text in ["", "shardId-", "shardId--1", "shardId-999999999999", "7", "shardId-0000000000001", "shardId-x"] {
            assert_eq!(ShardName::parse(text), None, "{text}");
        }
    }
}

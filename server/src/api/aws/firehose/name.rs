//! The name of a delivery stream, which is its delivery's name as well.

use std::fmt;

use crate::api::aws::protocol::AwsError;
use crate::streams::StreamName;

const CHARS_MAX: usize = 64;
/// Whose streams the hidden ones are.
const OWNER: &str = "firehose";

/// 1 to 64 of the characters `a-z A-Z 0-9 _ . -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(String);

impl Name {
    /// A name that keeps its model.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let is_name = !name.is_empty() && name.len() <= CHARS_MAX && name.bytes().all(fits);
        is_name.then(|| Self(name.to_owned()))
    }

    /// A name that the model has checked.
    ///
    /// # Errors
    /// `InvalidArgumentException` where it is none all the same.
    pub(super) fn checked(name: &str) -> Result<Self, AwsError> {
        Self::parse(name).ok_or_else(|| AwsError::invalid(format!("{name:?} is not the name of a delivery stream")))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The stream that takes what is put directly.
    ///
    /// # Errors
    /// Where the name makes none: a bug.
    pub(super) fn stream(&self) -> Result<StreamName, AwsError> {
        Ok(StreamName::hidden(OWNER, &self.0)?)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_at_their_limit_and_not_one_past() {
        for (name, fits) in
            [("a", true), (&"x".repeat(64), true), (&*"x".repeat(65), false), ("", false), ("a b", false)]
        {
            assert_eq!(Name::parse(name).is_some(), fits, "{name}");
        }
    }

    #[test]
    fn the_stream_behind_a_name_is_hidden() {
        let stream = Name::parse("flights").unwrap().stream().unwrap();
        assert_eq!((stream.as_str(), stream.is_hidden()), ("$firehose.flights", true));
    }
}

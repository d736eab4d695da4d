//! The name of a stream, parsed at the edge: whoever holds a [`StreamName`] need not check it again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The most characters of a name.
pub const NAME_CHARS_MAX: usize = 128;

/// 1 to 128 of the characters `a-z A-Z 0-9 _ . -`, as Kinesis has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(String);

impl StreamName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks a name's characters.
///
/// # Errors
/// [`crate::error::Kind::Invalid`] with the rule that it breaks.
pub(super) fn check(name: &str) -> Result<()> {
    let rule = if name.is_empty() {
        "a stream's name is empty".to_owned()
    } else if name.len() > NAME_CHARS_MAX {
        format!("a stream's name of {} characters is past the limit of {NAME_CHARS_MAX}", name.chars().count())
    } else if let Some(wrong) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "_.-".contains(*c))) {
        format!("the stream name {name:?} has {wrong:?}: only a-z, A-Z, 0-9, '_', '.' and '-' are allowed")
    } else {
        return Ok(());
    };
    Err(Error::invalid(rule).in_field("stream"))
}

impl FromStr for StreamName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        check(name)?;
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for StreamName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        check(&name)?;
        Ok(Self(name))
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_to_their_alphabet_and_length() {
        for good in ["a", "flights", "A-b_c.9", &"x".repeat(NAME_CHARS_MAX)] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", "empty"),
            (&*"x".repeat(NAME_CHARS_MAX + 1), "129 characters is past the limit of 128"),
            ("a b", "' '"),
            ("a/b", "'/'"),
            ("flüge", "'ü'"),
            ("a\0", "'\\0'"),
        ] {
            let error = bad.parse::<StreamName>().unwrap_err();
            assert!(error.to_string().contains(why), "{bad:?}: {error}");
            assert_eq!(error.field(), Some("stream"));
        }
    }
}

//! The name of a stream, parsed at the edge: whoever holds a [`StreamName`] need not check it again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The most characters of a name.
pub const NAME_CHARS_MAX: usize = 128;

/// How the names of hidden streams begin: no name that a user can give does.
const HIDDEN: char = '$';

/// 1 to 128 of the characters `a-z A-Z 0-9 _ . -`, as Kinesis has it; behind a `$` where a part of the server made the stream
/// for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(String);

impl StreamName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a stream that `owner`, a part of the server, makes for its object `name`.
    ///
    /// # Errors
    /// As for any name.
    pub(crate) fn hidden(owner: &str, name: &str) -> Result<Self> {
        Self::any(&format!("{HIDDEN}{owner}.{name}"))
    }

    /// A name that may be a hidden stream's: from where the server itself wrote it, never from a request.
    ///
    /// # Errors
    /// As for any name.
    pub(crate) fn any(name: &str) -> Result<Self> {
        check(name.strip_prefix(HIDDEN).unwrap_or(name))?;
        Ok(Self(name.to_owned()))
    }

    /// Whether a part of the server made the stream for itself: nobody else puts, reads or changes it.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0.starts_with(HIDDEN)
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
    fn a_hidden_name_comes_back_from_what_was_stored_and_from_no_request() {
        let name = StreamName::hidden("firehose", "flights").unwrap();
        assert_eq!((name.as_str(), name.is_hidden()), ("$firehose.flights", true));
        assert_eq!(StreamName::any(name.as_str()).unwrap(), name);
        assert!(!StreamName::any("flights").unwrap().is_hidden());
        assert!(name.as_str().parse::<StreamName>().is_err());
        assert!(StreamName::try_from(name.to_string()).is_err());
        for bad in ["$", "$$a", "$a b", "a$"] {
            assert!(StreamName::any(bad).is_err(), "{bad}");
        }
    }

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

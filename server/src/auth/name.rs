//! The name of a principal, parsed at the edge.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The most characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// 1 to 64 of the characters `a-z A-Z 0-9 _ . - @`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalName(String);

impl PrincipalName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrincipalName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let wrong = name.chars().find(|letter| !(letter.is_ascii_alphanumeric() || "_.-@".contains(*letter)));
        let rule = if name.is_empty() {
            "a principal's name is empty".to_owned()
        } else if name.len() > NAME_CHARS_MAX {
            format!("a principal's name of {} characters is past the limit of {NAME_CHARS_MAX}", name.chars().count())
        } else if let Some(wrong) = wrong {
            format!("the principal name {name:?} has {wrong:?}: only a-z, A-Z, 0-9, '_', '.', '-' and '@' are allowed")
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(Error::invalid(rule).in_field("name"))
    }
}

impl TryFrom<String> for PrincipalName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl Borrow<str> for PrincipalName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_plain_characters_and_not_too_long() {
        for good in ["a", "team@example.org", "svc-1_x.y", &"x".repeat(64)] {
            assert!(good.parse::<PrincipalName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "*", &"x".repeat(65)] {
            assert!(bad.parse::<PrincipalName>().is_err(), "{bad}");
        }
    }
}

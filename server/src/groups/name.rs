//! Names of groups and members, parsed at the edge.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The most characters of a group's name.
const GROUP_CHARS_MAX: usize = 128;
/// The most characters of a member's id.
const MEMBER_CHARS_MAX: usize = 64;
/// The most characters of a member's name.
const MEMBER_NAME_CHARS_MAX: usize = 256;

/// A group's name: 1 to 128 of the characters `a-z A-Z 0-9 _ . -`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// A member's id, of its own making: 1 to 64 of the characters `a-z A-Z 0-9 _ . -`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Arc<str>);

/// What people call a member: at most 256 characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberName(Arc<str>);

impl GroupName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MemberId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MemberName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GroupName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        check("group", &name, GROUP_CHARS_MAX)?;
        Ok(Self(name.into()))
    }
}

impl TryFrom<String> for MemberId {
    type Error = Error;

    fn try_from(id: String) -> Result<Self> {
        check("member", &id, MEMBER_CHARS_MAX)?;
        Ok(Self(id.into()))
    }
}

impl TryFrom<String> for MemberName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        let chars = name.chars().count();
        if chars > MEMBER_NAME_CHARS_MAX {
            let message = format!("a member's name of {chars} characters is past the limit of {MEMBER_NAME_CHARS_MAX}");
            return Err(Error::invalid(message).in_field("member_name"));
        }
        Ok(Self(name.into()))
    }
}

fn check(field: &'static str, text: &str, chars_max: usize) -> Result<()> {
    let chars = text.chars().count();
    let rule = if text.is_empty() {
        format!("the name of a {field} is empty, and needs 1 to {chars_max} characters")
    } else if chars > chars_max {
        format!("the name of a {field} of {chars} characters is past the limit of {chars_max}")
    } else if let Some(wrong) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_.-".contains(*c))) {
        format!("the {field} name {text:?} has {wrong:?}: only a-z, A-Z, 0-9, '_', '.' and '-' are allowed")
    } else {
        return Ok(());
    };
    Err(Error::invalid(rule).in_field(field))
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_at_their_limits_and_not_one_past() {
        for (chars, valid) in [(0, false), (1, true), (128, true), (129, false)] {
            assert_eq!(GroupName::try_from("g".repeat(chars)).is_ok(), valid, "a group of {chars}");
        }
        for (chars, valid) in [(0, false), (1, true), (64, true), (65, false)] {
            assert_eq!(MemberId::try_from("m".repeat(chars)).is_ok(), valid, "a member of {chars}");
        }
        for (chars, valid) in [(0, true), (256, true), (257, false)] {
            assert_eq!(MemberName::try_from("ü".repeat(chars)).is_ok(), valid, "a member's name of {chars}");
        }
        let error = GroupName::try_from("a/b".to_owned()).unwrap_err();
        assert!(error.to_string().contains("has '/'"), "{error}");
        assert_eq!(error.field(), Some("group"));
    }
}

//! The name of a transform module.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The most characters of a module's name.
pub const MODULE_NAME_LEN_MAX: usize = 64;

/// The name of a transform module: 1 to 64 characters of `a-z A-Z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

impl ModuleName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModuleName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > MODULE_NAME_LEN_MAX || !text.bytes().all(fits) {
            let words = format_args!(
                "module {text:?}: a name must have 1 to {MODULE_NAME_LEN_MAX} characters of a-z A-Z 0-9 _ -"
            );
            return Err(Error::invalid(words).in_field("name"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_at_the_limit_and_not_past_it() {
        let long = "a".repeat(MODULE_NAME_LEN_MAX);
        for name in ["a", "Enrich_2-x", &long] {
            assert_eq!(name.parse::<ModuleName>().unwrap().as_str(), name);
        }
        for name in ["", "a.b", "a/b", "ä", &format!("{long}a")] {
            assert!(name.parse::<ModuleName>().is_err(), "{name}");
        }
    }
}

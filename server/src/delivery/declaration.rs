//! What all that a pipeline file declares shares: its name, how it is stored, which version it is, and how it is refused.

use std::fmt::Display;

use md5::{Digest, Md5};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::spec::{DeliverySpec, StreamSpec, TableSpec};
use crate::error::{Error, Kind, Result};

/// The most characters of a name.
const NAME_LEN_MAX: usize = 128;

/// What a pipeline file declares. It is stored as its normalised TOML: every field written out, so that two declarations that
/// mean the same are equal.
pub(crate) trait Declaration: Serialize + DeserializeOwned {
    /// The word for it, in a pipeline file and in errors.
    const KIND: &'static str;

    /// Its name, as it is declared.
    fn name(&self) -> &str;

    /// Reads what was stored.
    fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            Error::new(Kind::DataLoss, format_args!("a stored {} cannot be read: {error}", Self::KIND))
        })
    }

    /// The normalised TOML.
    fn to_toml(&self) -> String {
        toml::to_string(self).expect("a spec has only values that TOML can hold")
    }

    /// Which declaration it is: another one for each that differs.
    fn version(&self) -> String {
        let hash = Md5::digest(self.to_toml().as_bytes());
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// An error at one of its fields.
    fn invalid(&self, field: &str, words: impl Display) -> Error {
        Error::invalid(format_args!("{} {}: {field}: {words}", Self::KIND, self.name()))
    }

    /// Refuses a name that names of objects cannot hold.
    fn check_name(&self) -> Result<()> {
        let (kind, name) = (Self::KIND, self.name());
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts || name.len() > NAME_LEN_MAX || !name.bytes().all(fits) {
            return Err(Error::invalid(format_args!(
                "{kind} {name:?}: name: it must have 1 to {NAME_LEN_MAX} characters of a-z A-Z 0-9 _ - . and start with a letter or digit"
            )));
        }
        Ok(())
    }
}

impl Declaration for StreamSpec {
    const KIND: &'static str = "stream";

    fn name(&self) -> &str {
        &self.name
    }
}

impl Declaration for TableSpec {
    const KIND: &'static str = "table";

    fn name(&self) -> &str {
        &self.name
    }
}

impl Declaration for DeliverySpec {
    const KIND: &'static str = "delivery";

    fn name(&self) -> &str {
        &self.name
    }
}

/// Refuses versions that are expected, by name, of what is not declared, or has another one in force: `in_force` gives that,
/// where there is one.
pub(crate) fn check_versions<'a, D: Declaration + 'a>(
    declared: impl Iterator<Item = &'a D> + Clone,
    expected: impl Iterator<Item = (&'a str, &'a str)>,
    in_force: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let kind = D::KIND;
    for (name, expected) in expected {
        if !declared.clone().any(|spec| spec.name() == name) {
            let words = format_args!("a version of {kind} {name} is expected, which is not declared");
            return Err(Error::invalid(words));
        }
        let found = in_force(name).unwrap_or_default();
        if found != expected {
            let words = |version: &str| if version.is_empty() { "absent".to_owned() } else { version.to_owned() };
            let (found, expected) = (words(&found), words(expected));
            let message = format_args!("{kind} {name} is {found}, and {expected} was expected: look at it again");
            return Err(Error::new(Kind::Conflict, message).about(kind, name));
        }
    }
    Ok(())
}

//! What the declarations of deliveries and imports share: how they are stored, which one it is, and what they may be called.

use md5::{Digest, Md5};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// The most characters of a name.
const NAME_LEN_MAX: usize = 128;

/// The normalised TOML of any spec.
pub(crate) fn to_toml<T: Serialize>(spec: &T) -> String {
    toml::to_string(spec).expect("a spec has only values that TOML can hold")
}

/// Reads the spec of a stored `kind` from its normalised TOML.
pub(crate) fn from_toml<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T> {
    toml::from_str(text)
        .map_err(|error| Error::new(Kind::DataLoss, format_args!("a stored {kind} cannot be read: {error}")))
}

/// Which declaration it is: another one for each that differs.
pub(crate) fn version_of<T: Serialize>(spec: &T) -> String {
    let hash = Md5::digest(to_toml(spec).as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses a name that is none for a `kind`.
pub(crate) fn check_name(kind: &str, name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !starts || name.len() > NAME_LEN_MAX || !name.bytes().all(fits) {
        return Err(Error::invalid(format_args!(
            "{kind} {name:?}: name: it must have 1 to {NAME_LEN_MAX} characters of a-z A-Z 0-9 _ - . and start with a letter or digit"
        )));
    }
    Ok(())
}

/// Refuses a version that is another one than the `kind` of this name has: `found` is empty where there is none.
pub(crate) fn check_version(kind: &'static str, name: &str, found: &str, expected: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let words = |version: &str| if version.is_empty() { "absent".to_owned() } else { version.to_owned() };
    let (found, expected) = (words(found), words(expected));
    let message = format_args!("{kind} {name} is {found}, and {expected} was expected: look at it again");
    Err(Error::new(Kind::Conflict, message).about(kind, name))
}

/// What is told where a version is expected of something that is not declared.
pub(crate) fn undeclared(kind: &str, name: &str) -> Error {
    Error::invalid(format_args!("a version of {kind} {name} is expected, which is not declared"))
}

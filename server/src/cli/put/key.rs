//! The partition key of a line: a field of it, or random.

use std::fmt;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Makes partition keys.
pub(super) struct Keys {
    field: Option<String>,
    random: SmallRng,
    /// Lines that lack the field, or are no JSON object: they got a random key.
    pub(super) without_field: u64,
}

impl Keys {
    pub(super) fn new(field: Option<String>) -> Self {
        Self { field, random: SmallRng::from_os_rng(), without_field: 0 }
    }

    /// The line's key.
    pub(super) fn key(&mut self, line: &[u8]) -> String {
        if let Some(field) = &self.field {
            if let Some(key) = field_text(line, field).filter(|key| !key.is_empty()) {
                return key;
            }
            self.without_field += 1;
        }
        format!("{:016x}", self.random.random::<u64>())
    }
}

/// A top-level field of a JSON object: a string's text, anything else as it is written; `None` for null.
fn field_text(line: &[u8], field: &str) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(line);
    let value = FieldOf(field).deserialize(&mut json).ok()??;
    json.end().ok()?;
    match value.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

/// Reads one field's raw value out of an object, and skips the rest without keeping it.
struct FieldOf<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for FieldOf<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldOf<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = object.next_key::<std::borrow::Cow<'de, str>>()? {
            if name == self.0 {
                found = Some(object.next_value()?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_fields_text() {
        let key = |line: &str| Keys::new(Some("carrier".into())).key(line.as_bytes());
        assert_eq!(key(r#"{"flight":1,"carrier":"UA","x":{"carrier":"B6"}}"#), "UA");
        assert_eq!(key(r#"{"carrier":"\u0055A"}"#), "UA");
        assert_eq!(key(r#"{"carrier": 15.0}"#), "15.0");
        assert_eq!(key(r#"{"carrier":true}"#), "true");
    }

    #[test]
    fn a_line_without_the_field_gets_a_random_key_and_is_counted() {
        let mut keys = Keys::new(Some("carrier".into()));
        for line in [
            r#"{"flight":1}"#,
            r#"{"carrier":null}"#,
            r#"{"carrier":""}"#,
            "not json",
            "[1]",
            "{\"carrier\":\"UA\"",
            "",
        ] {
            assert_eq!(keys.key(line.as_bytes()).len(), 16, "{line}");
        }
        assert_eq!(keys.without_field, 7);
    }

    #[test]
    fn without_a_field_lines_are_not_looked_into() {
        let mut keys = Keys::new(None);
        assert_ne!(keys.key(b"\xff"), keys.key(b"\xff"));
        assert_eq!(keys.without_field, 0);
    }
}

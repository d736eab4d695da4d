//! `fields`: the top-level fields of JSON objects are flattened, dropped, renamed and cast, in this order.
//!
//! Values that are not touched keep their very text, so that no digit of a number is lost on the way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Input, Outcome, Transform};

/// How deep objects are flattened; what lies deeper stays as it is.
const FLATTEN_DEPTH_MAX: usize = 32;
/// The most names that one step may have.
const NAMES_MAX: usize = 1_000;
/// The most bytes between the names of a flattened field.
const SEPARATOR_BYTES_MAX: usize = 16;

/// What `fields` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldsSpec {
    /// What stands between the names of a flattened field; objects stay whole where it is not set.
    pub flatten: Option<String>,
    /// Fields to leave out.
    pub drop: BTreeSet<String>,
    /// Old names and new ones.
    pub rename: BTreeMap<String, String>,
    /// What fields become, by their new names.
    pub cast: BTreeMap<String, Cast>,
}

/// What a field's value becomes. A null stays one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cast {
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// Text: of a number its digits, of an object or an array its JSON.
    String,
    /// True or false; also of "true", "false", 1 and 0.
    Boolean,
    /// The value that a text holds as JSON.
    Json,
}

impl FieldsSpec {
    /// Checks names and counts.
    pub(super) fn check(&self) -> Result<(), String> {
        let names = self.drop.len() + self.rename.len() + self.cast.len();
        if names == 0 && self.flatten.is_none() {
            return Err("it needs one of flatten, drop, rename and cast".to_owned());
        }
        if names > NAMES_MAX {
            return Err(format!("{names} names are past the limit of {NAMES_MAX}"));
        }
        if self.flatten.as_ref().is_some_and(|separator| separator.is_empty() || separator.len() > SEPARATOR_BYTES_MAX)
        {
            return Err(format!("flatten is what stands between names, of 1 to {SEPARATOR_BYTES_MAX} bytes"));
        }
        let mut targets = BTreeSet::new();
        match self.rename.values().find(|name| !targets.insert(*name)) {
            Some(name) => Err(format!("two fields are renamed to {name:?}")),
            None => Ok(()),
        }
    }
}

/// Changes the top-level fields of JSON objects.
#[derive(Debug)]
pub struct Fields {
    spec: FieldsSpec,
}

/// The fields of an object, in their order.
struct Object<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Fields {
    /// As declared.
    #[must_use]
    pub const fn new(spec: FieldsSpec) -> Self {
        Self { spec }
    }

    fn one(&self, data: &[u8]) -> Result<Bytes, String> {
        let not_one = |error: serde_json::Error| format!("the record is not a json object: {error}");
        let object: Object<'_> = serde_json::from_slice(data).map_err(not_one)?;
        let mut fields = Vec::with_capacity(object.0.len());
        for (name, value) in object.0 {
            self.flatten(name, value, 1, &mut fields)?;
        }
        let mut seen = BTreeSet::new();
        let mut json = Vec::with_capacity(data.len() + 16);
        json.push(b'{');
        for (name, value) in fields {
            if self.spec.drop.contains(name.as_ref()) {
                continue;
            }
            let name = self.spec.rename.get(name.as_ref()).map_or(name, |new| Cow::Borrowed(new.as_str()));
            let value = match self.spec.cast.get(name.as_ref()) {
                Some(cast) => cast_value(&name, &value, *cast)?,
                None => value,
            };
            if json.len() > 1 {
                json.push(b',');
            }
            serde_json::to_writer(&mut json, &name).map_err(|error| error.to_string())?;
            json.push(b':');
            json.extend_from_slice(value.as_bytes());
            if !seen.insert(name.clone()) {
                return Err(format!("two fields would be named {name:?}"));
            }
        }
        json.push(b'}');
        Ok(json.into())
    }

    fn flatten<'a>(
        &self,
        name: Cow<'a, str>,
        value: Cow<'a, str>,
        depth: usize,
        into: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
    ) -> Result<(), String> {
        let Some(separator) = &self.spec.flatten else {
            into.push((name, value));
            return Ok(());
        };
        if !value.starts_with('{') || depth >= FLATTEN_DEPTH_MAX {
            into.push((name, value));
            return Ok(());
        }
        let object: Object<'_> = serde_json::from_str(&value).map_err(|error| error.to_string())?;
        for (inner, value) in object.0 {
            let (name, value) = (format!("{name}{separator}{inner}"), value.into_owned());
            self.flatten(Cow::Owned(name), Cow::Owned(value), depth + 1, into)?;
        }
        Ok(())
    }
}

fn cast_value<'a>(name: &str, value: &str, cast: Cast) -> Result<Cow<'a, str>, String> {
    if value == "null" {
        return Ok(Cow::Borrowed("null"));
    }
    let text: Cow<'_, str> = match value.starts_with('"') {
        true => serde_json::from_str::<String>(value).map_err(|error| error.to_string())?.into(),
        false => value.into(),
    };
    let made = match cast {
        Cast::Long => long(text.trim()),
        Cast::Double => {
            text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| number(text.trim()))
        }
        Cast::String => serde_json::to_string(&text).ok(),
        Cast::Boolean => match text.trim() {
            "true" | "1" => Some("true".to_owned()),
            "false" | "0" => Some("false".to_owned()),
            _ => None,
        },
        Cast::Json => serde_json::from_str::<&RawValue>(&text).ok().map(|json| json.get().to_owned()),
    };
    let shown: String = value.chars().take(40).collect();
    made.map(Cow::Owned).ok_or_else(|| format!("the field {name:?} is {shown}, which is no {}", cast.word()))
}

/// A whole number, also where it is written with a fraction of nothing.
fn long(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.to_string());
    }
    let (whole, fraction) = text.split_once('.')?;
    if fraction.is_empty() || fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    whole.parse::<i64>().ok().map(|number| number.to_string())
}

/// A number's text as JSON has it: where it is that already, all its digits stay.
fn number(text: &str) -> String {
    match serde_json::from_str::<serde_json::Number>(text) {
        Ok(_) => text.to_owned(),
        // Such as "+1", ".5" or "007".
        Err(_) => text.parse::<f64>().unwrap_or_default().to_string(),
    }
}

impl Cast {
    const fn word(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Double => "double",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Json => "json",
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((Cow::Owned(name), Cow::Borrowed(value.get())));
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

impl Transform for Fields {
    fn name(&self) -> &str {
        "fields"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let outcome = |input: &Input| match self.one(&input.data) {
            Ok(data) => Outcome::One(data.into()),
            Err(reason) => Outcome::Failed(reason.into()),
        };
        inputs.iter().map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(toml: &str) -> FieldsSpec {
        #[derive(Deserialize)]
        struct Table {
            flatten: Option<String>,
            #[serde(default)]
            drop: BTreeSet<String>,
            #[serde(default)]
            rename: BTreeMap<String, String>,
            #[serde(default)]
            cast: BTreeMap<String, Cast>,
        }
        let Table { flatten, drop, rename, cast } = toml::from_str(toml).unwrap();
        FieldsSpec { flatten, drop, rename, cast }
    }

    #[track_caller]
    fn check(toml: &str, data: &str, expected: &str) {
        let outcome =
            Fields::new(spec(toml)).one(data.as_bytes()).map(|data| String::from_utf8(data.to_vec()).unwrap());
        assert_eq!(outcome.as_deref(), Ok(expected), "{toml}");
    }

    #[track_caller]
    fn refuse(toml: &str, data: &str, words: &str) {
        let reason = Fields::new(spec(toml)).one(data.as_bytes()).unwrap_err();
        assert!(reason.contains(words), "{reason}");
    }

    #[test]
    fn fields_are_dropped_and_renamed_and_others_keep_their_text() {
        check("drop = ['a']", r#"{"a":1, "b": 1.10 ,"c":{"x" : [1]}}"#, r#"{"b":1.10,"c":{"x" : [1]}}"#);
        check("rename = { a = 'b', b = 'a' }", r#"{"a":1,"b":2}"#, r#"{"b":1,"a":2}"#);
        check(
            "drop = ['b']\nrename = { a = 'b' }",
            r#"{"a":123456789012345678901234567890.5,"b":2}"#,
            r#"{"b":123456789012345678901234567890.5}"#,
        );
        check("drop = ['é\"']", r#"{"\u00e9\"":1,"ü":2}"#, r#"{"ü":2}"#);
        check("drop = ['a']", "{}", "{}");
        refuse("rename = { a = 'b' }", r#"{"a":1,"b":2}"#, "two fields would be named \"b\"");
        refuse("drop = ['a']", r#"{"b":1,"b":2}"#, "two fields");
        refuse("drop = ['a']", "[]", "not a json object");
        refuse("drop = ['a']", r#"{"a":1"#, "not a json object");
    }

    #[test]
    fn objects_are_flattened_and_arrays_stay() {
        check("flatten = '_'", r#"{"a":{"b":{"c":1},"d":[{"e":2}]},"f":{}}"#, r#"{"a_b_c":1,"a_d":[{"e":2}]}"#);
        check("flatten = '.'\ndrop = ['a.b']\ncast = { 'a.c' = 'string' }", r#"{"a":{"b":1,"c":2}}"#, r#"{"a.c":"2"}"#);
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let name = vec!["a"; FLATTEN_DEPTH_MAX].join("_");
        check("flatten = '_'", &deep(FLATTEN_DEPTH_MAX), &format!("{{\"{name}\":1}}"));
        check("flatten = '_'", &deep(FLATTEN_DEPTH_MAX + 1), &format!("{{\"{name}\":{{\"a\":1}}}}"));
    }

    #[test]
    fn values_are_cast_without_loss_or_fail() {
        let check = |cast: &str, value: &str, expected: &str| {
            check(
                &format!("cast = {{ a = '{cast}' }}"),
                &format!("{{\"a\":{value}}}"),
                &format!("{{\"a\":{expected}}}"),
            );
        };
        check("long", "\" 42 \"", "42");
        check("long", "42.00", "42");
        check("long", "9223372036854775807", "9223372036854775807");
        check("double", "\"1.50\"", "1.50");
        check("double", "\".5\"", "0.5");
        check("double", "3", "3");
        check("string", "1.10", "\"1.10\"");
        check("string", "{\"b\": 1}", "\"{\\\"b\\\": 1}\"");
        check("string", "\"x\"", "\"x\"");
        check("boolean", "\"true\"", "true");
        check("boolean", "0", "false");
        check("json", "\"{\\\"b\\\": [1]}\"", "{\"b\": [1]}");
        for cast in ["long", "double", "string", "boolean", "json"] {
            check(cast, "null", "null");
        }
        let refuse = |cast: &str, value: &str| {
            refuse(&format!("cast = {{ a = '{cast}' }}"), &format!("{{\"a\":{value}}}"), &format!("is no {cast}"));
        };
        refuse("long", "9223372036854775808");
        refuse("long", "1.5");
        refuse("long", "\"\"");
        refuse("double", "\"NaN\"");
        refuse("double", "[1]");
        refuse("boolean", "2");
        refuse("json", "\"{\"");
    }

    #[test]
    fn a_step_must_do_something_and_within_its_limits() {
        assert!(FieldsSpec::default().check().unwrap_err().contains("needs one of"));
        assert!(spec("flatten = ''").check().unwrap_err().contains("1 to 16"));
        assert!(spec("rename = { a = 'x', b = 'x' }").check().unwrap_err().contains("renamed to \"x\""));
        let names =
            |count: usize| FieldsSpec { drop: (0..count).map(|n| n.to_string()).collect(), ..FieldsSpec::default() };
        assert!(names(NAMES_MAX).check().is_ok());
        assert!(names(NAMES_MAX + 1).check().unwrap_err().contains("1001 names"));
    }
}

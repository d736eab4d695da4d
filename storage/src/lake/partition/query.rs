//! Queries for partition keys: a path into a JSON object, such as `.customer.id` or `.tags[0]`, as `jq` has it.

use std::fmt;
use std::str::FromStr;

use crate::lake::convert::read::{explain, text_of};
use crate::lake::json::{Json, JsonError, Peek};
use crate::lake::row::Cause;
use crate::lake::{Error, Result};

/// How deep a record may nest around the key: as deep as any reader goes.
const NESTING_DEPTH_MAX: usize = 128;
/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 512;

/// A path to one value of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyQuery {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Element(usize),
}

impl KeyQuery {
    /// The value's text: a string's own, a number as it is written, `true` or `false`. Of fields of the same name the first
    /// counts.
    ///
    /// Fails with the cause for which the record is set aside: it is not JSON, or has no such value there.
    pub fn read(&self, name: &str, record: &[u8]) -> Result<String, (Cause, String)> {
        let text = text_of(record)?;
        let what = match self.find(text).map_err(explain)? {
            Ok(found) => return Ok(found),
            Err(what) => what,
        };
        // What is no JSON at all has no keys for that reason.
        let mut json = Json::new(text, String::new());
        let whole = json.peek().and_then(|peek| json.skip(peek, 0, NESTING_DEPTH_MAX)).and_then(|()| json.finish());
        whole.map_err(explain)?;
        Err((Cause::PartitionKey, format!("the partition key {name:?}, {}, is {what} in the record", self.text)))
    }

    /// The field, where the path is one field of the record itself.
    #[must_use]
    pub fn only_field(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [Step::Field(name)] => Some(name),
            _ => None,
        }
    }

    fn find(&self, text: &str) -> Result<Result<String, &'static str>, JsonError> {
        let mut json = Json::new(text, String::new());
        let mut peek = json.peek()?;
        for (depth, step) in (1..).zip(&self.steps) {
            json.check_depth(depth, NESTING_DEPTH_MAX)?;
            let found = match (step, peek) {
                (Step::Field(name), Peek::Object) => Self::field(&mut json, name, depth)?,
                (Step::Element(index), Peek::Array) => Self::element(&mut json, *index, depth)?,
                _ => None,
            };
            match found {
                Some(found) => peek = found,
                None => return Ok(Err("absent")),
            }
        }
        Ok(match peek {
            Peek::String => Ok(json.read_string()?.to_owned()),
            Peek::Number => Ok(json.read_number()?.to_owned()),
            Peek::Bool => Ok(json.read_bool()?.to_string()),
            Peek::Null => Err("null"),
            Peek::Array => Err("an array"),
            Peek::Object => Err("an object"),
        })
    }

    fn field(json: &mut Json<'_>, name: &str, depth: usize) -> Result<Option<Peek>, JsonError> {
        let mut is_it = json.first_key()?.map(|key| key == name);
        while let Some(found) = is_it {
            let peek = json.peek()?;
            if found {
                return Ok(Some(peek));
            }
            json.skip(peek, depth, NESTING_DEPTH_MAX)?;
            is_it = json.next_key()?.map(|key| key == name);
        }
        Ok(None)
    }

    fn element(json: &mut Json<'_>, index: usize, depth: usize) -> Result<Option<Peek>, JsonError> {
        let mut peek = json.first_element()?;
        for _ in 0..index {
            let Some(before) = peek else { break };
            json.skip(before, depth, NESTING_DEPTH_MAX)?;
            peek = json.next_element()?;
        }
        Ok(peek)
    }
}

impl fmt::Display for KeyQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for KeyQuery {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::Invalid(format!(
                "the query {text:?} is not a path such as .customer.id, .\"with space\" or .tags[0] of at most \
                 {QUERY_BYTES_MAX} bytes"
            ))
        };
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (step, after) = step(rest, steps.is_empty()).ok_or_else(bad)?;
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() || steps.len() >= NESTING_DEPTH_MAX || text.len() > QUERY_BYTES_MAX {
            return Err(bad());
        }
        Ok(Self { text: text.trim().to_owned(), steps })
    }
}

/// The first step of a path, and what follows it.
fn step(path: &str, is_first: bool) -> Option<(Step, &str)> {
    let (dotted, rest) = match path.strip_prefix('.') {
        Some(rest) => (true, rest),
        // `.a[0]` goes on without a dot, and so does nothing else.
        None if !is_first && path.starts_with('[') => (false, path),
        None => return None,
    };
    if let Some(inner) = rest.strip_prefix('[') {
        let (step, after) = if inner.starts_with('"') {
            let (name, after) = quoted(inner)?;
            (Step::Field(name), after)
        } else {
            let end = inner.find(']')?;
            (Step::Element(inner[..end].parse().ok()?), &inner[end..])
        };
        return Some((step, after.strip_prefix(']')?));
    }
    if !dotted {
        return None;
    }
    if rest.starts_with('"') {
        let (name, after) = quoted(rest)?;
        return Some((Step::Field(name), after));
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let starts_well = rest.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    (end > 0 && starts_well).then(|| (Step::Field(rest[..end].to_owned()), &rest[end..]))
}

/// A JSON string at the beginning of a text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let name = values.next()?.ok()?;
    let end = values.byte_offset();
    Some((name, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"a":1.50,"b":{"c d":"x\ny","e":[true,[null,"z"]]},"n":null,"a":2,"_f":{}}"#;

    #[test]
    fn a_path_finds_its_value() {
        for (query, expected) in [
            (".a", "1.50"),
            (" .b.\"c d\" ", "x\ny"),
            (".b[\"c d\"]", "x\ny"),
            (".[\"b\"].e[0]", "true"),
            (".b.e[1][1]", "z"),
            (".b.e.[1].[1]", "z"),
        ] {
            assert_eq!(
                query.parse::<KeyQuery>().unwrap().read("k", RECORD.as_bytes()).as_deref(),
                Ok(expected),
                "{query}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_told() {
        for (query, record, cause, why) in [
            (".x", RECORD, Cause::PartitionKey, "\"k\", .x, is absent"),
            (".n", RECORD, Cause::PartitionKey, "null"),
            ("._f", RECORD, Cause::PartitionKey, "an object"),
            (".b.e", RECORD, Cause::PartitionKey, "an array"),
            (".a.b", RECORD, Cause::PartitionKey, "absent"),
            (".b.e[7]", RECORD, Cause::PartitionKey, "absent"),
            (".a", "[1]", Cause::PartitionKey, "absent"),
            (".a", "{\"b\":", Cause::InvalidJson, "not JSON at byte 5"),
            (".a", "nonsense", Cause::InvalidJson, "not JSON"),
        ] {
            let (found, message) = query.parse::<KeyQuery>().unwrap().read("k", record.as_bytes()).unwrap_err();
            assert_eq!(found, cause, "{query} {record}");
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for query in ["", ".", "a", ".a.", ".a b", ".a | .b", "[0]", ".[x]", ".[\"a\"", ".1a", ".a[-1]", ".\"a"] {
            let error = query.parse::<KeyQuery>().unwrap_err().to_string();
            assert!(error.contains(&format!("{query:?}")) && error.contains(".customer.id"), "{error}");
        }
        assert!(format!(".{}", "a".repeat(512)).parse::<KeyQuery>().is_err());
    }
}

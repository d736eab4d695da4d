//! The constraints of a model: lengths, ranges, patterns, enumerations, required members; worded and counted as AWS does.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Member, Shape};
use crate::api::aws::protocol::AwsError;

/// The most errors that are counted and told.
const ERRORS_MAX: usize = 10;
/// A longer text that is past its greatest length is not matched against its pattern, which would take seconds for megabytes.
const PATTERN_CHARS_MAX: u64 = 8192;
/// The most characters of a value in a message.
const VALUE_CHARS_MAX: usize = 1024;

/// Checks a request whose types are right.
///
/// # Errors
/// `ValidationException`, which names every broken constraint.
pub(in crate::api::aws) fn validate(value: &Value, shape: &Shape) -> Result<(), AwsError> {
    let mut found = Found::default();
    found.value(value, shape, &mut String::new());
    found.done()
}

#[derive(Debug, Default)]
struct Found {
    errors: Vec<String>,
}

impl Found {
    fn done(self) -> Result<(), AwsError> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let count = self.errors.len();
        let plural = if count == 1 { "" } else { "s" };
        Err(AwsError::validation(format!("{count} validation error{plural} detected: {}", self.errors.join("; "))))
    }

    fn add(&mut self, shown: &str, path: &str, constraint: &str) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(format!("Value {shown} at '{path}' failed to satisfy constraint: {constraint}"));
        }
    }

    fn value(&mut self, value: &Value, shape: &Shape, path: &mut String) {
        match (shape, value) {
            (Shape::Structure(members), Value::Object(object)) => {
                for member in *members {
                    self.member(object.get(member.name), member, path);
                }
            }
            (Shape::List { member, min, max }, Value::Array(items)) => self.list(items, member, (*min, *max), path),
            (Shape::Map { key, value, min, max }, Value::Object(object)) => {
                let shown = || quote(&map_text(object));
                self.length(object.len() as u64, (*min, *max), path, &shown);
                self.entries("keys", object.keys().map(|key| Value::from(key.as_str())), key, path, &shown);
                self.entries("value", object.values().cloned(), value, path, &shown);
            }
            (Shape::Structure(_) | Shape::List { .. } | Shape::Map { .. }, _) => {}
            _ => {
                for constraint in broken(value, shape) {
                    self.add(&show(value, shape), path, &constraint);
                }
            }
        }
    }

    fn member(&mut self, value: Option<&Value>, member: &Member, path: &mut String) {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        push_camel(path, member.name);
        match value {
            None | Some(Value::Null) if member.is_required => self.add("null", path, "Member must not be null"),
            None | Some(Value::Null) => {}
            Some(value) => self.value(value, member.shape, path),
        }
        path.truncate(length);
    }

    fn list(&mut self, items: &[Value], member: &Shape, (min, max): (u64, u64), path: &mut String) {
        let shown = || quote(&list_text(items));
        self.length(items.len() as u64, (min, max), path, &shown);
        if !matches!(member, Shape::Structure(_) | Shape::List { .. } | Shape::Map { .. }) {
            let is_broken = items.iter().any(|item| item.is_null() || !broken(item, member).is_empty());
            if is_broken {
                let constraint = format!("Member must satisfy constraint: [{}]", constraints(member).join(", "));
                self.add(&shown(), path, &constraint);
            }
            return;
        }
        let length = path.len();
        for (number, item) in (1..).zip(items) {
            // Writing to a String cannot fail.
            let _ = write!(path, ".{number}.member");
            match item {
                Value::Null => self.add("null", path, "Member must not be null"),
                item => self.value(item, member, path),
            }
            path.truncate(length);
            if self.errors.len() >= ERRORS_MAX {
                return;
            }
        }
    }

    fn length(&mut self, actual: u64, (min, max): (u64, u64), path: &str, shown: &dyn Fn() -> String) {
        if actual < min {
            self.add(&shown(), path, &format!("Member must have length greater than or equal to {min}"));
        }
        if actual > max {
            self.add(&shown(), path, &format!("Member must have length less than or equal to {max}"));
        }
    }

    fn entries(
        &mut self,
        what: &str,
        mut parts: impl Iterator<Item = Value>,
        shape: &Shape,
        path: &str,
        shown: &dyn Fn() -> String,
    ) {
        if parts.any(|part| part.is_null() || !broken(&part, shape).is_empty()) {
            let constraint = format!("Map {what} must satisfy constraint: [{}]", constraints(shape).join(", "));
            self.add(&shown(), path, &constraint);
        }
    }
}

/// The constraints that a single value breaks.
fn broken(value: &Value, shape: &Shape) -> Vec<String> {
    let is_kept: Box<dyn Fn(&Constraint<'_>) -> bool> = match (shape, value) {
        (Shape::Text { max, .. }, Value::String(text)) => {
            let length = text.chars().count() as u64;
            let is_far_too_long = length > *max && length > PATTERN_CHARS_MAX;
            Box::new(move |constraint| match constraint {
                Constraint::LengthMin(min) => length >= *min,
                Constraint::LengthMax(max) => length <= *max,
                Constraint::Pattern(pattern) => is_far_too_long || pattern.is_match(text),
                Constraint::Values(values) => values.contains(&text.as_str()),
                Constraint::Min(_) | Constraint::Max(_) => true,
            })
        }
        (Shape::Blob { .. }, Value::String(text)) => {
            let length = decoded_length(text);
            Box::new(move |constraint| match constraint {
                Constraint::LengthMin(min) => length >= *min,
                Constraint::LengthMax(max) => length <= *max,
                _ => true,
            })
        }
        (Shape::Integer { .. } | Shape::Long { .. }, Value::Number(number)) => {
            let number = number.as_i64().unwrap_or(i64::MAX);
            Box::new(move |constraint| match constraint {
                Constraint::Min(min) => number >= *min,
                Constraint::Max(max) => number <= *max,
                _ => true,
            })
        }
        _ => return Vec::new(),
    };
    of(shape).into_iter().filter(|constraint| !is_kept(constraint)).map(|constraint| constraint.text()).collect()
}

/// All constraints of a shape, in words.
fn constraints(shape: &Shape) -> Vec<String> {
    of(shape).iter().map(Constraint::text).collect()
}

enum Constraint<'a> {
    LengthMin(u64),
    LengthMax(u64),
    Pattern(&'a super::Pattern),
    Values(&'a [&'a str]),
    Min(i64),
    Max(i64),
}

/// A shape's constraints, in the order in which AWS tells them.
fn of(shape: &Shape) -> Vec<Constraint<'_>> {
    let mut all = Vec::new();
    match shape {
        Shape::Text { min, max, pattern, values } => {
            if !values.is_empty() {
                all.push(Constraint::Values(values));
            }
            all.extend(pattern.iter().map(Constraint::Pattern));
            lengths(*min, *max, &mut all);
        }
        Shape::Blob { min, max } => lengths(*min, *max, &mut all),
        Shape::Integer { min, max } | Shape::Long { min, max } => {
            if *max != i64::MAX {
                all.push(Constraint::Max(*max));
            }
            if *min != i64::MIN {
                all.push(Constraint::Min(*min));
            }
        }
        _ => {}
    }
    all
}

fn lengths(min: u64, max: u64, all: &mut Vec<Constraint<'_>>) {
    if max != u64::MAX {
        all.push(Constraint::LengthMax(max));
    }
    if min > 0 || max != u64::MAX {
        all.push(Constraint::LengthMin(min));
    }
}

impl Constraint<'_> {
    fn text(&self) -> String {
        match self {
            Self::LengthMin(min) => format!("Member must have length greater than or equal to {min}"),
            Self::LengthMax(max) => format!("Member must have length less than or equal to {max}"),
            Self::Pattern(pattern) => format!("Member must satisfy regular expression pattern: {}", pattern.text()),
            Self::Values(values) => format!("Member must satisfy enum value set: [{}]", values.join(", ")),
            Self::Min(min) => format!("Member must have value greater than or equal to {min}"),
            Self::Max(max) => format!("Member must have value less than or equal to {max}"),
        }
    }
}

/// How a value stands in a message.
fn show(value: &Value, shape: &Shape) -> String {
    match (shape, value) {
        (Shape::Blob { .. }, Value::String(text)) => {
            let length = decoded_length(text);
            quote(&format!("java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]"))
        }
        (_, Value::String(text)) => quote(text),
        (_, value) => quote(&value.to_string()),
    }
}

fn quote(text: &str) -> String {
    let shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    format!("'{shown}'")
}

fn list_text(items: &[Value]) -> String {
    let text = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
    // A long list is cut where it is shown.
    format!("[{}]", items.iter().take(VALUE_CHARS_MAX).map(text).collect::<Vec<_>>().join(", "))
}

fn map_text(object: &serde_json::Map<String, Value>) -> String {
    let entry = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or("null"));
    format!("{{{}}}", object.iter().take(VALUE_CHARS_MAX).map(entry).collect::<Vec<_>>().join(", "))
}

/// The bytes that a base64 text stands for; it was decoded once already.
fn decoded_length(text: &str) -> u64 {
    STANDARD.decode(text).map_or(0, |bytes| bytes.len() as u64)
}

/// `StreamName` as `streamName`.
fn push_camel(path: &mut String, name: &str) {
    let mut chars = name.chars();
    path.extend(chars.next().map(|first| first.to_ascii_lowercase()));
    path.push_str(chars.as_str());
}

#[cfg(test)]
mod tests;

//! The partition key of a JSON object: the text of one of its top-level fields.

use crate::lake::json::{Json, JsonError, Peek};

/// How deep objects and arrays may nest: as deep as any reader goes.
const NESTING_DEPTH_MAX: usize = 128;

/// Checks that a text is one JSON value, and gives what a top-level field says: a string's or a number's text, `true` or
/// `false`. `None` where the value is no object or has no such field, and where that is null, an array or an object.
pub(super) fn scalar(text: &str, field: Option<&str>) -> Result<Option<String>, JsonError> {
    let mut json = Json::new(text, String::new());
    let first = json.peek()?;
    let Some(field) = field.filter(|_| first == Peek::Object) else {
        json.skip(first, 0, NESTING_DEPTH_MAX)?;
        return json.finish().map(|()| None);
    };
    let mut found = None;
    let mut next = json.first_key()?.map(|name| name == field);
    while let Some(is_field) = next {
        let value = json.peek()?;
        if is_field && found.is_none() {
            found = match value {
                Peek::String => Some(json.read_string()?.to_owned()),
                Peek::Number => Some(json.read_number()?.to_owned()),
                Peek::Bool => Some(json.read_bool()?.to_string()),
                Peek::Null | Peek::Array | Peek::Object => {
                    json.skip(value, 1, NESTING_DEPTH_MAX)?;
                    None
                }
            };
        } else {
            json.skip(value, 1, NESTING_DEPTH_MAX)?;
        }
        next = json.next_key()?.map(|name| name == field);
    }
    json.finish().map(|()| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_field_is_found() {
        for (text, wanted) in [
            (r#"{"k":"a\u00e4","x":1}"#, Some("a\u{e4}")),
            (r#" {"x":{"k":9},"k":12345678901234567890.10} "#, Some("12345678901234567890.10")),
            (r#"{"k":true}"#, Some("true")),
            (r#"{"k":null}"#, None),
            (r#"{"k":{"a":[1,2]},"z":1}"#, None),
            (r#"{"x":1}"#, None),
            (r#"{}"#, None),
            ("[1]", None),
            ("3", None),
        ] {
            assert_eq!(scalar(text, Some("k")).unwrap().as_deref(), wanted, "{text}");
            assert_eq!(scalar(text, None).unwrap(), None, "{text}");
        }
        for text in ["", "{", r#"{"k":}"#, r#"{"k":1}}"#, r#"{"k":1} {"k":2}"#, "nul"] {
            assert!(scalar(text, Some("k")).is_err() && scalar(text, None).is_err(), "{text}");
        }
    }
}

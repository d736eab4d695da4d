//! Records as the interpreter's values, and its values as JSON.

use bytes::Bytes;
use jaq_json::{Num, Val};

use super::budget::DEPTH_MAX;

/// The most digits that follow one another in a number: reading a whole number takes time by the square of them.
const DIGITS_MAX: usize = 4_096;
/// What an error shows of a value.
const SHOWN_BYTES_MAX: usize = 200;

/// Reads a record.
///
/// The interpreter's reader takes more than JSON and recurses as deep as a document nests, so the document is looked at before.
pub(super) fn read(data: &[u8]) -> Result<Val, String> {
    check_nesting(data)?;
    let not_json = |error: serde_json::Error| format!("the record is not json: {error}");
    serde_json::from_slice::<serde::de::IgnoredAny>(data).map_err(not_json)?;
    jaq_json::read::parse_single(data).map_err(|error| format!("the record is not json: {error}"))
}

fn check_nesting(data: &[u8]) -> Result<(), String> {
    let (mut depth, mut digits, mut in_text, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in data {
        if in_text {
            in_text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth >= DEPTH_MAX {
            return Err(format!("the record nests {DEPTH_MAX} levels deep or deeper"));
        }
        if digits > DIGITS_MAX {
            return Err(format!("the record has a number of more than {DIGITS_MAX} digits"));
        }
    }
    Ok(())
}

/// Writes a value as JSON, with at most so many bytes.
pub(super) fn write(value: &Val, bytes_max: usize) -> Result<Bytes, String> {
    let mut json = Vec::new();
    append(value, &mut json, bytes_max)?;
    Ok(json.into())
}

fn append(value: &Val, json: &mut Vec<u8>, bytes_max: usize) -> Result<(), String> {
    match value {
        Val::Null => json.extend_from_slice(b"null"),
        Val::Bool(truth) => json.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Val::Num(Num::Float(number)) if !number.is_finite() => {
            return Err(format!("the filter gave {number}, which json has no word for"));
        }
        Val::Num(number) => json.extend_from_slice(number.to_string().as_bytes()),
        Val::TStr(text) => quote(text, json)?,
        Val::BStr(_) => return Err("the filter gave bytes, which json has no word for".to_owned()),
        Val::Arr(elements) => {
            json.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                append(element, json, bytes_max)?;
            }
            json.push(b']');
        }
        Val::Obj(fields) => {
            json.push(b'{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                let Val::TStr(name) = name else {
                    return Err("the filter gave an object with a name that is no text".to_owned());
                };
                quote(name, json)?;
                json.push(b':');
                append(value, json, bytes_max)?;
            }
            json.push(b'}');
        }
    }
    if json.len() > bytes_max {
        return Err(format!("the filter's outputs have more than {bytes_max} bytes"));
    }
    Ok(())
}

fn quote(text: &[u8], json: &mut Vec<u8>) -> Result<(), String> {
    let text = std::str::from_utf8(text).map_err(|_| "the filter gave text that is not UTF-8".to_owned())?;
    serde_json::to_writer(json, text).map_err(|error| error.to_string())
}

/// A scalar as a partition key's text.
pub(super) fn text(value: &Val) -> Option<String> {
    match value {
        Val::TStr(text) => String::from_utf8(text.to_vec()).ok(),
        Val::Bool(truth) => Some(truth.to_string()),
        Val::Num(Num::Float(number)) if !number.is_finite() => None,
        Val::Num(number) => Some(number.to_string()),
        Val::Null | Val::BStr(_) | Val::Arr(_) | Val::Obj(_) => None,
    }
}

/// The beginning of what may be as large as a record.
pub(super) fn shortened(mut text: String) -> String {
    if text.len() > SHOWN_BYTES_MAX {
        let end = (0..=SHOWN_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

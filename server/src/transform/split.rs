//! `split`: takes concatenated JSON objects, JSON arrays and lines apart, so that a buffer never becomes one record.
//!
//! It must never pass a part of a record on: a record that ends within a value fails as a whole.

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memchr2_iter};
use serde_json::value::RawValue;

use super::{Input, Outcome, Output, SplitBy, Transform};

/// Takes records apart into JSON values.
///
/// A record may hold values one after the other (`{}{}`), with any white space between (lines), and arrays (`[{},{}]`),
/// whose elements become values of their own; arrays within arrays stay. A record without a value is dropped.
/// A record that looks like one object is passed on unread: whether it is well formed is for the converter to say.
///
/// Line breaks within a value, which JSON allows between tokens only, become spaces, so that a value is always one line.
///
/// By lines, a record becomes its lines, without their ends and without empty ones; what they hold is not looked at.
#[derive(Debug)]
pub struct Split {
    by: SplitBy,
}

impl Split {
    /// Into JSON values, or into lines.
    #[must_use]
    pub const fn new(by: SplitBy) -> Self {
        Self { by }
    }
}

impl Transform for Split {
    fn name(&self) -> &str {
        "split"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let part = match self.by {
            SplitBy::Json => split,
            SplitBy::Lines => lines,
        };
        inputs.iter().map(|input| part(&input.data)).collect()
    }
}

fn split(data: &Bytes) -> Outcome {
    let trimmed = data.trim_ascii();
    if is_flat_line(trimmed) {
        return Outcome::One(data.slice_ref(trimmed).into());
    }
    take_apart(data, trimmed)
}

/// The way of every record; that of the usual one is shorter.
fn take_apart(data: &Bytes, trimmed: &[u8]) -> Outcome {
    if trimmed.is_empty() {
        return Outcome::Dropped;
    }
    if is_one_object(trimmed) {
        return Outcome::One(one_line(data.slice_ref(trimmed)).into());
    }
    let mut values: Vec<Output> = Vec::new();
    for value in serde_json::Deserializer::from_slice(trimmed).into_iter::<&RawValue>() {
        let taken = value.map_err(reason).and_then(|value| take(data, value, &mut values));
        if let Err(reason) = taken {
            return Outcome::Failed(reason.into());
        }
    }
    match values.len() {
        0 => Outcome::Dropped,
        1 => values.pop().map_or(Outcome::Dropped, Outcome::One),
        _ => Outcome::Many(values),
    }
}

fn lines(data: &Bytes) -> Outcome {
    let lines = data.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut outputs: Vec<Output> =
        lines.filter(|line| !line.is_empty()).map(|line| data.slice_ref(line).into()).collect();
    match outputs.len() {
        0 => Outcome::Dropped,
        1 => outputs.pop().map_or(Outcome::Dropped, Outcome::One),
        _ => Outcome::Many(outputs),
    }
}

/// Adds one top-level value, or the elements of an array.
fn take(data: &Bytes, value: &RawValue, values: &mut Vec<Output>) -> Result<(), String> {
    let text = value.get();
    if !text.starts_with('[') {
        values.push(one_line(data.slice_ref(text.as_bytes())).into());
        return Ok(());
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(reason)?;
    values.extend(elements.into_iter().map(|element| one_line(data.slice_ref(element.get().as_bytes())).into()));
    Ok(())
}

fn reason(error: serde_json::Error) -> String {
    if error.is_eof() {
        format!("the record ends within a json value: {error}")
    } else {
        format!("the record is not a sequence of json values: {error}")
    }
}

/// Whether the bytes are one object on one line, with no other brace in it: most records are, and one look at them tells.
fn is_flat_line(data: &[u8]) -> bool {
    let [b'{', inner @ .., b'}'] = data else { return false };
    match inner.last_chunk::<64>() {
        // The last block overlaps the one before it, so that no byte is looked at alone.
        Some(last) => inner.as_chunks::<64>().0.iter().chain([last]).all(|block| is_plain(block)),
        None => is_plain(inner),
    }
}

/// Whether bytes have neither a brace nor a line break, nor what comparing many bytes at a time cannot tell from them for free: `|`,
/// `~`, and other control characters.
fn is_plain(bytes: &[u8]) -> bool {
    let found =
        bytes.iter().fold(false, |found, byte| found | (byte.cast_signed() >= b'{'.cast_signed()) | (*byte < b' '));
    !found
}

/// Whether the bytes are one object, as far as its braces tell.
///
/// Two values in one record need a brace that closes the first and is followed by the start of the second, never by `,`,
/// `]` or `}`. So where each inner closing brace is followed by one of these, a well-formed record is a single object.
/// Braces within strings can only send a record the long way.
fn is_one_object(data: &[u8]) -> bool {
    if data.first() != Some(&b'{') || data.last() != Some(&b'}') {
        return false;
    }
    let last = data.len() - 1;
    let mut depth = 0_usize;
    for at in memchr2_iter(b'{', b'}', data) {
        if data[at] == b'{' {
            depth += 1;
            continue;
        }
        let Some(outer) = depth.checked_sub(1) else { return false };
        depth = outer;
        if at == last {
            return depth == 0;
        }
        let follower = data[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
        if depth == 0 || !matches!(follower, Some(b',' | b']' | b'}')) {
            return false;
        }
    }
    false
}

/// The value without line breaks.
fn one_line(value: Bytes) -> Bytes {
    if memchr2(b'\n', b'\r', &value).is_none() {
        return value;
    }
    let mut line = BytesMut::from(value.as_ref());
    for byte in line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    line.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(data: &str) -> Outcome {
        split(&Bytes::copy_from_slice(data.as_bytes()))
    }

    #[test]
    fn values_are_taken_apart() {
        let check = |data: &str, expected: &[&str]| {
            let outputs: Vec<Output> =
                expected.iter().map(|value| Bytes::copy_from_slice(value.as_bytes()).into()).collect();
            let expected = match outputs.as_slice() {
                [] => Outcome::Dropped,
                [one] => Outcome::One(one.clone()),
                _ => Outcome::Many(outputs),
            };
            assert_eq!(run(data), expected, "{data:?}");
        };
        check(r#"{"a":1}"#, &[r#"{"a":1}"#]);
        check("  {\"a\":1}\r\n", &[r#"{"a":1}"#]);
        check(r#"{"a":1}{"a":2}"#, &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check("{\"a\":1}\n{\"a\":2}\n", &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check("{\"a\":1}\r\n\r\n{\"a\":2}", &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check(r#"[{"a":1},{"a":2}]"#, &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check(r#"[{"a":1}]{"a":2}"#, &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check(r#"[[{"a":1}]]"#, &[r#"[{"a":1}]"#]);
        check(r#"{"a":[{"b":{}},{"c":1}],"d":{"e":{}}}"#, &[r#"{"a":[{"b":{}},{"c":1}],"d":{"e":{}}}"#]);
        check(r#"{"a":"}{"}{"b":"\"}{\\"}"#, &[r#"{"a":"}{"}"#, r#"{"b":"\"}{\\"}"#]);
        check(r#"{"a":"{"}{"b":"}"}"#, &[r#"{"a":"{"}"#, r#"{"b":"}"}"#]);
        check("{\n \"a\": 1\n}", &[r#"{  "a": 1 }"#]);
        check(r#"1 "two" {}"#, &["1", r#""two""#, "{}"]);
        check("[]", &[]);
        check(" \n", &[]);
        check("", &[]);
    }

    #[test]
    fn lines_are_lines_whatever_they_hold() {
        let check = |data: &'static str, expected: Outcome| {
            let input = Input { data: Bytes::from(data), ..Input::default() };
            assert_eq!(Split::new(SplitBy::Lines).apply(&[input]), [expected], "{data:?}");
        };
        let line = |text: &'static str| Output::from(Bytes::from(text));
        check("a\r\n\n{\nb", Outcome::Many(vec![line("a"), line("{"), line("b")]));
        check("a", Outcome::One(line("a")));
        check("a\n", Outcome::One(line("a")));
        check("\n\r\n", Outcome::Dropped);
        check("", Outcome::Dropped);
    }

    #[test]
    fn a_broken_record_fails_as_a_whole() {
        let check = |data: &str, words: &str| match run(data) {
            Outcome::Failed(failure) => assert!(failure.message.contains(words), "{data:?}: {failure:?}"),
            other => panic!("{data:?} gave {other:?}"),
        };
        check(r#"{"a":1}{"a":"#, "ends within");
        check(r#"{"a":{"b":1}"#, "ends within");
        check(r#"[{"a":1},{"a":2}"#, "ends within");
        check(r#"{"a":1}{"a":"torn}"#, "ends within");
        check("plain text", "not a sequence");
        check("{\"a\":1}\nplain\n{\"a\":2}", "not a sequence");
        check(r#"{"a":1},{"a":2}"#, "not a sequence");
    }

    #[test]
    fn bytes_that_are_not_text_fail() {
        let outcome = split(&Bytes::from_static(b"{\"a\":1}{\"b\":\"\xff\"}"));
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }

    fn object() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(serde_json::Value::from),
            "[{}\\[\\]\", \\\\a\n]{0,12}".prop_map(serde_json::Value::from),
        ];
        let nested = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("[a-z{}\"]{1,3}", inner, 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        });
        proptest::collection::btree_map("[a-z{}\"]{1,3}", nested, 0..4)
            .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn the_short_way_ends_where_the_long_one_does(text in "[{}\\[\\]\",:a1 \r\n\\\\]{0,12}", inner in "[a-z\u{e4}|\"{}\r\n]{0,200}", is_wrapped: bool) {
            let text = if is_wrapped { format!("{text}{{{inner}}}") } else { text };
            let data = Bytes::from(text);
            prop_assert_eq!(split(&data), take_apart(&data, data.trim_ascii()));
            let line = Bytes::from(format!(" {{\"a\":\"{}\"}}\n", inner.replace(['"', '\r', '\n'], "")));
            prop_assert_eq!(split(&line), take_apart(&line, line.trim_ascii()));
        }

        #[test]
        fn concatenated_objects_come_back(objects in proptest::collection::vec(object(), 1..6), separator in "[ \n\r]{0,2}") {
            let texts: Vec<String> = objects.iter().map(ToString::to_string).collect();
            let outputs = match run(&texts.join(&separator)) {
                Outcome::One(one) => vec![one],
                Outcome::Many(many) => many,
                other => panic!("{other:?}"),
            };
            let back: Vec<String> = outputs.iter().map(|output| String::from_utf8(output.data.to_vec()).unwrap()).collect();
            prop_assert_eq!(back, texts);
        }

        #[test]
        fn a_cut_record_never_yields_a_part_of_its_last_value(objects in proptest::collection::vec(object(), 1..4), cut in 1_usize..40) {
            let text: String = objects.iter().map(ToString::to_string).collect();
            let cut = text.len().saturating_sub(cut);
            prop_assume!(text.is_char_boundary(cut));
            let whole: Vec<String> = objects.iter().map(ToString::to_string).collect();
            let outputs = match run(&text[..cut]) {
                Outcome::One(one) => vec![one],
                Outcome::Many(many) => many,
                Outcome::Dropped | Outcome::Failed(_) => vec![],
            };
            for output in outputs {
                let output = String::from_utf8(output.data.to_vec()).unwrap();
                let passed_on_unread = serde_json::from_str::<serde_json::Value>(&output).is_err();
                prop_assert!(whole.contains(&output) || passed_on_unread, "{output}");
            }
        }
    }
}

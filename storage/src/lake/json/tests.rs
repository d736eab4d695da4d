//! The grammar, and that what is read eight bytes at once is what is read byte by byte.

use proptest::prelude::*;

use super::words::{plain_length, starts_with};
use super::*;

fn is_json(text: &str) -> bool {
    let mut json = Json::new(text, String::new());
    let mut read = || {
        let peek = json.peek()?;
        json.skip(peek, 0, 128)?;
        json.finish()
    };
    read().is_ok()
}

fn string(text: &str) -> Option<String> {
    let mut json = Json::new(text, String::new());
    json.peek().ok().filter(|peek| *peek == Peek::String)?;
    let value = json.read_string().ok()?.to_owned();
    json.finish().ok().map(|()| value)
}

#[test]
fn the_grammar_is_that_of_rfc_8259() {
    for text in ["0", "-0", "1.5e-7", "[]", "[ 1 , \"a\" ]", "{}", "{\"a\" : {\"b\":[null,true,false]}}", " 1 "] {
        assert!(is_json(text), "{text}");
    }
    for text in [
        "",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "-a",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{1:2}",
        "nul",
        "nulll",
        "True",
        "\"",
        "\"\t\"",
        "\"\\x\"",
        "\"\\u12\"",
        "1 2",
        "NaN",
        "[",
        "{",
        "]",
        "'a'",
        "\u{FEFF}1",
    ] {
        assert!(!is_json(text), "{text}");
    }
}

#[test]
fn escapes_are_decoded() {
    assert_eq!(string(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\té😀z");
    for text in [r#""\ud800""#, r#""\ud800\u0041""#, r#""\udc00""#, r#""\ud800x""#, r#""\u00g0""#] {
        assert_eq!(string(text), None, "{text}");
    }
}

#[test]
fn short_whole_numbers_are_read_at_once_and_all_others_are_left() {
    for (text, expected) in [
        ("0,      ", Some(0)),
        ("-0,      ", Some(0)),
        ("2013,\"month\"", Some(2013)),
        ("-7}       ", Some(-7)),
        ("1234567 ", Some(1_234_567)),
        ("12345678 ", None),
        ("01       ", None),
        ("1.5      ", None),
        ("1e5      ", None),
        ("-        ", None),
        ("\u{e9}1      ", None),
        ("1", None),
    ] {
        let mut json = Json::new(text, String::new());
        assert_eq!(json.read_short_whole(), expected, "{text}");
        let read = text.find(|letter: char| letter != '-' && !letter.is_ascii_digit()).unwrap_or(text.len());
        assert_eq!(json.index(), if expected.is_some() { read } else { 0 }, "{text}");
    }
}

#[test]
fn a_key_is_taken_only_as_it_is_usually_written() {
    let takes = |text: &str, name: &str| Json::new(text, String::new()).take_key(&key_token(name));
    assert!(takes("\"a\":1", "a") && takes("\"sched_dep_time\":1", "sched_dep_time") && takes("\"\":1", ""));
    for (text, name) in
        [("\"a\" :1", "a"), ("\"ab\":1", "a"), ("\"a", "a"), ("\"a\":1,\"b\":2", "a\":1,\"b"), ("\"\\\":1", "\\")]
    {
        assert!(!takes(text, name), "{text}");
    }
}

proptest! {
    #[test]
    fn plain_text_ends_where_its_first_other_byte_is(text in "[a-c\u{e9}\u{80}\u{1F600}\"\\\\\u{0}-\u{21}]{0,40}", plain in 0_usize..30) {
        let text = format!("{}{text}", "x".repeat(plain));
        let expected = text.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F)).unwrap_or(text.len());
        prop_assert_eq!(plain_length(text.as_bytes()), expected);
    }

    #[test]
    fn short_numbers_are_what_the_standard_library_reads(text in "-?[0-9]{1,9}[,.eE\u{2f}\u{3a}\u{e9}x]{0,9}") {
        let mut json = Json::new(&text, String::new());
        if let Some(value) = json.read_short_whole() {
            let index = json.index();
            prop_assert_eq!(Ok(value), text[..index].parse());
            let mut again = Json::new(&text, String::new());
            prop_assert_eq!(again.read_number().ok(), Some(&text[..index]));
        }
    }

    #[test]
    fn a_token_is_found_where_it_is(text in "[ab]{0,20}", token in "[ab]{0,20}") {
        prop_assert_eq!(starts_with(text.as_bytes(), token.as_bytes()), text.starts_with(&token));
    }

    #[test]
    fn it_takes_what_serde_json_takes(text in "[\\[\\]{}:,\"a0-2.eE+\\- \\\\untrfals\u{e9}]{0,24}") {
        prop_assert_eq!(is_json(&text), serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn strings_are_what_serde_json_makes_of_them(value in any::<String>(), escaped in "\"(\\\\u[0-9a-f]{4}|\\\\ud83d\\\\ude0[0-9]|x){0,6}\"") {
        prop_assert_eq!(string(&serde_json::Value::from(value.as_str()).to_string()), Some(value));
        prop_assert_eq!(string(&escaped), serde_json::from_str::<String>(&escaped).ok());
    }
}

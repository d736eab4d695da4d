//! Both formats say the same, and hostile bytes are errors.

use millrace_storage::time::Timestamp;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::api::aws::protocol::{Blob, Time};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    data: Blob,
    at: Time,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Data {
    data: Blob,
}

fn sample(data: &[u8]) -> Sample {
    Sample { name: "é\"".to_owned(), data: Blob(Bytes::copy_from_slice(data)), at: Time(Timestamp(1_459_799_926_480)) }
}

#[test]
fn content_types_name_formats() {
    for (content_type, format) in [
        ("application/x-amz-json-1.1", Some(Format::Json)),
        ("application/json; charset=utf-8", Some(Format::Json)),
        ("application/x-amz-cbor-1.1", Some(Format::Cbor)),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(Format::of(content_type), format, "{content_type}");
    }
}

#[test]
fn times_and_bytes_are_as_the_formats_have_them() {
    let json = Format::Json.encode(&sample(b"hi")).unwrap();
    assert_eq!(json, r#"{"name":"é\"","data":"aGk=","at":1459799926.48}"#);
    let cbor = Format::Cbor.encode(&sample(b"hi")).unwrap();
    // The last value: tag 1, and milliseconds in 8 bytes; before it the byte string.
    assert!(cbor.ends_with(&[0x62, b'a', b't', 0xc1, 0x1b, 0, 0, 1, 0x53, 0xe2, 0xdb, 0x26, 0xd0]), "{cbor:02x?}");
    assert!(cbor.windows(3).any(|bytes| bytes == [0x42, b'h', b'i']), "{cbor:02x?}");
    for (format, body) in [(Format::Json, json), (Format::Cbor, cbor)] {
        let tree = format.tree(&body).unwrap();
        assert_eq!(tree, json!({"name": "é\"", "data": "aGk=", "at": 1_459_799_926.48}));
        assert_eq!(serde_json::from_value::<Sample>(tree).unwrap(), sample(b"hi"));
    }
}

/// Jackson, in the Java SDK, opens maps without a length and writes long texts in pieces.
#[test]
fn cbor_without_lengths_is_read() {
    let body = [0xbf, 0x64, b'd', b'a', b't', b'a', 0x5f, 0x41, b'h', 0x41, b'i', 0xff, 0xff];
    assert_eq!(Format::Cbor.decode::<Data>(&body).unwrap().data.0, "hi");
    let text = [0xbf, 0x61, b'n', 0x7f, 0x61, b'a', 0x61, b'b', 0xff, 0xff];
    assert_eq!(Format::Cbor.tree(&text).unwrap(), json!({"n": "ab"}));
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    // A byte string, a text and an array of 2^63 items each, of which none comes.
    for head in [0x5b, 0x7b, 0x9b] {
        let body = [0xa1, 0x64, b'd', b'a', b't', b'a', head, 0x80, 0, 0, 0, 0, 0, 0, 0, 1];
        assert!(Format::Cbor.tree(&body).is_err());
        assert!(Format::Cbor.decode::<Data>(&body).is_none());
    }
}

#[test]
fn what_is_nested_too_deeply_is_refused() {
    let json = "[".repeat(100_000);
    assert_eq!(Format::Json.tree(json.as_bytes()).unwrap_err().code(), "SerializationException");
    let cbor = vec![0x81; 100_000];
    assert_eq!(Format::Cbor.tree(&cbor).unwrap_err().code(), "SerializationException");
}

#[test]
fn a_tree_has_so_many_values_and_no_more() {
    for (values, fits) in [(1 << 16, true), ((1 << 16) + 1, false)] {
        let json = format!("[{}0]", "0,".repeat(values - 2));
        let cbor = [&[0x9f][..], &vec![0; values - 1], &[0xff]].concat();
        assert_eq!(Format::Json.tree(json.as_bytes()).is_ok(), fits, "{values}");
        assert_eq!(Format::Cbor.tree(&cbor).is_ok(), fits, "{values}");
    }
}

#[test]
fn tags_mean_nothing_but_on_a_time() {
    // 1(5500), 1("5500"), 9(5500), 2(h'05'), and the least integer of CBOR.
    for (cbor, tree) in [
        (&[0xc1, 0x19, 0x15, 0x7c][..], Some(json!(5.5))),
        (&[0xc1, 0x64, b'5', b'5', b'0', b'0'], Some(json!("5500"))),
        (&[0xc9, 0x19, 0x15, 0x7c], Some(json!(5500))),
        (&[0xc2, 0x41, 0x05], Some(json!(5))),
        (&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
        (&[0xc1], None),
    ] {
        assert_eq!(Format::Cbor.tree(cbor).ok(), tree, "{cbor:02x?}");
    }
    let nested = [vec![0xc9; 1_000_000], vec![0]].concat();
    assert_eq!(Format::Cbor.tree(&nested).unwrap_err().code(), "SerializationException");
}

/// A server that reads a client's JSON as a `serde_json::Value` reads the text of such a member as JSON in its place: 100 texts
/// within texts, each of 100 lists, took a thread's whole stack, and the process with it. A text within a text grows by 5 bytes
/// a level where its backslashes are written as `\u005c`.
#[test]
fn a_private_name_is_no_way_past_the_limit_on_nesting() {
    let nested = (0..100).fold("0".to_owned(), |json, _| {
        let text = json.replace('\\', r"\u005c").replace('"', r"\u0022");
        format!(r#"{}{{"$serde_json::private::RawValue":"{text}"}}{}"#, "[".repeat(100), "]".repeat(100))
    });
    let cbor = [&[0xa1, 0x78, 31][..], b"$serde_json::private::RawValue ", &[0x61, b'0']].concat();
    for (format, body) in [(Format::Json, nested.as_bytes()), (Format::Cbor, &cbor)] {
        assert_eq!(format.tree(body).unwrap_err().code(), "SerializationException", "{format:?}");
    }
    assert!(json_tree(nested.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn bytes_come_back_in_both_formats(data in proptest::collection::vec(any::<u8>(), 0..10_000)) {
        for format in [Format::Json, Format::Cbor] {
            let body = format.encode(&Data { data: Blob(data.clone().into()) }).unwrap();
            prop_assert_eq!(format.decode::<Data>(&body).unwrap().data.0, data.as_slice());
        }
    }

    #[test]
    fn any_bytes_are_a_tree_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Cbor] {
            if let Err(error) = format.tree(&body) {
                prop_assert_eq!(error.code(), "SerializationException");
            }
            let _ = format.decode::<Data>(&body);
        }
    }
}

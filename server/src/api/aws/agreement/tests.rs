//! The quick reader against the tree, over requests, near-requests and garbage.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::near::{near, odd, style};
use super::node::{Node, Style};
use super::*;

fn body(node: &Node, format: Format, style: Style) -> Vec<u8> {
    match format {
        Format::Json => node.json(style),
        Format::Cbor => node.cbor(style),
    }
}

fn text(members: &[(&str, Node)]) -> Node {
    Node::Map(members.iter().map(|(name, value)| (Node::text(name), value.clone())).collect())
}

/// A request of each operation that is read quickly, with all that a client would send.
fn requests() -> Vec<(&'static str, &'static str, Node)> {
    let data = || ("Data", Node::Bytes(b"hi".to_vec()));
    let arn = || ("StreamARN", Node::text("arn:aws:kinesis:us-east-1:123456789012:stream/a"));
    let hashed = text(&[data(), ("PartitionKey", Node::text("ü")), ("ExplicitHashKey", Node::text("0"))]);
    let put = [
        data(),
        ("PartitionKey", Node::text("k")),
        ("StreamName", Node::text("a")),
        arn(),
        ("DryRun", Node::Boolean(false)),
        ("StreamId", Node::Null),
    ];
    let get = [("ShardIterator", Node::text("AAAA")), ("Limit", Node::Integer(10_000)), arn()];
    let stream = || ("DeliveryStreamName", Node::text("a"));
    vec![
        ("kinesis", "PutRecord", text(&put)),
        ("kinesis", "PutRecords", text(&[("Records", Node::List(vec![hashed])), ("StreamName", Node::text("a"))])),
        ("kinesis", "GetRecords", text(&get)),
        ("firehose", "PutRecord", text(&[stream(), ("Record", text(&[data()]))])),
        ("firehose", "PutRecordBatch", text(&[stream(), ("Records", Node::List(vec![text(&[data()])]))])),
    ]
}

/// Operations in the order of [`requests`].
fn operations() -> Vec<(&'static Operation, Agree, Node)> {
    let requests = requests();
    let all = all();
    assert_eq!(all.len(), requests.len());
    let with_request = |((operation, agree), (_, name, request)): ((&'static Operation, Agree), (_, &str, Node))| {
        assert_eq!(operation.name, name);
        (operation, agree, request)
    };
    all.into_iter().zip(requests).map(with_request).collect()
}

#[test]
fn plain_requests_are_read_quickly() {
    for (operation, agree, request) in operations() {
        for format in [Format::Json, Format::Cbor] {
            for is_odd in [false, true] {
                let body = body(&request, format, Style { is_odd });
                assert!(agree(operation, format, &body), "{} {format:?} {is_odd}", operation.name);
            }
        }
    }
}

/// What the tree says of a request, where the quick reader left it to the tree.
fn told(format: Format, name: &str, body: &[u8]) -> Result<(), String> {
    let operations = operations();
    let (operation, agree, _) = operations.iter().find(|(operation, ..)| operation.name == name).unwrap();
    assert!(!agree(operation, format, body), "{name} was read quickly: {}", body.escape_ascii());
    match read_by_model::<IgnoredAny>(operation, format, body) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.code().to_owned()),
    }
}

/// Arrays were structures for the quick reader, whose types read them so.
#[test]
fn a_list_is_no_structure() {
    let serialization = Err("SerializationException".to_owned());
    for (name, body) in [
        ("PutRecord", r#"["aGk=", "k", null, null, "s", null, null, null]"#),
        ("PutRecords", r#"{"StreamName": "s", "Records": [["aGk=", "k", null]]}"#),
        ("GetRecords", r#"["AAAA", null, null, null, null]"#),
        ("PutRecordBatch", r#"{"DeliveryStreamName": "s", "Records": [["aGk="]]}"#),
    ] {
        assert_eq!(told(Format::Json, name, body.as_bytes()), serialization, "{name}");
    }
    let entry = Node::List(vec![Node::Bytes(b"hi".to_vec()), Node::text("k"), Node::Null]);
    let put = text(&[("StreamName", Node::text("s")), ("Records", Node::List(vec![entry]))]);
    assert_eq!(told(Format::Cbor, "PutRecords", &put.cbor(Style { is_odd: false })), serialization);
}

/// What is passed over was hardly looked at by the quick reader, and must be JSON all the same.
#[test]
fn a_member_that_is_not_known_is_passed_over_and_must_be_sound() {
    let told = |other: &str| {
        let body = format!(r#"{{"StreamName": "s", "Data": "aGk=", "PartitionKey": "k", "Other": {other}}}"#);
        told(Format::Json, "PutRecord", body.as_bytes())
    };
    for other in ["null", "{}", r#"{"is": ["passed", 1e3]}"#, r#""\ud83e\udd80""#] {
        assert_eq!(told(other), Ok(()), "{other}");
    }
    for other in [r#""\ud800""#, "1e999", &format!("{}{}", "[".repeat(200), "]".repeat(200))] {
        assert_eq!(told(other), Err("SerializationException".to_owned()), "{other}");
    }
}

/// Byte strings were names for the quick reader, and tags nothing.
#[test]
fn names_are_text_and_tags_are_the_trees_to_judge() {
    let bytes = |name: &str| Node::Bytes(name.as_bytes().to_vec());
    let get = |limit| text(&[("ShardIterator", Node::text("AAAA")), ("Limit", limit)]);
    let plain = Style { is_odd: false };
    let named = Node::Map(vec![(bytes("ShardIterator"), Node::text("AAAA"))]);
    assert_eq!(told(Format::Cbor, "GetRecords", &named.cbor(plain)), Err("SerializationException".to_owned()));
    // A time of 5,000 ms is 5 s; of 5,001 ms, no whole number.
    let tagged = |tag, number| get(Node::Tagged(tag, Box::new(Node::Integer(number)))).cbor(plain);
    assert_eq!(told(Format::Cbor, "GetRecords", &tagged(1, 5000)), Ok(()));
    assert_eq!(told(Format::Cbor, "GetRecords", &tagged(1, 5001)), Err("SerializationException".to_owned()));
    assert_eq!(told(Format::Cbor, "GetRecords", &tagged(9, 5001)), Ok(()));
    let by_bytes = text(&[("ShardIterator", bytes("AAAA"))]);
    assert_eq!(told(Format::Cbor, "GetRecords", &by_bytes.cbor(plain)), Ok(()), "bytes are base64, as in JSON");
}

/// A request near that of an operation.
fn near_request() -> impl Strategy<Value = (usize, Node)> {
    (0..all().len()).prop_flat_map(|at| (Just(at), near(all()[at].0.input)))
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Json), Just(Format::Cbor)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn near_requests_are_the_same_by_both((at, node) in near_request(), format in format(), style in style()) {
        let (operation, agree) = all()[at];
        agree(operation, format, &body(&node, format, style));
    }

    /// Also one that is cut, or has another byte.
    #[test]
    fn broken_requests_are_the_same_by_both(
        (at, node) in near_request(), format in format(), style in style(), place: prop::sample::Index, to in proptest::option::of(any::<u8>()),
    ) {
        let (operation, agree) = all()[at];
        let mut body = body(&node, format, style);
        if !body.is_empty() {
            let place = place.index(body.len());
            match to {
                Some(to) => body[place] = to,
                None => body.truncate(place),
            }
        }
        agree(operation, format, &body);
    }

    #[test]
    fn any_bytes_are_the_same_by_both(bytes: Vec<u8>, node in odd(), format in format(), style in style()) {
        for (operation, agree) in all() {
            agree(operation, format, &bytes);
            agree(operation, format, &body(&node, format, style));
        }
    }
}

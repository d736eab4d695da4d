//! Bodies that are nearly requests: each value as its model has it, or seldom another.

use proptest::prelude::*;
use proptest::sample::select;

use super::node::{Node, Style};
use crate::api::aws::model::{Member, Shape};

/// A body in a style.
pub(super) fn style() -> impl Strategy<Value = Style> {
    proptest::bool::weighted(0.3).prop_map(|is_odd| Style { is_odd })
}

/// Seldom not of the shape.
pub(super) fn near(shape: &'static Shape) -> BoxedStrategy<Node> {
    let tagged = (select(vec![0_u64, 1, 2, 3, 258, 55799]), right(shape));
    let tagged = tagged.prop_map(|(tag, value)| Node::Tagged(tag, Box::new(value)));
    prop_oneof![40 => right(shape), 1 => odd(), 1 => tagged].boxed()
}

fn right(shape: &'static Shape) -> BoxedStrategy<Node> {
    match shape {
        Shape::Structure(members) => structure(members),
        Shape::List { member, .. } => proptest::collection::vec(near(member), 0..4).prop_map(Node::List).boxed(),
        Shape::Map { key, value, .. } => {
            proptest::collection::vec((near(key), near(value)), 0..3).prop_map(Node::Map).boxed()
        }
        Shape::Text { .. } => text(shape),
        Shape::Blob { .. } => proptest::collection::vec(any::<u8>(), 0..9).prop_map(Node::Bytes).boxed(),
        Shape::Integer { .. } | Shape::Long { .. } => {
            prop_oneof![0..20_i64, Just(10_000), Just(10_001), any::<i64>()].prop_map(Node::Integer).boxed()
        }
        Shape::Double | Shape::Timestamp => any::<f64>().prop_map(Node::Float).boxed(),
        Shape::Boolean => any::<bool>().prop_map(Node::Boolean).boxed(),
    }
}

/// Most have all that they need. A few have a member that nobody knows or one twice, or are lists of their values.
fn structure(members: &'static [Member]) -> BoxedStrategy<Node> {
    let member = |member: &'static Member| {
        let often = if member.is_required || member.name == "PartitionKey" { 0.98 } else { 0.25 };
        proptest::option::weighted(often, (name(member.name), near(member.shape)))
    };
    let members: Vec<_> = members.iter().map(member).collect();
    let unknown = proptest::option::weighted(0.08, (odd_name(), odd()));
    (members, unknown, 0..40_u8)
        .prop_map(|(members, unknown, form)| {
            let mut members: Vec<_> = members.into_iter().flatten().chain(unknown).collect();
            match form {
                0 => Node::List(members.into_iter().map(|(_, value)| value).collect()),
                1 => {
                    let again = members.first().cloned();
                    members.extend(again);
                    Node::Map(members)
                }
                2 => {
                    members.reverse();
                    Node::Map(members)
                }
                _ => Node::Map(members),
            }
        })
        .boxed()
}

fn name(name: &'static str) -> BoxedStrategy<Node> {
    prop_oneof![
        60 => Just(Node::text(name)),
        1 => Just(Node::Bytes(name.as_bytes().to_vec())),
        1 => Just(Node::Text(name.to_lowercase())),
        1 => Just(Node::Tagged(1, Box::new(Node::text(name)))),
    ]
    .boxed()
}

fn odd_name() -> BoxedStrategy<Node> {
    prop_oneof![6 => Just(Node::text("Other")), 1 => odd()].boxed()
}

/// Mostly a text that keeps the shape.
fn text(shape: &'static Shape) -> BoxedStrategy<Node> {
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/a";
    let (long, too_long) = ("ü".repeat(256), "ü".repeat(257));
    let number = "49000000000000000000000007000000000300000000000000000001";
    let pool = ["a", "", "a/b", "ü", "0", "00", "12", &"9".repeat(39), arn, &arn[1..], number, &long, &too_long];
    let pool = pool.map(Node::text).to_vec();
    let keeps = |node: &&Node| matches!(node, Node::Text(text) if keeps(shape, text));
    let good: Vec<Node> = pool.iter().filter(keeps).cloned().collect();
    if good.is_empty() {
        return select(pool).boxed();
    }
    prop_oneof![12 => select(good), 1 => select(pool), 1 => ".{0,6}".prop_map(Node::Text)].boxed()
}

fn keeps(shape: &Shape, text: &str) -> bool {
    let Shape::Text { min, max, pattern, values } = shape else { return false };
    let length = text.chars().count() as u64;
    (*min..=*max).contains(&length)
        && pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
        && (values.is_empty() || values.contains(&text))
}

/// Anything.
pub(super) fn odd() -> BoxedStrategy<Node> {
    // Deeper than either format is read.
    let deep = (0..300).fold(Node::Null, |inner, _| Node::List(vec![inner]));
    let leaf = prop_oneof![
        Just(deep),
        Just(Node::Null),
        any::<bool>().prop_map(Node::Boolean),
        any::<i64>().prop_map(Node::Integer),
        prop_oneof![any::<f64>().prop_filter("finite", |number| number.is_finite()), Just(-0.0), Just(5.0)]
            .prop_map(Node::Float),
        ".{0,6}".prop_map(Node::Text),
        proptest::collection::vec(any::<u8>(), 0..6).prop_map(Node::Bytes),
        select(RAW.to_vec()).prop_map(|(json, cbor)| Node::Raw(json, cbor)),
    ];
    let several = |inner: BoxedStrategy<Node>| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Node::List),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(Node::Map),
            (any::<u64>(), inner).prop_map(|(tag, value)| Node::Tagged(tag, Box::new(value))),
        ]
    };
    leaf.prop_recursive(3, 12, 4, several).boxed()
}

/// What is wrong in itself, or odd: in JSON and in CBOR.
const RAW: [(&str, &[u8]); 9] = [
    // A surrogate alone; bytes that are no text.
    (r#""\ud800""#, &[0x62, 0xc3, 0x28]),
    // A number that is not finite.
    ("1e999", &[0xf9, 0x7c, 0x00]),
    // Minus nothing; an integer of bytes.
    ("-0", &[0xc2, 0x41, 0x05]),
    // More than 64 bits.
    ("18446744073709551616", &[0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    // The least integer.
    ("-9223372036854775809", &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    // Not a word; undefined.
    ("nul", &[0xf7]),
    // Nothing; an end of nothing.
    ("", &[0xff]),
    // A name that is not what it seems.
    (r#"{"$serde_json::private::RawValue": "1"}"#, &[0xf8, 0x20]),
    // A control character in a text; a length that lies.
    ("\"\u{1}\"", &[0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
];

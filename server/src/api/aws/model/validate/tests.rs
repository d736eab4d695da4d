//! Validation errors are worded and counted as AWS does.

use serde_json::{Value, json};

use super::super::{FIREHOSE, KINESIS, Pattern, Shape};
use super::*;

fn message(operation: &str, value: &Value) -> Option<String> {
    let input = KINESIS.operation(operation).unwrap().input;
    validate(value, input).err().map(|error| {
        assert_eq!(error.code(), "ValidationException");
        error.message().to_owned()
    })
}

fn check(operation: &str, value: &Value, expected: &str) {
    assert_eq!(message(operation, value).as_deref(), Some(expected), "{operation} {value}");
}

#[test]
fn one_broken_constraint_is_one_error() {
    check(
        "CreateStream",
        &json!({"StreamName": "a/b"}),
        "1 validation error detected: Value 'a/b' at 'streamName' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: [a-zA-Z0-9_.-]+",
    );
    check(
        "CreateStream",
        &json!({}),
        "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null",
    );
    check(
        "CreateStream",
        &json!({"StreamName": "a", "ShardCount": 0}),
        "1 validation error detected: Value '0' at 'shardCount' failed to satisfy constraint: Member must have value greater \
         than or equal to 1",
    );
    check(
        "CreateStream",
        &json!({"StreamName": "a", "StreamModeDetails": {"StreamMode": "X"}}),
        "1 validation error detected: Value 'X' at 'streamModeDetails.streamMode' failed to satisfy constraint: Member must \
         satisfy enum value set: [PROVISIONED, ON_DEMAND]",
    );
}

#[test]
fn an_empty_name_breaks_pattern_and_length() {
    check(
        "CreateStream",
        &json!({"StreamName": ""}),
        "2 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: [a-zA-Z0-9_.-]+; Value '' at 'streamName' failed to satisfy constraint: Member must have length \
         greater than or equal to 1",
    );
}

#[test]
fn members_of_lists_and_maps_are_named_by_their_place() {
    check(
        "PutRecords",
        &json!({"Records": [{"Data": "", "PartitionKey": "a"}, {"PartitionKey": "a"}]}),
        "1 validation error detected: Value null at 'records.2.member.data' failed to satisfy constraint: Member must not be \
         null",
    );
    check(
        "PutRecords",
        &json!({"Records": []}),
        "1 validation error detected: Value '[]' at 'records' failed to satisfy constraint: Member must have length greater \
         than or equal to 1",
    );
    check(
        "UntagResource",
        &json!({"ResourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/a", "TagKeys": [""]}),
        "1 validation error detected: Value '[]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: \
         [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]",
    );
    let long = "v".repeat(257);
    check(
        "AddTagsToStream",
        &json!({"Tags": {"a": long}}),
        &format!(
            "1 validation error detected: Value '{{a={long}}}' at 'tags' failed to satisfy constraint: Map value must satisfy \
             constraint: [Member must have length less than or equal to 256, Member must have length greater than or equal to 0]"
        ),
    );
}

#[test]
fn at_most_ten_errors_are_told() {
    let records = vec![json!({"PartitionKey": "a"}); 500];
    let told = message("PutRecords", &json!({"Records": records})).unwrap();
    assert!(told.starts_with("10 validation errors detected: "), "{told}");
    assert_eq!(told.matches("Member must not be null").count(), 10);
}

/// Each limit of texts: what is allowed, and one past it. Characters count, not bytes.
#[test]
fn lengths_hold_at_their_edges() {
    for (key, fits) in [("ü".repeat(256), true), ("ü".repeat(257), false)] {
        let told = message("PutRecord", &json!({"Data": "", "PartitionKey": key}));
        assert_eq!(told.is_none(), fits, "{told:?}");
    }
    for (size, fits) in [(10_485_760, true), (10_485_761, false)] {
        let told = message("PutRecord", &json!({"Data": STANDARD.encode(vec![0; size]), "PartitionKey": "a"}));
        assert_eq!(told.is_none(), fits, "{told:?}");
    }
}

/// A name of 15 MB took seconds of a processor to be matched against its pattern.
#[test]
fn a_text_that_is_far_too_long_is_told_for_its_length_alone() {
    for (chars, errors) in [(129, 2), (8192, 2), (8193, 1), (15 << 20, 1)] {
        let told = message("CreateStream", &json!({"StreamName": "/".repeat(chars)})).unwrap();
        assert!(told.starts_with(&format!("{errors} validation error")), "{chars}: {}", &told[..80]);
        assert!(told.ends_with("Member must have length less than or equal to 128"), "{chars}");
    }
}

#[test]
fn every_pattern_compiles_and_operations_are_sorted() {
    fn walk(shape: &Shape) -> usize {
        match shape {
            Shape::Structure(members) => members.iter().map(|member| walk(member.shape)).sum(),
            Shape::List { member, .. } => walk(member),
            Shape::Map { key, value, .. } => walk(key) + walk(value),
            Shape::Text { pattern: Some(pattern), .. } => {
                // What a pattern is for; most are, and all must compile.
                usize::from(!pattern.is_match("\u{1F980}\n"))
            }
            _ => 0,
        }
    }
    for (service, operations) in [(&KINESIS, 39), (&FIREHOSE, 12)] {
        assert_eq!(service.operations.len(), operations);
        assert!(service.operations.is_sorted_by_key(|operation| operation.name));
        let patterns: usize = service.operations.iter().map(|operation| walk(operation.input)).sum();
        assert!(patterns > 50, "{patterns}");
    }
}

#[test]
fn conditions_and_classes_of_unicode_hold() {
    let tag = Pattern::new(r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$");
    for (text, fits) in
        [("team", true), ("größe 2/3", true), ("aws", true), ("aws:x", false), ("a#", false), ("", true)]
    {
        assert_eq!(tag.is_match(text), fits, "{text:?}");
    }
    let filled = Pattern::new(r"^(?!\s*$).+");
    for (text, fits) in [("a", true), (" a ", true), ("", false), (" \n", false)] {
        assert_eq!(filled.is_match(text), fits, "{text:?}");
    }
}

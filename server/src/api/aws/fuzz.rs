//! What the targets of `tests/fuzz` call. Each panics where something does not hold.

use std::time::Duration;

use bytes::Bytes;
use millrace_storage::time::{Clock, Timestamp};

use super::agreement::all;
use super::arn::{Arns, Resource};
use super::kinesis;
use super::model::{FIREHOSE, KINESIS, conform, validate};
use super::protocol::Format;
use super::settings::AwsSettings;
use super::token::{TokenKind, Tokens};

/// A body in JSON or CBOR as a request of every operation.
pub fn request(is_cbor: bool, body: &[u8]) {
    let format = if is_cbor { Format::Cbor } else { Format::Json };
    for (operation, agree) in all() {
        agree(operation, format, body);
    }
    let Ok(tree) = format.tree(body) else { return };
    for operation in KINESIS.operations.iter().chain(FIREHOSE.operations) {
        let mut tree = tree.clone();
        if conform(&mut tree, operation.input).is_ok() {
            let _ = validate(&tree, operation.input);
        }
    }
}

/// A text that a client brings back: no token is taken that was not made here, and what is read is what was written.
pub fn token(text: &str) {
    let tokens = Tokens::new(&[7; 32], Duration::from_secs(300), Clock::new(|| Timestamp(0)));
    for kind in [TokenKind::ShardIterator, TokenKind::Shards, TokenKind::Streams, TokenKind::Consumers] {
        assert!(tokens.open(kind, text).is_err(), "a token was forged: {text}");
        let sealed = tokens.seal(kind, text.as_bytes());
        assert_eq!(tokens.open(kind, &sealed).as_deref(), Ok(text.as_bytes()));
    }
    kinesis::fuzz::names(text);
    let arns = Arns::new(&AwsSettings::default()).expect("the defaults make ARNs");
    if let Ok(Resource::Stream(name)) = arns.parse(text) {
        assert_eq!(arns.parse(&arns.stream(&name)), Ok(Resource::Stream(name)));
    }
}

/// The payload of a shard iterator.
pub fn iterator(payload: &[u8]) {
    kinesis::fuzz::iterator(payload);
}

/// Messages of an event stream: an event with a payload, and an error with these words.
#[must_use]
pub fn events(is_cbor: bool, payload: &[u8], words: &str) -> [Bytes; 3] {
    kinesis::fuzz::events(if is_cbor { Format::Cbor } else { Format::Json }, payload, words)
}

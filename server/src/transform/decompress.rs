//! `decompress`: gzip, Zstandard, and the envelopes of CloudWatch Logs.
//!
//! A record that grows past the limit fails before it is all in memory, so that a bomb costs no more than the limit.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Compressed, Extract, Input, Outcome, Output, Transform};

/// Decompresses records.
#[derive(Debug)]
pub struct Decompress {
    format: Compressed,
    extract: Extract,
    /// The most bytes that a record may become.
    bytes_max: u64,
}

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

impl Decompress {
    /// With the most bytes that one record may become.
    #[must_use]
    pub const fn new(format: Compressed, extract: Extract, bytes_max: u64) -> Self {
        Self { format, extract, bytes_max }
    }

    fn one(&self, data: &Bytes) -> Result<Outcome, String> {
        let plain = match self.format {
            Compressed::Gzip => self.gzip(data)?,
            Compressed::Zstd => self.zstd(data)?,
            Compressed::Auto | Compressed::CloudwatchLogs if data.starts_with(GZIP_MAGIC) => self.gzip(data)?,
            Compressed::Auto if data.starts_with(ZSTD_MAGIC) => self.zstd(data)?,
            Compressed::Auto | Compressed::CloudwatchLogs => data.clone(),
        };
        match self.format {
            Compressed::CloudwatchLogs => self.log_events(&plain),
            Compressed::Auto | Compressed::Gzip | Compressed::Zstd => Ok(Outcome::One(plain.into())),
        }
    }

    fn gzip(&self, data: &[u8]) -> Result<Bytes, String> {
        self.read(MultiGzDecoder::new(data), "gzip")
    }

    fn zstd(&self, data: &[u8]) -> Result<Bytes, String> {
        let decoder = zstd::stream::read::Decoder::with_buffer(data);
        let mut decoder = decoder.map_err(|error| format!("the record is not zstd: {error}"))?;
        // The window is what a frame makes the decoder hold: 8 MiB is what every encoder stays within unless asked.
        decoder.window_log_max(23).map_err(|error| format!("the record is not zstd: {error}"))?;
        self.read(decoder, "zstd")
    }

    fn read(&self, from: impl Read, format: &str) -> Result<Bytes, String> {
        let mut plain = Vec::new();
        let read = from.take(self.bytes_max.saturating_add(1)).read_to_end(&mut plain);
        read.map_err(|error| format!("the record is not whole {format}: {error}"))?;
        if plain.len() as u64 > self.bytes_max {
            return Err(format!("the record's {format} has more than {} bytes", self.bytes_max));
        }
        Ok(plain.into())
    }

    /// The events of an envelope. What CloudWatch sends to see whether anyone is there is dropped.
    fn log_events(&self, plain: &Bytes) -> Result<Outcome, String> {
        let not_one = |error| format!("the record is no envelope of CloudWatch Logs: {error}");
        let envelope: Envelope<'_> = serde_json::from_slice(plain).map_err(not_one)?;
        match envelope.message_type.as_str() {
            "DATA_MESSAGE" => {}
            "CONTROL_MESSAGE" => return Ok(Outcome::Dropped),
            other => return Err(format!("the record is an envelope of CloudWatch Logs of the unknown type {other:?}")),
        }
        let outputs = envelope.log_events.iter().map(|event| self.log_event(&envelope, event));
        let mut outputs: Vec<Output> = outputs.collect::<Result<_, _>>()?;
        Ok(match outputs.len() {
            0 => Outcome::Dropped,
            1 => outputs.pop().map_or(Outcome::Dropped, Outcome::One),
            _ => Outcome::Many(outputs),
        })
    }

    fn log_event(&self, envelope: &Envelope<'_>, event: &LogEvent<'_>) -> Result<Output, String> {
        if self.extract == Extract::Messages {
            return Ok(Bytes::copy_from_slice(event.message.as_bytes()).into());
        }
        let quoted = |text: &str| serde_json::to_string(text).map_err(|error| error.to_string());
        let json = format!(
            "{{\"id\":{},\"timestamp\":{},\"message\":{},\"owner\":{},\"logGroup\":{},\"logStream\":{}}}",
            quoted(&event.id)?,
            event.timestamp.get(),
            quoted(&event.message)?,
            quoted(&envelope.owner)?,
            quoted(&envelope.log_group)?,
            quoted(&envelope.log_stream)?,
        );
        Ok(Bytes::from(json).into())
    }
}

/// What CloudWatch Logs puts around log events.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    message_type: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    log_group: String,
    #[serde(default)]
    log_stream: String,
    #[serde(borrow, default)]
    log_events: Vec<LogEvent<'a>>,
}

#[derive(Deserialize)]
struct LogEvent<'a> {
    id: String,
    #[serde(borrow)]
    timestamp: &'a RawValue,
    message: String,
}

impl Transform for Decompress {
    fn name(&self) -> &str {
        "decompress"
    }

    fn apply(&self, inputs: &[Input]) -> Vec<Outcome> {
        let outcome = |input: &Input| self.one(&input.data).unwrap_or_else(|reason| Outcome::Failed(reason.into()));
        inputs.iter().map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_of(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 1).unwrap()
    }

    fn run(format: Compressed, extract: Extract, bytes_max: u64, data: Vec<u8>) -> Outcome {
        let input = Input { data: data.into(), ..Input::default() };
        Decompress::new(format, extract, bytes_max).apply(&[input]).remove(0)
    }

    fn one(data: &'static [u8]) -> Outcome {
        Outcome::One(Bytes::from_static(data).into())
    }

    fn failed(outcome: &Outcome, words: &str) {
        match outcome {
            Outcome::Failed(failure) => assert!(failure.message.contains(words), "{failure:?}"),
            other => panic!("{other:?} should have failed with {words:?}"),
        }
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let run = |format, data| run(format, Extract::Events, 100, data);
        let twice = [gzip(b"{}"), gzip(b"[]")].concat();
        for (format, data, expected) in [
            (Compressed::Gzip, gzip(b"{}"), one(b"{}")),
            (Compressed::Zstd, zstd_of(b"{}"), one(b"{}")),
            (Compressed::Auto, gzip(b"{}"), one(b"{}")),
            (Compressed::Auto, zstd_of(b"{}"), one(b"{}")),
            (Compressed::Auto, b"{}".to_vec(), one(b"{}")),
            (Compressed::Auto, twice, one(b"{}[]")),
            (Compressed::Gzip, gzip(b""), one(b"")),
        ] {
            assert_eq!(run(format, data), expected, "{format:?}");
        }
        failed(&run(Compressed::Gzip, b"{}".to_vec()), "not whole gzip");
        failed(&run(Compressed::Zstd, b"{}".to_vec()), "not whole zstd");
        let whole = gzip(&[b'x'; 50]);
        failed(&run(Compressed::Auto, whole[..whole.len() - 1].to_vec()), "not whole gzip");
    }

    #[test]
    fn a_bomb_fails_one_byte_past_the_limit() {
        let zeros = vec![0; 10_000];
        for (format, compress) in [(Compressed::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Compressed::Zstd, zstd_of)] {
            let run = |bytes: usize| run(format, Extract::Events, 10_000, compress(&vec![0; bytes]));
            assert_eq!(run(10_000), Outcome::One(Bytes::from(zeros.clone()).into()));
            failed(&run(10_001), "more than 10000 bytes");
            failed(&run(10_000_000), "more than 10000 bytes");
        }
    }

    #[test]
    fn log_events_are_taken_out_of_their_envelope() {
        let envelope = br#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":[],
            "logEvents":[{"id":"a","timestamp":1510109208016,"message":"{\"x\":1}"},{"id":"b","timestamp":2,"message":"plain \" text"}]}"#;
        let messages = vec![Bytes::from_static(b"{\"x\":1}").into(), Bytes::from_static(b"plain \" text").into()];
        for data in [gzip(envelope), envelope.to_vec()] {
            let outcome = run(Compressed::CloudwatchLogs, Extract::Messages, 10_000, data);
            assert_eq!(outcome, Outcome::Many(messages.clone()));
        }
        let Outcome::Many(events) = run(Compressed::CloudwatchLogs, Extract::Events, 10_000, gzip(envelope)) else {
            panic!("two events");
        };
        let event: serde_json::Value = serde_json::from_slice(&events[1].data).unwrap();
        let expected = serde_json::json!({
            "id": "b", "timestamp": 2, "message": "plain \" text", "owner": "1", "logGroup": "g", "logStream": "s"
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn envelopes_without_events_are_dropped_and_others_fail() {
        let run = |text: &str| run(Compressed::CloudwatchLogs, Extract::Messages, 10_000, text.as_bytes().to_vec());
        assert_eq!(run(r#"{"messageType":"CONTROL_MESSAGE","logEvents":[]}"#), Outcome::Dropped);
        assert_eq!(run(r#"{"messageType":"DATA_MESSAGE","logEvents":[]}"#), Outcome::Dropped);
        failed(&run(r#"{"messageType":"NEWS"}"#), "NEWS");
        failed(&run(r#"{"a":1}"#), "no envelope");
        failed(&run("text"), "no envelope");
    }
}

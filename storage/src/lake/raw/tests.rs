//! Bytes come back as they went in, under the right prefix; both Snappy framings are read by decoders of their own.

use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::lake::store::StoreSettings;
use crate::log::{Offset, ShardId};
use crate::time::Timestamp;

const HOUR: i64 = 1_357_034_400_000; // 2013-01-01T10:00:00Z

fn row(offset: u64, arrival: i64, data: &[u8]) -> Row {
    Row {
        shard: ShardId(0),
        offset: Offset(offset),
        sub: 0,
        arrival_time: Timestamp(arrival),
        partition_key: Bytes::new(),
        data: Bytes::copy_from_slice(data),
        keys: None,
        source: None,
    }
}

fn settings(compression: RawCompression) -> RawSettings {
    let prefix = "!{timestamp:yyyy/MM/dd/HH}/".parse().unwrap();
    RawSettings { destination: "firehose".into(), prefix, compression, extension: None }
}

async fn written(settings: &RawSettings, rows: Vec<Row>) -> (Store, Vec<WrittenObject>) {
    let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
    let names = FileNames { delivery: "events".into(), batch: 3 };
    let written = write(&store, settings, &names, rows).await.unwrap();
    (store, written)
}

/// Reads the Java library's framing: no part of the writer is used.
fn decode_xerial(mut file: &[u8]) -> Vec<u8> {
    let header = file.split_off(..16).unwrap();
    assert_eq!(header, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let mut bytes = Vec::new();
    while !file.is_empty() {
        bytes.extend(decode_block(&mut file));
    }
    bytes
}

fn decode_hadoop(mut file: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !file.is_empty() {
        let length = take_length(&mut file);
        let block = decode_block(&mut file);
        assert_eq!(block.len(), length);
        bytes.extend(block);
    }
    bytes
}

fn decode_block(file: &mut &[u8]) -> Vec<u8> {
    let length = take_length(file);
    let block = file.split_off(..length).unwrap();
    snap::raw::Decoder::new().decompress_vec(block).unwrap()
}

fn take_length(file: &mut &[u8]) -> usize {
    let length = file.split_off(..4).unwrap();
    u32::from_be_bytes(length.try_into().unwrap()) as usize
}

fn snappy(framing: Framing, bytes: &[u8]) -> Vec<u8> {
    let mut writer = SnappyWriter::new(framing);
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[tokio::test]
async fn bytes_are_written_as_they_are_and_nothing_between() {
    let rows = vec![row(0, HOUR, b"{\"a\":1}"), row(1, HOUR + 3_600_000, b"\xff\0"), row(2, HOUR, b"not json\n")];
    let (store, written) = written(&settings(RawCompression::None), rows).await;
    let paths: Vec<_> = written.iter().map(|object| object.path.to_string()).collect();
    let name = "events-000000000003-000";
    assert_eq!(paths, [10, 11].map(|hour| format!("lake/firehose/2013/01/01/{hour}/{name}")));
    assert_eq!(store.get(&written[0].path).await.unwrap(), "{\"a\":1}not json\n");
    assert_eq!(store.get(&written[1].path).await.unwrap(), b"\xff\0".as_slice());
    assert_eq!(written.iter().map(|object| object.rows).collect::<Vec<_>>(), [2, 1]);
}

#[tokio::test]
async fn each_compression_has_its_extension_and_comes_back() {
    let rows: Vec<_> = (0..50_000).map(|number| row(number, HOUR, format!("{number},").as_bytes())).collect();
    let expected: Vec<u8> = (0..50_000).flat_map(|number| format!("{number},").into_bytes()).collect();
    for (compression, extension) in [
        (RawCompression::None, ""),
        (RawCompression::Gzip, ".gz"),
        (RawCompression::Snappy(Framing::Xerial), ".snappy"),
        (RawCompression::Snappy(Framing::Hadoop), ".hsnappy"),
    ] {
        let (store, written) = written(&settings(compression), rows.clone()).await;
        let name = written[0].path.filename().unwrap().to_owned();
        assert_eq!(name, format!("events-000000000003-000{extension}"));
        let file = store.get(&written[0].path).await.unwrap();
        let bytes = match compression {
            RawCompression::None => file.to_vec(),
            RawCompression::Gzip => {
                let mut bytes = Vec::new();
                flate2::read::GzDecoder::new(&*file).read_to_end(&mut bytes).unwrap();
                bytes
            }
            RawCompression::Snappy(Framing::Xerial) => decode_xerial(&file),
            RawCompression::Snappy(Framing::Hadoop) => decode_hadoop(&file),
        };
        assert!(bytes == expected, "{compression:?} gives other bytes");
    }
    let named = RawSettings { extension: Some(".json".into()), ..settings(RawCompression::Gzip) };
    let (_, written) = written(&named, rows).await;
    assert_eq!(written[0].path.filename().unwrap(), "events-000000000003-000.json");
}

#[test]
fn blocks_hold_at_their_length_and_one_past() {
    for framing in [Framing::Xerial, Framing::Hadoop] {
        for bytes in [0, 1, framing_bytes(framing) - 1, framing_bytes(framing), framing_bytes(framing) + 1] {
            let data = vec![7; bytes];
            let file = snappy(framing, &data);
            let back = if framing == Framing::Xerial { decode_xerial(&file) } else { decode_hadoop(&file) };
            assert_eq!(back, data, "{framing:?} of {bytes} bytes");
        }
    }
}

const fn framing_bytes(framing: Framing) -> usize {
    match framing {
        Framing::Xerial => 32 * 1024,
        Framing::Hadoop => 256 * 1024,
    }
}

#[test]
fn a_compression_that_is_not_known_is_told_with_what_is() {
    let error = "snappy".parse::<RawCompression>().unwrap_err().to_string();
    assert!(error.contains("\"snappy\"") && error.contains("xerial_snappy"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_come_back_from_both_framings(data in proptest::collection::vec(any::<u8>(), 0..100_000)) {
        prop_assert_eq!(decode_xerial(&snappy(Framing::Xerial, &data)), data.clone());
        prop_assert_eq!(decode_hadoop(&snappy(Framing::Hadoop, &data)), data);
    }
}

//! The flights data: 336,776 departures from New York in 2013, one JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// Events in the whole file.
pub const EVENTS: u64 = 336_776;

/// The whole file, compressed with Zstandard.
#[must_use]
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/flights.jsonl.zst")
}

/// Its lines, without line ends.
///
/// # Panics
/// When the file cannot be read.
pub fn lines() -> impl Iterator<Item = String> {
    let file = File::open(path()).expect("the flights file ships with the tests");
    let text = zstd::Decoder::new(file).expect("the file is Zstandard");
    BufReader::new(text).lines().map(|line| line.expect("the file is UTF-8"))
}

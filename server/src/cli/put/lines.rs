//! The lines of an input that may be compressed. Bytes stay as they are; only the newline goes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

/// Read at a time; lines are slices of it.
const CHUNK_BYTES: usize = 1 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An open input.
pub(super) struct Input {
    pub(super) reader: Box<dyn Read + Send>,
    /// Its size on disk; unknown for stdin.
    pub(super) bytes: Option<u64>,
    /// How far it was read, before decompression.
    pub(super) progress: Arc<AtomicU64>,
}

/// Opens a file, or stdin for `-`, and undoes zstd and gzip, which it knows by their first bytes.
pub(super) fn open(path: &str) -> io::Result<Input> {
    let progress = Arc::new(AtomicU64::new(0));
    let (raw, bytes): (Box<dyn Read + Send>, _) = if path == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let counted = Counted { inner: raw, read: Arc::clone(&progress) };
    Ok(Input { reader: decompress(BufReader::with_capacity(CHUNK_BYTES, counted))?, bytes, progress })
}

fn decompress<R: Read + Send + 'static>(mut reader: BufReader<R>) -> io::Result<Box<dyn Read + Send>> {
    let head = reader.fill_buf()?;
    if head.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?));
    }
    if head.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    Ok(Box::new(reader))
}

struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// One line with its number, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text {
        number: u64,
        data: Bytes,
    },
    /// Over the limit; it was skipped.
    TooLong {
        number: u64,
        bytes: u64,
    },
}

/// Splits a reader into lines. Empty lines are left out, but counted in the numbers.
pub(super) struct Lines<R> {
    reader: R,
    line_bytes_max: usize,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no newline.
    scanned: usize,
    /// Bytes of a line over the limit that are gone already.
    skipped: Option<u64>,
    number: u64,
    ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R, line_bytes_max: usize) -> Self {
        let buffer = BytesMut::new();
        Self { reader, line_bytes_max, buffer, scanned: 0, skipped: None, number: 0, ended: false }
    }

    /// The bytes to the next newline, or to the end; `None` after the last.
    fn line(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
                let mut line = self.buffer.split_to(self.scanned + at + 1);
                line.truncate(line.len() - 1);
                self.scanned = 0;
                return Ok(Some(line.freeze()));
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.line_bytes_max {
                *self.skipped.get_or_insert(0) += self.scanned as u64;
                self.buffer.clear();
                self.scanned = 0;
            }
            if self.ended || !self.fill()? {
                self.ended = true;
                self.scanned = 0;
                let rest = self.buffer.split().freeze();
                return Ok((!rest.is_empty() || self.skipped.is_some()).then_some(rest));
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let held = self.buffer.len();
        if self.buffer.capacity() - held < CHUNK_BYTES / 4 {
            self.buffer.reserve(CHUNK_BYTES);
        }
        self.buffer.resize(self.buffer.capacity().min(held + CHUNK_BYTES), 0);
        let read = self.reader.read(&mut self.buffer[held..]);
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        read.map(|read| read > 0)
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let data = match self.line() {
                Ok(line) => line?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.ended = true;
                    self.buffer.clear();
                    return Some(Err(error));
                }
            };
            self.number += 1;
            let number = self.number;
            let bytes = self.skipped.take().unwrap_or(0) + data.len() as u64;
            if bytes > self.line_bytes_max as u64 {
                return Some(Ok(Line::TooLong { number, bytes }));
            }
            if !data.is_empty() {
                return Some(Ok(Line::Text { number, data }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn text(number: u64, data: &str) -> Line {
        Line::Text { number, data: Bytes::copy_from_slice(data.as_bytes()) }
    }

    fn lines(input: &[u8], line_bytes_max: usize) -> Vec<Line> {
        Lines::new(Cursor::new(input), line_bytes_max).map(Result::unwrap).collect()
    }

    #[test]
    fn bytes_stay_as_they_are_but_for_the_newline() {
        assert_eq!(lines(b"{\"a\": 1} \r\n\n\xc3\xa4", 100), [text(1, "{\"a\": 1} \r"), text(3, "\u{e4}")]);
        assert_eq!(lines(b"", 100), []);
        assert_eq!(lines(b"\n\n", 100), []);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_past_it_is_skipped() {
        assert_eq!(lines(b"1234\n12345\n1", 4), [text(1, "1234"), Line::TooLong { number: 2, bytes: 5 }, text(3, "1")]);
        assert_eq!(lines(b"12345", 4), [Line::TooLong { number: 1, bytes: 5 }]);
    }

    #[test]
    fn lines_that_cross_chunks_come_whole() {
        let long = "x".repeat(CHUNK_BYTES * 2 + 7);
        let input = format!("a\n{long}\nb\n");
        let limit = CHUNK_BYTES * 3;
        assert_eq!(lines(input.as_bytes(), limit), [text(1, "a"), text(2, &long), text(3, "b")]);
        let skipped = Line::TooLong { number: 2, bytes: long.len() as u64 };
        assert_eq!(lines(input.as_bytes(), 10), [text(1, "a"), skipped, text(3, "b")]);
    }

    #[test]
    fn compressed_input_is_known_by_its_first_bytes() {
        let plain = b"one\ntwo\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        // Two members in one file are one text.
        let gzip = gzip.finish().unwrap().repeat(2);
        let zstd = zstd.repeat(2);
        for (input, copies) in [(plain.to_vec(), 1), (gzip, 2), (zstd, 2)] {
            let mut reader = decompress(BufReader::new(Cursor::new(input))).unwrap();
            let mut text = Vec::new();
            reader.read_to_end(&mut text).unwrap();
            assert_eq!(text, plain.repeat(copies));
        }
    }

    #[test]
    fn a_truncated_archive_is_an_error_and_not_an_end() {
        let zstd = zstd::encode_all(&b"one\ntwo\n".repeat(1000)[..], 1).unwrap();
        let cut = zstd[..zstd.len() - 3].to_vec();
        let reader = decompress(BufReader::new(Cursor::new(cut))).unwrap();
        assert!(Lines::new(reader, 100).any(|line| line.is_err()));
    }
}

//! The text of an object, decompressed as it is read.

use std::io::{self, BufRead, BufReader, Read};

use super::ImportCompression;
use super::ranged::{Ranged, Sequential};

/// How much is decompressed at once.
const BUFFER_BYTES: usize = 64 << 10;

/// An object's text, from its beginning on.
pub(super) struct Text {
    reader: BufReader<Box<dyn Read + Send>>,
    ranged: Ranged,
    is_plain: bool,
    /// Bytes before the next one.
    at: u64,
}

impl Text {
    pub(super) fn open(ranged: &Ranged, compression: ImportCompression) -> io::Result<Self> {
        let file = Sequential::from(ranged.clone(), 0);
        let decoded: Box<dyn Read + Send> = match compression {
            ImportCompression::Auto | ImportCompression::None => Box::new(file),
            ImportCompression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            ImportCompression::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
            ImportCompression::Snappy => Box::new(snap::read::FrameDecoder::new(file)),
        };
        let is_plain = matches!(compression, ImportCompression::Auto | ImportCompression::None);
        let reader = BufReader::with_capacity(BUFFER_BYTES, decoded);
        Ok(Self { reader, ranged: ranged.clone(), is_plain, at: 0 })
    }

    /// Bytes of text before the next one.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Goes on at a later byte. What is not compressed is not read up to there.
    pub(super) fn skip_to(&mut self, at: u64) -> io::Result<()> {
        if at <= self.at {
            return Ok(());
        }
        if self.is_plain {
            let file: Box<dyn Read + Send> = Box::new(Sequential::from(self.ranged.clone(), at));
            self.reader = BufReader::with_capacity(BUFFER_BYTES, file);
            self.at = at;
            return Ok(());
        }
        let missing = at - self.at;
        let skipped = io::copy(&mut self.reader.by_ref().take(missing), &mut io::sink())?;
        self.at += skipped;
        if skipped < missing {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl Read for Text {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl BufRead for Text {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.at += count as u64;
    }
}

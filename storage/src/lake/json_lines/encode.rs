//! Lines into the bytes of one file.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::LinesCompression;

/// Zstandard's own default.
const ZSTD_LEVEL: i32 = 3;

/// A file of lines as it grows.
pub(in crate::lake) enum Encoder {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    Snappy(Box<snap::write::FrameEncoder<Vec<u8>>>),
}

impl Encoder {
    pub(in crate::lake) fn new(compression: LinesCompression) -> io::Result<Self> {
        Ok(match compression {
            LinesCompression::None => Self::Plain(Vec::new()),
            LinesCompression::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default()))),
            LinesCompression::Zstd => Self::Zstd(Box::new(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)),
            LinesCompression::Snappy => Self::Snappy(Box::new(snap::write::FrameEncoder::new(Vec::new()))),
        })
    }

    /// Writes one value as one line: white space between its tokens may hold line ends, and only that may.
    pub(in crate::lake) fn write_line(&mut self, data: &[u8]) -> io::Result<()> {
        let line = data.trim_ascii();
        if line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let line: Vec<u8> =
                line.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
            self.writer().write_all(&line)?;
        } else {
            self.writer().write_all(line)?;
        }
        self.writer().write_all(b"\n")
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
            Self::Snappy(encoder) => encoder,
        }
    }

    pub(in crate::lake) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Snappy(encoder) => encoder.into_inner().map_err(|error| io::Error::other(error.to_string())),
        }
    }
}

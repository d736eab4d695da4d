//! Snappy's blocks in the two framings that JVM programs write. Neither is Snappy's own framing format.
//!
//! The Java library: `0x82 "SNAPPY" 0x00 | version u32 = 1 | oldest compatible version u32 = 1`, then for each block
//! `compressed length u32 | block`. Hadoop: for each block `length u32 | compressed length u32 | block`. Numbers are
//! big-endian. Sources: `SnappyOutputStream` of snappy-java, `BlockCompressorStream` of Hadoop.

use std::io::{self, Write};

use snap::raw::Encoder;

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_VERSION: u32 = 1;
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
const HADOOP_BLOCK_BYTES: usize = 256 * 1024;

/// How blocks are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As the Java library does; what Amazon Data Firehose calls `Snappy`.
    Xerial,
    /// As Hadoop's codec does; what Amazon Data Firehose calls `HADOOP_SNAPPY`.
    Hadoop,
}

/// Compresses what is written, block by block.
#[derive(Debug)]
pub(super) struct SnappyWriter {
    framing: Framing,
    block: Vec<u8>,
    encoder: Encoder,
    file: Vec<u8>,
}

impl Framing {
    const fn block_bytes(self) -> usize {
        match self {
            Self::Xerial => XERIAL_BLOCK_BYTES,
            Self::Hadoop => HADOOP_BLOCK_BYTES,
        }
    }
}

impl SnappyWriter {
    pub(super) fn new(framing: Framing) -> Self {
        let mut file = Vec::new();
        if framing == Framing::Xerial {
            file.extend_from_slice(&XERIAL_MAGIC);
            file.extend_from_slice(&XERIAL_VERSION.to_be_bytes());
            file.extend_from_slice(&XERIAL_VERSION.to_be_bytes());
        }
        Self { framing, block: Vec::with_capacity(framing.block_bytes()), encoder: Encoder::new(), file }
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.end_block()?;
        Ok(self.file)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let compressed = self.encoder.compress_vec(&self.block)?;
        if self.framing == Framing::Hadoop {
            self.file.extend_from_slice(&length(self.block.len())?);
        }
        self.file.extend_from_slice(&length(compressed.len())?);
        self.file.extend_from_slice(&compressed);
        self.block.clear();
        Ok(())
    }
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    u32::try_from(bytes).map(u32::to_be_bytes).map_err(io::Error::other)
}

impl Write for SnappyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.framing.block_bytes() - self.block.len();
        let taken = bytes.len().min(room);
        self.block.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.end_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

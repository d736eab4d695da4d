//! Walks through a log file and tells what is in it: records that are whole, places that are damaged, and where records begin.
//! It must find a record behind any damage that leaves the record itself whole.

use std::io::{self, Read};

use super::framing::{BLOCK_BYTES, Fragment, Framing};

/// Blocks that are read at once.
const READ_BLOCKS: usize = 32;

/// What is found, in the order of the file. Places are bytes from its beginning.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A record begins whole: `head` is as much of it as its first fragment holds.
    Begins { at: u64, head: &'a [u8] },
    /// A record is whole to its end.
    Record { at: u64, record: &'a [u8] },
    /// What should follow here does not check.
    Damaged { at: u64, reason: &'static str },
    /// A record whose fragments have their lengths but not all of them their check sum, as it stands in the file.
    Suspect { record: &'a [u8] },
    /// The zeros before a block's end are none; only RocksDB minds, and it stops there.
    Padding { at: u64 },
}

/// A walk through one file.
pub(super) struct Walk<'a> {
    framing: Framing,
    number: u64,
    visit: &'a mut dyn FnMut(Found<'_>),
    /// Where the block at hand begins.
    block_at: u64,
    /// The record at hand: where it began, and its fragments so far.
    open: Option<Open>,
    /// What is gathered for it; kept for its memory.
    record: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    at: u64,
    is_intact: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(framing: Framing, number: u64, visit: &'a mut dyn FnMut(Found<'_>)) -> Self {
        Self { framing, number, visit, block_at: 0, open: None, record: Vec::new() }
    }

    /// Walks through all of it, to the end of the file and not of the log: a log's end may be damage.
    pub(super) fn run(mut self, mut file: impl Read) -> io::Result<()> {
        let mut chunk = vec![0; READ_BLOCKS * BLOCK_BYTES];
        loop {
            let read = read_full(&mut file, &mut chunk)?;
            for block in chunk[..read].chunks(BLOCK_BYTES) {
                self.block(block);
                self.block_at += block.len() as u64;
            }
            if read < chunk.len() {
                return Ok(());
            }
        }
    }

    fn block(&mut self, block: &[u8]) {
        let mut at = 0;
        while block.len() - at >= self.framing.header_bytes() {
            match self.framing.fragment(block, at, self.number) {
                Ok(fragment) if fragment.is_intact => {
                    self.fragment(block, at, fragment);
                    at = fragment.payload.1;
                }
                Ok(fragment) if self.has_length(block, fragment) => {
                    self.damaged(at, "its check sum is another");
                    self.fragment(block, at, fragment);
                    at = fragment.payload.1;
                }
                found => {
                    self.damaged(at, found.err().unwrap_or("its check sum is another"));
                    self.give_up();
                    match self.next_intact(block, at + 1) {
                        Some(next) => at = next,
                        None => return,
                    }
                }
            }
        }
        // RocksDB takes seven bytes or more for a header, and minds what is in them.
        if block.len() == BLOCK_BYTES && block.len() - at >= 7 && block[at..].iter().any(|byte| *byte != 0) {
            (self.visit)(Found::Padding { at: self.block_at + at as u64 });
        }
    }

    /// Whether a fragment that does not check has the right length all the same: what follows it is in its place.
    fn has_length(&self, block: &[u8], fragment: Fragment) -> bool {
        let end = fragment.payload.1;
        BLOCK_BYTES - end < self.framing.header_bytes()
            || self.framing.fragment(block, end, self.number).is_ok_and(|next| next.is_intact)
    }

    /// The first place from `from` on where a fragment of this log is whole.
    fn next_intact(&self, block: &[u8], from: usize) -> Option<usize> {
        let is_intact = |at: usize| self.framing.fragment(block, at, self.number).is_ok_and(|found| found.is_intact);
        self.framing.places(block, from, self.number).find(|at| is_intact(*at))
    }

    fn fragment(&mut self, block: &[u8], at: usize, fragment: Fragment) {
        let at = self.block_at + at as u64;
        let payload = &block[fragment.payload.0..fragment.payload.1];
        if fragment.kind.begins() {
            if self.open.is_some() {
                (self.visit)(Found::Damaged { at, reason: "the record before it has no end" });
            }
            self.record.clear();
            self.open = Some(Open { at, is_intact: fragment.is_intact });
            if fragment.is_intact {
                (self.visit)(Found::Begins { at, head: payload });
            }
        }
        let Some(open) = &mut self.open else {
            (self.visit)(Found::Damaged { at, reason: "it continues a record that does not begin" });
            return;
        };
        open.is_intact &= fragment.is_intact;
        self.record.extend_from_slice(payload);
        if fragment.kind.ends() {
            let Open { at, is_intact } = *open;
            self.open = None;
            let record = &self.record;
            let found = if is_intact { Found::Record { at, record } } else { Found::Suspect { record } };
            (self.visit)(found);
        }
    }

    fn damaged(&mut self, at: usize, reason: &'static str) {
        (self.visit)(Found::Damaged { at: self.block_at + at as u64, reason });
    }

    fn give_up(&mut self) {
        self.open = None;
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

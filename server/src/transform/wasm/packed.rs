//! `transform-packed`: a batch as one list of bytes, and all of its outcomes as another, whose layout `transform.wit` tells.
//!
//! Nothing that the module says is believed: each position is looked up within the list, and what outputs take is counted
//! against the limit of a call even where they share bytes. Outputs are parts of the list, which is copied once.

use std::ops::Range;
use std::slice::ChunksExact;

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::{Instance, TypedFunc};

use super::CallLimits;
use super::call::{Failed, outputs, partition_key, reason};
use super::guest::Guest;
use crate::transform::{Input, Outcome, Output, PartitionKeys};

const HEAD_BYTES: usize = 8;
const RECORD_BYTES: usize = 40;
/// Behind each record's data.
const ROOM_BYTES: usize = 16;
const OUTCOME_BYTES: usize = 12;
const OUTPUT_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const FOOT_BYTES: usize = 12;

type Function<'a> = TypedFunc<(&'a [u8],), (Vec<u8>,)>;

pub(super) fn function<'a>(store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<Function<'a>> {
    instance.get_typed_func(store, "transform-packed")
}

pub(super) fn call(
    store: &mut Store<Guest>,
    instance: &Instance,
    limits: CallLimits,
    inputs: &[Input],
) -> Result<Vec<Outcome>, Failed> {
    let batch = pack(inputs)?;
    let transform = function(store, instance).map_err(Failed::host)?;
    let (answer,) = transform.call(store, (&batch,))?;
    unpack(&answer.into(), inputs.len(), limits.output_bytes_max).map_err(Failed::Answer)
}

/// A batch, as it is written.
struct Packing {
    bytes: Vec<u8>,
}

impl Packing {
    /// Sets four bytes of the tables.
    fn set(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// Appends bytes, and sets position and length of them.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        // That all of the batch fits 32 bits is made sure of before.
        self.set(at, self.bytes.len() as u32);
        self.set(at + 4, bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
    }

    fn put_keys(&mut self, at: usize, keys: &PartitionKeys) {
        if keys.is_empty() {
            return;
        }
        let table = self.bytes.len().next_multiple_of(4);
        let count = keys.iter().count();
        self.set(at, table as u32);
        self.set(at + 4, count as u32);
        self.bytes.resize(table + count * KEY_BYTES, 0);
        for (index, (name, value)) in keys.iter().enumerate() {
            self.put(table + index * KEY_BYTES, name.as_bytes());
            self.put(table + index * KEY_BYTES + 8, value.as_bytes());
        }
    }
}

fn pack(inputs: &[Input]) -> Result<Vec<u8>, Failed> {
    // An id has 42 digits and colons at most, and a table may begin three bytes later.
    let of = |input: &Input| {
        let keys = input.partition_keys.bytes();
        RECORD_BYTES + 56 + input.partition_key.len() + input.data.len() + ROOM_BYTES + keys
    };
    let bytes_max = inputs.iter().map(of).fold(HEAD_BYTES, usize::saturating_add);
    if u32::try_from(bytes_max).is_err() {
        return Err(Failed::host(format_args!("{bytes_max} bytes of records do not fit the memory of a module")));
    }
    let mut packing = Packing { bytes: Vec::with_capacity(bytes_max) };
    packing.bytes.resize(HEAD_BYTES + inputs.len() * RECORD_BYTES, 0);
    packing.set(0, inputs.len() as u32);
    for (index, input) in inputs.iter().enumerate() {
        let at = HEAD_BYTES + index * RECORD_BYTES;
        let id = packing.bytes.len();
        input.put_id(&mut packing.bytes);
        packing.set(at, id as u32);
        packing.set(at + 4, (packing.bytes.len() - id) as u32);
        packing.bytes[at + 8..at + 16].copy_from_slice(&input.origin.arrival_time.as_millis().to_le_bytes());
        packing.put(at + 16, partition_key(input)?.as_bytes());
        packing.put(at + 24, &input.data);
        packing.bytes.extend_from_slice(&[0; ROOM_BYTES]);
        packing.put_keys(at + 32, &input.partition_keys);
    }
    debug_assert!(packing.bytes.len() <= bytes_max, "what was counted holds what was packed");
    Ok(packing.bytes)
}

/// A module's answer, of which nothing is believed.
struct Answer<'a> {
    bytes: &'a Bytes,
    /// The position of the first byte.
    base: u32,
    /// How many bytes outcomes may take still.
    left: usize,
}

/// What the module gave as a record's case, with a table or bytes.
enum Case {
    Ok([u32; 2]),
    Dropped,
    Failed([u32; 2]),
}

fn unpack(bytes: &Bytes, count: usize, bytes_max: usize) -> Result<Vec<Outcome>, String> {
    let foot = bytes.len().checked_sub(FOOT_BYTES).ok_or("its answer ends before its foot")?;
    let [base, _] = pair(bytes, foot);
    let outcomes = pair(bytes, foot + 4);
    if outcomes[1] as usize != count {
        return Err(format!("it gave {} outcomes for {count} records", outcomes[1]));
    }
    let mut answer = Answer { bytes, base, left: bytes_max };
    answer.table(outcomes, OUTCOME_BYTES)?.map(|entry| answer.outcome(entry)).collect()
}

impl<'a> Answer<'a> {
    fn outcome(&mut self, entry: &[u8]) -> Result<Outcome, String> {
        let made = match case(entry)? {
            Case::Ok(table) => {
                let mut entries = self.table(table, OUTPUT_BYTES)?;
                match (entries.len(), entries.next()) {
                    (1, Some(only)) => self.output(only)?.map(Outcome::One),
                    (_, first) => {
                        let all = first.into_iter().chain(entries);
                        all.map(|entry| self.output(entry)).collect::<Result<Result<_, _>, _>>()?.and_then(outputs)
                    }
                }
            }
            Case::Dropped => Ok(Outcome::Dropped),
            Case::Failed(words) => Err(reason(self.text(words)?)),
        };
        Ok(made.unwrap_or_else(|reason| Outcome::Failed(reason.into())))
    }

    /// An output, or why its record fails; the outer error is the call's.
    fn output(&mut self, entry: &[u8]) -> Result<Result<Output, String>, String> {
        let data = self.range(pair(entry, 0))?;
        self.take(size_of::<Output>() + data.len())?;
        let data = self.bytes.slice(data);
        let keys = pair(entry, 8);
        if keys[1] == 0 {
            return Ok(Ok(data.into()));
        }
        let pairs = self.table(keys, KEY_BYTES)?.map(|key| {
            self.take(KEY_BYTES)?;
            Ok((self.text(pair(key, 0))?.to_owned(), self.text(pair(key, 8))?.to_owned()))
        });
        let pairs: Vec<_> = pairs.collect::<Result<_, String>>()?;
        Ok(PartitionKeys::new(pairs).map(|partition_keys| Output { data, partition_keys }))
    }

    /// The entries of a table.
    fn table(&self, [position, len]: [u32; 2], entry_bytes: usize) -> Result<ChunksExact<'a, u8>, String> {
        let bytes = u32::try_from(len as usize * entry_bytes).unwrap_or(u32::MAX);
        let range = self.range([position, bytes])?;
        Ok(self.bytes[range].chunks_exact(entry_bytes))
    }

    fn text(&mut self, at: [u32; 2]) -> Result<&'a str, String> {
        let range = self.range(at)?;
        self.take(range.len())?;
        std::str::from_utf8(&self.bytes[range]).map_err(|error| format!("it gave text that is no utf-8: {error}"))
    }

    fn range(&self, [position, len]: [u32; 2]) -> Result<Range<usize>, String> {
        let start = if len == 0 { Some(0) } else { position.checked_sub(self.base) };
        let range = start.map(|start| start as usize..start as usize + len as usize);
        range.filter(|range| range.end <= self.bytes.len()).ok_or_else(|| {
            let bytes = self.bytes.len();
            format!("it gave {len} bytes at {position}, which its answer of {bytes} bytes has not")
        })
    }

    /// Counts what is about to be made.
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or("it gave more bytes than a call may give")?;
        Ok(())
    }
}

fn case(entry: &[u8]) -> Result<Case, String> {
    match entry[0] {
        0 => Ok(Case::Ok(pair(entry, 4))),
        1 => Ok(Case::Dropped),
        2 => Ok(Case::Failed(pair(entry, 4))),
        other => Err(format!("it gave an outcome of the unknown case {other}")),
    }
}

/// Two numbers, where an entry is known to have them.
fn pair(entry: &[u8], at: usize) -> [u32; 2] {
    let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
    [word(at), word(at + 4)]
}

#[cfg(test)]
mod tests;

//! Reads the input on its own thread: lines become records there, while others are under way.

use std::io;

use millrace_client::PutRecord;
use tokio::sync::mpsc;

use super::key::Keys;
use super::lines::{Input, Line, Lines};

/// Records handed over at a time, and how many such groups may wait.
const GROUP_RECORDS: usize = 500;
const GROUP_BYTES: usize = 1 << 20;
const GROUPS_MAX: usize = 4;

/// What the reader hands over.
pub(super) enum Read {
    /// Records with their line numbers.
    Records(Vec<(u64, PutRecord)>),
    /// A line over the record limit; it was skipped.
    TooLong { number: u64, bytes: u64 },
    /// The input broke off; nothing follows.
    Broken(io::Error),
    /// The end of the input, with how many lines lacked the key's field.
    End { without_field: u64 },
}

/// Starts the thread; it ends with the input, or when the receiver is dropped.
pub(super) fn start(input: Input, keys: Keys, line_bytes_max: usize) -> mpsc::Receiver<Read> {
    let (sender, receiver) = mpsc::channel(GROUPS_MAX);
    // Not awaited: a read from a terminal or a pipe may never return.
    std::thread::spawn(move || {
        // A send fails when nobody wants more.
        let _ = read(input, keys, line_bytes_max, &sender);
    });
    receiver
}

fn read(
    input: Input,
    mut keys: Keys,
    line_bytes_max: usize,
    sender: &mpsc::Sender<Read>,
) -> Result<(), mpsc::error::SendError<Read>> {
    let mut group = Vec::with_capacity(GROUP_RECORDS);
    let mut bytes = 0;
    for line in Lines::new(input.reader, line_bytes_max) {
        match line {
            Ok(Line::Text { number, data }) => {
                bytes += data.len();
                group.push((number, PutRecord::new(keys.key(&data), data)));
            }
            Ok(Line::TooLong { number, bytes }) => sender.blocking_send(Read::TooLong { number, bytes })?,
            Err(error) => {
                sender.blocking_send(Read::Records(group))?;
                return sender.blocking_send(Read::Broken(error));
            }
        }
        if group.len() == GROUP_RECORDS || bytes >= GROUP_BYTES {
            bytes = 0;
            sender.blocking_send(Read::Records(std::mem::replace(&mut group, Vec::with_capacity(GROUP_RECORDS))))?;
        }
    }
    sender.blocking_send(Read::Records(group))?;
    sender.blocking_send(Read::End { without_field: keys.without_field })
}

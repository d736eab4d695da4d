//! A batch: records with their tickets, in the order they were sent.

use millrace_proto::v1;
use tokio::time::Instant;

use super::fate::Ticket;
use crate::{Error, PutRecord, Result};

/// Counted on top of each record's bytes against the buffer, for what memory holds beside them.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// What a record takes of the buffer.
pub(super) fn cost(record: &PutRecord) -> usize {
    record.size_bytes() + RECORD_OVERHEAD_BYTES
}

#[derive(Debug)]
pub(super) struct Batch {
    records: Vec<v1::PutRecord>,
    tickets: Vec<Ticket>,
    bytes: usize,
    /// The lowest sequence number within, for flushing.
    first_seq: u64,
    /// When the oldest record within was accepted.
    begun: Instant,
}

/// One record of a batch whose fate is open.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: v1::PutRecord,
    pub(super) ticket: Ticket,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.record.data.len() + self.record.partition_key.len()
    }

    fn cost(&self) -> usize {
        self.bytes() + RECORD_OVERHEAD_BYTES
    }
}

impl Batch {
    pub(super) fn new(first_seq: u64, begun: Instant) -> Self {
        Self { records: Vec::new(), tickets: Vec::new(), bytes: 0, first_seq, begun }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.records.push(entry.record);
        self.tickets.push(entry.ticket);
    }

    /// Takes another batch's records in behind its own.
    pub(super) fn append(&mut self, mut other: Self) {
        self.records.append(&mut other.records);
        self.tickets.append(&mut other.tickets);
        self.bytes += other.bytes;
        self.first_seq = self.first_seq.min(other.first_seq);
        self.begun = self.begun.min(other.begun);
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// What its records take of the buffer.
    pub(super) fn cost(&self) -> usize {
        self.bytes + self.len() * RECORD_OVERHEAD_BYTES
    }

    /// The batch on the wire; the batch keeps its records for a retry, and the data itself is shared.
    pub(super) fn request(&self, stream: &str) -> v1::PutRequest {
        v1::PutRequest { stream: stream.to_owned(), records: self.records.clone(), ..v1::PutRequest::default() }
    }

    /// Fails every record; gives what they took of the buffer.
    pub(super) fn fail(self, error: &Error) -> usize {
        let cost = self.cost();
        for ticket in self.tickets {
            ticket.settle(Err(error.clone()));
        }
        cost
    }

    /// Sorts the records by their results: `decide` settles one by returning its fate, or keeps it for a retry.
    /// Gives what the settled ones took of the buffer, and the batch of those to retry.
    ///
    /// The caller has checked that there is a result for each record.
    pub(super) fn settle(
        self,
        results: Vec<v1::PutResult>,
        mut decide: impl FnMut(v1::PutResult) -> Option<Result<crate::Placed>>,
    ) -> (usize, Self) {
        let mut retry = Self::new(self.first_seq, self.begun);
        let mut freed = 0;
        for ((record, ticket), result) in self.records.into_iter().zip(self.tickets).zip(results) {
            let entry = Entry { record, ticket };
            match decide(result) {
                Some(fate) => {
                    freed += entry.cost();
                    entry.ticket.settle(fate);
                }
                None => retry.push(entry),
            }
        }
        (freed, retry)
    }
}

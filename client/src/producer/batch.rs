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
    /// `None` where a record is settled, and stays because the batch is sent again as it is.
    tickets: Vec<Option<Ticket>>,
    /// What each record takes of the buffer.
    costs: Vec<usize>,
    bytes: usize,
    /// The lowest sequence number within, for flushing.
    first_seq: u64,
    /// When the oldest record within was accepted.
    begun: Instant,
    /// Its name, from its first sending on. The records must not change under it.
    name: Option<Name>,
    /// Whether it was sent and may have been stored.
    unknown: bool,
}

/// The name of a batch among those of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) producer: u64,
    pub(super) sequence: u64,
    pub(super) first_sent: Instant,
}

/// What a result means for its record.
#[derive(Debug)]
pub(super) enum Verdict {
    Settled(Result<crate::Placed>),
    /// It was not stored; it goes into another batch.
    Again,
    /// Whether it was stored is not known; its whole batch is sent again under its name.
    SameAgain,
}

/// One record of a batch whose fate is open.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: v1::PutRecord,
    pub(super) ticket: Ticket,
    /// What it takes of the buffer.
    cost: usize,
}

impl Entry {
    pub(super) fn new(record: PutRecord, ticket: Ticket) -> Self {
        let cost = cost(&record);
        Self { record: record.into(), ticket, cost }
    }

    /// One record in place of several, whose fate is theirs and which takes what they took.
    pub(super) fn together(record: v1::PutRecord, parts: Vec<Self>) -> Self {
        let cost = parts.iter().map(|part| part.cost).sum();
        Self { record, ticket: Ticket::Many(parts.into_iter().map(|part| part.ticket).collect()), cost }
    }

    pub(super) fn bytes(&self) -> usize {
        self.record.data.len() + self.record.partition_key.len()
    }
}

impl Batch {
    pub(super) fn new(first_seq: u64, begun: Instant) -> Self {
        let (records, tickets, costs) = (Vec::new(), Vec::new(), Vec::new());
        Self { records, tickets, costs, bytes: 0, first_seq, begun, name: None, unknown: false }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.records.push(entry.record);
        self.tickets.push(Some(entry.ticket));
        self.costs.push(entry.cost);
    }

    /// Takes another batch's records in behind its own.
    pub(super) fn append(&mut self, mut other: Self) {
        self.records.append(&mut other.records);
        self.tickets.append(&mut other.tickets);
        self.costs.append(&mut other.costs);
        self.bytes += other.bytes;
        self.first_seq = self.first_seq.min(other.first_seq);
        self.begun = self.begun.min(other.begun);
        self.unknown |= other.unknown;
    }

    /// Names it, if it has no name.
    pub(super) fn name(&mut self, name: impl FnOnce() -> Option<Name>) {
        if self.name.is_none() {
            self.name = name();
        }
    }

    pub(super) const fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Notes that it may have been stored.
    pub(super) fn set_unknown(&mut self) {
        self.unknown = true;
    }

    pub(super) const fn is_unknown(&self) -> bool {
        self.unknown
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
        self.costs.iter().sum()
    }

    /// The batch on the wire; the batch keeps its records for a retry, and the data itself is shared.
    pub(super) fn request(&self, stream: &str) -> v1::PutRequest {
        let (stream, records) = (stream.to_owned(), self.records.clone());
        let Some(name) = self.name else { return v1::PutRequest { stream, records, ..v1::PutRequest::default() } };
        let age_ms = u64::try_from(name.first_sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        v1::PutRequest {
            stream,
            records,
            producer_id: name.producer,
            sequence: name.sequence,
            // A first try has no age.
            sequence_age_ms: if self.unknown { age_ms.max(1) } else { 0 },
            expect: None,
        }
    }

    /// Fails every record; gives what they took of the buffer.
    pub(super) fn fail(self, error: &Error) -> usize {
        let cost = self.cost();
        for ticket in self.tickets.into_iter().flatten() {
            ticket.settle(Err(error.clone()));
        }
        cost
    }

    /// Sorts the records by their results, as `decide` says. Gives what the batch gives back of the buffer, and the batch to
    /// send again: of those records alone that were not stored, or of all where that is not known of one.
    ///
    /// The caller has checked that there is a result for each record.
    pub(super) fn settle(
        mut self,
        results: Vec<v1::PutResult>,
        mut decide: impl FnMut(v1::PutResult) -> Verdict,
    ) -> (usize, Self) {
        // What was settled by an earlier answer has its fate already.
        let decided = |(ticket, result): (&Option<Ticket>, _)| ticket.as_ref().map(|_| decide(result));
        let verdicts: Vec<_> = self.tickets.iter().zip(results).map(decided).collect();
        if verdicts.iter().any(|verdict| matches!(verdict, Some(Verdict::SameAgain))) {
            for (ticket, verdict) in self.tickets.iter_mut().zip(verdicts) {
                if let Some(Verdict::Settled(fate)) = verdict
                    && let Some(ticket) = ticket.take()
                {
                    ticket.settle(fate);
                }
            }
            self.unknown = true;
            return (0, self);
        }
        let mut retry = Self::new(self.first_seq, self.begun);
        let mut freed = self.cost();
        let entries = self.records.into_iter().zip(self.tickets).zip(self.costs);
        for (((record, ticket), cost), verdict) in entries.zip(verdicts) {
            match (ticket, verdict) {
                (Some(ticket), Some(Verdict::Settled(fate))) => ticket.settle(fate),
                (Some(ticket), _) => retry.push(Entry { record, ticket, cost }),
                (None, _) => {}
            }
        }
        freed -= retry.cost();
        (freed, retry)
    }

    /// How many of its records have no fate yet.
    pub(super) fn open(&self) -> usize {
        self.tickets.iter().flatten().map(Ticket::count).sum()
    }

    /// Its records, where none of them is settled.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        let entries = self.records.into_iter().zip(self.tickets).zip(self.costs);
        entries.filter_map(|((record, ticket), cost)| Some(Entry { record, ticket: ticket?, cost }))
    }
}

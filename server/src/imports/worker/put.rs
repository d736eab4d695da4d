//! One chunk into the stream, once, however often it is tried: under the import's producer and the chunk's sequence.
//!
//! What is stored is not sent again. Where the log has forgotten the producer, what it knew when the process opened decides.

use std::time::Duration;

use millrace_storage::lake::import::{Chunk, ImportRecord};
use millrace_storage::log::ProducerSequence;
use millrace_storage::time::Timestamp;

use super::{Halt, Worker};
use crate::error::{Error, Kind, Result};
use crate::imports::entry::Declared;
use crate::streams::{Put, PutConditions, PutFailure, PutFailureKind, PutRecord, PutResult, StreamName};

/// A chunk's age is never told as nothing once it may have been sent.
const AGE_MIN: Duration = Duration::from_millis(1);

/// What one attempt left.
#[derive(Debug, Default)]
struct Left {
    /// Records that are to be sent again.
    again: Vec<PutRecord>,
    /// Records that the log certainly had not stored, of which it has forgotten the sequence: they are sent as new.
    new: Vec<PutRecord>,
    /// Why, and when to try again.
    failure: Option<(String, Duration)>,
    /// What cannot succeed.
    refused: Option<String>,
}

impl Worker {
    /// Puts a chunk's records; the inner error is of the object, in words.
    pub(super) async fn put(&self, declared: &Declared, chunk: &Chunk) -> Result<Result<(), String>, Halt> {
        let record = |record: &ImportRecord| PutRecord {
            partition_key: record.partition_key.clone(),
            explicit_hash_key: None,
            data: record.data.clone(),
        };
        let records = chunk.records.iter().map(record).collect();
        self.put_records(declared, records, self.former.as_ref().map(|former| former.since)).await
    }

    /// Puts records that were perhaps sent at a time before.
    async fn put_records(
        &self,
        declared: &Declared,
        mut records: Vec<PutRecord>,
        mut sent_at: Option<Timestamp>,
    ) -> Result<Result<(), String>, Halt> {
        let mut streak = self.streak();
        loop {
            let age = sent_at.map_or(Duration::ZERO, age_of);
            sent_at.get_or_insert_with(Timestamp::now);
            let left = match self.attempt(declared, records.clone(), age).await {
                Ok(results) => self.sort(records, results),
                // What is no matter of quota or of the moment ends the run, and the object stays open.
                Err(error) if !error.is_retryable() => return Err(Halt::Failed(error)),
                Err(error) => {
                    let failure = Some((error.to_string(), wait_of(&error)));
                    Left { again: records, failure, ..Left::default() }
                }
            };
            if let Some(words) = left.refused {
                return Ok(Err(words));
            }
            if !left.new.is_empty() {
                match Box::pin(self.put_records(declared, left.new, None)).await? {
                    Ok(()) => {}
                    Err(words) => return Ok(Err(words)),
                }
            }
            records = left.again;
            if records.is_empty() {
                self.recovered(&mut streak);
                return Ok(Ok(()));
            }
            let (words, wait) = left.failure.unwrap_or_default();
            self.failed(&mut streak, &format!("putting into {}", declared.spec.stream), &words, wait).await?;
        }
    }

    async fn attempt(&self, declared: &Declared, records: Vec<PutRecord>, age: Duration) -> Result<Vec<PutResult>> {
        let stream = StreamName::any(&declared.spec.stream)?;
        let payer = self.parts.payer(&declared.owner, &declared.spec.stream)?;
        let position = self.ledger.position();
        if self.parts.streams.get(&stream)?.id().0 != position.stream_id {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format_args!(
                    "stream {stream} is another one than when the import was declared; delete and declare it again"
                ),
            ));
        }
        let producer = ProducerSequence { producer: position.producer, sequence: position.next_sequence, age };
        let bytes = records.iter().map(PutRecord::size).sum::<u64>();
        let place = self.parts.streams.enter(&stream, usize::try_from(bytes).unwrap_or(usize::MAX)).await?;
        let conditions = PutConditions { producer: Some(producer), expect: None };
        let put = Put { records, conditions };
        Ok(self.parts.streams.begin_put_for(payer, &stream, put, place).await?.durable().await)
    }

    fn sort(&self, records: Vec<PutRecord>, results: Vec<PutResult>) -> Left {
        let mut left = Left::default();
        for (record, result) in records.into_iter().zip(results) {
            match result {
                Ok(placed) => self.metrics.known.inc_by(u64::from(placed.duplicate)),
                Err(failure) if self.had(&failure) => self.metrics.known.inc(),
                Err(failure) if self.is_final(&failure) => left.refused = Some(failure.message),
                Err(failure) if failure.kind == PutFailureKind::SequenceTooOld => left.new.push(record),
                Err(failure) => {
                    left.again.push(record);
                    left.failure.get_or_insert_with(|| (failure.message, retry_after(&failure.kind)));
                }
            }
        }
        left
    }

    /// Whether the shard had the sequence when the process opened, although it forgot it since.
    fn had(&self, failure: &PutFailure) -> bool {
        let stored = |former: &super::Former| failure.shard.is_some_and(|shard| former.stored.contains(&shard));
        failure.kind == PutFailureKind::SequenceTooOld && self.former.as_ref().is_some_and(stored)
    }

    fn is_final(&self, failure: &PutFailure) -> bool {
        match failure.kind {
            PutFailureKind::Invalid | PutFailureKind::SequenceReused | PutFailureKind::ExpectationFailed { .. } => true,
            // Nobody knows whether it was stored: it is not put once more.
            PutFailureKind::SequenceTooOld => {
                let former = self.former.as_ref();
                former.is_none_or(|former| failure.shard.is_none_or(|shard| former.unknown.contains(&shard)))
            }
            PutFailureKind::Throttled { .. }
            | PutFailureKind::Unavailable
            | PutFailureKind::DiskFull { .. }
            | PutFailureKind::StreamFull { .. } => false,
        }
    }
}

/// How long ago a chunk may first have been sent; never nothing.
pub(super) fn age_of(at: Timestamp) -> Duration {
    let millis = Timestamp::now().as_millis().saturating_sub(at.as_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).max(AGE_MIN)
}

fn wait_of(error: &Error) -> Duration {
    match error.kind() {
        Kind::Throttled { retry_after } | Kind::Exhausted { retry_after, .. } => *retry_after,
        _ => Duration::ZERO,
    }
}

const fn retry_after(kind: &PutFailureKind) -> Duration {
    match kind {
        PutFailureKind::Throttled { retry_after }
        | PutFailureKind::DiskFull { retry_after }
        | PutFailureKind::StreamFull { retry_after } => *retry_after,
        _ => Duration::ZERO,
    }
}

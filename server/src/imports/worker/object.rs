//! One object, chunk by chunk: set aside what is bad, put the rest, note how far it is.

use std::sync::Arc;
use std::time::Duration;

use millrace_storage::lake::import::{
    Again, Chunk, Read, ReadError, ReadOptions, Source, SourceObject, read, write_bad_rows,
};
use millrace_storage::meta::keys::import::{ImportObjectKey, ImportObjectState, ImportObjectValue};
use tokio::time::Instant;

use super::retry::Streak;
use super::run::Found;
use super::{Halt, Worker};
use crate::error::{Error, Kind};
use crate::imports::BAD_ROWS_FOLDER;
use crate::imports::entry::Declared;
use crate::imports::ledger::{Added, Aside, begun, behind, ended, mark_of};
use crate::imports::spec::OnBadRow;
use crate::streams::StreamName;

/// An object as it is being read.
struct Reading<'a> {
    declared: &'a Declared,
    object: &'a SourceObject,
    key: ImportObjectKey,
    value: ImportObjectValue,
    options: Arc<ReadOptions>,
    /// Where it holds rows that were set aside.
    aside: Option<&'a Aside>,
}

/// An object that holds rows which were set aside, and how they are taken up where none of it was yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taking<'a> {
    pub(super) aside: &'a Aside,
    pub(super) again: Again,
}

/// What became of a chunk.
enum Fate {
    Stored,
    /// The object is to be given up.
    GivenUp(String),
}

impl Worker {
    /// Imports an object from where it is on. What is wrong with the object is noted with it, and the run goes on.
    pub(super) async fn import_object(
        &mut self,
        source: &Source,
        declared: &Declared,
        object: &SourceObject,
        known: Option<ImportObjectValue>,
        taking: Option<Taking<'_>>,
        found: &mut Found,
    ) -> Result<(), Halt> {
        let mut reading = self.reading(declared, object, known, taking)?;
        if !self.ledger.is_current(&reading.key) {
            let mut streak = self.streak();
            while let Err(error) = self.ledger.take_up(&reading.key, &reading.value).await {
                self.failed(&mut streak, "taking up an object", &error, Duration::ZERO).await?;
            }
            self.recovered(&mut streak);
        }
        self.show(|_| {});
        let mut streak = self.streak();
        loop {
            let error = match self.read_on(source, &mut reading, &mut streak).await? {
                Ok(()) => return Ok(()),
                Err(ReadError::Changed) => {
                    let words = self.changed_words(&reading.value);
                    return self.finish(reading, ImportObjectState::Changed, words).await;
                }
                Err(ReadError::Unreadable(words)) => {
                    return self.finish(reading, ImportObjectState::Failed, words).await;
                }
                Err(ReadError::Store(error)) => error,
            };
            if streak.attempts < u64::from(declared.spec.retries()) && error.is_retryable() {
                self.failed(&mut streak, &format!("reading {}", object.url), &error, Duration::ZERO).await?;
                continue;
            }
            let error = super::run::of_lake(error);
            if self.former.is_some() {
                // Its next chunk is perhaps in the stream: nothing else may take its sequence.
                return Err(Halt::Failed(error));
            }
            (found.left_open, found.last_error) = (found.left_open + 1, error.to_string());
            reading.value.error = error.to_string();
            return self.leave(&reading.key, &reading.value, reading.aside).await;
        }
    }

    /// How an object is read: as it was begun, where some of it is in the stream.
    fn reading<'a>(
        &self,
        declared: &'a Declared,
        object: &'a SourceObject,
        known: Option<ImportObjectValue>,
        taking: Option<Taking<'a>>,
    ) -> Result<Reading<'a>, Halt> {
        let key = self.ledger.key_of(object);
        let run = self.ledger.position().run.as_ref().map_or(0, |run| run.number);
        let begun_before = known.filter(|value| value.next_chunk > 0 || self.ledger.is_current(&key));
        let (value, options) = match begun_before {
            Some(value) => {
                let options = serde_json::from_str(&value.options_json).map_err(|error| {
                    Error::new(Kind::DataLoss, format_args!("how {} is read cannot be read: {error}", object.url))
                })?;
                let state = ImportObjectState::Open.into();
                (ImportObjectValue { state, run, error: String::new(), ended_at_ms: 0, ..value }, options)
            }
            None => {
                let again = taking.map(|taking| taking.again);
                let options = ReadOptions { again, ..self.options(declared)? };
                (begun(object, &options, run), options)
            }
        };
        let aside = taking.map(|taking| taking.aside);
        Ok(Reading { declared, object, key, value, options: Arc::new(options), aside })
    }

    /// How objects are read that are begun now.
    fn options(&self, declared: &Declared) -> Result<ReadOptions, Halt> {
        let spec = &declared.spec;
        let stream = self.parts.streams.get(&StreamName::any(&spec.stream)?)?;
        let (limits, own) = (self.parts.streams.settings(), &self.parts.settings);
        let bytes_max = limits.put_bytes_max.as_u64();
        Ok(ReadOptions {
            format: spec.format,
            compression: spec.compression,
            csv: spec.csv_options(),
            partition_key: spec.partition_key.clone(),
            partition_key_chars_max: limits.partition_key_chars_max,
            record_bytes_max: stream.spec().record_bytes_max.min(bytes_max),
            chunk_rows: own.chunk_rows_max.clamp(1, limits.put_records_max),
            chunk_bytes: own.chunk_bytes_max.as_u64().min(bytes_max),
            again: None,
        })
    }

    /// Reads the object from its mark to its end, unless something fails.
    async fn read_on(
        &mut self,
        source: &Source,
        reading: &mut Reading<'_>,
        streak: &mut Streak,
    ) -> Result<Result<(), ReadError>, Halt> {
        let (store, object) = (source.store().clone(), reading.object.clone());
        let mut reader = read(store, object, Arc::clone(&reading.options), mark_of(&reading.value));
        loop {
            let next = tokio::select! {
                biased;
                () = self.interrupted() => return Err(Halt::Stopped),
                next = reader.recv() => next,
            };
            match next {
                Some(Ok(Read::Chunk(chunk))) => {
                    self.recovered(streak);
                    if let Fate::GivenUp(words) = self.take(reading, chunk).await? {
                        return Ok(Err(ReadError::Unreadable(words)));
                    }
                }
                Some(Ok(Read::End { .. })) => {
                    self.recovered(streak);
                    let reading = Reading {
                        value: reading.value.clone(),
                        key: reading.key.clone(),
                        options: Arc::clone(&reading.options),
                        ..*reading
                    };
                    return self.finish(reading, ImportObjectState::Imported, String::new()).await.map(Ok);
                }
                Some(Err(error)) => return Ok(Err(error)),
                None => {
                    let words = "the reader ended without a word, which is a bug";
                    return Err(Halt::Failed(Error::new(Kind::Internal, words)));
                }
            }
        }
    }

    /// Takes a chunk: when this returns, it is in the stream, and noted.
    async fn take(&mut self, reading: &mut Reading<'_>, chunk: Chunk) -> Result<Fate, Halt> {
        // What was put before a crash, by another declaration, is not given up any more.
        let is_put = self.former.as_ref().is_some_and(|former| !former.stored.is_empty());
        let on_bad_row = reading.aside.map_or(reading.declared.spec.on_bad_row, |_| OnBadRow::SetAside);
        if let (OnBadRow::Fail, Some(bad), false) = (on_bad_row, chunk.bad.first(), is_put) {
            let words = format!(
                "row {}: {}: {}; the {} records of the rows before row {} are in the stream",
                bad.row,
                bad.cause.as_str(),
                bad.message,
                reading.value.records,
                chunk.start.rows + 1
            );
            return Ok(Fate::GivenUp(words));
        }
        let aside = self.set_aside(reading, &chunk).await?;
        let mut added = Added { set_aside: chunk.bad.len() as u64, ..Added::default() };
        if reading.aside.is_some() {
            added.replayed = chunk.next.rows - chunk.start.rows;
        }
        if !chunk.records.is_empty() {
            (added.records, added.bytes) = sizes(&chunk);
            self.wait_for_cap(reading.declared, added).await?;
            if let Err(words) = self.put(reading.declared, &chunk).await? {
                return Ok(Fate::GivenUp(format!("rows from {}: {words}", chunk.start.rows + 1)));
            }
        }
        self.former = None;
        let value = behind(&reading.value, chunk.next, added);
        let mut streak = self.streak();
        while let Err(error) = self.ledger.advance(&reading.key, &value, added, aside.as_deref()).await {
            self.failed(&mut streak, "noting how far the import is", &error, Duration::ZERO).await?;
        }
        self.recovered(&mut streak);
        reading.value = value;
        self.metrics.records.inc_by(added.records);
        self.metrics.bytes.inc_by(added.bytes);
        self.metrics.replayed.inc_by(added.replayed);
        chunk.bad.iter().for_each(|bad| self.metrics.set_aside(bad.cause.as_str()));
        self.show(|_| {});
        Ok(Fate::Stored)
    }

    /// Writes what is bad in a chunk, and gives the URL of the object that has it.
    async fn set_aside(&self, reading: &Reading<'_>, chunk: &Chunk) -> Result<Option<String>, Halt> {
        if chunk.bad.is_empty() {
            return Ok(None);
        }
        let spec = &reading.declared.spec;
        let mut streak = self.streak();
        let url = loop {
            let written =
                write_bad_rows(&self.parts.store, BAD_ROWS_FOLDER, &spec.name, &spec.stream, reading.object, chunk)
                    .await;
            match written {
                Ok(url) => break url,
                Err(error) => self.failed(&mut streak, "setting rows aside", &error, Duration::ZERO).await?,
            }
        };
        self.recovered(&mut streak);
        Ok(Some(url))
    }

    async fn wait_for_cap(&mut self, declared: &Declared, added: Added) -> Result<(), Halt> {
        let spec = &declared.spec;
        let now = Instant::now();
        self.pace.set(spec.records_per_second_max, spec.bytes_per_second_max.map(|size| size.as_u64()), now);
        let wait = self.pace.take(added.records, added.bytes, now);
        if wait.is_zero() {
            return Ok(());
        }
        self.metrics.waits.inc();
        tokio::select! {
            biased;
            () = self.interrupted() => Err(Halt::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    async fn finish(&mut self, reading: Reading<'_>, state: ImportObjectState, words: String) -> Result<(), Halt> {
        let outcome = match state {
            ImportObjectState::Imported => "imported",
            ImportObjectState::Changed => "changed",
            ImportObjectState::Failed | ImportObjectState::Open => "failed",
        };
        let (import, object, records) = (self.name(), &reading.object.url, reading.value.records);
        if words.is_empty() {
            tracing::debug!(import, object, records, "imported an object");
        } else {
            tracing::warn!(import, object, records, "an object {outcome}: {words}");
        }
        if reading.aside.is_none() {
            self.metrics.object_ended(outcome);
        }
        let value = ended(&reading.value, state, words);
        self.leave(&reading.key, &value, reading.aside).await
    }

    /// Notes that the worker is done with the current object.
    pub(super) async fn leave(
        &mut self,
        key: &ImportObjectKey,
        value: &ImportObjectValue,
        aside: Option<&Aside>,
    ) -> Result<(), Halt> {
        self.former = None;
        let mut streak = self.streak();
        while let Err(error) = self.ledger.leave(key, value, aside).await {
            self.failed(&mut streak, "noting what became of an object", &error, Duration::ZERO).await?;
        }
        self.recovered(&mut streak);
        self.show(|_| {});
        Ok(())
    }
}

fn sizes(chunk: &Chunk) -> (u64, u64) {
    let bytes = chunk.records.iter().map(|record| (record.partition_key.len() + record.data.len()) as u64).sum();
    (chunk.records.len() as u64, bytes)
}

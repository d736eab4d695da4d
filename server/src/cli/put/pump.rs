//! Carries records from the reader to the producer, no faster than asked, and their fates to the tally.

use std::io;
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use millrace_client::{Producer, PutRecord};
use tokio::sync::mpsc;

use super::reader::Read;
use super::tally::{Fate, Tally};

/// Why it stopped.
#[derive(Debug)]
pub(super) enum End {
    /// The input ended.
    Done,
    /// The input broke off.
    Broken(io::Error),
    /// The server refuses all that would follow.
    Hopeless,
    /// The user wants no more.
    Interrupted,
}

pub(super) struct Pump {
    producer: Producer,
    tally: Tally,
    limiter: Option<DefaultDirectRateLimiter>,
    line_bytes_max: usize,
    random_keys: u64,
    /// Fates not handed to the tally yet; kept here, so that none is lost when `run` is dropped midway.
    fates: Vec<Fate>,
}

impl Pump {
    pub(super) fn new(producer: Producer, tally: Tally, rate: Option<NonZeroU32>, line_bytes_max: usize) -> Self {
        Self { producer, tally, limiter: rate.map(limiter), line_bytes_max, random_keys: 0, fates: Vec::new() }
    }

    /// Runs to the input's end. It may be dropped at any point: what was accepted is counted by [`Self::finish`].
    pub(super) async fn run(&mut self, mut reads: mpsc::Receiver<Read>) -> End {
        while let Some(read) = reads.recv().await {
            match read {
                Read::Records(records) => {
                    for (number, record) in records {
                        if self.tally.is_hopeless() || !self.put(number, record).await {
                            return End::Hopeless;
                        }
                    }
                    self.hand_over().await;
                }
                Read::TooLong { number, bytes } => {
                    let why = format!("{bytes} bytes are over the stream's limit of {}", self.line_bytes_max);
                    self.fates.push(Fate::Refused { number, why });
                }
                Read::Broken(error) => return End::Broken(error),
                Read::End { without_field } => self.random_keys = without_field,
            }
        }
        End::Done
    }

    async fn put(&mut self, number: u64, record: PutRecord) -> bool {
        if let Some(limiter) = &self.limiter {
            limiter.until_ready().await;
        }
        let bytes = record.data.len() as u64;
        match self.producer.send(record).await {
            Ok(fate) => self.fates.push(Fate::Sent { number, bytes, fate }),
            Err(error) => {
                self.fates.push(Fate::Refused { number, why: error.to_string() });
                return error.kind() != millrace_client::Kind::Closed;
            }
        }
        true
    }

    async fn hand_over(&mut self) {
        // Reserve first: fates must not be lost while it waits.
        self.tally.add(&mut self.fates).await;
    }

    /// Sends what was accepted, and ends the tally; gives the number of random keys in place of a field.
    pub(super) async fn finish(mut self) -> u64 {
        self.hand_over().await;
        // Failures are in the tally, with their lines.
        let _ = self.producer.close().await;
        self.random_keys
    }
}

/// A tenth of a second's records may go at once.
fn limiter(rate: NonZeroU32) -> DefaultDirectRateLimiter {
    let burst = NonZeroU32::new(rate.get() / 10).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
}

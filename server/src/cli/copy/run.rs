//! Carries a copy from where it is to its end.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backon::ExponentialBackoff;
use bytesize::ByteSize;
use millrace_client::proto::Shard;
use millrace_client::{BatchName, Client, Error, Position, PutRecord, Record};

use super::progress::{Progress, Range, Sending, ShardProgress};
use crate::cli::output::{count, remark};
use crate::cli::{Failure, Result};
use crate::retry::delays;

/// The most records of a batch: as many as a put takes.
const BATCH_RECORDS_MAX: u32 = 500;
/// A batch has no more records once it has so many bytes.
const BATCH_BYTES: usize = 2 << 20;
/// How often it is said how far the copy is.
const REMARK_INTERVAL: Duration = Duration::from_secs(5);
const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);

/// Finds what is to be copied: it ends where the shards end now.
pub(super) async fn begin(client: &Client, range: Range) -> Result<Progress> {
    let admin = client.admin();
    let source = admin.describe_stream(&range.source).await?;
    let _destination = admin.describe_stream(&range.destination).await?;
    let mut shards = BTreeMap::new();
    for Shard { shard, trim_offset, next_offset, .. } in source.shards {
        let next = match range.from_ms {
            None => trim_offset,
            Some(from_ms) => {
                let from = UNIX_EPOCH + Duration::from_millis(u64::try_from(from_ms).unwrap_or(0));
                let page = client.consumer().get_at_most(&range.source, shard, Position::Time(from), 1).await?;
                page.records.first().map_or(page.next_offset, |record| record.offset)
            }
        };
        let progress = ShardProgress {
            producer_id: rand::random_range(1..=u64::MAX),
            next: next.min(next_offset),
            end: next_offset,
            ..ShardProgress::default()
        };
        shards.insert(shard, progress);
    }
    Ok(Progress::new(range, shards))
}

/// A copy under way.
pub(super) struct Copy {
    client: Client,
    file: PathBuf,
    progress: Progress,
    pace: Pace,
    told_at: Instant,
}

impl Copy {
    /// Takes up the progress, and notes it.
    pub(super) fn new(client: Client, file: PathBuf, progress: Progress, pace: Pace) -> Result<Self> {
        progress.store(&file)?;
        Ok(Self { client, file, progress, pace, told_at: Instant::now() })
    }

    /// Copies all that is left; gives what was copied.
    pub(super) async fn run(mut self) -> Result<Progress> {
        // A shard's children have higher numbers than it has.
        let shards: Vec<u32> = self.progress.shards.keys().copied().collect();
        for shard in shards {
            while self.step(shard).await? {}
        }
        std::fs::remove_file(&self.file)
            .map_err(|error| Failure::new(format!("cannot remove {}: {error}", self.file.display())))?;
        Ok(self.progress)
    }

    /// Copies one batch of a shard; says whether there may be more.
    async fn step(&mut self, shard: u32) -> Result<bool> {
        let state = self.shard(shard).clone();
        if state.next >= state.end {
            return Ok(false);
        }
        let records = match state.sending {
            Some(Sending { upto, .. }) => self.read_again(shard, state.next, upto).await?,
            None => self.read(shard, state.next, state.end).await?,
        };
        let to_ms = self.progress.range.to_ms.unwrap_or(i64::MAX);
        let wanted: Vec<Record> =
            records.into_iter().take_while(|record| unix_ms(record.arrival_time) < to_ms).collect();
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            self.shard(shard).end = state.next;
            self.progress.store(&self.file)?;
            return Ok(false);
        };
        let (lost, upto) = (first.offset - state.next, last.offset + 1);
        if state.sending.is_none() {
            let state = self.shard(shard);
            (state.next, state.lost) = (first.offset, state.lost + lost);
            state.sending = Some(Sending { upto, first_sent_at_ms: unix_ms(SystemTime::now()) });
            self.progress.store(&self.file)?;
        }
        let records: Vec<PutRecord> =
            wanted.into_iter().map(|record| PutRecord::new(record.partition_key, record.data)).collect();
        let bytes = records.iter().map(PutRecord::size_bytes).sum::<usize>() as u64;
        let count = records.len() as u64;
        self.send(shard, records, state.sending.is_some()).await?;
        let state = self.shard(shard);
        (state.next, state.sequence, state.sending) = (upto, state.sequence + 1, None);
        (state.records, state.bytes) = (state.records + count, state.bytes + bytes);
        self.tell(shard);
        self.pace.wait(count, bytes).await;
        Ok(true)
    }

    fn shard(&mut self, shard: u32) -> &mut ShardProgress {
        self.progress.shards.entry(shard).or_default()
    }

    /// Records from an offset on, as many as make a batch.
    async fn read(&self, shard: u32, from: u64, end: u64) -> Result<Vec<Record>> {
        let mut delays = delays(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        let page = loop {
            let (source, consumer) = (&self.progress.range.source, self.client.consumer());
            let position = Position::Offset(from);
            match consumer.get_at_most(source, shard, position, BATCH_RECORDS_MAX).await {
                Ok(page) => break page,
                Err(error) if error.is_retryable() => pause(&error, &mut delays).await,
                Err(error) => return Err(error.into()),
            }
        };
        let mut bytes = 0;
        let fits = |record: &Record| {
            let fits = bytes < BATCH_BYTES && record.offset < end;
            bytes += record.data.len() + record.partition_key.len();
            fits
        };
        Ok(page.records.into_iter().take_while(fits).collect())
    }

    /// The records of a batch that may be stored already: the same ones.
    async fn read_again(&self, shard: u32, from: u64, upto: u64) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let next = records.last().map_or(from, |last| last.offset + 1);
            if next == upto {
                return Ok(records);
            }
            let page = self.read(shard, next, upto).await?;
            if page.first().is_none_or(|record| record.offset != next) {
                let words = format!(
                    "records of shard {shard} from offset {next} on were being copied when the copy was interrupted, and are past \
                     their retention now: nobody can tell which of them the destination has"
                );
                return Err(Failure::new(words));
            }
            records.extend(page);
        }
    }

    /// Sends a batch until all of it is stored.
    async fn send(&mut self, shard: u32, records: Vec<PutRecord>, mut is_again: bool) -> Result<()> {
        let destination = self.progress.range.destination.clone();
        let ShardProgress { producer_id, sequence, sending, .. } = *self.shard(shard);
        let first_sent_at_ms = sending.map_or(0, |sending| sending.first_sent_at_ms);
        let mut delays = delays(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        loop {
            let age = u64::try_from(unix_ms(SystemTime::now()) - first_sent_at_ms).unwrap_or(0);
            let age = is_again.then(|| Duration::from_millis(age.max(1)));
            let name = BatchName { producer_id, sequence: sequence + 1, age };
            match self.client.put_named(&destination, name, records.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() => pause(&error, &mut delays).await,
                Err(error) => return Err(error.into()),
            }
            is_again = true;
        }
    }

    fn tell(&mut self, shard: u32) {
        if self.told_at.elapsed() < REMARK_INTERVAL {
            return;
        }
        self.told_at = Instant::now();
        let records: u64 = self.progress.shards.values().map(|shard| shard.records).sum();
        let left: u64 = self.progress.shards.values().map(|shard| shard.end.saturating_sub(shard.next)).sum();
        remark(format!("shard {shard}: {} records copied, at most {} to go", count(records), count(left)));
    }
}

async fn pause(error: &Error, delays: &mut ExponentialBackoff) {
    let delay = delays.next().unwrap_or(RETRY_DELAY_MAX);
    tokio::time::sleep(error.retry_after().unwrap_or(delay)).await;
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// No faster than asked, over the whole of a run.
pub(super) struct Pace {
    records_per_second: Option<NonZeroU64>,
    bytes_per_second: Option<ByteSize>,
    began: Instant,
    records: u64,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(records_per_second: Option<NonZeroU64>, bytes_per_second: Option<ByteSize>) -> Self {
        Self { records_per_second, bytes_per_second, began: Instant::now(), records: 0, bytes: 0 }
    }

    /// Waits until the run may have copied so much more.
    async fn wait(&mut self, records: u64, bytes: u64) {
        (self.records, self.bytes) = (self.records + records, self.bytes + bytes);
        tokio::time::sleep(self.due().saturating_sub(self.began.elapsed())).await;
    }

    /// How long the run takes at least for what it copied.
    fn due(&self) -> Duration {
        let at =
            |done: u64, rate: Option<u64>| rate.filter(|rate| *rate > 0).map_or(0.0, |rate| done as f64 / rate as f64);
        let records = at(self.records, self.records_per_second.map(NonZeroU64::get));
        let bytes = at(self.bytes, self.bytes_per_second.map(|size| size.as_u64()));
        Duration::try_from_secs_f64(records.max(bytes)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_over_the_whole() {
        let mut pace = Pace::new(NonZeroU64::new(100), Some(ByteSize::kib(1)));
        (pace.records, pace.bytes) = (250, 512);
        assert_eq!(pace.due(), Duration::from_millis(2_500));
        pace.bytes = 4 << 10;
        assert_eq!(pace.due(), Duration::from_secs(4));
        let mut free = Pace::new(None, None);
        (free.records, free.bytes) = (u64::MAX, u64::MAX);
        assert_eq!(free.due(), Duration::ZERO);
    }
}

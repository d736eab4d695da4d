//! What is read next, and when: as much as the next batch has room for, each shard in its turn.

use std::ops::Bound;
use std::sync::Arc;

use futures::future::FutureExt;
use tokio::time::Instant;

use super::Session;
use crate::delivery::worker::progress::{Offsets, Wanted};
use crate::delivery::worker::reader::{Converting, Memory, ReadDone};

impl Session {
    /// Whether more may be read for the next batch.
    pub(super) fn has_room(&self) -> bool {
        let is_full = self.buffer.bytes_in >= self.declared.spec.buffer_size.as_u64();
        !is_full && !self.has_many_partitions() && !self.has_much_memory()
    }

    /// Whether the next batch holds what the delivery may, with as much left for the one that is written.
    pub(super) fn has_much_memory(&self) -> bool {
        let share = self.declared.spec.memory_max.map(|memory| memory.as_u64() / 2);
        share.is_some_and(|share| self.buffer.memory_bytes >= share)
    }

    /// Whether the next batch would be too many files with more records.
    pub(super) fn has_many_partitions(&self) -> bool {
        self.buffer.partitions.len() >= self.declared.spec.partitions_max() as usize
    }

    /// When time alone changes what is to be done.
    pub(super) fn next_look(&self, now: Instant, aims: &Wanted) -> Option<Instant> {
        let read_at =
            if self.reading.is_none() && self.has_room() { self.next_read(now, aims).map(|(at, _)| at) } else { None };
        let cut_at = if self.flight.is_none() && !self.buffer.chunks.is_empty() {
            self.buffer.since.map(|since| since + self.declared.spec.buffer_interval)
        } else {
            None
        };
        [read_at, cut_at].into_iter().flatten().min()
    }

    /// The shard to read next, and when.
    pub(super) fn next_read(&self, now: Instant, aims: &Wanted) -> Option<(Instant, usize)> {
        let interval = self.declared.spec.buffer_interval;
        let aged = self.buffer.since.is_some_and(|since| now >= since + interval);
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let order = self.waiting.range(after).chain(self.waiting.range(..=self.turn));
        let due = order.filter_map(|shard| {
            let index = self.index_of(*shard)?;
            let shard = &self.shards[index];
            if self.is_held_back(shard) {
                return None;
            }
            let aim = |aims: &Offsets| aims.get(&shard.key.shard).copied().unwrap_or_default();
            let upto = if aged { shard.next() } else { aim(&aims.flush).max(aim(&aims.convert)) };
            Some((shard.due_at(now, interval, upto)?, index))
        });
        due.min_by_key(|(at, _)| *at)
    }

    pub(super) fn read_when_due(&mut self, now: Instant, aims: &Wanted) {
        if self.reading.is_some() || !self.has_room() {
            return;
        }
        let Some((_, index)) = self.next_read(now, aims).filter(|(at, _)| *at <= now) else { return };
        let Some(converting) = self.converting.take() else { return };
        let shard = &self.shards[index];
        self.turn = shard.key.shard;
        if self.buffer.since.is_none() {
            self.buffer.since = shard.waiting_since;
        }
        let room = self.declared.spec.buffer_size.as_u64() - self.buffer.bytes_in;
        let bytes_max = shard.read_bytes().min(usize::try_from(room).unwrap_or(usize::MAX));
        let offsets = shard.read_to..shard.next();
        let reader = Arc::clone(&self.reader);
        self.reading = Some(reader.read(converting, shard.key, offsets, bytes_max, Memory::Wait).boxed());
    }

    /// Takes in what was read. Says whether the session can go on.
    pub(super) fn read(&mut self, done: ReadDone) -> bool {
        let Some(index) = self.index_of(done.shard) else { return false };
        let shard = &mut self.shards[index];
        self.converting = done.converting;
        let chunk = match done.chunk {
            Ok(chunk) => Arc::new(chunk),
            Err(error) => {
                let retry = &self.retry;
                shard.failed(|| retry.streak(format!("read shard {}", done.shard)), &error);
                return self.converting.is_some();
            }
        };
        shard.done(&chunk);
        self.watch(done.shard, Instant::now());
        self.buffer.bytes_in += chunk.totals.bytes_in;
        self.buffer.memory_bytes += chunk.reservation.bytes();
        self.buffer.partitions.extend(&chunk.partitions);
        self.buffer.chunks.push(Arc::clone(&chunk));
        self.buffer.schema = self.converting.as_ref().and_then(Converting::schema);
        self.held.push(Arc::clone(&chunk), self.buffer.schema.clone());
        self.member.set_cuttable(self.buffer.bytes_in.max(1));
        let (shard, end, buffered) = (chunk.shard, chunk.offsets.end, self.buffer.bytes_in);
        let partitions = self.buffer.partitions.len();
        self.retry.progress.send_modify(|progress| {
            progress.open_partitions = partitions;
            progress.converted.insert(shard, end);
            progress.buffered_bytes = buffered;
            progress.oldest_at = progress.oldest_at.or(chunk.oldest_at);
        });
        true
    }
}

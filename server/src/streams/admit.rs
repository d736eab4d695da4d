//! What a put passes before it is routed: its turn where the stream delays what is over quota, room on the disk, and room
//! in the stream. What is refused here was not stored; nothing here touches the log's queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytesize::ByteSize;

use super::conditions::Put;
use super::name::StreamName;
use super::put::{PutFailure, PutFailureKind, PutRecord, over_quota};
use super::quota::OverQuota;
use super::registry::Streams;
use super::room::Place;
use super::state::StreamState;
use crate::error::{Error, Result};

/// When to try again where the disk is full.
const DISK_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A put that may go on, as far as its records are not refused.
#[derive(Debug)]
pub(super) struct Admitted {
    /// By record, where quota was taken here or all are refused; else quota is still to be taken.
    pub(super) refused: Option<Vec<Option<PutFailure>>>,
    /// To be kept until the records are durable.
    pub(super) in_flight: Option<InFlight>,
}

/// Bytes of a put that is not yet durable, as they count towards what the stream holds.
#[derive(Debug)]
pub(super) struct InFlight {
    stream: Arc<StreamState>,
    bytes: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.stream.in_flight_bytes.fetch_sub(self.bytes, SeqCst);
    }
}

impl Streams {
    /// Waits for room for a put in flight: first in its stream's share, so that who waits there holds up no other stream,
    /// and then in what all share.
    ///
    /// # Errors
    /// Where the stream is missing.
    pub async fn enter(&self, stream: &StreamName, bytes: usize) -> Result<Place> {
        let share = self.get(stream)?.room.enter(bytes).await;
        Ok(share.within(self.room().enter(bytes).await))
    }

    /// As [`Self::enter`], where there is room now.
    ///
    /// # Errors
    /// Where the stream is missing, or it or all streams have too many bytes in flight.
    pub fn try_enter(&self, stream: &StreamName, bytes: usize) -> Result<Place> {
        let full = |limit: &'static str, of: &str, max: ByteSize| {
            self.metrics().rejected(limit, 1);
            Error::unavailable(format_args!("puts of {max}{of} are not yet durable, which is the limit; try again"))
        };
        let settings = self.settings();
        let share = self.get(stream)?.room.try_enter(bytes).ok_or_else(|| {
            let of = format!(" into stream {stream}");
            full("stream_in_flight_bytes_max", &of, settings.stream_in_flight_bytes_max)
        })?;
        let place = self.room().try_enter(bytes);
        let place = place.ok_or_else(|| full("put_in_flight_bytes_max", "", settings.put_in_flight_bytes_max))?;
        Ok(share.within(place))
    }

    /// Lets a put in, after its wait for quota where the stream delays.
    ///
    /// # Errors
    /// Where the stream is deleted, or the server closes, while the put waits.
    pub(super) async fn admit(&self, stream: &Arc<StreamState>, put: &Put) -> Result<Admitted> {
        let records = &put.records;
        let bytes = records.iter().map(PutRecord::size).sum::<u64>();
        let refused = match stream.spec().over_quota {
            OverQuota::Reject => None,
            OverQuota::Delay => Some(self.wait_for_quota(stream, put, bytes).await?),
        };
        let none = |limit: &'static str, kind: PutFailureKind, message: String| {
            self.metrics().rejected(limit, records.len() as u64);
            let failure = PutFailure { kind, message, shard: None };
            Admitted { refused: Some(vec![Some(failure); records.len()]), in_flight: None }
        };
        if let Err(full) = self.disk().map_or(Ok(()), |disk| disk.admit(bytes)) {
            let kind = PutFailureKind::DiskFull { retry_after: DISK_RETRY_AFTER };
            return Ok(none("disk_free_bytes_min", kind, full.to_string()));
        }
        match self.fits(stream, bytes) {
            Ok(in_flight) => Ok(Admitted { refused, in_flight: Some(in_flight) }),
            Err(message) => {
                let kind = PutFailureKind::StreamFull { retry_after: self.settings().retention_interval };
                Ok(none("stored_bytes_max", kind, message))
            }
        }
    }

    /// Counts a put as in flight, where the stream may hold it.
    fn fits(&self, stream: &Arc<StreamState>, bytes: u64) -> Result<InFlight, String> {
        let in_flight_before = stream.in_flight_bytes.fetch_add(bytes, SeqCst);
        let in_flight = InFlight { stream: Arc::clone(stream), bytes };
        let max = stream.spec().stored_bytes_max;
        if max == 0 {
            return Ok(in_flight);
        }
        let stored = self.log().stored_bytes(stream.id());
        if stored + in_flight_before + bytes <= max {
            return Ok(in_flight);
        }
        Err(format!(
            "stream {} holds {stored} bytes and has {in_flight_before} on their way, so a put of {bytes} is past its limit \
             of {max} (stored_bytes_max); raise it, shorten the retention, or let deliveries catch up",
            stream.name()
        ))
    }

    /// Takes quota for each record in order, and waits until it is there. Who takes first is served first, whatever the
    /// size: quota that a record waits for is already its own.
    async fn wait_for_quota(&self, stream: &StreamState, put: &Put, bytes: u64) -> Result<Vec<Option<PutFailure>>> {
        let place = self.delayed().try_enter(usize::try_from(bytes).unwrap_or(usize::MAX));
        let wait_max = if place.is_some() { self.settings().delay_time_max } else { Duration::ZERO };
        let (refused, wait) = self.take_quota(stream, put, wait_max);
        if wait.is_zero() {
            return Ok(refused);
        }
        stream.metrics.delays.observe(wait.as_secs_f64());
        tokio::select! {
            biased;
            () = stream.deleted.cancelled() => Err(stream.is_deleted()),
            () = self.stopping().cancelled() => {
                Err(Error::unavailable("the server is closing; a put that waited for quota was not taken"))
            }
            () = tokio::time::sleep(wait) => Ok(refused),
        }
    }

    /// Takes quota, shard by shard; gives the refusals and the longest wait. Records that break a rule are passed over, for
    /// the routing to refuse.
    fn take_quota(&self, stream: &StreamState, put: &Put, wait_max: Duration) -> (Vec<Option<PutFailure>>, Duration) {
        let records = &put.records;
        let (topology, record_bytes_max) = (stream.topology(), stream.spec().record_bytes_max);
        let mut of_shard: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, record) in records.iter().enumerate() {
            if let Ok(hash_key) = self.hash_key_of(record, record_bytes_max) {
                of_shard.entry(topology.route(hash_key)).or_default().push(index);
            }
        }
        let mut refused = vec![None; records.len()];
        let mut longest = Duration::ZERO;
        for (shard, indexes) in of_shard {
            let shard = &topology.open()[shard];
            let account = shard.account();
            let mut incoming = account.incoming_within(Instant::now(), wait_max);
            let sizes = || indexes.iter().map(|index| records[*index].size());
            let taken = if put.conditions.is_whole() {
                let whole = incoming.take_whole(sizes().sum(), indexes.len() as u64);
                if whole.is_ok() { indexes.len() } else { 0 }
            } else {
                sizes().take_while(|bytes| incoming.take(*bytes).is_ok()).count()
            };
            let (wait, denied) = (incoming.wait(), incoming.denied());
            drop(incoming);
            longest = longest.max(wait);
            if let Some(retry_after) = denied {
                shard.metrics.throttled_in.inc_by((indexes.len() - taken) as u64);
                let failure = over_quota(shard, stream.name(), retry_after);
                indexes[taken..].iter().for_each(|index| refused[*index] = Some(failure.clone()));
            }
            if !wait.is_zero() {
                shard.metrics.delayed_in.inc_by(taken as u64);
            }
        }
        (refused, longest)
    }
}

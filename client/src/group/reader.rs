//! One shard's pushes, read ahead within a bound, across broken connections.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::Channel;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::{GroupOffset, SubscribeRequest, SubscribeResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;

use super::settings::GroupSettings;
use crate::{Error, Kind, Position, Record, Result};

/// What the handler is given next.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    pub(super) end: GroupOffset,
    pub(super) millis_behind_latest: u64,
}

/// Reads one shard from a checkpoint on. Dropping it ends the reading.
#[derive(Debug)]
pub(super) struct Reader {
    reads: mpsc::Receiver<Result<Read>>,
    _task: JoinSet<()>,
}

impl Reader {
    pub(super) fn start(
        records: RecordServiceClient<Channel>,
        (stream, group): (&str, &str),
        shard: u32,
        from: GroupOffset,
        settings: &Arc<GroupSettings>,
    ) -> Self {
        let (sender, reads) = mpsc::channel(settings.prefetch_batches_max);
        let cursor = Cursor {
            records,
            stream: stream.into(),
            group: group.to_owned(),
            shard,
            next: from,
            call: None,
            settings: Arc::clone(settings),
        };
        let mut task = JoinSet::new();
        task.spawn(cursor.run(sender));
        Self { reads, _task: task }
    }

    /// The next records; `None` where the shard ended, an error where waiting does not help.
    pub(super) async fn next(&mut self) -> Option<Result<Read>> {
        self.reads.recv().await
    }
}

pub(super) struct Cursor {
    pub(super) records: RecordServiceClient<Channel>,
    pub(super) stream: Arc<str>,
    pub(super) group: String,
    pub(super) shard: u32,
    pub(super) next: GroupOffset,
    pub(super) call: Option<Streaming<SubscribeResponse>>,
    pub(super) settings: Arc<GroupSettings>,
}

impl Cursor {
    async fn run(mut self, sender: mpsc::Sender<Result<Read>>) {
        let mut delays = self.settings.delays();
        loop {
            // Reading waits for room, so that no more is ahead than may be.
            let Ok(room) = sender.reserve().await else { return };
            let push = tokio::select! {
                push = self.receive() => push,
                () = sender.closed() => return,
            };
            match push {
                Ok(push) => {
                    delays = self.settings.delays();
                    let ended = push.shard_end.is_some();
                    if let Some(read) = self.take(push) {
                        room.send(Ok(read));
                    }
                    if ended {
                        return;
                    }
                }
                Err(error) if error.is_retryable() => {
                    self.call = None;
                    let delay = error.retry_after().or_else(|| delays.next()).unwrap_or(Duration::from_secs(1));
                    tracing::warn!(stream = %self.stream, shard = self.shard, %error, ?delay, "reading a shard broke; going on");
                    tokio::time::sleep(delay).await;
                }
                Err(error) if self.settings.skip_unreadable && self.skip(&error) => {}
                Err(error) => {
                    room.send(Err(error));
                    return;
                }
            }
        }
    }

    /// Goes on past what cannot be read, where the error says how far that is.
    fn skip(&mut self, error: &Error) -> bool {
        let next = error.next_offset().filter(|next| error.kind() == Kind::DataLoss && *next > self.next.offset);
        let Some(offset) = next else { return false };
        tracing::warn!(stream = %self.stream, shard = self.shard, %error, offset, "unreadable records are passed by");
        (self.call, self.next) = (None, GroupOffset { offset, sub: 0 });
        true
    }

    async fn receive(&mut self) -> Result<SubscribeResponse> {
        let call = match &mut self.call {
            Some(call) => call,
            none => {
                let request = SubscribeRequest {
                    stream: self.stream.to_string(),
                    shard: Some(self.shard),
                    position: Some(Position::Offset(self.next.offset).into()),
                    consumer: self.group.clone(),
                };
                none.insert(self.records.subscribe(request).await?.into_inner())
            }
        };
        let ended = || Error::new(Kind::Unavailable, "the server ended the subscription");
        call.message().await?.ok_or_else(ended)
    }

    /// Makes records of a push, without those of an aggregate that are processed; `None` where none is left.
    pub(super) fn take(&mut self, push: SubscribeResponse) -> Option<Read> {
        let done = self.next;
        let (stream, shard) = (&self.stream, self.shard);
        let records = push.records.into_iter().map(|record| Record::from_wire(stream, shard, record));
        let mut records: Vec<Record> = if self.settings.deaggregate {
            records.flat_map(Record::user_records).collect()
        } else {
            records.collect()
        };
        // A record that is not taken apart is either processed or not.
        let sub = |record: &Record| record.sub_sequence.unwrap_or(u32::MAX);
        records.retain(|record| (record.offset, sub(record)) >= (done.offset, done.sub));
        if let Some(first) = records.first().filter(|first| first.offset > done.offset) {
            let lost = first.offset - done.offset;
            tracing::warn!(stream = %self.stream, shard, expected = done.offset, lost, "records were trimmed unread");
        }
        self.next = GroupOffset { offset: push.next_offset, sub: 0 };
        let (end, millis_behind_latest) = (self.next, push.millis_behind_latest);
        (!records.is_empty()).then_some(Read { records, end, millis_behind_latest })
    }
}

//! One shard's pushes, across broken connections: each time it goes on at the record after the last.

use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use futures::Stream;
use millrace_proto::v1::{ChildShard, Shard, SubscribeRequest, SubscribeResponse};
use tonic::Streaming;

use super::{Consumer, Position};
use crate::{Error, Kind, Record, Result, retry};

const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// What comes of one shard.
#[derive(Debug)]
pub(super) enum Push {
    /// Its next records.
    Records(Vec<Record>),
    /// Records that nobody can read were passed by, by choice.
    Unreadable(Error),
    /// It is closed and all of it was given: its children take over. The last item.
    End { shard: u32, children: Vec<ChildShard> },
    /// The stream has it no more: it was closed, and its records are past their retention. The shards that the stream has
    /// now; the last item.
    Gone { shard: u32, shards: Vec<Shard> },
}

/// Batches of the shard's records from a position on, until it ends; an error is the last item.
pub(super) fn pushes(
    consumer: Consumer,
    stream: Arc<str>,
    shard: u32,
    position: Position,
) -> impl Stream<Item = Result<Push>> + Send {
    let cursor = Cursor { consumer, stream, shard, position, call: None, end: None, ended: false, delays: None };
    futures::stream::try_unfold(cursor, |mut cursor| async move {
        if cursor.ended {
            return Ok(None);
        }
        let push = cursor.next().await?;
        Ok(Some((push, cursor)))
    })
}

struct Cursor {
    consumer: Consumer,
    stream: Arc<str>,
    shard: u32,
    /// Where to go on.
    position: Position,
    call: Option<Streaming<SubscribeResponse>>,
    /// The children, once the end came with records.
    end: Option<Vec<ChildShard>>,
    ended: bool,
    delays: Option<ExponentialBackoff>,
}

impl Cursor {
    async fn next(&mut self) -> Result<Push> {
        loop {
            if let Some(children) = self.end.take() {
                self.ended = true;
                return Ok(Push::End { shard: self.shard, children });
            }
            match self.receive().await {
                Ok(push) => {
                    self.delays = None;
                    let next = push.next_offset;
                    self.note_gap(&push);
                    self.position = Position::Offset(next);
                    self.end = push.shard_end.map(|end| end.children);
                    if !push.records.is_empty() {
                        let record = |record| Record::from_wire(&self.stream, self.shard, record);
                        return Ok(Push::Records(push.records.into_iter().map(record).collect()));
                    }
                }
                Err(error) if error.is_retryable() => self.wait(&error).await,
                Err(error) if self.consumer.skips_unreadable && self.skip(&error) => {
                    return Ok(Push::Unreadable(error));
                }
                Err(error) if error.kind() == Kind::NotFound => return self.gone(error).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on past what cannot be read, where the error says how far that is.
    fn skip(&mut self, error: &Error) -> bool {
        let Some(next) = error.next_offset().filter(|_| error.kind() == Kind::DataLoss) else { return false };
        let is_past = !matches!(self.position, Position::Offset(at) if next <= at);
        if is_past {
            tracing::warn!(stream = %self.stream, shard = self.shard, %error, next, "unreadable records are passed by");
            (self.call, self.position) = (None, Position::Offset(next));
        }
        is_past
    }

    /// The server does not find the shard. Where it still has the stream, others took over long ago.
    async fn gone(&mut self, error: Error) -> Result<Push> {
        loop {
            match self.consumer.admin.describe_stream(&self.stream).await {
                Ok(stream) if stream.shards.iter().any(|shard| shard.shard == self.shard) => return Err(error),
                Ok(stream) => {
                    self.ended = true;
                    tracing::warn!(
                        stream = %self.stream, shard = self.shard, position = ?self.position,
                        "a shard is gone: what was not read of it is past its retention; going on with its children"
                    );
                    return Ok(Push::Gone { shard: self.shard, shards: stream.shards });
                }
                Err(error) if error.is_retryable() => self.wait(&error).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn receive(&mut self) -> Result<SubscribeResponse> {
        let call = match &mut self.call {
            Some(call) => call,
            none => none.insert(
                self.consumer
                    .records
                    .subscribe(request(&self.stream, &self.consumer.name, self.shard, self.position))
                    .await?
                    .into_inner(),
            ),
        };
        let ended = || Error::new(Kind::Unavailable, "the server ended the subscription");
        call.message().await?.ok_or_else(ended)
    }

    async fn wait(&mut self, error: &Error) {
        self.call = None;
        let delays = self.delays.get_or_insert_with(|| retry::delays(DELAY_MIN, DELAY_MAX));
        let delay = error.retry_after().or_else(|| delays.next()).unwrap_or(DELAY_MAX);
        tracing::warn!(stream = %self.stream, shard = self.shard, %error, ?delay, "subscription broke; going on");
        tokio::time::sleep(delay).await;
    }

    /// Records that were trimmed before they were read are gone: say so.
    fn note_gap(&self, push: &SubscribeResponse) {
        if let (Position::Offset(expected), Some(first)) = (self.position, push.records.first())
            && first.offset > expected
        {
            let lost = first.offset - expected;
            tracing::warn!(stream = %self.stream, shard = self.shard, expected, lost, "records were trimmed unread");
        }
    }
}

fn request(stream: &str, consumer: &str, shard: u32, position: Position) -> SubscribeRequest {
    let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
    SubscribeRequest { stream, shard: Some(shard), position: Some(position.into()), consumer }
}

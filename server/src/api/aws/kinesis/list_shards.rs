//! `ListShards`: a stream's shards by number, filtered by when they took records, page by page.

use std::sync::Arc;

use millrace_storage::log::{ShardId, StreamId};
use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::describe::parse_shard;
use super::target::StreamRef;
use super::wire::Shard;
use crate::api::aws::protocol::{AwsError, Call, Reply, Time};
use crate::api::aws::token::{BadToken, TokenKind};
use crate::streams::{ShardState, StreamState};

/// The most shards in one page, and how many where the caller does not say.
const RESULTS_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(flatten)]
    stream: StreamRef,
    next_token: Option<String>,
    exclusive_start_shard_id: Option<String>,
    max_results: Option<usize>,
    stream_creation_timestamp: Option<Time>,
    shard_filter: Option<FilterInput>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterInput {
    r#type: String,
    shard_id: Option<String>,
    timestamp: Option<Time>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Which shards are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Filter {
    /// All after one.
    After(u32),
    /// Those that took records at a time.
    At(i64),
    /// Those that took records at a time or later.
    From(i64),
    /// Those that take records now.
    Open,
}

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Page {
    stream: u32,
    name: String,
    after: Option<u32>,
    filter: Filter,
}

impl Filter {
    fn takes(self, shard: &ShardState) -> bool {
        let open_after = |time: i64| shard.closed().is_none_or(|closed| closed.at.as_millis() > time);
        match self {
            Self::After(id) => shard.id().0 > id,
            Self::At(time) => shard.created_at().as_millis() <= time && open_after(time),
            Self::From(time) => open_after(time),
            Self::Open => shard.closed().is_none(),
        }
    }
}

impl Kinesis {
    pub(super) fn list_shards(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        let limit = input.max_results.unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
        let (stream, page) = match &input.next_token {
            Some(token) => self.next_page(call, &input, token)?,
            None => self.first_page(call, &input)?,
        };
        let topology = stream.topology();
        let is_after = |shard: &&Arc<ShardState>| page.after.is_none_or(|after| shard.id().0 > after);
        let mut shards = topology.shards().iter().filter(is_after).filter(|shard| page.filter.takes(shard));
        let listed: Vec<&Arc<ShardState>> = shards.by_ref().take(limit).collect();
        let last = listed.last().map(|shard| shard.id().0).filter(|_| shards.next().is_some());
        let next_token = match last {
            None => None,
            Some(last) => {
                let page = Page { after: Some(last), ..page };
                let page = serde_json::to_vec(&page).map_err(|error| AwsError::internal(error.to_string()))?;
                Some(self.tokens.seal(TokenKind::Shards, &page))
            }
        };
        let shards = listed.into_iter().map(|shard| Shard::from(&**shard)).collect();
        call.reply(&Output { shards, next_token })
    }

    fn first_page(&self, call: &Call, input: &Input) -> Result<(Arc<StreamState>, Page), AwsError> {
        let stream = self.stream(call, &input.stream)?;
        if let Some(Time(asked)) = input.stream_creation_timestamp {
            check_created(&stream, asked)?;
        }
        let filter = filter_of(&stream, input.shard_filter.as_ref())?;
        let after = input.exclusive_start_shard_id.as_deref().map(parse_shard).transpose()?;
        let page =
            Page { stream: stream.id().0, name: stream.name().to_string(), after: after.map(|ShardId(id)| id), filter };
        Ok((stream, page))
    }

    fn next_page(&self, call: &Call, input: &Input, token: &str) -> Result<(Arc<StreamState>, Page), AwsError> {
        let page = self.open_page(TokenKind::Shards, token)?;
        let page: Page = serde_json::from_slice(&page).map_err(|_| AwsError::invalid("Invalid NextToken."))?;
        // Kinesis takes no stream beside a token, but boto3's paginator sends it: it must be the same one.
        if input.stream.stream_name.as_ref().is_some_and(|name| *name != page.name) {
            return Err(AwsError::invalid("NextToken and StreamName cannot be provided together."));
        }
        let named = StreamRef { stream_name: Some(page.name.clone()), ..input.stream.clone() };
        let stream = self.stream(call, &named)?;
        if stream.id() != StreamId(page.stream) {
            return Err(AwsError::not_found(format!("the NextToken is of a stream {} that was deleted", page.name)));
        }
        Ok((stream, page))
    }

    /// What a page's token carries.
    ///
    /// # Errors
    /// `InvalidArgumentException` where it was not made here, `ExpiredNextTokenException`.
    pub(super) fn open_page(&self, kind: TokenKind, token: &str) -> Result<Vec<u8>, AwsError> {
        self.tokens.open(kind, token).map_err(|bad| match bad {
            BadToken::Forged => AwsError::invalid("Invalid NextToken."),
            BadToken::Expired { issued_at, .. } => {
                let lifetime = self.tokens.lifetime().as_secs();
                let message = format!("the NextToken was made at {issued_at}, and is good for {lifetime} s");
                AwsError::new("ExpiredNextTokenException", message)
            }
        })
    }
}

/// A caller that names a creation time means the stream of then.
pub(super) fn check_created(stream: &StreamState, asked: Timestamp) -> Result<(), AwsError> {
    // Clients keep seconds.
    if stream.created_at().as_millis().abs_diff(asked.as_millis()) < 1000 {
        return Ok(());
    }
    let (name, created_at) = (stream.name(), stream.created_at());
    Err(AwsError::not_found(format!("stream {name} was created at {created_at}, not at {asked}")))
}

fn filter_of(stream: &StreamState, asked: Option<&FilterInput>) -> Result<Filter, AwsError> {
    let horizon = Timestamp::now().before(stream.spec().retention).max(stream.created_at()).as_millis();
    let Some(FilterInput { r#type: kind, shard_id, timestamp }) = asked else { return Ok(Filter::From(horizon)) };
    let time = || {
        let Time(time) = timestamp.ok_or_else(|| {
            AwsError::invalid(format!("Timestamp must be provided in the ShardFilter of type {kind}."))
        })?;
        Ok::<_, AwsError>(time.as_millis().max(horizon))
    };
    match kind.as_str() {
        "AFTER_SHARD_ID" => {
            let id = shard_id.as_deref().ok_or_else(|| {
                AwsError::invalid("ShardId must be provided in the ShardFilter of type AFTER_SHARD_ID.")
            })?;
            Ok(Filter::After(parse_shard(id)?.0))
        }
        "AT_TRIM_HORIZON" => Ok(Filter::At(horizon)),
        "AT_LATEST" => Ok(Filter::Open),
        "AT_TIMESTAMP" => Ok(Filter::At(time()?)),
        "FROM_TIMESTAMP" => Ok(Filter::From(time()?)),
        _ => Ok(Filter::From(horizon)),
    }
}

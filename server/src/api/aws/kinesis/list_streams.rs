//! `ListStreams`: all streams by name, page by page.

use serde::{Deserialize, Serialize};

use super::Kinesis;
use super::wire::ModeDetails;
use crate::api::aws::protocol::{AwsError, Call, Reply, Time};
use crate::api::aws::token::TokenKind;

/// Streams in one page where the caller does not say.
const LIMIT_DEFAULT: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    limit: Option<usize>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    stream_names: Vec<String>,
    has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    stream_summaries: Vec<Summary>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: ModeDetails,
    stream_creation_timestamp: Time,
}

impl Kinesis {
    pub(super) fn list_streams(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        self.authorize(call, "*")?;
        let after = match (input.next_token, input.exclusive_start_stream_name) {
            (Some(token), _) => {
                let name = self.open_page(TokenKind::Streams, &token)?;
                String::from_utf8(name).map_err(|_| AwsError::invalid("Invalid NextToken."))?
            }
            (None, name) => name.unwrap_or_default(),
        };
        let limit = input.limit.unwrap_or(LIMIT_DEFAULT);
        // What the caller may not see is not listed, and counts for no page.
        let all = self.streams.list_after(&after, usize::MAX).into_iter();
        let seen = all.filter(|stream| call.caller.may(&self.arns.stream(stream.name())));
        let mut streams: Vec<_> = seen.take(limit + 1).collect();
        let has_more_streams = streams.len() > limit;
        streams.truncate(limit);
        let last = streams.last().filter(|_| has_more_streams);
        let next_token = last.map(|last| self.tokens.seal(TokenKind::Streams, last.name().as_str().as_bytes()));
        let summaries = streams.iter().map(|stream| Summary {
            stream_name: stream.name().to_string(),
            stream_arn: self.arns.stream(stream.name()),
            stream_status: "ACTIVE",
            stream_mode_details: stream.spec().mode.into(),
            stream_creation_timestamp: Time(stream.created_at()),
        });
        call.reply(&Output {
            stream_names: streams.iter().map(|stream| stream.name().to_string()).collect(),
            has_more_streams,
            next_token,
            stream_summaries: summaries.collect(),
        })
    }
}

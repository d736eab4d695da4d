//! `ListDeliveryStreams`: by name, page by page.

use serde::{Deserialize, Serialize};

use super::Firehose;
use crate::api::aws::protocol::{AwsError, Call, Reply};

/// Delivery streams in one page where the caller does not say.
const LIMIT_DEFAULT: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    limit: Option<usize>,
    delivery_stream_type: Option<String>,
    exclusive_start_delivery_stream_name: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    delivery_stream_names: Vec<String>,
    has_more_delivery_streams: bool,
}

impl Firehose {
    pub(super) async fn list_delivery_streams(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: Input = call.input()?;
        self.authorize(call, "*")?;
        let after = input.exclusive_start_delivery_stream_name.unwrap_or_default();
        let limit = input.limit.unwrap_or(LIMIT_DEFAULT);
        let of_type = |is_direct: bool| match input.delivery_stream_type.as_deref() {
            None => true,
            Some("DirectPut") => is_direct,
            Some("KinesisStreamAsSource") => !is_direct,
            Some(_) => false,
        };
        let all = self.store.delivery_streams().await?;
        // What the caller may not see is not listed.
        let mut rest = all
            .into_iter()
            .filter(|(name, found)| *name > after && of_type(found.value.source_stream_arn.is_empty()))
            .filter(|(name, _)| call.caller.may(&self.arns.delivery_stream(name)))
            .map(|(name, _)| name);
        let delivery_stream_names = rest.by_ref().take(limit).collect();
        call.reply(&Output { delivery_stream_names, has_more_delivery_streams: rest.next().is_some() })
    }
}

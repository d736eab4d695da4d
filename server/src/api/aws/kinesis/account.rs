//! `DescribeAccountSettings`, `UpdateAccountSettings`, `DescribeLimits`. The commitment costs nothing here and ends whenever it
//! is asked to; it is kept because warm throughput depends on it.

use std::sync::Arc;

use millrace_storage::meta::keys::account::AccountValue;
use millrace_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Kinesis;
use crate::api::aws::protocol::{AwsError, Call, Reply, Time};
use crate::streams::{StreamMode, StreamState};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateInput {
    minimum_throughput_billing_commitment: CommitmentInput,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommitmentInput {
    status: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SettingsOutput {
    minimum_throughput_billing_commitment: Commitment,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Commitment {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_allowed_end_at: Option<Time>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LimitsOutput {
    shard_limit: u32,
    open_shard_count: usize,
    on_demand_stream_count: usize,
    on_demand_stream_count_limit: u32,
}

impl From<AccountValue> for SettingsOutput {
    fn from(account: AccountValue) -> Self {
        let time = |millis: i64| (millis > 0).then_some(Time(Timestamp(millis)));
        let started_at = time(account.commitment_started_at_ms);
        let commitment = if account.commitment {
            Commitment { status: "ENABLED", started_at, ended_at: None, earliest_allowed_end_at: started_at }
        } else {
            let ended_at = time(account.commitment_ended_at_ms);
            Commitment { status: "DISABLED", started_at, ended_at, earliest_allowed_end_at: None }
        };
        Self { minimum_throughput_billing_commitment: commitment }
    }
}

impl Kinesis {
    pub(super) async fn describe_account_settings(&self, call: &Call) -> Result<Reply, AwsError> {
        let _: serde_json::Value = call.input()?;
        self.authorize(call, "*")?;
        call.reply(&SettingsOutput::from(self.store.account().await?))
    }

    pub(super) async fn update_account_settings(&self, call: &Call) -> Result<Reply, AwsError> {
        let input: UpdateInput = call.input()?;
        self.authorize(call, "*")?;
        let (wanted, now) = (input.minimum_throughput_billing_commitment.status == "ENABLED", Timestamp::now());
        let account = self.store.change_account(|account| {
            if account.commitment == wanted {
                return;
            }
            account.commitment = wanted;
            if wanted {
                account.commitment_started_at_ms = now.as_millis();
            } else {
                account.commitment_ended_at_ms = now.as_millis();
            }
        });
        call.reply(&SettingsOutput::from(account.await?))
    }

    pub(super) fn describe_limits(&self, call: &Call) -> Result<Reply, AwsError> {
        let _: serde_json::Value = call.input()?;
        self.authorize(call, "*")?;
        let (streams, settings) = (self.streams.list(), self.streams.settings());
        let is_on_demand = |stream: &&Arc<StreamState>| stream.spec().mode == StreamMode::OnDemand;
        call.reply(&LimitsOutput {
            shard_limit: settings.shards_max,
            open_shard_count: streams.iter().map(|stream| stream.topology().open().len()).sum(),
            on_demand_stream_count: streams.iter().filter(is_on_demand).count(),
            on_demand_stream_count_limit: settings.count_max,
        })
    }
}

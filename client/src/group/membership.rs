//! The calls of one member: join, heartbeat, checkpoint, release, leave.

use std::time::Duration;

use crate::connection::Channel;
use millrace_proto::v1::group_service_client::GroupServiceClient;
use millrace_proto::v1::{
    CheckpointRequest, GroupOffset, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest,
    ReleaseLeaseRequest,
};
use tokio::time::timeout;

use super::settings::GroupSettings;
use crate::{Error, Kind, Result};

/// How long leaving may take; the server ends a silent member by itself.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a checkpoint may be without an answer before it is sent again. It may be, since the same again is no error.
const CHECKPOINT_TIME_MAX: Duration = Duration::from_secs(10);

/// A member of a group.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    groups: GroupServiceClient<Channel>,
    pub(super) stream: String,
    pub(super) group: String,
    member: String,
    pub(super) times: Times,
}

/// What the group told the member as it joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) lease_ttl: Duration,
    pub(super) heartbeat_interval: Duration,
}

/// A lease that a member holds, or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeaseId {
    pub(super) shard: u32,
    pub(super) epoch: u64,
}

impl Membership {
    /// Joins, as a member of its own: what an earlier one held is not this one's.
    pub(super) async fn join(
        mut groups: GroupServiceClient<Channel>,
        stream: &str,
        group: &str,
        settings: &GroupSettings,
    ) -> Result<Self> {
        let member = format!("{:032x}", rand::random::<u128>());
        let request = JoinGroupRequest {
            stream: stream.to_owned(),
            group: group.to_owned(),
            member: member.clone(),
            member_name: settings.member_name.clone(),
            position: Some(settings.position.into()),
        };
        let told = groups.join_group(request).await?.into_inner();
        let times = Times {
            lease_ttl: Duration::from_millis(told.lease_ttl_ms.max(1)),
            heartbeat_interval: Duration::from_millis(told.heartbeat_interval_ms.max(1)),
        };
        Ok(Self { groups, stream: stream.to_owned(), group: group.to_owned(), member, times })
    }

    /// A member that never joined.
    #[cfg(test)]
    pub(super) fn of_nobody(client: &crate::Client) -> Self {
        let (time, none) = (Duration::from_secs(1), String::new());
        let times = Times { lease_ttl: time, heartbeat_interval: time };
        let groups = client.group_consumer("s", "g").connector.groups();
        Self { groups, stream: none.clone(), group: none.clone(), member: none, times }
    }

    /// Keeps the member alive; answers at once where its leases are other than at `version`, else after the interval.
    pub(super) async fn heartbeat(&self, version: u64) -> Result<HeartbeatResponse> {
        let Times { heartbeat_interval, .. } = self.times;
        let request = HeartbeatRequest {
            stream: self.stream.clone(),
            group: self.group.clone(),
            member: self.member.clone(),
            version,
            wait_ms: u32::try_from(heartbeat_interval.as_millis()).unwrap_or(u32::MAX),
        };
        let answer = timeout(heartbeat_interval * 2, async { self.groups.clone().heartbeat(request).await }).await;
        let late = |_| Error::new(Kind::Unavailable, "the server gave no answer to a heartbeat");
        Ok(answer.map_err(late)??.into_inner())
    }

    /// Notes how far a shard is processed; tries until it is stored or refused.
    pub(super) async fn checkpoint(&self, lease: LeaseId, at: GroupOffset, settings: &GroupSettings) -> Result<()> {
        let request = CheckpointRequest {
            stream: self.stream.clone(),
            group: self.group.clone(),
            member: self.member.clone(),
            shard: lease.shard,
            epoch: lease.epoch,
            offset: Some(at),
        };
        let mut delays = settings.delays();
        loop {
            let request = request.clone();
            let answer = timeout(CHECKPOINT_TIME_MAX, async { self.groups.clone().checkpoint(request).await }).await;
            let late = |_| Error::new(Kind::Unavailable, "the server gave no answer to a checkpoint");
            let error = match answer.map_err(late) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) => Error::from(status),
                Err(late) => late,
            };
            if !error.is_retryable() {
                return Err(error);
            }
            let delay = error.retry_after().or_else(|| delays.next()).unwrap_or(settings.retry_delay_max);
            tracing::warn!(stream = %self.stream, group = %self.group, ?lease, %error, ?delay, "a checkpoint is tried again");
            tokio::time::sleep(delay).await;
        }
    }

    /// Gives a lease back. Where that fails, the server takes it by itself.
    pub(super) async fn release(&self, lease: LeaseId) {
        let request = ReleaseLeaseRequest {
            stream: self.stream.clone(),
            group: self.group.clone(),
            member: self.member.clone(),
            shard: lease.shard,
            epoch: lease.epoch,
        };
        if let Err(status) = self.groups.clone().release_lease(request).await {
            tracing::warn!(stream = %self.stream, group = %self.group, ?lease, %status, "a lease was not released");
        }
    }

    /// Ends the member. Where that fails, the server ends it by itself.
    pub(super) async fn leave(&self) {
        let request =
            LeaveGroupRequest { stream: self.stream.clone(), group: self.group.clone(), member: self.member.clone() };
        match timeout(LEAVE_TIME_MAX, async { self.groups.clone().leave_group(request).await }).await {
            Ok(Ok(_)) => {}
            left => {
                tracing::warn!(stream = %self.stream, group = %self.group, ?left, "the group was not left in order")
            }
        }
    }
}

//! `GroupService`: consumer groups. Every change is completed, also for a caller that goes away: a member drops its calls
//! where it stands when it loses a shard.

use std::time::Duration;

use millrace_proto::v1;
use millrace_proto::v1::group_service_server::GroupService;
use millrace_storage::log::{Offset, ShardId, StreamId};
use millrace_storage::meta::keys::group::{GroupStart, GroupValue};
use tonic::{Request, Response, Status};

use super::access::Call;
use super::record::position;
use super::stream::page_size_of;
use crate::auth::Resource;
use crate::complete::complete;
use crate::error::{Error, Result};
use crate::groups::{
    Caller, GroupName, GroupOffset, GroupView, Groups, LeaseId, LeaseView, MemberId, MemberName, MemberView, ShardView,
    SlotState,
};
use crate::streams::{Position, StreamName, Streams};

/// Groups in one page where the caller does not say.
const PAGE_SIZE_DEFAULT: u32 = 100;

#[derive(Debug)]
pub(super) struct GroupHandler {
    groups: Groups,
    streams: Streams,
}

impl GroupHandler {
    pub(super) const fn new(groups: Groups, streams: Streams) -> Self {
        Self { groups, streams }
    }
}

#[tonic::async_trait]
impl GroupService for GroupHandler {
    async fn join_group(
        &self,
        request: Request<v1::JoinGroupRequest>,
    ) -> Result<Response<v1::JoinGroupResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::JoinGroupRequest { stream, group, member, member_name, position: begin } = request.into_inner();
        let caller = caller(&call, stream, group, member)?;
        let begin = if begin.is_none() { Position::TrimHorizon } else { position(begin)? };
        let name = MemberName::try_from(member_name)?;
        let groups = self.groups.clone();
        let joined = complete("a join", async move { groups.join(&caller, name, begin).await }).await?;
        Ok(Response::new(v1::JoinGroupResponse {
            lease_ttl_ms: millis(joined.lease_ttl),
            heartbeat_interval_ms: millis(joined.heartbeat_interval),
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::HeartbeatRequest { stream, group, member, version, wait_ms } = request.into_inner();
        let caller = caller(&call, stream, group, member)?;
        let held = self.groups.heartbeat(&caller, version, Duration::from_millis(wait_ms.into())).await?;
        let leases = held.leases.into_iter().map(lease).collect();
        Ok(Response::new(v1::HeartbeatResponse { version: held.version, leases }))
    }

    async fn leave_group(
        &self,
        request: Request<v1::LeaveGroupRequest>,
    ) -> Result<Response<v1::LeaveGroupResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::LeaveGroupRequest { stream, group, member } = request.into_inner();
        let (groups, caller) = (self.groups.clone(), caller(&call, stream, group, member)?);
        complete("a leave", async move { groups.leave(&caller).await }).await?;
        Ok(Response::new(v1::LeaveGroupResponse {}))
    }

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::CheckpointRequest { stream, group, member, shard, epoch, offset } = request.into_inner();
        let offset = offset.ok_or_else(|| Error::invalid("an offset is missing").in_field("offset"))?;
        let at = GroupOffset { offset: Offset(offset.offset), sub: offset.sub };
        let lease = LeaseId { shard: ShardId(shard), epoch };
        let (groups, caller) = (self.groups.clone(), caller(&call, stream, group, member)?);
        complete("a checkpoint", async move { groups.checkpoint(&caller, lease, at).await }).await?;
        Ok(Response::new(v1::CheckpointResponse {}))
    }

    async fn release_lease(
        &self,
        request: Request<v1::ReleaseLeaseRequest>,
    ) -> Result<Response<v1::ReleaseLeaseResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::ReleaseLeaseRequest { stream, group, member, shard, epoch } = request.into_inner();
        let lease = LeaseId { shard: ShardId(shard), epoch };
        let (groups, caller) = (self.groups.clone(), caller(&call, stream, group, member)?);
        complete("a release", async move { groups.release(&caller, lease).await }).await?;
        Ok(Response::new(v1::ReleaseLeaseResponse {}))
    }

    async fn describe_group(
        &self,
        request: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::DescribeGroupRequest { stream, group } = request.into_inner();
        let (stream, group) = named(&call, stream, group)?;
        let view = self.groups.describe(&stream, &group).await?;
        Ok(Response::new(v1::DescribeGroupResponse { group: Some(whole(view)) }))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::ListGroupsRequest { stream, page_size, page_token } = request.into_inner();
        let page_size = page_size_of(page_size, PAGE_SIZE_DEFAULT, "groups")?;
        let of = match stream.as_str() {
            "" => None,
            _ => Some(self.streams.get(&StreamName::try_from(stream)?)?.id()),
        };
        let mut groups = self.groups.list(of, after(page_token)?, page_size + 1);
        let more = groups.len() > page_size;
        groups.truncate(page_size);
        let last = groups.last().filter(|_| more);
        let next_page_token = last.map(|last| format!("{}/{}", last.stream_id, last.name)).unwrap_or_default();
        let seen = groups.iter().filter(|view| call.may(&Resource::group(&view.stream, &view.name)));
        let groups = seen.map(summary).collect();
        Ok(Response::new(v1::ListGroupsResponse { groups, next_page_token }))
    }

    async fn reset_group(
        &self,
        request: Request<v1::ResetGroupRequest>,
    ) -> Result<Response<v1::ResetGroupResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::ResetGroupRequest { stream, group, position: to } = request.into_inner();
        let (stream, group) = named(&call, stream, group)?;
        let (groups, to) = (self.groups.clone(), position(to)?);
        let reset = async move {
            groups.reset(&stream, &group, to).await?;
            groups.describe(&stream, &group).await
        };
        let view = complete("a reset", reset).await?;
        Ok(Response::new(v1::ResetGroupResponse { group: Some(whole(view)) }))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::DeleteGroupRequest { stream, group } = request.into_inner();
        let (groups, (stream, group)) = (self.groups.clone(), named(&call, stream, group)?);
        complete("a deletion", async move { groups.delete(&stream, &group).await }).await?;
        Ok(Response::new(v1::DeleteGroupResponse {}))
    }
}

/// The member that calls, where it may be one.
fn caller(call: &Call, stream: String, group: String, member: String) -> Result<Caller> {
    let (stream, group) = named(call, stream, group)?;
    Ok(Caller { stream, group, member: MemberId::try_from(member)? })
}

/// The group that a call names, where its caller may do to it what the method does.
fn named(call: &Call, stream: String, group: String) -> Result<(StreamName, GroupName)> {
    let (stream, group) = (StreamName::try_from(stream)?, GroupName::try_from(group)?);
    call.allow(&Resource::group(&stream, &group))?;
    Ok((stream, group))
}

/// Reads a page's token: the stream's number and the group's name.
fn after(token: String) -> Result<Option<(StreamId, GroupName)>> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = |token: &str| {
        let (stream, group) = token.split_once('/')?;
        Some((StreamId(stream.parse().ok()?), GroupName::try_from(group.to_owned()).ok()?))
    };
    let token =
        read(&token).ok_or_else(|| Error::invalid("the page token is not one of ours").in_field("page_token"))?;
    Ok(Some(token))
}

fn lease(lease: LeaseView) -> v1::Lease {
    v1::Lease {
        shard: lease.shard.0,
        epoch: lease.epoch,
        checkpoint: Some(offset(lease.checkpoint)),
        release_within_ms: lease.release_within.map(millis),
        end_offset: lease.end.map(|end| end.0),
    }
}

const fn offset(at: GroupOffset) -> v1::GroupOffset {
    v1::GroupOffset { offset: at.offset.0, sub: at.sub }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A group without its members and shards.
fn summary(view: &GroupView) -> v1::Group {
    v1::Group {
        stream: view.stream.to_string(),
        name: view.name.to_string(),
        created_at_ms: view.value.created_at_ms,
        position: Some(began(&view.value)),
        members: Vec::new(),
        shards: Vec::new(),
        member_count: u32::try_from(view.members.len()).unwrap_or(u32::MAX),
        lag_records: view.lag_records(),
    }
}

fn whole(view: GroupView) -> v1::Group {
    let summary = summary(&view);
    let members = view.members.into_iter().map(member).collect();
    v1::Group { members, shards: view.shards.into_iter().map(shard).collect(), ..summary }
}

fn began(value: &GroupValue) -> v1::Position {
    use v1::position::{Latest, Position as Wire, TrimHorizon};
    let position = match value.start() {
        GroupStart::TrimHorizon => Wire::TrimHorizon(TrimHorizon {}),
        GroupStart::Latest => Wire::Latest(Latest {}),
        GroupStart::Time => Wire::TimeMs(value.start_time_ms),
    };
    v1::Position { position: Some(position) }
}

fn member(member: MemberView) -> v1::GroupMember {
    v1::GroupMember {
        member: member.id.to_string(),
        name: member.name.as_str().to_owned(),
        lease_count: u32::try_from(member.leases).unwrap_or(u32::MAX),
        silent_ms: millis(member.silent),
    }
}

fn shard(shard: ShardView) -> v1::GroupShard {
    use v1::group_shard::State;
    let (state, member) = match shard.state {
        SlotState::Free => (State::Free, None),
        SlotState::Leased(member) => (State::Leased, Some(member)),
        SlotState::Releasing(member) => (State::Releasing, Some(member)),
        SlotState::Waiting => (State::Waiting, None),
        SlotState::Finished => (State::Finished, None),
    };
    v1::GroupShard {
        shard: shard.shard.0,
        state: state.into(),
        member: member.map(|member| member.to_string()).unwrap_or_default(),
        epoch: shard.epoch,
        checkpoint: Some(offset(shard.checkpoint)),
        checkpointed_at_ms: shard.checkpointed_at.as_millis(),
        lag_records: shard.lag_records,
        millis_behind_latest: shard.millis_behind_latest,
    }
}

//! `millrace group`: shows, moves and deletes consumer groups.

use clap::Subcommand;
use millrace_client::proto::{self, group_shard};
use serde::Serialize;

use super::confirm::{ConfirmArgs, confirm};
use super::output::{OutputArgs, count, duration, facts, table, time};
use super::tail::From;
use super::{Endpoint, Result};

/// Show, move and delete consumer groups.
///
/// A group's members share a stream's shards, and the group remembers how far each shard is processed. It comes into being
/// with its first member: a service that uses the client library, or `millrace tail STREAM --group NAME`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace group list                                    all groups, with their lag
  millrace group describe flights billing                who has which shard, and how far it is
  millrace group reset flights billing --to 15m          process the last quarter of an hour again
  millrace group reset flights billing --to trim-horizon
  millrace group delete flights billing --yes")]
pub(super) struct GroupArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List groups.
    List {
        /// Only those of this stream.
        stream: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a group with its members and shards.
    Describe {
        #[command(flatten)]
        group: Name,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Move a group to a position. Members that work lose what they have in hand, and go on there.
    Reset {
        #[command(flatten)]
        group: Name,
        /// Where to: trim-horizon, latest, a time in RFC 3339, or how long ago (15m, 2h).
        #[arg(long, value_name = "POSITION")]
        to: From,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete a group and its checkpoints. It must have no members.
    Delete {
        #[command(flatten)]
        group: Name,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Name {
    /// The stream's name.
    stream: String,
    /// The group's name.
    group: String,
}

pub(super) async fn run(args: GroupArgs, endpoint: &Endpoint) -> Result<()> {
    let admin = endpoint.client()?.admin();
    match args.command {
        Command::List { stream, output } => {
            let groups: Vec<_> = admin.list_groups(stream.as_deref()).await?.into_iter().map(GroupView::of).collect();
            output.write(&groups, |groups| listed(groups))
        }
        Command::Describe { group: Name { stream, group }, output } => {
            output.write(&GroupView::of(admin.describe_group(&stream, &group).await?), described)
        }
        Command::Reset { group: Name { stream, group }, to: From(position), confirm: flags, output } => {
            confirm(flags, &format!("move group {group} of stream {stream}, and process records again or not at all"))?;
            output.write(&GroupView::of(admin.reset_group(&stream, &group, position).await?), described)
        }
        Command::Delete { group: Name { stream, group }, confirm: flags } => {
            confirm(flags, &format!("delete group {group} of stream {stream} with its checkpoints"))?;
            Ok(admin.delete_group(&stream, &group).await?)
        }
    }
}

#[derive(Serialize)]
struct GroupView {
    stream: String,
    name: String,
    created_at: String,
    member_count: u32,
    lag_records: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<ShardView>,
}

#[derive(Serialize)]
struct MemberView {
    member: String,
    name: String,
    lease_count: u32,
    silent_ms: u64,
}

#[derive(Serialize)]
struct ShardView {
    shard: u32,
    state: &'static str,
    /// The member that holds it; empty where none does.
    member: String,
    epoch: u64,
    offset: u64,
    sub: u32,
    checkpointed_at: String,
    lag_records: u64,
    millis_behind_latest: u64,
}

impl GroupView {
    fn of(group: proto::Group) -> Self {
        Self {
            stream: group.stream,
            name: group.name,
            created_at: time(group.created_at_ms),
            member_count: group.member_count,
            lag_records: group.lag_records,
            members: group.members.into_iter().map(MemberView::of).collect(),
            shards: group.shards.into_iter().map(ShardView::of).collect(),
        }
    }
}

impl MemberView {
    fn of(member: proto::GroupMember) -> Self {
        let proto::GroupMember { member, name, lease_count, silent_ms } = member;
        Self { member, name, lease_count, silent_ms }
    }
}

impl ShardView {
    fn of(shard: proto::GroupShard) -> Self {
        let checkpoint = shard.checkpoint.unwrap_or_default();
        Self {
            shard: shard.shard,
            state: state(shard.state()),
            epoch: shard.epoch,
            offset: checkpoint.offset,
            sub: checkpoint.sub,
            checkpointed_at: time(shard.checkpointed_at_ms),
            lag_records: shard.lag_records,
            millis_behind_latest: shard.millis_behind_latest,
            member: shard.member,
        }
    }
}

const fn state(state: group_shard::State) -> &'static str {
    match state {
        group_shard::State::Free => "free",
        group_shard::State::Leased => "leased",
        group_shard::State::Releasing => "releasing",
        group_shard::State::Waiting => "waiting",
        group_shard::State::Finished => "finished",
        group_shard::State::Unspecified => "unknown",
    }
}

fn listed(groups: &[GroupView]) -> String {
    let row = |group: &GroupView| {
        let members = count(group.member_count.into());
        [group.stream.clone(), group.name.clone(), members, count(group.lag_records), group.created_at.clone()]
    };
    table(["STREAM", "GROUP", "MEMBERS", "LAG", "CREATED"], groups.iter().map(row))
}

fn described(group: &GroupView) -> String {
    let facts = facts([
        ("stream", group.stream.clone()),
        ("group", group.name.clone()),
        ("created", group.created_at.clone()),
        ("members", count(group.member_count.into())),
        ("lag", format!("{} records", count(group.lag_records))),
    ]);
    let members = table(
        ["MEMBER", "NAME", "SHARDS", "LAST HEARTBEAT"],
        group.members.iter().map(|member| {
            let (shards, silent) = (count(member.lease_count.into()), format!("{} ago", duration(member.silent_ms)));
            [member.member.clone(), member.name.clone(), shards, silent]
        }),
    );
    let place = |shard: &ShardView| match shard.sub {
        0 => shard.offset.to_string(),
        sub => format!("{}+{sub}", shard.offset),
    };
    let shards = table(
        ["SHARD", "STATE", "MEMBER", "NEXT", "LAG", "BEHIND", "CHECKPOINT"],
        group.shards.iter().map(|shard| {
            [
                shard.shard.to_string(),
                shard.state.to_owned(),
                shard.member.clone(),
                place(shard),
                count(shard.lag_records),
                duration(shard.millis_behind_latest),
                shard.checkpointed_at.clone(),
            ]
        }),
    );
    format!("{facts}\n{members}\n{shards}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_tells_who_has_what_and_how_far_it_is() {
        let shard = proto::GroupShard {
            shard: 3,
            state: group_shard::State::Leased.into(),
            member: "m1".to_owned(),
            checkpoint: Some(proto::GroupOffset { offset: 41, sub: 2 }),
            lag_records: 1234,
            ..proto::GroupShard::default()
        };
        let group = proto::Group {
            stream: "flights".to_owned(),
            name: "billing".to_owned(),
            shards: vec![shard],
            ..proto::Group::default()
        };
        let text = described(&GroupView::of(group));
        let row: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(row, ["3", "leased", "m1", "41+2", "1,234", "0ms", "never"], "{text}");
    }
}

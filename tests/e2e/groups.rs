//! Consumer groups as a user meets them: members are processes, and processes are killed, stopped and woken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millrace_proto::v1::group_service_client::GroupServiceClient;
use millrace_proto::v1::{CheckpointRequest, GroupOffset, HeartbeatRequest, JoinGroupRequest, Lease};
use millrace_tests::server::{program, signal};
use millrace_tests::site::Site;
use millrace_tests::{grpc, wait};
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

const DEADLINE: Duration = Duration::from_secs(60);
const LEASE_TTL: Duration = Duration::from_secs(2);

/// A site whose leases end soon, with a stream `events`.
fn site(shards: u32) -> Site {
    let ttl = format!("{}ms", LEASE_TTL.as_millis());
    let site = Site::start_with(|settings| settings.env("MILLRACE_GROUPS_LEASE_TTL", ttl));
    let shards = shards.to_string();
    let limits = ["--in-bytes-per-second", "off", "--in-records-per-second", "off", "--out-bytes-per-second", "off"];
    let _said = site.run(&[&["stream", "create", "events", "--shards", &shards], &limits[..]].concat()).ok();
    site
}

/// A member of the group `g`, as a process that prints what it processes.
struct Member {
    process: Child,
    output: PathBuf,
}

impl Member {
    fn start(site: &Site, name: &str) -> Self {
        let output = site.folder().join(name);
        let process = Command::new(program())
            .args(["tail", "events", "--group", "g", "--from", "trim-horizon", "--output", "json"])
            .env("MILLRACE_ENDPOINT", site.server.endpoint())
            .env("HOSTNAME", name)
            .stdin(Stdio::null())
            .stdout(File::create(&output).expect("the test's folder can be written"))
            .spawn()
            .expect("the program starts");
        Self { process, output }
    }

    /// What it printed so far, whole lines only: each record's shard and offset.
    fn printed(&self) -> Vec<(u64, u64)> {
        let text = fs::read_to_string(&self.output).expect("its output can be read");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let place = |line: &str| {
            let record: Value = serde_json::from_str(line).expect("a line is a record");
            (record["shard"].as_u64().expect("a shard"), record["offset"].as_u64().expect("an offset"))
        };
        whole.lines().map(place).collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The group, once its first member has joined.
fn describe(site: &Site) -> Value {
    wait::until("the group to be there", DEADLINE, || {
        let said = site.run(&["group", "describe", "events", "g", "--output", "json"]);
        (said.code == Some(0)).then(|| said.json())
    })
}

/// How many shards each member holds, by its name.
fn held(group: &Value) -> BTreeMap<String, u64> {
    let members = group["members"].as_array().cloned().unwrap_or_default();
    let load = |member: &Value| {
        let name = member["name"].as_str().unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
        (name, member["lease_count"].as_u64().unwrap_or_default())
    };
    members.iter().map(load).collect()
}

/// Waits until the members hold so many shards each, and none is on its way.
fn wait_held(site: &Site, expected: &[(&str, u64)]) {
    let expected: BTreeMap<String, u64> = expected.iter().map(|(name, held)| ((*name).to_owned(), *held)).collect();
    wait::until(&format!("the shards to be held as {expected:?}"), DEADLINE, || {
        (held(&describe(site)) == expected).then_some(())
    });
}

fn put(site: &Site, range: std::ops::Range<u32>) {
    site.put_lines("events", range.map(|number| format!("{{\"number\":{number}}}")));
}

/// Each shard's checkpoint.
fn checkpoints(group: &Value) -> BTreeMap<u64, u64> {
    let shards = group["shards"].as_array().cloned().unwrap_or_default();
    let place =
        |shard: &Value| (shard["shard"].as_u64().expect("a shard"), shard["offset"].as_u64().expect("an offset"));
    shards.iter().map(place).collect()
}

#[test]
fn a_killed_member_s_shards_move_within_the_lease_time_and_nothing_is_left_out() {
    let site = site(4);
    // They join at the same moment: the first gives up two shards at once, and drops the call of one as the other takes effect.
    let mut members = ["a", "b"].map(|name| Member::start(&site, name));
    wait_held(&site, &[("a", 2), ("b", 2)]);
    let c = Member::start(&site, "c");
    wait::until("the third to get a shard", DEADLINE, || {
        held(&describe(&site)).get("c").filter(|held| **held == 1).map(drop)
    });
    let mut least = BTreeMap::new();
    let mut seen_checkpoints = |site: &Site| {
        for (shard, offset) in checkpoints(&describe(site)) {
            let before = least.insert(shard, offset).unwrap_or(0);
            assert!(offset >= before, "the checkpoint of shard {shard} went from {before} back to {offset}");
        }
    };
    put(&site, 0..2_000);
    seen_checkpoints(&site);
    let killed_at = Instant::now();
    members[0].process.kill().expect("the process is ours");
    put(&site, 2_000..3_000);
    wait::until("the others to have all shards", DEADLINE, || {
        seen_checkpoints(&site);
        let held = held(&describe(&site));
        (!held.contains_key("a") && held.values().sum::<u64>() == 4).then_some(())
    });
    // The lease time, and what a busy machine takes to look.
    assert!(killed_at.elapsed() < LEASE_TTL * 8, "the shards moved after {:?}", killed_at.elapsed());
    put(&site, 3_000..4_000);
    wait::until("the group to have processed all", DEADLINE, || {
        seen_checkpoints(&site);
        (describe(&site)["lag_records"] == 0).then_some(())
    });
    let printed: BTreeSet<(u64, u64)> = members.iter().chain([&c]).flat_map(Member::printed).collect();
    assert_eq!(printed.len(), 4_000, "each record is processed");
    assert!(!c.printed().is_empty() && !members[1].printed().is_empty());
}

#[test]
fn a_member_that_ends_in_order_gives_its_shards_to_the_others_and_none_is_processed_twice() {
    let site = site(2);
    let (a, mut b) = (Member::start(&site, "a"), Member::start(&site, "b"));
    wait_held(&site, &[("a", 1), ("b", 1)]);
    put(&site, 0..500);
    signal(b.process.id(), "TERM");
    let status = wait::until("the member to end", DEADLINE, || b.process.try_wait().expect("the process is ours"));
    assert!(status.success(), "{status}");
    // At once, and not after the lease time: it is gone from the group when it ends.
    assert_eq!(held(&describe(&site)), BTreeMap::from([("a".to_owned(), 2)]));
    put(&site, 500..1_000);
    wait::until("the group to have processed all", DEADLINE, || (describe(&site)["lag_records"] == 0).then_some(()));
    let mut printed = [a.printed(), b.printed()].concat();
    printed.sort_unstable();
    let count = printed.len();
    printed.dedup();
    assert_eq!((printed.len(), count), (1_000, 1_000));
}

/// A process that stood still wakes up with a batch in hand, and does not know that its shards have moved.
#[test]
fn a_paused_member_loses_its_shards_and_joins_again_when_it_wakes() {
    let site = site(2);
    let (a, b) = (Member::start(&site, "a"), Member::start(&site, "b"));
    wait_held(&site, &[("a", 1), ("b", 1)]);
    signal(b.process.id(), "STOP");
    wait_held(&site, &[("a", 2)]);
    put(&site, 0..300);
    wait::until("the group to have processed all", DEADLINE, || (describe(&site)["lag_records"] == 0).then_some(()));
    let at_the_end = checkpoints(&describe(&site));
    assert_eq!(a.printed().len(), 300);
    signal(b.process.id(), "CONT");
    wait_held(&site, &[("a", 1), ("b", 1)]);
    assert_eq!(checkpoints(&describe(&site)), at_the_end);
    put(&site, 300..600);
    wait::until("the group to have processed all", DEADLINE, || (describe(&site)["lag_records"] == 0).then_some(()));
    let printed: BTreeSet<(u64, u64)> = [a.printed(), b.printed()].concat().into_iter().collect();
    assert_eq!(printed.len(), 600);
}

/// A member on the bare wire, which does what a well-behaved one never would.
struct Raw {
    calls: GroupServiceClient<Channel>,
    member: &'static str,
}

impl Raw {
    async fn join(channel: &Channel, member: &'static str) -> Self {
        let mut calls = GroupServiceClient::new(channel.clone());
        let (stream, group) = ("events".to_owned(), "g".to_owned());
        let request = JoinGroupRequest { stream, group, member: member.to_owned(), ..JoinGroupRequest::default() };
        calls.join_group(request).await.expect("a member can join");
        Self { calls, member }
    }

    async fn leases(&mut self) -> Vec<Lease> {
        let (stream, group, member) = ("events".to_owned(), "g".to_owned(), self.member.to_owned());
        let request = HeartbeatRequest { stream, group, member, version: 0, wait_ms: 0 };
        self.calls.heartbeat(request).await.expect("a member is known").into_inner().leases
    }

    async fn checkpoint(&mut self, lease: &Lease, offset: u64) -> Result<(), tonic::Status> {
        let request = CheckpointRequest {
            stream: "events".to_owned(),
            group: "g".to_owned(),
            member: self.member.to_owned(),
            shard: lease.shard,
            epoch: lease.epoch,
            offset: Some(GroupOffset { offset, sub: 0 }),
        };
        self.calls.checkpoint(request).await.map(drop)
    }
}

fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_cannot_checkpoint_not_after_its_lease_and_not_after_a_restart() {
    let mut site = site(1);
    put(&site, 0..100);
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let mut zombie = Raw::join(&channel, "zombie").await;
    let old = zombie.leases().await.remove(0);
    zombie.checkpoint(&old, 10).await.expect("its lease is good");
    // It says nothing more; another joins, and gets the shard once the lease is over.
    let mut heir = Raw::join(&channel, "heir").await;
    let started = Instant::now();
    let lease = loop {
        if let Some(lease) = heir.leases().await.pop() {
            break lease;
        }
        assert!(started.elapsed() < DEADLINE, "the shard did not move");
        tokio::task::yield_now().await;
    };
    assert!(lease.epoch > old.epoch);
    assert_eq!(lease.checkpoint, Some(GroupOffset { offset: 10, sub: 0 }));
    let refused = zombie.checkpoint(&old, 50).await.expect_err("its lease is lost");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "STALE_LEASE"));
    heir.checkpoint(&lease, 20).await.expect("its lease is good");
    let metrics = site.server.http_get("/metrics").1;
    assert!(
        metrics.contains("millrace_groups_checkpoints_refused_total{group=\"g\",stream=\"events\"} 1"),
        "{metrics}"
    );

    site.server.kill();
    site.server.restart();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let mut after = Raw::join(&channel, "after").await;
    let newest = after.leases().await.remove(0);
    assert!(newest.epoch > lease.epoch, "epochs never go back");
    assert_eq!(newest.checkpoint, Some(GroupOffset { offset: 20, sub: 0 }));
    for (member, lease) in [("zombie", &old), ("heir", &lease)] {
        let mut member = Raw { calls: GroupServiceClient::new(channel.clone()), member };
        let refused = member.checkpoint(lease, 60).await.expect_err("its lease is of before the restart");
        assert_eq!(reason(&refused), "STALE_LEASE");
    }
}

#[test]
fn a_group_follows_a_split_and_is_moved_and_deleted_by_commands() {
    let site = site(1);
    let member = Member::start(&site, "a");
    put(&site, 0..100);
    let _said = site.run(&["stream", "split", "events", "0"]).ok();
    put(&site, 100..300);
    wait::until("the group to have processed all", DEADLINE, || {
        let group = describe(&site);
        let open = group["shards"]
            .as_array()
            .map_or(0, |shards| shards.iter().filter(|shard| shard["state"] == "leased").count());
        (group["lag_records"] == 0 && open == 2).then_some(())
    });
    let printed = member.printed();
    assert_eq!(printed.len(), 300);
    let last_of_parent = printed.iter().rposition(|(shard, _)| *shard == 0).expect("the parent was read");
    let first_of_child = printed.iter().position(|(shard, _)| *shard > 0).expect("a child was read");
    assert!(last_of_parent < first_of_child, "a child's record came before its parent's");

    // Again from the beginning, while the member works.
    let _said = site.run(&["group", "reset", "events", "g", "--to", "trim-horizon", "--yes"]).ok();
    wait::until("all to be processed again", DEADLINE, || (member.printed().len() == 600).then_some(()));
    assert!(site.run(&["group", "delete", "events", "g", "--yes"]).failed().stderr.contains("has 1 members"));
    drop(member);
    wait::until("the member to be given up", DEADLINE, || (describe(&site)["member_count"] == 0).then_some(()));
    let listed = site.run(&["group", "list", "--output", "json"]).ok().json();
    assert_eq!((&listed[0]["stream"], &listed[0]["name"]), (&Value::from("events"), &Value::from("g")));
    let _said = site.run(&["group", "delete", "events", "g", "--yes"]).ok();
    assert!(site.run(&["group", "describe", "events", "g"]).failed().stderr.contains("no group named g"));
}

//! Aggregates: what a producer packs is records again for SQL, for a group and for a reader who asks.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_client::{Client, Position, ProducerSettings, PutRecord};
use millrace_tests::pipeline::Pipeline;
use millrace_tests::site::{Site, text};
use millrace_tests::{cli, wait};

const DEADLINE: Duration = Duration::from_secs(60);
const RECORDS: u64 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_records_are_records_again_for_sql_for_groups_and_for_readers() {
    let site = Site::start();
    let pipeline = Pipeline::new("events").toml().replace("[\"newline\", \"split\"]", "[\"deaggregate\", \"split\"]");
    let file = site.folder().join("events.toml");
    std::fs::write(&file, pipeline).expect("the test's folder can be written");
    let _said = site.run(&["apply", "-f", text(&file)]).ok();
    let client = Client::connect(site.server.endpoint()).expect("an endpoint");
    let settings = ProducerSettings { aggregate_bytes_max: Some(51_200), ..ProducerSettings::default() };
    let producer = client.producer_with("events", settings).expect("settings are good");
    for number in 0..RECORDS {
        let record = PutRecord::new(format!("key-{}", number % 100), format!("{{\"number\":{number}}}"));
        let _fate = producer.send(record).await.expect("there is room");
    }
    producer.close().await.expect("all is stored");
    // A broken aggregate, and a plain record, pass as they are: the one is set aside for what it is, the other a row.
    let plain = client.producer("events");
    let broken = plain.send(PutRecord::new("key-b", &b"\xf3\x89\x9a\xc2 and nothing of the kind behind it"[..])).await;
    broken.expect("there is room").await.expect("any bytes are stored");
    plain.send(PutRecord::new("key-p", "{\"number\":-1}")).await.expect("there is room").await.expect("it is stored");

    let stored = client.admin().describe_stream("events").await.expect("it is there");
    let stored: u64 = stored.shards.iter().map(|shard| shard.next_offset).sum();
    assert!(stored < RECORDS / 20, "{RECORDS} records are stored as {stored}");

    site.flush("events");
    assert_eq!(site.count("events"), RECORDS as i64 + 1);
    let distinct = "select count(distinct number) from events where number >= 0";
    assert_eq!(cli::sql_number(&site.server, distinct), RECORDS as i64);
    let keyed = "select count(*) from events where _partition_key = 'key-' || cast(number % 100 as varchar)";
    assert_eq!(cli::sql_number(&site.server, keyed), RECORDS as i64);
    assert_eq!(cli::sql_number(&site.server, "select set_aside from system.deliveries where delivery = 'events'"), 1);

    // A member of a group is given user records, in their order, each once.
    let (sender, seen) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let member = client.group_consumer("events", "g").run(async { drop(stopped.await) }, move |batch| {
        let sender = sender.clone();
        async move {
            for record in batch.records() {
                let sent = sender.send((record.shard, record.offset, record.sub_sequence, record.data.clone()));
                sent.map_err(|_| "the test is over")?;
            }
            Ok::<_, &str>(())
        }
    });
    let member = tokio::spawn(member);
    let admin = client.admin();
    wait::until("the group to have processed all", DEADLINE, || {
        let group = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(admin.describe_group("events", "g"))
        });
        group.ok().filter(|group| group.lag_records == 0).map(drop)
    });
    drop(stop);
    member.await.expect("it does not panic").expect("it ends in order");
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!(seen.len() as u64, RECORDS + 2);
    let places: BTreeSet<_> = seen.iter().map(|(shard, offset, sub, _)| (*shard, *offset, *sub)).collect();
    assert_eq!(places.len(), seen.len(), "each record has a place of its own");
    for shard in 0..2 {
        let of_shard: Vec<_> =
            seen.iter().filter(|(of, ..)| *of == shard).map(|(_, offset, sub, _)| (*offset, *sub)).collect();
        assert!(of_shard.is_sorted(), "shard {shard} came in order");
    }

    // A plain reader gets what is stored, and takes it apart if it wants.
    let mut records = client.consumer().subscribe("events", Position::TrimHorizon).await.expect("it is there");
    let (mut whole, mut parts) = (0, 0);
    while whole < stored {
        let record = records.next().await.expect("the subscription holds").expect("it does not end");
        whole += 1;
        parts += record.user_records().len() as u64;
    }
    assert_eq!(parts, RECORDS + 2);
}

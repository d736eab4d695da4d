//! The AWS SDK for Rust against a server: `millrace-aws-sdk ENDPOINT ACCESS_KEY SECRET`. Requests are signed, HTTP/2 is spoken with
//! prior knowledge, errors are told by their types. Prints what it did as JSON; what is not as it should be ends it.

mod http2;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_firehose::types::{ExtendedS3DestinationConfiguration, Record as Line};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    ConsumerStatus, PutRecordsRequestEntry, Record, ShardIteratorType, StartingPosition, StreamStatus,
    SubscribeToShardEventStream,
};
use aws_sdk_kinesis::{Client, error::ProvideErrorMetadata};

type Failure = Box<dyn std::error::Error>;

const RECORDS: usize = 50;
/// The records that are put while a subscription runs.
const LIVE: usize = 10;
const SHARD: &str = "shardId-000000000000";
const TIME_MAX: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("ENDPOINT ACCESS_KEY SECRET");
    let (endpoint, key, secret) = (next()?, next()?, next()?);
    tokio::time::timeout(TIME_MAX, run(&endpoint, Credentials::from_keys(key, secret, None))).await?
}

async fn run(endpoint: &str, credentials: Credentials) -> Result<(), Failure> {
    let http = http2::client();
    let kinesis = aws_sdk_kinesis::Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
        .credentials_provider(credentials.clone())
        .http_client(http.clone())
        .build();
    let firehose = aws_sdk_firehose::Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(aws_sdk_firehose::config::Region::new("us-east-1"))
        .credentials_provider(credentials)
        .http_client(http)
        .build();
    let (kinesis, firehose) = (Client::from_conf(kinesis), aws_sdk_firehose::Client::from_conf(firehose));
    let numbers = put_and_read(&kinesis).await?;
    fails_as_typed(&kinesis).await;
    let pushed = subscribe(&kinesis, &numbers).await?;
    kinesis.delete_stream().stream_name("rust").enforce_consumer_deletion(true).send().await?;
    let delivered = deliver(&firehose).await?;
    println!("{{\"read\":{},\"pushed\":{pushed},\"delivered\":{delivered}}}", numbers.len());
    Ok(())
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(record.data().as_ref()).into_owned()).collect()
}

fn events(numbers: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(|number| format!("event {number}"))
}

/// Puts records one by one and many at a time, and reads them back; gives their sequence numbers.
async fn put_and_read(kinesis: &Client) -> Result<Vec<String>, Failure> {
    kinesis.create_stream().stream_name("rust").shard_count(1).send().await?;
    let described = kinesis.describe_stream_summary().stream_name("rust").send().await?;
    let summary = described.stream_description_summary().ok_or("no summary")?;
    assert_eq!(summary.stream_status(), &StreamStatus::Active);
    let first = kinesis.put_record().stream_name("rust").partition_key("k").data(Blob::new("event 0")).send().await?;
    let mut numbers = vec![first.sequence_number().to_owned()];
    let entry = |text: String| PutRecordsRequestEntry::builder().data(Blob::new(text)).partition_key("k").build();
    let entries = events(1..RECORDS).map(entry).collect::<Result<Vec<_>, _>>()?;
    let answer = kinesis.put_records().stream_name("rust").set_records(Some(entries)).send().await?;
    assert_eq!(answer.failed_record_count(), Some(0));
    numbers.extend(answer.records().iter().filter_map(|fate| fate.sequence_number().map(str::to_owned)));
    let listed = kinesis.list_shards().stream_name("rust").send().await?;
    assert_eq!(listed.shards().iter().map(|shard| shard.shard_id()).collect::<Vec<_>>(), [SHARD]);
    let place = kinesis.get_shard_iterator().stream_name("rust").shard_id(SHARD);
    let iterator = place.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?;
    let read = kinesis.get_records().set_shard_iterator(iterator.shard_iterator).send().await?;
    assert_eq!(texts(read.records()), events(0..RECORDS).collect::<Vec<_>>());
    assert_eq!(read.records().iter().map(|record| record.sequence_number()).collect::<Vec<_>>(), numbers);
    assert_eq!((read.millis_behind_latest(), read.next_shard_iterator().is_some()), (Some(0), true));
    Ok(numbers)
}

/// The SDK knows each error by its own type.
async fn fails_as_typed(kinesis: &Client) {
    let error = kinesis.describe_stream().stream_name("none").send().await.expect_err("there is none");
    assert!(error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()), "{error:?}");
    assert!(error.message().is_some_and(|words| words.contains("Stream none under account")), "{error:?}");
    let error = kinesis.create_stream().stream_name("rust").shard_count(1).send().await.expect_err("it exists");
    assert!(error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()), "{error:?}");
    let error = kinesis.get_records().shard_iterator("forged").send().await.expect_err("it is forged");
    assert!(error.as_service_error().is_some_and(|error| error.is_invalid_argument_exception()), "{error:?}");
    let error = kinesis.create_stream().stream_name("a/b").shard_count(1).send().await.expect_err("no such name");
    assert!(error.as_service_error().is_some_and(|error| error.is_validation_exception()), "{error:?}");
}

/// Subscribes after the tenth record, and puts more once it has caught up; gives how many came.
async fn subscribe(kinesis: &Client, numbers: &[String]) -> Result<usize, Failure> {
    let described = kinesis.describe_stream_summary().stream_name("rust").send().await?;
    let arn = described.stream_description_summary().ok_or("no summary")?.stream_arn().to_owned();
    let registered = kinesis.register_stream_consumer().stream_arn(arn).consumer_name("app").send().await?;
    let consumer = registered.consumer().ok_or("no consumer")?;
    assert_eq!(consumer.consumer_status(), &ConsumerStatus::Active);
    let start = StartingPosition::builder().r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(&numbers[9]);
    let call = kinesis.subscribe_to_shard().consumer_arn(consumer.consumer_arn()).shard_id(SHARD);
    let call = call.starting_position(start.build()?);
    let mut stream = call.clone().send().await?.event_stream;
    let wanted = events(10..RECORDS).chain((0..LIVE).map(|number| format!("live {number}"))).collect::<Vec<_>>();
    let (mut pushed, mut live) = (Vec::new(), 0);
    while pushed.len() < wanted.len() {
        let event = stream.recv().await?.ok_or("the subscription ended")?;
        let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event else { continue };
        pushed.extend(texts(event.records()));
        if pushed.len() >= RECORDS - 10 && live < LIVE {
            let data = Blob::new(format!("live {live}"));
            kinesis.put_record().stream_name("rust").partition_key("k").data(data).send().await?;
            live += 1;
        }
    }
    assert_eq!(pushed, wanted);
    let error = call.send().await.err().ok_or("a second subscription began")?;
    assert!(error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()), "{error:?}");
    // Its consumer goes, and the stream of events tells so.
    kinesis.deregister_stream_consumer().consumer_arn(consumer.consumer_arn()).send().await?;
    loop {
        match stream.recv().await {
            Ok(Some(_)) => {}
            Ok(None) => return Err("the subscription ended without an exception".into()),
            Err(error) => {
                assert!(
                    error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()),
                    "{error:?}"
                );
                return Ok(pushed.len());
            }
        }
    }
}

/// A delivery stream from creation to deletion; gives how many records it took.
async fn deliver(firehose: &aws_sdk_firehose::Client) -> Result<usize, Failure> {
    let s3 = ExtendedS3DestinationConfiguration::builder();
    let s3 = s3.bucket_arn("arn:aws:s3:::rust").role_arn("arn:aws:iam::000000000000:role/any").build()?;
    let create = firehose.create_delivery_stream().delivery_stream_name("rust");
    let created = create.extended_s3_destination_configuration(s3).send().await?;
    assert!(created.delivery_stream_arn().is_some_and(|arn| arn.ends_with(":deliverystream/rust")));
    let described = firehose.describe_delivery_stream().delivery_stream_name("rust").send().await?;
    let status = described.delivery_stream_description().map(|told| told.delivery_stream_status().as_str().to_owned());
    assert_eq!(status.as_deref(), Some("ACTIVE"));
    let line = |text: String| Line::builder().data(aws_sdk_firehose::primitives::Blob::new(text + "\n")).build();
    let one = firehose.put_record().delivery_stream_name("rust").record(line("event 0".to_owned())?).send().await?;
    assert!(!one.record_id().is_empty());
    let lines = events(1..RECORDS).map(line).collect::<Result<Vec<_>, _>>()?;
    let many = firehose.put_record_batch().delivery_stream_name("rust").set_records(Some(lines)).send().await?;
    assert_eq!(many.failed_put_count(), 0);
    let error = firehose.describe_delivery_stream().delivery_stream_name("none").send().await.expect_err("none");
    assert!(error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()), "{error:?}");
    let error = firehose.create_delivery_stream().delivery_stream_name("none").send().await.expect_err("no place");
    assert!(error.as_service_error().is_some_and(|error| error.is_invalid_argument_exception()), "{error:?}");
    firehose.delete_delivery_stream().delivery_stream_name("rust").send().await?;
    Ok(1 + many.request_responses().len())
}

//! The operations over real streams, deliveries and an object store in memory, and starts that finish what a crash left.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use millrace_storage::lake::store::{Store as ObjectStore, StoreSettings};
use millrace_storage::log::memory::MemoryLog;
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::memory::MemoryMeta;
use serde_json::{Value, json};

use super::*;
use crate::api::aws::auth::Caller;
use crate::api::aws::protocol::Format;
use crate::api::aws::settings::AwsSettings;
use crate::delivery::DeliverySettings;
use crate::metrics::Metrics;
use crate::streams::{StreamName, StreamOptions, StreamSettings};

const ROLE: &str = "arn:aws:iam::000000000000:role/firehose";

/// What stays when a process ends.
struct Site {
    log: Arc<MemoryLog>,
    meta: Arc<MemoryMeta>,
    store: ObjectStore,
    settings: FirehoseSettings,
}

impl Site {
    fn new() -> Self {
        let store = ObjectStore::open(&StoreSettings::of_url("memory:///lake")).unwrap();
        let settings = FirehoseSettings::default();
        Self { log: Arc::new(MemoryLog::new()), meta: Arc::new(MemoryMeta::new()), store, settings }
    }

    async fn start(&self) -> Arc<Firehose> {
        let (log, meta, metrics) = (self.log.clone(), self.meta.clone() as Arc<dyn MetaStore>, Metrics::new());
        let settings = StreamSettings::default();
        let streams = Streams::open(log.clone(), meta.clone(), settings, &metrics).await.unwrap();
        let catalog = Catalog::new(meta.clone(), self.store.clone());
        let (settings, store) = (DeliverySettings::default(), self.store.clone());
        let deliveries =
            Deliveries::open(log, streams.clone(), meta.clone(), catalog.clone(), store, settings, &metrics);
        let counted = AwsMetrics::new(&metrics);
        let parts = Parts {
            deliveries: deliveries.await.unwrap(),
            streams,
            catalog,
            store: Store::new(meta),
            arns: Arns::new(&AwsSettings::default()).unwrap(),
            control: Arc::new(ControlRates::new(0, counted.clone())),
            metrics: counted,
        };
        Firehose::open(parts, self.settings.clone()).await.unwrap()
    }

    /// All objects below a folder: their paths, and their bytes one after the other.
    async fn objects(&self, folder: &str) -> (Vec<String>, Vec<u8>) {
        let path = self.store.path(folder);
        let mut found: Vec<_> = self.store.object_store().list(Some(&path)).try_collect().await.unwrap();
        found.sort_by_key(|object| object.location.to_string());
        let mut bytes = Vec::new();
        for object in &found {
            bytes.extend_from_slice(&self.store.get(&object.location).await.unwrap());
        }
        (found.iter().map(|object| object.location.to_string()).collect(), bytes)
    }
}

async fn call(firehose: &Firehose, operation: &str, input: Value) -> Result<Value, AwsError> {
    let operation = FIREHOSE.operation(operation).unwrap();
    let (format, body) = (Format::Json, serde_json::to_vec(&input).unwrap().into());
    match firehose.call(Call { operation, format, body, caller: Caller::anyone(operation.name).await }).await? {
        Reply::Body(body) => Ok(serde_json::from_slice(&body).unwrap()),
        reply => panic!("{} answered {reply:?}", operation.name),
    }
}

#[track_caller]
fn refused(answer: Result<Value, AwsError>, code: &str, words: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.code(), code, "{}", error.message());
    assert!(error.message().contains(words), "{}", error.message());
}

fn s3(members: Value) -> Value {
    let mut s3 = json!({"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::events"});
    s3.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    s3
}

fn direct(name: &str, members: Value) -> Value {
    json!({"DeliveryStreamName": name, "ExtendedS3DestinationConfiguration": s3(members)})
}

async fn create(firehose: &Firehose, name: &str, members: Value) {
    let created = call(firehose, "CreateDeliveryStream", direct(name, members)).await.unwrap();
    let arn = format!("arn:aws:firehose:us-east-1:000000000000:deliverystream/{name}");
    assert_eq!(created, json!({"DeliveryStreamARN": arn}));
}

async fn put(firehose: &Firehose, name: &str, records: &[&str]) -> Value {
    let records: Vec<_> = records.iter().map(|data| json!({"Data": STANDARD.encode(data)})).collect();
    let input = json!({"DeliveryStreamName": name, "Records": records});
    call(firehose, "PutRecordBatch", input).await.unwrap()
}

async fn describe(firehose: &Firehose, name: &str) -> Value {
    let described = call(firehose, "DescribeDeliveryStream", json!({"DeliveryStreamName": name})).await.unwrap();
    described["DeliveryStreamDescription"].clone()
}

#[tokio::test]
async fn records_lie_in_the_bucket_s_folder_as_they_were_put() {
    let site = Site::new();
    let firehose = site.start().await;
    create(&firehose, "flights", json!({"Prefix": "raw/"})).await;
    let put = put(&firehose, "flights", &["{\"a\":1}\n", "not json", ""]).await;
    assert_eq!((&put["FailedPutCount"], &put["Encrypted"]), (&json!(0), &json!(false)));
    assert_eq!(put["RequestResponses"].as_array().unwrap().len(), 3);
    let one = json!({"DeliveryStreamName": "flights", "Record": {"Data": STANDARD.encode("\u{0}end")}});
    assert!(call(&firehose, "PutRecord", one).await.unwrap()["RecordId"].is_string());
    firehose.deliveries.flush("flights").await.unwrap();
    let (paths, bytes) = site.objects("firehose").await;
    assert_eq!(String::from_utf8(bytes).unwrap(), "{\"a\":1}\nnot json\u{0}end");
    let hour = regex_lite::Regex::new(r"^lake/firehose/events/raw/\d{4}/\d\d/\d\d/\d\d/flights-0{11}1-000$").unwrap();
    assert!(paths.iter().all(|path| hour.is_match(path)), "{paths:?}");
}

#[tokio::test]
async fn delimiters_and_compression_are_those_that_were_declared() {
    let site = Site::new();
    let firehose = site.start().await;
    let processing = json!({"Enabled": true, "Processors": [
        {"Type": "AppendDelimiterToRecord", "Parameters": [{"ParameterName": "Delimiter", "ParameterValue": "\\n"}]},
    ]});
    let members =
        json!({"CompressionFormat": "GZIP", "FileExtension": ".json.gz", "ProcessingConfiguration": processing});
    create(&firehose, "zipped", members).await;
    put(&firehose, "zipped", &["a", "b\n"]).await;
    firehose.deliveries.flush("zipped").await.unwrap();
    let (paths, bytes) = site.objects("firehose/events").await;
    assert!(paths.iter().all(|path| path.ends_with("-000.json.gz")), "{paths:?}");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&*bytes), &mut text).unwrap();
    assert_eq!(text, "a\nb\n");
}

#[tokio::test]
async fn dynamic_partitions_are_folders() {
    let site = Site::new();
    let firehose = site.start().await;
    let query = json!([{"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{carrier: .carrier}"},
                       {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"}]);
    let members = json!({
        "Prefix": "c=!{partitionKeyFromQuery:carrier}/!{timestamp:yyyy}/",
        "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
        "DynamicPartitioningConfiguration": {"Enabled": true},
        "ProcessingConfiguration": {"Enabled": true, "Processors": [{"Type": "MetadataExtraction", "Parameters": query}]},
    });
    create(&firehose, "parts", members).await;
    put(&firehose, "parts", &["{\"carrier\":\"UA\"}", "{\"carrier\":\"AA\"}", "{}"]).await;
    firehose.deliveries.flush("parts").await.unwrap();
    let (paths, _) = site.objects("firehose/events").await;
    assert_eq!(paths.len(), 3, "{paths:?}");
    for (path, folder) in paths.iter().zip(["c=AA/", "c=UA/", "errors/"]) {
        assert!(path.starts_with(&format!("lake/firehose/events/{folder}")), "{path}");
    }
}

#[tokio::test]
async fn a_description_says_what_was_declared() {
    let firehose = Site::new().start().await;
    let members = json!({
        "Prefix": "a/", "CompressionFormat": "Snappy", "CustomTimeZone": "Europe/Berlin",
        "CloudWatchLoggingOptions": {"Enabled": true, "LogGroupName": "g", "LogStreamName": "s"},
        "S3BackupMode": "Enabled", "S3BackupConfiguration": s3(json!({"Prefix": "b/"})),
    });
    create(&firehose, "told", members).await;
    let told = describe(&firehose, "told").await;
    for (member, expected) in [
        ("DeliveryStreamStatus", json!("ACTIVE")),
        ("DeliveryStreamType", json!("DirectPut")),
        ("VersionId", json!("1")),
        ("HasMoreDestinations", json!(false)),
        ("DeliveryStreamEncryptionConfiguration", json!({"Status": "DISABLED"})),
        ("LastUpdateTimestamp", Value::Null),
    ] {
        assert_eq!(told[member], expected, "{member}");
    }
    let destination = &told["Destinations"][0];
    assert_eq!(destination["DestinationId"], "destinationId-000000000001");
    let extended = &destination["ExtendedS3DestinationDescription"];
    assert_eq!(extended["BufferingHints"], json!({"SizeInMBs": 5, "IntervalInSeconds": 300}));
    assert_eq!((&extended["Prefix"], &extended["CompressionFormat"]), (&json!("a/"), &json!("Snappy")));
    assert_eq!(extended["CloudWatchLoggingOptions"]["LogGroupName"], "g");
    assert_eq!(extended["S3BackupDescription"]["Prefix"], "b/");
    assert!(extended["S3BackupConfiguration"].is_null());
    assert_eq!(destination["S3DestinationDescription"]["BucketARN"], "arn:aws:s3:::events");
    assert!(destination["S3DestinationDescription"]["CustomTimeZone"].is_null());
}

#[tokio::test]
async fn an_update_asks_for_the_version_and_changes_what_it_names() {
    let site = Site::new();
    let firehose = site.start().await;
    create(&firehose, "changed", json!({"Prefix": "a/"})).await;
    let update = |version: &str, id: &str, members: Value| {
        json!({"DeliveryStreamName": "changed", "CurrentDeliveryStreamVersionId": version, "DestinationId": id,
               "ExtendedS3DestinationUpdate": members})
    };
    let id = "destinationId-000000000001";
    let other = json!({"BucketARN": "arn:aws:s3:::other", "CompressionFormat": "HADOOP_SNAPPY"});
    let operation = "UpdateDestination";
    refused(call(&firehose, operation, update("2", id, other.clone())).await, "ConcurrentModificationException", "1");
    refused(
        call(&firehose, operation, update("1", "d", other.clone())).await,
        "InvalidArgumentException",
        "d not found",
    );
    let zip = json!({"CompressionFormat": "ZIP"});
    refused(call(&firehose, operation, update("1", id, zip)).await, "InvalidArgumentException", "ZIP");
    assert_eq!(call(&firehose, operation, update("1", id, other.clone())).await.unwrap(), json!({}));
    refused(call(&firehose, operation, update("1", id, other)).await, "ConcurrentModificationException", "2");
    let told = describe(&firehose, "changed").await;
    assert_eq!(told["VersionId"], "2");
    assert!(told["LastUpdateTimestamp"].is_number());
    let extended = &told["Destinations"][0]["ExtendedS3DestinationDescription"];
    assert_eq!((&extended["Prefix"], &extended["BucketARN"]), (&json!("a/"), &json!("arn:aws:s3:::other")));
    put(&firehose, "changed", &["x"]).await;
    firehose.deliveries.flush("changed").await.unwrap();
    let (paths, _) = site.objects("firehose/other/a").await;
    assert_eq!(paths.len(), 1);
    assert!(paths[0].ends_with(".hsnappy"), "{paths:?}");
}

#[tokio::test]
async fn what_means_nothing_here_is_refused_by_name() {
    let firehose = Site::new().start().await;
    for (input, words) in [
        (json!({"RedshiftDestinationConfiguration": {}}), "Redshift"),
        (json!({"SplunkDestinationConfiguration": {}}), "Splunk"),
        (json!({"SnowflakeDestinationConfiguration": {}}), "Snowflake"),
        (json!({"HttpEndpointDestinationConfiguration": {}}), "HTTP endpoint"),
        (json!({"ElasticsearchDestinationConfiguration": {}}), "Elasticsearch"),
        (json!({"AmazonOpenSearchServerlessDestinationConfiguration": {}}), "OpenSearch"),
        (json!({"MSKSourceConfiguration": {}, "DeliveryStreamType": "MSKAsSource"}), "Kafka"),
        (json!({"DeliveryStreamType": "DatabaseAsSource"}), "DatabaseAsSource"),
        (json!({}), "needs a destination"),
        (json!({"DeliveryStreamType": "KinesisStreamAsSource"}), "KinesisStreamSourceConfiguration"),
        (
            json!({"S3DestinationConfiguration": s3(json!({})), "ExtendedS3DestinationConfiguration": s3(json!({}))}),
            "exactly one",
        ),
        (direct("x", json!({"CompressionFormat": "ZIP"})), "ZIP"),
        (direct("x", json!({"BufferingHints": {"SizeInMBs": 1}})), "IntervalInSeconds"),
        (direct("x", json!({"Prefix": "!{timestamp:yyyy}/"})), "ErrorOutputPrefix"),
        (direct("x", json!({"Prefix": "../../a/"})), "prefix"),
        (direct("x", json!({"BucketARN": "arn:aws:s3:::.."})), "prefix"),
        (direct("x", json!({"CustomTimeZone": "Mars/Base"})), "time_zone"),
        (direct("x", json!({"S3BackupMode": "Enabled"})), "S3BackupConfiguration"),
        (direct("x", json!({"DynamicPartitioningConfiguration": {"Enabled": true}})), "DynamicPartitioning"),
        (
            direct(
                "x",
                json!({"EncryptionConfiguration": {"KMSEncryptionConfig": {
                "AWSKMSKeyARN": "arn:aws:kms:us-east-1:000000000000:key/a"}}}),
            ),
            "KMSEncryptionConfig",
        ),
    ] {
        let mut input = input;
        input["DeliveryStreamName"] = json!("x");
        refused(call(&firehose, "CreateDeliveryStream", input).await, "InvalidArgumentException", words);
    }
    let listed = call(&firehose, "ListDeliveryStreams", json!({})).await.unwrap();
    assert_eq!(listed, json!({"DeliveryStreamNames": [], "HasMoreDeliveryStreams": false}));
    assert!(firehose.streams.list().is_empty() && firehose.deliveries.list().is_empty());
}

#[tokio::test]
async fn names_are_taken_once_and_limits_hold() {
    let mut site = Site::new();
    site.settings.delivery_streams_max = 3;
    site.settings.tags_max = 1;
    let firehose = site.start().await;
    for name in ["c", "a", "b"] {
        create(&firehose, name, json!({})).await;
    }
    let again = call(&firehose, "CreateDeliveryStream", direct("a", json!({}))).await;
    refused(again, "ResourceInUseException", "already exists");
    let more = call(&firehose, "CreateDeliveryStream", direct("d", json!({}))).await;
    refused(more, "LimitExceededException", "3");
    let page = json!({"Limit": 2});
    let listed = call(&firehose, "ListDeliveryStreams", page).await.unwrap();
    assert_eq!(listed, json!({"DeliveryStreamNames": ["a", "b"], "HasMoreDeliveryStreams": true}));
    let rest = json!({"ExclusiveStartDeliveryStreamName": "b", "DeliveryStreamType": "DirectPut"});
    let listed = call(&firehose, "ListDeliveryStreams", rest).await.unwrap();
    assert_eq!(listed, json!({"DeliveryStreamNames": ["c"], "HasMoreDeliveryStreams": false}));
    let tags = |keys: &[&str]| {
        let tags: Vec<_> = keys.iter().map(|key| json!({"Key": key, "Value": "v"})).collect();
        json!({"DeliveryStreamName": "a", "Tags": tags})
    };
    call(&firehose, "TagDeliveryStream", tags(&["k"])).await.unwrap();
    refused(call(&firehose, "TagDeliveryStream", tags(&["l"])).await, "LimitExceededException", "1");
    let told = call(&firehose, "ListTagsForDeliveryStream", json!({"DeliveryStreamName": "a"})).await.unwrap();
    assert_eq!(told, json!({"Tags": [{"Key": "k", "Value": "v"}], "HasMoreTags": false}));
    let untag = json!({"DeliveryStreamName": "a", "TagKeys": ["k"]});
    call(&firehose, "UntagDeliveryStream", untag).await.unwrap();
    let told = call(&firehose, "ListTagsForDeliveryStream", json!({"DeliveryStreamName": "a"})).await.unwrap();
    assert_eq!(told["Tags"], json!([]));
}

#[tokio::test]
async fn a_batch_holds_at_its_limit_and_rates_tell_each_record() {
    let mut site = Site::new();
    site.settings.in_records_per_second = 2;
    site.settings.put_requests_per_second = 3;
    let firehose = site.start().await;
    create(&firehose, "small", json!({})).await;
    let put = put(&firehose, "small", &["a", "b", "c"]).await;
    assert_eq!(put["FailedPutCount"], 1);
    let failed = &put["RequestResponses"][2];
    assert_eq!(*failed, json!({"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}));
    let batch = |bytes: usize| {
        let entry = json!({"Data": STANDARD.encode(vec![7; bytes / 8])});
        json!({"DeliveryStreamName": "small", "Records": vec![entry; 8]})
    };
    let most = 4 << 20;
    refused(call(&firehose, "PutRecordBatch", batch(most + 8)).await, "InvalidArgumentException", "4194304");
    assert!(call(&firehose, "PutRecordBatch", batch(most)).await.is_ok());
    // Three calls a second, and a call takes much less than a third of one.
    let mut refusal = None;
    for _ in 0..1000 {
        refusal = call(&firehose, "PutRecordBatch", batch(8)).await.err();
        if refusal.is_some() {
            break;
        }
    }
    let refusal = refusal.unwrap();
    assert_eq!((refusal.code(), refusal.status()), ("ServiceUnavailableException", 503));
}

#[tokio::test]
async fn a_stream_is_a_source_and_takes_no_puts() {
    let site = Site::new();
    let firehose = site.start().await;
    let stream: StreamName = "events".parse().unwrap();
    firehose.streams.create(&stream, &StreamOptions::default()).await.unwrap();
    let source = json!({
        "DeliveryStreamName": "from", "DeliveryStreamType": "KinesisStreamAsSource",
        "KinesisStreamSourceConfiguration": {"RoleARN": ROLE,
            "KinesisStreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/events"},
        "ExtendedS3DestinationConfiguration": s3(json!({})),
    });
    call(&firehose, "CreateDeliveryStream", source).await.unwrap();
    let record = json!({"DeliveryStreamName": "from", "Record": {"Data": "YQ=="}});
    refused(call(&firehose, "PutRecord", record).await, "InvalidArgumentException", "KinesisStreamAsSource");
    let encryption = call(&firehose, "StartDeliveryStreamEncryption", json!({"DeliveryStreamName": "from"})).await;
    refused(encryption, "InvalidArgumentException", "DirectPut");
    let record =
        crate::streams::PutRecord { partition_key: "k".to_owned(), explicit_hash_key: None, data: "through".into() };
    firehose.streams.put(&stream, vec![record]).await.unwrap();
    firehose.deliveries.flush("from").await.unwrap();
    assert_eq!(site.objects("firehose/events").await.1, b"through");
    let told = describe(&firehose, "from").await;
    assert!(told["Source"]["KinesisStreamSourceDescription"]["DeliveryStartTimestamp"].is_number());
    call(&firehose, "DeleteDeliveryStream", json!({"DeliveryStreamName": "from"})).await.unwrap();
    assert!(firehose.streams.get(&stream).is_ok());
}

#[tokio::test]
async fn a_deletion_delivers_what_is_buffered_and_leaves_nothing() {
    let site = Site::new();
    let firehose = site.start().await;
    create(&firehose, "gone", json!({})).await;
    put(&firehose, "gone", &["last"]).await;
    call(&firehose, "DeleteDeliveryStream", json!({"DeliveryStreamName": "gone"})).await.unwrap();
    assert_eq!(site.objects("firehose/events").await.1, b"last");
    assert!(firehose.streams.list().is_empty() && firehose.deliveries.list().is_empty());
    for (operation, members) in [
        ("DescribeDeliveryStream", json!({})),
        ("DeleteDeliveryStream", json!({})),
        ("PutRecord", json!({"Record": {"Data": "YQ=="}})),
        ("StopDeliveryStreamEncryption", json!({})),
        ("ListTagsForDeliveryStream", json!({})),
        ("UntagDeliveryStream", json!({"TagKeys": ["k"]})),
    ] {
        let mut input = members;
        input["DeliveryStreamName"] = json!("gone");
        refused(call(&firehose, operation, input).await, "ResourceNotFoundException", "gone");
    }
}

#[tokio::test]
async fn encryption_without_a_master_key_is_told_as_a_key_s_fault() {
    let firehose = Site::new().start().await;
    create(&firehose, "sealed", json!({})).await;
    let start = call(&firehose, "StartDeliveryStreamEncryption", json!({"DeliveryStreamName": "sealed"})).await;
    assert_eq!(start.unwrap_err().code(), "InvalidKMSResourceException");
    let told = describe(&firehose, "sealed").await;
    assert_eq!(told["DeliveryStreamEncryptionConfiguration"]["Status"], "DISABLED");
    call(&firehose, "StopDeliveryStreamEncryption", json!({"DeliveryStreamName": "sealed"})).await.unwrap();
}

#[tokio::test]
async fn hidden_streams_are_not_listed_and_no_pipeline_reaches_them() {
    let firehose = Site::new().start().await;
    create(&firehose, "mine", json!({})).await;
    assert!(firehose.streams.list_after("", 10).is_empty());
    for pipeline in [
        "[[delivery]]\nname = \"other\"\nstream = \"$firehose.mine\"",
        "[[stream]]\nname = \"$firehose.mine\"\nshards = 2",
    ] {
        let error = firehose.deliveries.apply(pipeline, false).await.unwrap_err();
        assert!(error.to_string().contains("'$'"), "{error}");
    }
}

/// A process dies after the declaration, or after the hidden stream: the next start makes the rest, and takes records.
#[tokio::test]
async fn a_creation_that_a_crash_interrupted_is_finished() {
    use millrace_storage::meta::keys::delivery_stream::DeliveryStreamState;
    let site = Site::new();
    {
        let firehose = site.start().await;
        create(&firehose, "whole", json!({})).await;
        let name = name::Name::checked("whole").unwrap();
        firehose.set_state(&name, DeliveryStreamState::Creating).await.unwrap();
        firehose.deliveries.delete("whole").await.unwrap();
        firehose.streams.delete(&name.stream().unwrap()).await.unwrap();
        assert_eq!(describe(&firehose, "whole").await["DeliveryStreamStatus"], "CREATING");
        firehose.deliveries.close().await;
    }
    let firehose = site.start().await;
    assert_eq!(describe(&firehose, "whole").await["DeliveryStreamStatus"], "ACTIVE");
    assert_eq!(put(&firehose, "whole", &["a"]).await["FailedPutCount"], 0);
    firehose.deliveries.flush("whole").await.unwrap();
    assert_eq!(site.objects("firehose/events").await.1, b"a");
}

/// The same where the deletion got as far as its mark, or past the delivery.
#[tokio::test]
async fn a_deletion_that_a_crash_interrupted_is_finished() {
    use millrace_storage::meta::keys::delivery_stream::DeliveryStreamState;
    for past_delivery in [false, true] {
        let site = Site::new();
        {
            let firehose = site.start().await;
            create(&firehose, "half", json!({})).await;
            let name = name::Name::checked("half").unwrap();
            firehose.set_state(&name, DeliveryStreamState::Deleting).await.unwrap();
            if past_delivery {
                firehose.deliveries.delete("half").await.unwrap();
            }
            firehose.deliveries.close().await;
        }
        let firehose = site.start().await;
        let listed = call(&firehose, "ListDeliveryStreams", json!({})).await.unwrap();
        assert_eq!(listed["DeliveryStreamNames"], json!([]));
        assert!(firehose.streams.list().is_empty() && firehose.deliveries.list().is_empty());
    }
}

/// A creation whose source is gone by the next start cannot be finished: it is told, and the server starts all the same.
#[tokio::test]
async fn what_cannot_be_finished_is_told() {
    use millrace_storage::meta::keys::delivery_stream::DeliveryStreamState;
    let site = Site::new();
    {
        let firehose = site.start().await;
        let stream: StreamName = "source".parse().unwrap();
        firehose.streams.create(&stream, &StreamOptions::default()).await.unwrap();
        let source = json!({
            "DeliveryStreamName": "lame", "DeliveryStreamType": "KinesisStreamAsSource",
            "KinesisStreamSourceConfiguration": {"RoleARN": ROLE,
                "KinesisStreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/source"},
            "S3DestinationConfiguration": s3(json!({})),
        });
        call(&firehose, "CreateDeliveryStream", source).await.unwrap();
        let name = name::Name::checked("lame").unwrap();
        firehose.set_state(&name, DeliveryStreamState::Creating).await.unwrap();
        firehose.deliveries.delete("lame").await.unwrap();
        firehose.streams.delete(&stream).await.unwrap();
        firehose.deliveries.close().await;
    }
    let firehose = site.start().await;
    let told = describe(&firehose, "lame").await;
    assert_eq!(told["DeliveryStreamStatus"], "CREATING_FAILED");
    assert!(told["FailureDescription"]["Details"].as_str().unwrap().contains("source"), "{told}");
    call(&firehose, "DeleteDeliveryStream", json!({"DeliveryStreamName": "lame"})).await.unwrap();
    let listed = call(&firehose, "ListDeliveryStreams", json!({})).await.unwrap();
    assert_eq!(listed["DeliveryStreamNames"], json!([]));
}

const TABLE: &str = "[[table]]\nname = \"default.flights\"\n[[table.column]]\nname = \"carrier\"\ntype = \"string\"";

fn conversion(table: &str) -> Value {
    json!({"DataFormatConversionConfiguration": {
        "SchemaConfiguration": {"DatabaseName": "default", "TableName": table, "RoleARN": ROLE},
        "InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {}}},
        "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {}}},
    }})
}

#[tokio::test]
async fn a_conversion_fills_a_declared_table() {
    let site = Site::new();
    let firehose = site.start().await;
    let missing = call(&firehose, "CreateDeliveryStream", direct("x", conversion("missing"))).await;
    refused(missing, "InvalidArgumentException", "default.missing");
    firehose.deliveries.apply(TABLE, false).await.unwrap();
    create(&firehose, "columns", conversion("flights")).await;
    let extended = describe(&firehose, "columns").await["Destinations"][0]["ExtendedS3DestinationDescription"].clone();
    assert_eq!(extended["BufferingHints"], json!({"SizeInMBs": 128, "IntervalInSeconds": 300}));
    put(&firehose, "columns", &["{\"carrier\":\"UA\"}{\"carrier\":\"AA\"}", "no"]).await;
    let flushed = firehose.deliveries.flush("columns").await.unwrap();
    assert_eq!((flushed.totals.rows, flushed.totals.set_aside), (2, 1));
    let (paths, _) = site.objects("default/flights/data").await;
    assert!(paths.iter().any(|path| path.ends_with(".parquet")), "{paths:?}");
}

#[tokio::test]
async fn an_iceberg_destination_is_a_table_delivery() {
    let site = Site::new();
    let firehose = site.start().await;
    let iceberg = |creates: bool, table: Value| {
        json!({"DeliveryStreamName": "ice", "IcebergDestinationConfiguration": {
            "RoleARN": ROLE, "S3Configuration": s3(json!({})),
            "CatalogConfiguration": {"CatalogARN": "arn:aws:glue:us-east-1:000000000000:catalog"},
            "TableCreationConfiguration": {"Enabled": creates},
            "DestinationTableConfigurationList": [table],
        }})
    };
    let table = json!({"DestinationDatabaseName": "default", "DestinationTableName": "ice"});
    let operation = "CreateDeliveryStream";
    refused(call(&firehose, operation, iceberg(false, table.clone())).await, "InvalidArgumentException", "default.ice");
    let keyed = json!({"DestinationDatabaseName": "default", "DestinationTableName": "ice", "UniqueKeys": ["id"]});
    refused(call(&firehose, operation, iceberg(true, keyed)).await, "InvalidArgumentException", "UniqueKeys");
    call(&firehose, operation, iceberg(true, table)).await.unwrap();
    put(&firehose, "ice", &["{\"id\":1}"]).await;
    assert_eq!(firehose.deliveries.flush("ice").await.unwrap().totals.rows, 1);
    let told = describe(&firehose, "ice").await["Destinations"][0]["IcebergDestinationDescription"].clone();
    assert_eq!(told["S3DestinationDescription"]["BucketARN"], "arn:aws:s3:::events");
    assert_eq!(told["DestinationTableConfigurationList"][0]["DestinationTableName"], "ice");
}

#[tokio::test]
async fn a_table_that_is_made_for_a_destination_is_partitioned_as_the_destination_says() {
    let site = Site::new();
    let firehose = site.start().await;
    let iceberg = |name: &str, table: &str, columns: &[&str]| {
        let identity: Vec<Value> = columns.iter().map(|column| json!({"SourceName": column})).collect();
        json!({"DeliveryStreamName": name, "IcebergDestinationConfiguration": {
            "RoleARN": ROLE, "S3Configuration": s3(json!({})),
            "CatalogConfiguration": {"CatalogARN": "arn:aws:glue:us-east-1:000000000000:catalog"},
            "TableCreationConfiguration": {"Enabled": true},
            "DestinationTableConfigurationList": [{
                "DestinationDatabaseName": "default", "DestinationTableName": table,
                "PartitionSpec": {"Identity": identity},
            }],
        }})
    };
    let create = "CreateDeliveryStream";
    call(&firehose, create, iceberg("ice", "ice", &["carrier", "origin"])).await.unwrap();
    let partitions = async |firehose: &Firehose| {
        let name = millrace_storage::catalog::TableName::new("default", "ice").unwrap();
        let loaded = firehose.catalog.load(&name).await.unwrap();
        let fields = loaded.metadata().default_partition_spec().fields().to_vec();
        fields.iter().map(|field| format!("{}({})", field.transform, field.name)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(partitions(&firehose).await, "identity(carrier), identity(origin)");
    put(&firehose, "ice", &["{\"carrier\":\"AA\",\"origin\":\"JFK\"}{\"carrier\":\"UA\"}"]).await;
    let totals = firehose.deliveries.flush("ice").await.unwrap().totals;
    assert_eq!((totals.rows, totals.files, totals.set_aside), (2, 2, 0), "a file for each value");
    let told = describe(&firehose, "ice").await["Destinations"][0]["IcebergDestinationDescription"].clone();
    let told = &told["DestinationTableConfigurationList"][0]["PartitionSpec"];
    assert_eq!(*told, json!({"Identity": [{"SourceName": "carrier"}, {"SourceName": "origin"}]}));

    // The table is there: what is said of it must hold, and nothing said takes it as it is.
    refused(
        call(&firehose, create, iceberg("b", "ice", &["carrier"])).await,
        "InvalidArgumentException",
        "identity(origin)",
    );
    call(&firehose, create, iceberg("b", "ice", &["carrier", "origin"])).await.unwrap();
    call(&firehose, create, iceberg("c", "ice", &[])).await.unwrap();
    refused(call(&firehose, create, iceberg("d", "other", &["a-b"])).await, "InvalidArgumentException", "a-b");

    // A table that was changed since stays so over a restart.
    let changed = "[[table]]\nname = \"ice\"\npartition_by = [\"identity(carrier)\"]\n\
                   column = [{ name = \"carrier\", type = \"string\" }, { name = \"origin\", type = \"string\" }]";
    firehose.deliveries.apply(changed, false).await.unwrap();
    drop(firehose);
    let firehose = site.start().await;
    assert_eq!(partitions(&firehose).await, "identity(carrier)");
}

//! What a restart must not lose: iterators, sequence numbers, consumers, tags.

use serde_json::json;

use crate::site::{Site, call};

#[test]
fn iterators_and_attributes_outlive_a_kill() {
    let mut site = Site::with(&[]);
    let ok = |site: &Site, operation: &str, body: serde_json::Value| {
        let (status, answer) = call(site.http(), operation, &body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    };
    ok(&site, "CreateStream", json!({"StreamName": "s", "ShardCount": 1, "Tags": {"team": "ops"}}));
    let stored = ok(&site, "PutRecord", json!({"StreamName": "s", "Data": "aGk=", "PartitionKey": "k"}));
    let place = json!({"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = ok(&site, "GetShardIterator", place);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let consumer = ok(&site, "RegisterStreamConsumer", json!({"StreamARN": arn, "ConsumerName": "app"}));
    site.server.kill();
    site.server.restart();
    let read = ok(&site, "GetRecords", iterator);
    assert_eq!(read["Records"][0]["SequenceNumber"], stored["SequenceNumber"]);
    let described = ok(&site, "DescribeStreamConsumer", json!({"ConsumerARN": consumer["Consumer"]["ConsumerARN"]}));
    assert_eq!(described["ConsumerDescription"]["ConsumerStatus"], "ACTIVE");
    let tags = ok(&site, "ListTagsForStream", json!({"StreamName": "s"}));
    assert_eq!(tags["Tags"], json!([{"Key": "team", "Value": "ops"}]));
    site.stop_and_verify();
}

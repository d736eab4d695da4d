"""What streams carry: tags, monitoring, policies, encryption."""

import json

from sdk import ACCOUNT, arn, create, fails
from streams import DENIED, INVALID, LIMIT, MISSING, VALIDATION


def run(kinesis, short):
    create(kinesis, "carrier")
    kinesis.register_stream_consumer(StreamARN=arn("carrier"), ConsumerName="app")
    tags(kinesis)
    resource_tags(kinesis)
    monitoring(kinesis)
    policies(kinesis)
    encryption(kinesis, short)


def tags(kinesis):
    add, remove, listed = kinesis.add_tags_to_stream, kinesis.remove_tags_from_stream, kinesis.list_tags_for_stream
    assert listed(StreamName="made")["Tags"] == [{"Key": "team", "Value": "ops"}], "the tags of its creation"
    add(StreamName="carrier", Tags={"b": "2", "a": "1", "c": ""})
    answer = listed(StreamName="carrier")
    assert answer == {**answer, "HasMoreTags": False, "Tags": [{"Key": k, "Value": v} for k, v in ("a1", "b2", ("c", ""))]}
    page = listed(StreamName="carrier", Limit=1, ExclusiveStartTagKey="a")
    assert page["Tags"] == [{"Key": "b", "Value": "2"}] and page["HasMoreTags"]
    add(StreamName="carrier", Tags={"a": "one"})
    remove(StreamName="carrier", TagKeys=["b", "none"])
    assert listed(StreamARN=arn("carrier"))["Tags"] == [{"Key": "a", "Value": "one"}, {"Key": "c", "Value": ""}]
    add(StreamName="carrier", Tags={f"k{number}": "" for number in range(48)})
    fails(LIMIT, add, "51 tags", StreamName="carrier", Tags={"more": ""})
    remove(StreamName="carrier", TagKeys=[f"k{number}" for number in range(48)])
    fails(INVALID, add, "reserved", StreamName="carrier", Tags={"aws:x": ""})
    fails(INVALID, add, "invalid characters", StreamName="carrier", Tags={"a;b": ""})
    fails(VALIDATION, add, "Map value must satisfy", StreamName="carrier", Tags={"a": "v" * 257})
    fails(VALIDATION, add, "'tags'", StreamName="carrier", Tags={})
    fails(VALIDATION, remove, "'tagKeys'", StreamName="carrier", TagKeys=[])
    other = arn("carrier").replace(ACCOUNT, "1" * 12)
    for call, parameters in ((add, {"Tags": {"a": ""}}), (remove, {"TagKeys": ["a"]}), (listed, {})):
        fails(MISSING, call, StreamName="none", **parameters)
        fails(INVALID, call, **parameters)
        fails(DENIED, call, StreamARN=other, **parameters)


def resource_tags(kinesis):
    add, remove, listed = kinesis.tag_resource, kinesis.untag_resource, kinesis.list_tags_for_resource
    consumer = kinesis.list_stream_consumers(StreamARN=arn("carrier"))["Consumers"][0]["ConsumerARN"]
    for resource in (arn("carrier"), consumer):
        add(ResourceARN=resource, Tags={"x": "1", "y": "2"})
        remove(ResourceARN=resource, TagKeys=["x"])
        assert {"Key": "y", "Value": "2"} in listed(ResourceARN=resource)["Tags"]
        assert all(tag["Key"] != "x" for tag in listed(ResourceARN=resource)["Tags"])
    fails(LIMIT, add, ResourceARN=consumer, Tags={f"k{number}": "" for number in range(51)})
    fails(INVALID, add, ResourceARN=consumer, Tags={"aws:x": ""})
    for call, parameters in ((add, {"Tags": {"a": ""}}), (remove, {"TagKeys": ["a"]}), (listed, {})):
        fails(MISSING, call, ResourceARN=arn("none"), **parameters)
        fails(MISSING, call, ResourceARN=consumer.rsplit(":", 1)[0] + ":1", **parameters)
        fails(DENIED, call, ResourceARN=consumer.replace(ACCOUNT, "1" * 12), **parameters)
        fails(VALIDATION, call, "'resourceARN'", ResourceARN="carrier", **parameters)
        fails(INVALID, call, ResourceARN=arn("carrier").replace("stream/", "queue/"), **parameters)


def monitoring(kinesis):
    on, off = kinesis.enable_enhanced_monitoring, kinesis.disable_enhanced_monitoring
    answer = on(StreamName="carrier", ShardLevelMetrics=["OutgoingBytes", "IncomingBytes"])
    assert answer.get("CurrentShardLevelMetrics", []) == [] and answer["StreamARN"] == arn("carrier")
    assert answer["DesiredShardLevelMetrics"] == ["IncomingBytes", "OutgoingBytes"]
    answer = on(StreamName="carrier", ShardLevelMetrics=["ALL"])
    assert len(answer["CurrentShardLevelMetrics"]) == 2 and len(answer["DesiredShardLevelMetrics"]) == 7
    off(StreamName="carrier", ShardLevelMetrics=["IncomingBytes"])
    described = kinesis.describe_stream(StreamName="carrier")["StreamDescription"]["EnhancedMonitoring"]
    assert len(described[0]["ShardLevelMetrics"]) == 6 and "IncomingBytes" not in described[0]["ShardLevelMetrics"]
    off(StreamName="carrier", ShardLevelMetrics=["ALL"])
    for call in (on, off):
        fails(MISSING, call, StreamName="none", ShardLevelMetrics=["ALL"])
        fails(INVALID, call, ShardLevelMetrics=["ALL"])
        fails(DENIED, call, StreamARN=arn("carrier").replace(ACCOUNT, "1" * 12), ShardLevelMetrics=["ALL"])
        fails(VALIDATION, call, "enum value set", StreamName="carrier", ShardLevelMetrics=["Everything"])


def policies(kinesis):
    put, get, delete = kinesis.put_resource_policy, kinesis.get_resource_policy, kinesis.delete_resource_policy
    consumer = kinesis.list_stream_consumers(StreamARN=arn("carrier"))["Consumers"][0]["ConsumerARN"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    for resource in (arn("carrier"), consumer):
        fails(MISSING, delete, "No resource policy", ResourceARN=resource)
        put(ResourceARN=resource, Policy=policy)
        assert get(ResourceARN=resource)["Policy"] == policy
        delete(ResourceARN=resource)
        assert get(ResourceARN=resource)["Policy"] == "{}"
    fails(INVALID, put, "JSON", ResourceARN=consumer, Policy="{")
    fails(LIMIT, put, ResourceARN=consumer, Policy=json.dumps({"Statement": "x" * 20480}))
    for call, parameters in ((put, {"Policy": policy}), (get, {}), (delete, {})):
        fails(MISSING, call, ResourceARN=arn("none"), **parameters)
        fails(DENIED, call, ResourceARN=arn("carrier").replace(ACCOUNT, "1" * 12), **parameters)
        fails(VALIDATION, call, "'resourceARN'", ResourceARN="", **parameters)
        fails(INVALID, call, ResourceARN=arn("carrier").replace("stream/", "channel/"), **parameters)


def encryption(kinesis, short):
    start, stop = kinesis.start_stream_encryption, kinesis.stop_stream_encryption
    key = {"StreamName": "carrier", "EncryptionType": "KMS", "KeyId": "alias/mine"}
    start(**key)
    described = kinesis.describe_stream(StreamName="carrier")["StreamDescription"]
    assert (described["EncryptionType"], described["KeyId"]) == ("KMS", "alias/mine")
    stored = kinesis.put_record(StreamName="carrier", Data=b"sealed", PartitionKey="k")
    assert stored["EncryptionType"] == "KMS"
    stop(**key)
    described = kinesis.describe_stream(StreamName="carrier")["StreamDescription"]
    assert described["EncryptionType"] == "NONE" and "KeyId" not in described
    for call in (start, stop):
        fails(INVALID, call, "only valid encryption type", **{**key, "EncryptionType": "NONE"})
        fails(MISSING, call, **{**key, "StreamName": "none"})
        fails(VALIDATION, call, "'keyId'", **{**key, "KeyId": ""})
        fails(DENIED, call, **{**key, "StreamName": None, "StreamARN": arn("carrier").replace(ACCOUNT, "1" * 12)})
    # A server without a master key has no key at all.
    fails("KMSNotFoundException", short.start_stream_encryption, "no master key is set", **{**key, "StreamName": "short-1"})

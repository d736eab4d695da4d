"""Streams: created, described, listed, changed, deleted."""

from datetime import datetime, timedelta, timezone

from sdk import ACCOUNT, arn, create, fails, refusal, until

VALIDATION, INVALID = "ValidationException", "InvalidArgumentException"
MISSING, IN_USE, LIMIT = "ResourceNotFoundException", "ResourceInUseException", "LimitExceededException"
DENIED, EXPIRED = "AccessDeniedException", "ExpiredNextTokenException"


def run(kinesis, short):
    creation(kinesis)
    description(kinesis)
    listing(kinesis)
    retention(kinesis)
    modes(kinesis)
    sizes(kinesis)
    deletion(kinesis)
    limits(short)


def creation(kinesis):
    create(kinesis, "made", 2, Tags={"team": "ops"})
    fails(IN_USE, kinesis.create_stream, f"Stream made under account {ACCOUNT} already exists", StreamName="made", ShardCount=1)
    fails(INVALID, kinesis.create_stream, "ShardCount", StreamName="other")
    message = fails(VALIDATION, kinesis.create_stream, StreamName="a/b", ShardCount=0)
    assert message == (
        "2 validation errors detected: Value 'a/b' at 'streamName' failed to satisfy constraint: Member must satisfy regular "
        "expression pattern: [a-zA-Z0-9_.-]+; Value '0' at 'shardCount' failed to satisfy constraint: Member must have value "
        "greater than or equal to 1"
    ), message
    fails(VALIDATION, kinesis.create_stream, "1 validation error detected: Value null at 'streamName'", ShardCount=1)
    fails("SerializationException", kinesis.create_stream, "can not be converted", StreamName=5, ShardCount=1)
    fails(LIMIT, kinesis.create_stream, StreamName="tagged", ShardCount=1, Tags={f"k{n}": "" for n in range(51)})
    fails(LIMIT, kinesis.create_stream, "10001", StreamName="huge", ShardCount=10001)


def description(kinesis):
    described = kinesis.describe_stream(StreamName="made")["StreamDescription"]
    assert described["StreamARN"] == arn("made") and described["StreamStatus"] == "ACTIVE"
    assert described["RetentionPeriodHours"] == 24 and described["EncryptionType"] == "NONE"
    assert described["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert described["EnhancedMonitoring"] == [{"ShardLevelMetrics": []}]
    ages = datetime.now(timezone.utc) - described["StreamCreationTimestamp"]
    assert timedelta(0) <= ages < timedelta(minutes=5), ages
    first, second = described["Shards"]
    assert [first["ShardId"], second["ShardId"]] == ["shardId-000000000000", "shardId-000000000001"]
    assert first["HashKeyRange"] == {"StartingHashKey": "0", "EndingHashKey": str(2**127 - 1)}
    number = first["SequenceNumberRange"]["StartingSequenceNumber"]
    assert len(number) == 56 and number.startswith("49"), number
    page = kinesis.describe_stream(StreamARN=arn("made"), Limit=1)["StreamDescription"]
    assert page["HasMoreShards"] and len(page["Shards"]) == 1
    page = kinesis.describe_stream(StreamName="made", ExclusiveStartShardId=first["ShardId"])["StreamDescription"]
    assert not page["HasMoreShards"] and page["Shards"] == [second]
    summary = kinesis.describe_stream_summary(StreamName="made")["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 2 and summary["ConsumerCount"] == 0 and summary["MaxRecordSizeInKiB"] == 1024
    for describe in (kinesis.describe_stream, kinesis.describe_stream_summary):
        fails(MISSING, describe, f"Stream none under account {ACCOUNT} not found", StreamName="none")
        fails(INVALID, describe, "StreamName or StreamARN")
        fails(INVALID, describe, "two streams", StreamName="made", StreamARN=arn("other"))
        fails(DENIED, describe, StreamARN=arn("made").replace(ACCOUNT, "1" * 12))
        fails(VALIDATION, describe, "'streamARN'", StreamARN="made")
    fails(INVALID, kinesis.describe_stream, StreamName="made", ExclusiveStartShardId="nothing")


def listing(kinesis):
    names = {f"listed-{number:02}" for number in range(5)}
    for name in names:
        create(kinesis, name)
    pages = list(kinesis.get_paginator("list_streams").paginate(Limit=2))
    assert all(len(page["StreamNames"]) <= 2 for page in pages)
    listed = [name for page in pages for name in page["StreamNames"]]
    assert listed == sorted(listed) and names <= set(listed) and len(listed) == len(set(listed)), listed
    summaries = [summary for page in pages for summary in page["StreamSummaries"]]
    assert [summary["StreamName"] for summary in summaries] == listed
    assert all(summary["StreamARN"] == arn(summary["StreamName"]) for summary in summaries)
    after = kinesis.list_streams(ExclusiveStartStreamName="listed-03")["StreamNames"]
    assert after[0] == "listed-04"
    fails(INVALID, kinesis.list_streams, NextToken="forged")
    fails(VALIDATION, kinesis.list_streams, "'limit'", Limit=0)
    limits = kinesis.describe_limits()
    assert limits["OpenShardCount"] >= 7 and limits["ShardLimit"] == 50000 and limits["OnDemandStreamCount"] == 0


def retention(kinesis):
    name = "listed-00"

    def hours():
        return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["RetentionPeriodHours"]

    up, down = kinesis.increase_stream_retention_period, kinesis.decrease_stream_retention_period
    up(StreamName=name, RetentionPeriodHours=48)
    assert hours() == 48
    fails(INVALID, up, "can not be shorter", StreamName=name, RetentionPeriodHours=47)
    fails(INVALID, down, "can not be longer", StreamName=name, RetentionPeriodHours=49)
    down(StreamARN=arn(name), RetentionPeriodHours=24)
    assert hours() == 24
    for change in (up, down):
        fails(INVALID, change, "Minimum allowed retention period is 24 hours", StreamName=name, RetentionPeriodHours=23)
        fails(INVALID, change, "Maximum allowed retention period is 8760", StreamName=name, RetentionPeriodHours=8761)
        fails(MISSING, change, StreamName="none", RetentionPeriodHours=24)
        fails(DENIED, change, StreamARN=arn(name).replace(ACCOUNT, "1" * 12), RetentionPeriodHours=24)
    up(StreamName=name, RetentionPeriodHours=8760)
    assert hours() == 8760


def modes(kinesis):
    on_demand, provisioned = {"StreamMode": "ON_DEMAND"}, {"StreamMode": "PROVISIONED"}
    warm = kinesis.update_stream_warm_throughput
    fails(VALIDATION, kinesis.create_stream, StreamName="w", StreamModeDetails=on_demand, WarmThroughputMiBps=8)
    kinesis.create_stream(StreamName="load", StreamModeDetails=on_demand)
    summary = kinesis.describe_stream_summary(StreamName="load")["StreamDescriptionSummary"]
    assert summary["StreamModeDetails"] == on_demand and summary["OpenShardCount"] == 4
    assert summary["WarmThroughput"] == {"TargetMiBps": 4, "CurrentMiBps": 4}
    shard = {"StreamName": "load", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "10"}
    fails(VALIDATION, kinesis.split_shard, "On-Demand mode", **shard)
    merge = {"ShardToMerge": "shardId-000000000000", "AdjacentShardToMerge": "shardId-000000000001"}
    fails(VALIDATION, kinesis.merge_shards, "On-Demand mode", StreamName="load", **merge)
    update = {"TargetShardCount": 8, "ScalingType": "UNIFORM_SCALING"}
    fails(VALIDATION, kinesis.update_shard_count, "On-Demand mode", StreamName="load", **update)

    settings = kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"]
    assert settings["Status"] == "DISABLED"
    fails(VALIDATION, warm, "MinimumThroughputBillingCommitment", StreamName="load", WarmThroughputMiBps=8)
    commit = kinesis.update_account_settings
    fails(VALIDATION, commit, "enum value set", MinimumThroughputBillingCommitment={"Status": "MAYBE"})
    enabled = commit(MinimumThroughputBillingCommitment={"Status": "ENABLED"})["MinimumThroughputBillingCommitment"]
    assert enabled["Status"] == "ENABLED" and enabled["StartedAt"]
    assert kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"] == enabled
    answer = warm(StreamName="load", WarmThroughputMiBps=8)
    assert answer["WarmThroughput"] == {"TargetMiBps": 8, "CurrentMiBps": 4} and answer["StreamARN"] == arn("load")
    fails(LIMIT, warm, StreamName="load", WarmThroughputMiBps=10241)
    fails(VALIDATION, warm, "ON_DEMAND", StreamName="made", WarmThroughputMiBps=8)
    fails(MISSING, warm, StreamName="none", WarmThroughputMiBps=8)
    fails(INVALID, warm, WarmThroughputMiBps=8)
    fails(DENIED, warm, StreamARN=arn("load").replace(ACCOUNT, "1" * 12), WarmThroughputMiBps=8)
    disabled = commit(MinimumThroughputBillingCommitment={"Status": "DISABLED"})["MinimumThroughputBillingCommitment"]
    assert disabled["Status"] == "DISABLED" and disabled["EndedAt"]

    mode = kinesis.update_stream_mode
    mode(StreamARN=arn("load"), StreamModeDetails=provisioned)
    assert kinesis.describe_stream(StreamName="load")["StreamDescription"]["StreamModeDetails"] == provisioned
    mode(StreamARN=arn("load"), StreamModeDetails=on_demand)
    fails(MISSING, mode, StreamARN=arn("none"), StreamModeDetails=on_demand)
    fails(VALIDATION, mode, "enum value set", StreamARN=arn("load"), StreamModeDetails={"StreamMode": "x"})
    fails(INVALID, mode, StreamARN=arn("a b").replace(" ", "é"), StreamModeDetails=on_demand)


def sizes(kinesis):
    change = kinesis.update_max_record_size
    change(StreamARN=arn("made"), MaxRecordSizeInKiB=2048)
    summary = kinesis.describe_stream_summary(StreamName="made")["StreamDescriptionSummary"]
    assert summary["MaxRecordSizeInKiB"] == 2048
    for size in (1023, 10241):
        fails(VALIDATION, change, "'maxRecordSizeInKiB'", StreamARN=arn("made"), MaxRecordSizeInKiB=size)
    fails(MISSING, change, StreamARN=arn("none"), MaxRecordSizeInKiB=1024)
    fails(INVALID, change, MaxRecordSizeInKiB=1024)
    fails(DENIED, change, StreamARN=arn("made").replace(ACCOUNT, "1" * 12), MaxRecordSizeInKiB=1024)
    kinesis.create_stream(StreamName="large", ShardCount=1, MaxRecordSizeInKiB=10240)
    data = b"x" * (10 * 1024 * 1024 - 1)
    stored = kinesis.put_record(StreamName="large", Data=data, PartitionKey="k")
    assert stored["ShardId"] == "shardId-000000000000"
    fails("InvalidArgumentException", kinesis.put_record, StreamName="large", Data=data + b"x", PartitionKey="k")


def deletion(kinesis):
    for number in range(5):
        kinesis.delete_stream(StreamName=f"listed-{number:02}")
    kinesis.get_waiter("stream_not_exists").wait(StreamName="listed-00")
    fails(MISSING, kinesis.delete_stream, StreamName="listed-00")
    fails(INVALID, kinesis.delete_stream)
    fails(DENIED, kinesis.delete_stream, StreamARN=arn("made").replace(ACCOUNT, "1" * 12))
    create(kinesis, "read")
    kinesis.register_stream_consumer(StreamARN=arn("read"), ConsumerName="app")
    fails(IN_USE, kinesis.delete_stream, "registered consumers", StreamName="read")
    kinesis.delete_stream(StreamName="read", EnforceConsumerDeletion=True)
    create(kinesis, "read")
    consumers = kinesis.list_stream_consumers(StreamARN=arn("read"))["Consumers"]
    assert consumers == [], "a stream that comes again under a name has no consumers"


def limits(short):
    """The server with a limit of three streams, and tokens that expire at once."""
    for number in range(3):
        create(short, f"short-{number}")
    fails(LIMIT, short.create_stream, StreamName="short-3", ShardCount=1)
    token = short.list_streams(Limit=1)["NextToken"]
    expires(short.list_streams, NextToken=token)
    token = short.list_streams(Limit=1)["NextToken"]
    assert short.list_streams(NextToken=token)["StreamNames"] == ["short-1", "short-2"]


def expires(call, code=EXPIRED, **parameters):
    """Asserts that a token expires within some seconds, and until then is taken."""

    def refused():
        code = refusal(call, **parameters)
        return None if code == "ProvisionedThroughputExceededException" else code

    assert until("a token to expire", refused) == code

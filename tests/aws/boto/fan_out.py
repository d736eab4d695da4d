"""Registered consumers and their subscriptions."""

from datetime import datetime, timedelta, timezone

from botocore.exceptions import EventStreamError
from sdk import ACCOUNT, arn, create, fails, until
from streams import DENIED, EXPIRED, INVALID, LIMIT, MISSING, VALIDATION, expires

IN_USE, DRY = "ResourceInUseException", "DryRunOperationException"
SHARD = "shardId-000000000000"


def run(kinesis, short):
    consumers(kinesis, short)
    events(kinesis)
    ends(short)


def consumers(kinesis, short):
    create(kinesis, "fan")
    register, deregister = kinesis.register_stream_consumer, kinesis.deregister_stream_consumer
    describe, listed = kinesis.describe_stream_consumer, kinesis.list_stream_consumers
    stream = {"StreamARN": arn("fan")}
    made = register(**stream, ConsumerName="app", Tags={"team": "ops"})["Consumer"]
    assert made["ConsumerStatus"] == "ACTIVE" and made["ConsumerARN"].startswith(f"{arn('fan')}/consumer/app:")
    assert kinesis.list_tags_for_resource(ResourceARN=made["ConsumerARN"])["Tags"] == [{"Key": "team", "Value": "ops"}]
    described = describe(ConsumerARN=made["ConsumerARN"])["ConsumerDescription"]
    assert described == {**made, "StreamARN": arn("fan")}
    assert describe(**stream, ConsumerName="app")["ConsumerDescription"] == described
    fails(IN_USE, register, "registered already", **stream, ConsumerName="app")
    for number in range(19):
        register(**stream, ConsumerName=f"app-{number:02}")
    fails(LIMIT, register, "20 consumers", **stream, ConsumerName="one-more")
    assert kinesis.describe_stream_summary(StreamName="fan")["StreamDescriptionSummary"]["ConsumerCount"] == 20
    pages = list(kinesis.get_paginator("list_stream_consumers").paginate(**stream, MaxResults=7))
    names = [consumer["ConsumerName"] for page in pages for consumer in page["Consumers"]]
    assert names == ["app", *(f"app-{number:02}" for number in range(19))] and len(pages) == 3, names
    for number in range(18):
        deregister(**stream, ConsumerName=f"app-{number:02}")
    last = describe(**stream, ConsumerName="app-18")["ConsumerDescription"]["ConsumerARN"]
    deregister(ConsumerARN=last)
    for call in (describe, deregister):
        fails(MISSING, call, ConsumerARN=last)
        fails(MISSING, call, **stream, ConsumerName="app-18")
        fails(INVALID, call, **stream)
        fails(VALIDATION, call, "'consumerARN'", ConsumerARN="app")
    other = arn("fan").replace(ACCOUNT, "1" * 12)
    fails(MISSING, register, StreamARN=arn("none"), ConsumerName="app")
    fails(INVALID, register, StreamARN=made["ConsumerARN"], ConsumerName="app")
    fails(VALIDATION, register, "'consumerName'", **stream)
    fails(DENIED, register, StreamARN=other, ConsumerName="app")
    fails(MISSING, listed, StreamARN=arn("none"))
    fails(INVALID, listed, **stream, NextToken="forged")
    fails(MISSING, listed, **stream, StreamCreationTimestamp=datetime.now(timezone.utc) - timedelta(days=1))
    for name in ("one", "two"):
        short.register_stream_consumer(StreamARN=arn("short-1"), ConsumerName=name)
    token = short.list_stream_consumers(StreamARN=arn("short-1"), MaxResults=1)["NextToken"]
    expires(short.list_stream_consumers, EXPIRED, StreamARN=arn("short-1"), NextToken=token)


def take(events, count, enough=lambda event: bool(event["Records"])):
    """The next events that have records."""
    found = []
    for event in events:
        event = event["SubscribeToShardEvent"]
        if enough(event):
            found.append(event)
        if len(found) == count:
            return found
    raise AssertionError(f"the stream ended after {len(found)} events, and {count} were wanted")


def events(kinesis):
    consumer = kinesis.describe_stream_consumer(StreamARN=arn("fan"), ConsumerName="app")
    consumer = consumer["ConsumerDescription"]["ConsumerARN"]
    subscribe = kinesis.subscribe_to_shard
    start = {"ConsumerARN": consumer, "ShardId": SHARD, "StartingPosition": {"Type": "TRIM_HORIZON"}}
    fails(DRY, subscribe, **start, DryRun=True)
    fails(MISSING, subscribe, **{**start, "ShardId": "shardId-000000000009"})
    fails(MISSING, subscribe, **{**start, "ConsumerARN": consumer.rsplit(":", 1)[0] + ":1"})
    fails(INVALID, subscribe, **{**start, "StartingPosition": {"Type": "AT_SEQUENCE_NUMBER"}})
    fails(VALIDATION, subscribe, "'startingPosition.type'", **{**start, "StartingPosition": {"Type": "NOW"}})
    fails(DENIED, subscribe, **{**start, "ConsumerARN": consumer.replace(ACCOUNT, "1" * 12)})
    first = kinesis.put_record(StreamName="fan", Data=b"first", PartitionKey="k")["SequenceNumber"]
    stream = subscribe(**start)["EventStream"]
    events = iter(stream)
    (event,) = take(events, 1)
    assert [(r["Data"], r["SequenceNumber"]) for r in event["Records"]] == [(b"first", first)]
    assert event["ContinuationSequenceNumber"] == first and event["MillisBehindLatest"] == 0
    kinesis.put_record(StreamName="fan", Data=b"second", PartitionKey="k")
    (event,) = take(events, 1)
    assert [r["Data"] for r in event["Records"]] == [b"second"]
    fails(IN_USE, subscribe, "Another active subscription", **start)
    # Five seconds after the first, the second takes over.
    position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": first}
    taking = {**start, "StartingPosition": position}
    second = until("a takeover", lambda: subscribed(subscribe, taking), 15)
    try:
        take(events, 1)
        raise AssertionError("the first subscription went on")
    except EventStreamError as error:
        assert error.response["Error"]["Code"] == IN_USE, error
    (event,) = take(iter(second), 1)
    assert [r["Data"] for r in event["Records"]] == [b"second"]
    # Children end a subscription.
    kinesis.split_shard(StreamName="fan", ShardToSplit=SHARD, NewStartingHashKey="5")
    (event,) = take(iter(second), 1, lambda event: "ChildShards" in event)
    assert [child["ShardId"][-1] for child in event["ChildShards"]] == ["1", "2"]
    assert "ContinuationSequenceNumber" not in event
    assert list(second) == [], "the stream ends with its shard"


def subscribed(subscribe, parameters):
    from botocore.exceptions import ClientError

    try:
        return subscribe(**parameters)["EventStream"]
    except ClientError as error:
        assert error.response["Error"]["Code"] == IN_USE, error
        return None


def ends(short):
    """The server whose subscriptions live for two seconds, with an event each 200 ms."""
    consumer = short.describe_stream_consumer(StreamARN=arn("short-1"), ConsumerName="one")
    consumer = consumer["ConsumerDescription"]["ConsumerARN"]
    start = {"ConsumerARN": consumer, "ShardId": SHARD, "StartingPosition": {"Type": "LATEST"}}
    began = datetime.now()
    idle = [event["SubscribeToShardEvent"] for event in short.subscribe_to_shard(**start)["EventStream"]]
    lasted = datetime.now() - began
    assert timedelta(seconds=1.5) < lasted < timedelta(seconds=10), lasted
    assert len(idle) >= 3 and all(event["Records"] == [] for event in idle)
    # What an idle event names is a place to go on from.
    number = idle[-1]["ContinuationSequenceNumber"]
    short.put_record(StreamName="short-1", Data=b"x", PartitionKey="k")
    at = short.get_shard_iterator(
        StreamName="short-1", ShardId=SHARD, ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number
    )
    assert [r["Data"] for r in short.get_records(ShardIterator=at["ShardIterator"])["Records"]] == [b"x"]

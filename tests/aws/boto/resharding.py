"""Shards: split, merged, counted, listed, and read past their ends."""

from datetime import datetime, timedelta, timezone

from sdk import ACCOUNT, arn, create, fails, iterator, read, shards, throttled
from streams import DENIED, EXPIRED, INVALID, LIMIT, MISSING, VALIDATION, expires

IN_USE = "ResourceInUseException"
HALF = str(2**127)


def name(number):
    return f"shardId-{number:012}"


def run(kinesis, short):
    splitting(kinesis)
    listing(kinesis, short)
    counting(kinesis)


def splitting(kinesis):
    create(kinesis, "lineage")
    split, merge = kinesis.split_shard, kinesis.merge_shards
    put = {"StreamName": "lineage", "PartitionKey": "k", "ExplicitHashKey": "7"}
    last = kinesis.put_record(Data=b"before", **put)["SequenceNumber"]
    at = iterator(kinesis, "lineage", name(0))
    split(StreamName="lineage", ShardToSplit=name(0), NewStartingHashKey=HALF)
    parent, lower, upper = shards(kinesis, "lineage")
    assert parent["SequenceNumberRange"]["EndingSequenceNumber"] == last
    assert lower["ParentShardId"] == upper["ParentShardId"] == name(0) and "AdjacentParentShardId" not in lower
    assert upper["HashKeyRange"] == {"StartingHashKey": HALF, "EndingHashKey": str(2**128 - 1)}
    assert kinesis.put_record(Data=b"after", **put)["ShardId"] == name(1)
    # A closed shard gives what it has, then its children and no iterator.
    answer = throttled(kinesis.get_records, ShardIterator=at)
    assert [r["Data"] for r in answer["Records"]] == [b"before"] and "NextShardIterator" not in answer
    children = answer["ChildShards"]
    assert [child["ShardId"] for child in children] == [name(1), name(2)]
    assert all(child["ParentShards"] == [name(0)] for child in children)
    assert [r["Data"] for r in read(kinesis, "lineage", name(1), 1)] == [b"after"]

    order = kinesis.put_record(Data=b"ordered", SequenceNumberForOrdering=last, **put)["SequenceNumber"]
    assert int(order) > int(last), "a child's numbers are past its parent's"
    fails(IN_USE, split, "closed", StreamName="lineage", ShardToSplit=name(0), NewStartingHashKey=HALF)
    fails(INVALID, split, "hash key", StreamName="lineage", ShardToSplit=name(1), NewStartingHashKey=HALF)
    fails(MISSING, split, f"Could not find shard {name(9)}", StreamName="lineage", ShardToSplit=name(9), NewStartingHashKey="7")
    fails(MISSING, split, StreamName="none", ShardToSplit=name(0), NewStartingHashKey="7")
    fails(VALIDATION, split, "'newStartingHashKey'", StreamName="lineage", ShardToSplit=name(1), NewStartingHashKey="-1")
    other = arn("lineage").replace(ACCOUNT, "1" * 12)
    fails(DENIED, split, StreamARN=other, ShardToSplit=name(1), NewStartingHashKey="7")

    split(StreamName="lineage", ShardToSplit=name(1), NewStartingHashKey="1000")
    fails(INVALID, merge, "not neighbours", StreamName="lineage", ShardToMerge=name(3), AdjacentShardToMerge=name(2))
    merge(StreamName="lineage", ShardToMerge=name(4), AdjacentShardToMerge=name(2))
    merged = shards(kinesis, "lineage")[-1]
    assert (merged["ParentShardId"], merged["AdjacentParentShardId"]) == (name(4), name(2)), merged
    fails(IN_USE, merge, "closed", StreamName="lineage", ShardToMerge=name(4), AdjacentShardToMerge=name(2))
    fails(MISSING, merge, StreamName="lineage", ShardToMerge=name(4), AdjacentShardToMerge=name(99))
    fails(MISSING, merge, StreamName="none", ShardToMerge=name(4), AdjacentShardToMerge=name(2))
    fails(VALIDATION, merge, "'adjacentShardToMerge'", StreamName="lineage", ShardToMerge=name(4))
    fails(DENIED, merge, StreamARN=other, ShardToMerge=name(4), AdjacentShardToMerge=name(2))


def listing(kinesis, short):
    def ids(**parameters):
        return [int(shard["ShardId"][-3:]) for shard in shards(kinesis, "lineage", **parameters)]

    assert ids() == [0, 1, 2, 3, 4, 5]
    assert ids(PaginationConfig={"PageSize": 2}) == [0, 1, 2, 3, 4, 5]
    assert ids(ExclusiveStartShardId=name(3)) == [4, 5]
    assert ids(ShardFilter={"Type": "AT_LATEST"}) == [3, 5]
    assert ids(ShardFilter={"Type": "AT_TRIM_HORIZON"}) == [0]
    assert ids(ShardFilter={"Type": "FROM_TRIM_HORIZON"}) == [0, 1, 2, 3, 4, 5]
    assert ids(ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": name(1)}) == [2, 3, 4, 5]
    now, hour = datetime.now(timezone.utc), timedelta(hours=1)
    assert ids(ShardFilter={"Type": "AT_TIMESTAMP", "Timestamp": now + hour}) == [3, 5]
    assert ids(ShardFilter={"Type": "AT_TIMESTAMP", "Timestamp": now - hour}) == [0]
    assert ids(ShardFilter={"Type": "FROM_TIMESTAMP", "Timestamp": now - hour}) == [0, 1, 2, 3, 4, 5]
    listing = kinesis.list_shards
    created = kinesis.describe_stream(StreamName="lineage")["StreamDescription"]["StreamCreationTimestamp"]
    assert len(listing(StreamName="lineage", StreamCreationTimestamp=created)["Shards"]) == 6
    fails(MISSING, listing, StreamName="lineage", StreamCreationTimestamp=created - hour)
    fails(MISSING, listing, StreamName="none")
    fails(INVALID, listing, ShardFilter={"Type": "AFTER_SHARD_ID"}, StreamName="lineage")
    fails(INVALID, listing, ShardFilter={"Type": "AT_TIMESTAMP"}, StreamName="lineage")
    fails(VALIDATION, listing, "'shardFilter.type'", ShardFilter={"Type": "ALL"}, StreamName="lineage")
    fails(DENIED, listing, StreamARN=arn("lineage").replace(ACCOUNT, "1" * 12))
    token = listing(StreamName="lineage", MaxResults=1)["NextToken"]
    fails(INVALID, listing, "cannot be provided together", StreamName="records", NextToken=token)
    fails(INVALID, listing, "two streams", StreamARN=arn("records"), NextToken=token)
    fails(INVALID, listing, "Invalid NextToken", NextToken="forged")
    short.split_shard(StreamName="short-0", ShardToSplit=name(0), NewStartingHashKey=HALF)
    token = short.list_shards(StreamName="short-0", MaxResults=1)["NextToken"]
    expires(short.list_shards, EXPIRED, NextToken=token)


def counting(kinesis):
    create(kinesis, "counted")
    update = kinesis.update_shard_count
    uniform = {"StreamName": "counted", "ScalingType": "UNIFORM_SCALING"}
    answer = update(**uniform, TargetShardCount=2)
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (1, 2) and answer["StreamARN"] == arn("counted")
    fails(INVALID, update, "over double", **uniform, TargetShardCount=5)
    update(**uniform, TargetShardCount=4)
    fails(INVALID, update, "below half", **uniform, TargetShardCount=1)
    fails(VALIDATION, update, "'scalingType'", StreamName="counted", TargetShardCount=2, ScalingType="OTHER")
    fails(MISSING, update, **{**uniform, "StreamName": "none"}, TargetShardCount=2)
    fails(DENIED, update, StreamARN=arn("counted").replace(ACCOUNT, "1" * 12), TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    for number in range(8):
        update(**uniform, TargetShardCount=4 if number % 2 else 3)
    fails(LIMIT, update, "10 times within 24 hours", **uniform, TargetShardCount=4)
    open_now = shards(kinesis, "counted", ShardFilter={"Type": "AT_LATEST"})
    assert len(open_now) == 4, open_now

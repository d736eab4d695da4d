"""Records: put, read back, and every way to stand in a shard."""

import hashlib
from datetime import datetime, timedelta, timezone

from botocore.exceptions import ClientError
from sdk import ACCOUNT, arn, create, fails, iterator, read, refusal, shards, throttled, until
from streams import DENIED, INVALID, MISSING, VALIDATION, expires

THROUGHPUT, DRY = "ProvisionedThroughputExceededException", "DryRunOperationException"


def run(kinesis, short):
    putting(kinesis)
    reading(kinesis)
    quotas(kinesis)
    expiry(short)


def putting(kinesis):
    create(kinesis, "records", 2)
    records = [{"Data": f"event {n}".encode(), "PartitionKey": f"key-{n}"} for n in range(100)]
    records[7]["ExplicitHashKey"] = str(2**128 - 1)
    records[8]["ExplicitHashKey"] = "0"
    answer = kinesis.put_records(StreamName="records", Records=records)
    assert answer["FailedRecordCount"] == 0 and answer["EncryptionType"] == "NONE"
    fates = answer["Records"]
    assert [fate["ShardId"][-1] for fate in fates[7:9]] == ["1", "0"]
    for record, fate in zip(records, fates):
        digest = int(hashlib.md5(record["PartitionKey"].encode()).hexdigest(), 16)
        key = int(record.get("ExplicitHashKey", digest))
        assert fate["ShardId"] == f"shardId-{int(key >= 2**127):012}"
    numbers = [fate["SequenceNumber"] for fate in fates]
    assert len(set(numbers)) == 100 and all(len(n) == 56 and n.startswith("49") for n in numbers)
    stored = {}
    for shard in ("shardId-000000000000", "shardId-000000000001"):
        wanted = [(r, f) for r, f in zip(records, fates) if f["ShardId"] == shard]
        got = read(kinesis, "records", shard, len(wanted))
        assert [(r["Data"], r["PartitionKey"], r["SequenceNumber"]) for r in got] == [
            (r["Data"], r["PartitionKey"], f["SequenceNumber"]) for r, f in wanted
        ]
        assert [int(r["SequenceNumber"]) for r in got] == sorted(int(r["SequenceNumber"]) for r in got)
        stored[shard] = got

    one = kinesis.put_record(StreamARN=arn("records"), Data=b"", PartitionKey="é" * 256, ExplicitHashKey="5")
    two = kinesis.put_record(
        StreamName="records", Data=b"2", PartitionKey="k", ExplicitHashKey="5", SequenceNumberForOrdering=one["SequenceNumber"]
    )
    assert int(two["SequenceNumber"]) == int(one["SequenceNumber"]) + 1 and two["EncryptionType"] == "NONE"

    put, batch = kinesis.put_record, kinesis.put_records
    record = {"StreamName": "records", "Data": b"x", "PartitionKey": "k"}
    foreign = "49590338271490256608559692538361571095921575989136588898"
    fails(INVALID, put, "did not come from this stream", **record, SequenceNumberForOrdering=foreign)
    fails(INVALID, put, "[0, 2^128-1]", **record, ExplicitHashKey=str(2**128))
    fails(VALIDATION, put, "'explicitHashKey'", **record, ExplicitHashKey="01")
    fails(VALIDATION, put, "'partitionKey'", **{**record, "PartitionKey": "k" * 257})
    fails(INVALID, put, "1048577 bytes", **{**record, "Data": b"x" * 1048576})
    fails(MISSING, put, **{**record, "StreamName": "none"})
    fails(DENIED, put, StreamARN=arn("records").replace(ACCOUNT, "1" * 12), Data=b"x", PartitionKey="k")
    fails(DRY, put, **record, DryRun=True)
    entry = {"Data": b"x", "PartitionKey": "k"}
    fails(VALIDATION, batch, "less than or equal to 500", StreamName="records", Records=[entry] * 501)
    fails(VALIDATION, batch, "'records.2.member.partitionKey'", StreamName="records", Records=[entry, {"Data": b""}])
    fails(INVALID, batch, StreamName="records", Records=[{"Data": b"x" * 1048576, "PartitionKey": "k"}])
    fails(MISSING, batch, StreamName="none", Records=[entry])
    fails(DENIED, batch, StreamARN=arn("records").replace(ACCOUNT, "1" * 12), Records=[entry])
    fails(DRY, batch, StreamName="records", Records=[entry], DryRun=True)
    large = [{"Data": b"x" * 1048000, "PartitionKey": "k"}] * 11
    fails(INVALID, batch, "past the limit of 10485760", StreamName="records", Records=large)


def reading(kinesis):
    create(kinesis, "places")
    first = "shardId-000000000000"
    numbers = [
        kinesis.put_record(StreamName="places", Data=str(n).encode(), PartitionKey="k")["SequenceNumber"] for n in range(4)
    ]

    def given(kind, **parameters):
        at = iterator(kinesis, "places", first, kind, **parameters)
        return [r["Data"].decode() for r in throttled(kinesis.get_records, ShardIterator=at)["Records"]]

    assert given("TRIM_HORIZON") == ["0", "1", "2", "3"]
    assert given("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == ["1", "2", "3"]
    assert given("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == ["2", "3"]
    start = shards(kinesis, "places")[0]["SequenceNumberRange"]["StartingSequenceNumber"]
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        assert given(kind, StartingSequenceNumber=start) == ["0", "1", "2", "3"]
    assert given("AT_TIMESTAMP", Timestamp=datetime.now(timezone.utc) - timedelta(hours=2)) == ["0", "1", "2", "3"]
    assert given("LATEST") == []
    at = iterator(kinesis, "places", first, "LATEST")
    kinesis.put_record(StreamName="places", Data=b"4", PartitionKey="k")
    answer = throttled(kinesis.get_records, ShardIterator=at)
    assert [r["Data"] for r in answer["Records"]] == [b"4"] and answer["MillisBehindLatest"] == 0
    age = datetime.now(timezone.utc) - answer["Records"][0]["ApproximateArrivalTimestamp"]
    assert timedelta(seconds=-1) < age < timedelta(minutes=1), age
    at = iterator(kinesis, "places", first)
    answer = throttled(kinesis.get_records, ShardIterator=at, Limit=2, StreamARN=arn("places"))
    assert [r["Data"] for r in answer["Records"]] == [b"0", b"1"] and answer["MillisBehindLatest"] >= 0
    answer = throttled(kinesis.get_records, ShardIterator=answer["NextShardIterator"])
    assert [r["Data"] for r in answer["Records"]] == [b"2", b"3", b"4"]

    get, find = kinesis.get_records, kinesis.get_shard_iterator
    fails(INVALID, get, "Invalid ShardIterator", ShardIterator="forged")
    fails(INVALID, get, "Invalid ShardIterator", ShardIterator=at[:-2] + ("AA" if at[-2:] != "AA" else "BB"))
    fails(VALIDATION, get, "'limit'", ShardIterator=at, Limit=10001)
    fails(VALIDATION, get, "'shardIterator'", ShardIterator="x" * 513)
    fails(DENIED, get, ShardIterator=at, StreamARN=arn("places").replace(ACCOUNT, "1" * 12))
    fails(INVALID, get, "two streams", ShardIterator=at, StreamARN=arn("records"))

    def dry():
        return fails_or_throttled(get, DRY, ShardIterator=at, DryRun=True)

    until("a dry run", dry)
    place = {"StreamName": "places", "ShardId": first, "ShardIteratorType": "LATEST"}
    until("a dry run", lambda: fails_or_throttled(find, DRY, **place, DryRun=True))
    fails(MISSING, find, **{**place, "StreamName": "none"})
    fails(MISSING, find, "shardId-000000000009", **{**place, "ShardId": "shardId-000000000009"})
    fails(VALIDATION, find, "enum value set", **{**place, "ShardIteratorType": "NOW"})
    fails(DENIED, find, **{**place, "StreamName": None, "StreamARN": arn("places").replace(ACCOUNT, "1" * 12)})
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    for code, parameters in [
        (INVALID, {"ShardIteratorType": "AT_SEQUENCE_NUMBER"}),
        (INVALID, {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "0"}),
        (INVALID, {"ShardIteratorType": "AT_TIMESTAMP"}),
        (INVALID, {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": later}),
    ]:
        until(code, lambda: fails_or_throttled(find, code, **{**place, **parameters}))
    at = iterator(kinesis, "places", first)
    kinesis.delete_stream(StreamName="places")
    fails(MISSING, get, ShardIterator=at)
    create(kinesis, "places")
    fails(MISSING, get, "was deleted", ShardIterator=at)


def fails_or_throttled(call, code, **parameters):
    """Whether a call failed with a code; not yet, where it was throttled."""
    try:
        answer = call(**parameters)
    except ClientError as error:
        told = error.response["Error"]["Code"]
        assert told in (code, THROUGHPUT), f"{parameters}: {told}"
        return told == code
    raise AssertionError(f"{parameters} answered {answer}")


def quotas(kinesis):
    create(kinesis, "quotas")
    entry = {"Data": b"x" * 100_000, "PartitionKey": "k"}
    answer = kinesis.put_records(StreamName="quotas", Records=[entry] * 20)
    failed = [fate for fate in answer["Records"] if "ErrorCode" in fate]
    assert 0 < len(failed) < 20 and answer["FailedRecordCount"] == len(failed), answer
    expected = f"Rate exceeded for shard shardId-000000000000 in stream quotas under account {ACCOUNT}."
    assert all(fate["ErrorCode"] == THROUGHPUT and fate["ErrorMessage"] == expected for fate in failed)
    assert all("SequenceNumber" not in fate and "ShardId" not in fate for fate in failed)
    whole = {"StreamName": "quotas", "Data": b"x" * 1_000_000, "PartitionKey": "k"}
    until("a put over quota", lambda: refusal(kinesis.put_record, **whole) == THROUGHPUT)
    # Five calls a second for each shard.
    at = iterator(kinesis, "quotas", "shardId-000000000000", "LATEST")
    until("a read past five a second", lambda: refusal(kinesis.get_records, ShardIterator=at) == THROUGHPUT, 10)
    place = {"StreamName": "quotas", "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"}
    until("an iterator past five a second", lambda: refusal(kinesis.get_shard_iterator, **place) == THROUGHPUT, 10)
    # After more than a second's 2 MiB, the shard gives nothing for a while.
    create(kinesis, "outgoing")
    for _ in range(4):
        until("room for a record", lambda: throttled(kinesis.put_record, **{**whole, "StreamName": "outgoing"}))
    at = iterator(kinesis, "outgoing", "shardId-000000000000")
    answer = throttled(kinesis.get_records, ShardIterator=at)
    assert len(answer["Records"]) == 4
    fails(THROUGHPUT, kinesis.get_records, "Rate exceeded for shard", ShardIterator=at)


def expiry(short):
    at = iterator(short, "short-0", "shardId-000000000000")
    expires(short.get_records, "ExpiredIteratorException", ShardIterator=at)
    fails("ExpiredIteratorException", short.get_records, "Iterator expired", ShardIterator=at)

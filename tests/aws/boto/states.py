"""Servers in a state that is seldom: `states.py ENDPOINT STATE [CODE]`.

`made` makes what is encrypted. `locked` finds that its keys cannot be used, told as CODE. `full` finds no room on the disk.
Prints what was seen as JSON, as `operations.py` does.
"""

import json
import sys

import sdk
from firehose import s3

RECORD = {"Data": b"sealed", "PartitionKey": "k"}
SHARD = "shardId-000000000000"


def made(kinesis, firehose):
    for name in ("sealed", "clear"):
        sdk.create(kinesis, name)
    kinesis.start_stream_encryption(StreamName="sealed", EncryptionType="KMS", KeyId="alias/mine")
    kinesis.put_record(StreamName="sealed", **RECORD)
    firehose.create_delivery_stream(
        DeliveryStreamName="sealed",
        S3DestinationConfiguration=s3(),
        DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"},
    )
    firehose.create_delivery_stream(DeliveryStreamName="clear", S3DestinationConfiguration=s3())
    assert firehose.put_record(DeliveryStreamName="sealed", Record={"Data": b"sealed"})["Encrypted"]


def locked(kinesis, firehose, code):
    put = {"StreamName": "sealed", **RECORD}
    # The server looks again each two seconds.
    sdk.until(code, lambda: sdk.refusal(kinesis.put_record, **put) == code)
    sdk.fails(code, kinesis.put_records, StreamName="sealed", Records=[RECORD])
    at = sdk.iterator(kinesis, "sealed", SHARD)
    sdk.fails(code, kinesis.get_records, "data key", ShardIterator=at)
    key = {"StreamName": "clear", "EncryptionType": "KMS", "KeyId": "alias/mine"}
    sdk.fails(code, kinesis.start_stream_encryption, **key)
    # What is not encrypted goes on.
    kinesis.put_record(StreamName="clear", **RECORD)
    kms = "InvalidKMSResourceException"
    named, record = {"DeliveryStreamName": "sealed"}, {"Data": b"sealed"}
    sdk.fails(kms, firehose.put_record, Record=record, **named)
    sdk.fails(kms, firehose.put_record_batch, Records=[record], **named)
    sdk.fails(kms, firehose.start_delivery_stream_encryption, DeliveryStreamName="clear")
    try:
        firehose.put_record(Record=record, **named)
    except firehose.exceptions.InvalidKMSResourceException as error:
        assert error.response["code"] == code, error.response


def full(kinesis, firehose):
    sdk.create(kinesis, "full")
    sdk.fails("InternalFailureException", kinesis.put_record, "disk", StreamName="full", **RECORD)
    answer = kinesis.put_records(StreamName="full", Records=[RECORD, RECORD])
    assert answer["FailedRecordCount"] == 2 and answer["Records"][0]["ErrorCode"] == "InternalFailure", answer
    firehose.create_delivery_stream(DeliveryStreamName="full", S3DestinationConfiguration=s3())
    named, record = {"DeliveryStreamName": "full"}, {"Data": b"x"}
    sdk.fails("ServiceUnavailableException", firehose.put_record, "disk", Record=record, **named)
    answer = firehose.put_record_batch(Records=[record], **named)
    assert answer["RequestResponses"][0]["ErrorCode"] == "ServiceUnavailableException", answer


def main():
    endpoint, state, *code = sys.argv[1:]
    {"made": made, "locked": locked, "full": full}[state](sdk.client(endpoint), sdk.client(endpoint, "firehose"), *code)
    print(json.dumps(sdk.told()))


if __name__ == "__main__":
    main()

"""boto3 with real keys: every content type, and every way to be refused.

    auth.py ENDPOINT ROOT_ID ROOT_SECRET WRITER_ID WRITER_SECRET [disabled]
"""

import json
import sys

import boto3
from botocore.config import Config

from sdk import REGION, fails

UNRECOGNIZED = "UnrecognizedClientException"


def signer(endpoint, key_id, secret, region=REGION, service="kinesis", **more):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
        **more,
    )


def main():
    endpoint, root_id, root_secret, writer_id, writer_secret = sys.argv[1:6]
    root = signer(endpoint, root_id, root_secret)
    writer = signer(endpoint, writer_id, writer_secret)
    if sys.argv[6:] == ["disabled"]:
        fails(UNRECOGNIZED, writer.put_record, StreamName="mine-1", Data=b"x", PartitionKey="k")
        assert root.list_streams()["StreamNames"] == ["mine-1", "theirs"]
        return {"stored": 0}

    for name in ["mine-1", "theirs"]:
        root.create_stream(StreamName=name, ShardCount=1)
    stored = 0
    # Keys and data that JSON, CBOR and the signature each write in their own way.
    for key, data in [("k", b"x"), ("a b/c+d=é%20", bytes(range(256))), ("~", b"\r\n" * 1000)]:
        writer.put_record(StreamName="mine-1", Data=data, PartitionKey=key)
        stored += 1
    records = [{"Data": b"x", "PartitionKey": str(n)} for n in range(3)]
    assert writer.put_records(StreamName="mine-1", Records=records)["FailedRecordCount"] == 0
    stored += len(records)
    assert writer.list_streams()["StreamNames"] == ["mine-1"]

    words = ("writer is not authorized to perform: kinesis:", "on resource: arn:aws:kinesis:")
    put = {"StreamName": "theirs", "Data": b"x", "PartitionKey": "k"}
    fails("AccessDeniedException", writer.put_record, *words, **put)
    fails("AccessDeniedException", writer.delete_stream, *words, StreamName="mine-1")
    fails("AccessDeniedException", writer.create_stream, *words, StreamName="mine-2", ShardCount=1)
    iterator = {"ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    fails("AccessDeniedException", writer.get_shard_iterator, *words, StreamName="mine-1", **iterator)
    # An iterator that somebody else got is no way around.
    of_root = root.get_shard_iterator(StreamName="mine-1", **iterator)["ShardIterator"]
    fails("AccessDeniedException", writer.get_records, *words, ShardIterator=of_root)
    assert len(root.get_records(ShardIterator=of_root)["Records"]) == stored

    identity = signer(endpoint, writer_id, writer_secret, service="sts").get_caller_identity()
    assert (identity["Account"], identity["UserId"]) == ("000000000000", "writer"), identity
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/writer", identity
    fails("InvalidAction", signer(endpoint, root_id, root_secret, service="sts").get_session_token, "GetCallerIdentity")
    fails("SignatureDoesNotMatch", signer(endpoint, root_id, writer_secret, service="sts").get_caller_identity)

    unknown = signer(endpoint, "AKMRAAAAAAAAAAAAAAAA", root_secret)
    fails(UNRECOGNIZED, unknown.list_streams, "The security token included in the request is invalid.")
    wrong = signer(endpoint, root_id, writer_secret)
    fails("InvalidSignatureException", wrong.list_streams, "does not match the signature you provided")
    temporary = signer(endpoint, root_id, root_secret, aws_session_token="FwoGZXIvYXdzEBc")
    fails(UNRECOGNIZED, temporary.list_streams)
    assert signer(endpoint, root_id, root_secret, region="eu-west-1").list_streams()["StreamNames"]
    return {"stored": stored}


print(json.dumps(main()))

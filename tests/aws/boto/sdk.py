"""boto3 against a server, with every answer counted by service, operation and outcome."""

import pathlib
import sys
import time
from collections import defaultdict

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from model import SERVICES

ACCOUNT, REGION = "000000000000", "us-east-1"

# By service and operation: how often it succeeded, and the errors that it answered with.
SEEN = defaultdict(lambda: {"ok": 0, "errors": set()})


def client(endpoint, service="kinesis"):
    """A client that retries nothing and checks nothing, so that the server's own answers show."""
    made = boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False, read_timeout=60),
    )

    def count(http_response, parsed, model, **_):
        assert http_response.headers["x-amzn-RequestId"], f"{model.name}: no request id"
        assert http_response.headers["x-amz-id-2"], f"{model.name}: no extended request id"
        seen = SEEN[service, model.name]
        if http_response.status_code == 200:
            seen["ok"] += 1
            return
        code = parsed["Error"]["Code"]
        seen["errors"].add(code)
        assert http_response.headers["x-amzn-errortype"] == code, f"{model.name}: {code}"
        status = 500 if code.startswith("Internal") else 503 if code == "ServiceUnavailableException" else 400
        assert http_response.status_code == status, f"{model.name}: {code} with {http_response.status_code}"

    made.meta.events.register(f"after-call.{service}", count)
    return made


def told():
    """What was seen of each operation of each service, with the errors that its model declares."""
    told = {}
    for service, operations in SERVICES.items():
        model = Loader().load_service_model(service, "service-2")["operations"]
        told[service] = {}
        for operation in operations:
            declared = [error["shape"] for error in model[operation].get("errors", [])]
            seen = SEEN[service, operation]
            told[service][operation] = {"ok": seen["ok"], "errors": sorted(seen["errors"]), "declared": sorted(declared)}
    return told


def refusal(call, **parameters):
    """The code that a call is refused with; None where it succeeds."""
    try:
        call(**parameters)
        return None
    except ClientError as error:
        return error.response["Error"]["Code"]


def fails(code, call, *words, **parameters):
    """Asserts that a call fails with a code and these words; gives the message."""
    try:
        answer = call(**parameters)
    except ClientError as error:
        told = error.response["Error"]
        message = told.get("Message", "")
        assert told["Code"] == code, f"{error.operation_name} {parameters}: {told}, not {code}"
        for word in words:
            assert word in message, f"{error.operation_name}: {word!r} is not in {message!r}"
        return message
    raise AssertionError(f"{call.__name__} {parameters} answered {answer}, not {code}")


def until(what, ready, seconds=30):
    """Waits for a condition and gives its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = ready()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def arn(stream):
    return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{stream}"


def create(kinesis, name, shards=1, **parameters):
    kinesis.create_stream(StreamName=name, ShardCount=shards, **parameters)
    kinesis.get_waiter("stream_exists").wait(StreamName=name)
    return arn(name)


def shards(kinesis, stream, **parameters):
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=stream, **parameters)
    return [shard for page in pages for shard in page["Shards"]]


def throttled(call, **parameters):
    """Calls until it is not throttled."""

    def answer():
        try:
            return call(**parameters)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ProvisionedThroughputExceededException":
                raise
            return None

    return until("a call that is not throttled", answer)


def iterator(kinesis, stream, shard, kind="TRIM_HORIZON", **parameters):
    answer = throttled(
        kinesis.get_shard_iterator, StreamName=stream, ShardId=shard, ShardIteratorType=kind, **parameters
    )
    return answer["ShardIterator"]


def read(kinesis, stream, shard, count, kind="TRIM_HORIZON", **parameters):
    """Reads a shard until it gave so many records, or ended."""
    records, at = [], iterator(kinesis, stream, shard, kind, **parameters)
    while at and len(records) < count:
        answer = throttled(kinesis.get_records, ShardIterator=at)
        records += answer["Records"]
        at = answer.get("NextShardIterator")
    return records

"""The protocol below the SDKs: `wire.py ENDPOINT`. Headers, formats, and what is no request at all.

Prints how many answers it checked.
"""

import http.client
import json
import sys
from urllib.parse import urlparse

import cbor2

JSON, CBOR = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"


def loads(text):
    """CBOR whose times are milliseconds, as AWS has them: cbor2 would take them for seconds, and fail."""
    return cbor2.loads(text.replace(b"\xc1\x1b", b"\x1b"))


class Wire:
    def __init__(self, endpoint):
        self.connection = http.client.HTTPConnection(urlparse(endpoint).netloc, timeout=30)
        self.checked = 0

    def post(self, operation, body, content_type=JSON, headers=None):
        headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": content_type, **(headers or {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        self.connection.request("POST", "/", body, headers)
        answer = self.connection.getresponse()
        self.checked += 1
        return answer, answer.read()

    def json(self, operation, body, status=200, **more):
        answer, text = self.post(operation, json.dumps(body), **more)
        assert answer.status == status, (operation, answer.status, text)
        assert answer.headers["Content-Type"] == JSON
        return json.loads(text) if text else None

    def cbor(self, operation, body, status=200):
        answer, text = self.post(operation, cbor2.dumps(body), CBOR)
        assert answer.status == status, (operation, answer.status, text)
        assert answer.headers["Content-Type"] == CBOR
        return loads(text) if text else None

    def error(self, code, operation, body, status=400, **more):
        answer, text = self.post(operation, body, **more)
        assert answer.status == status, (operation, answer.status, text)
        told = json.loads(text)
        assert told["__type"] == code and answer.headers["x-amzn-errortype"] == code, told
        assert len(answer.headers["x-amzn-RequestId"]) == 36 and len(answer.headers["x-amz-id-2"]) == 96
        return told.get("message", "")


def main():
    wire = Wire(sys.argv[1])
    refusals(wire)
    in_json(wire)
    in_cbor(wire)
    print(json.dumps({"checked": wire.checked}))


def refusals(wire):
    error = wire.error
    error("MissingAction", "", "{}", headers={"X-Amz-Target": None})
    for target in ("Kinesis_20131202.Nothing", "Kinesis_20131202.listStreams", "Other_1.ListStreams", "ListStreams", "é"):
        error("UnknownOperationException", "", "{}", headers={"X-Amz-Target": target.encode("latin-1")})
    error("UnknownOperationException", "ListStreams", "{}", 404, content_type="text/plain")
    error("UnknownOperationException", "ListStreams", "{}", 404, content_type=None)
    for body in ("", "{", "nonsense", "null", "[]", '"text"', '{"Limit": "1"}', '{"Limit": 1e300}', b"\xff{}", "[" * 100000):
        error("SerializationException", "ListStreams", body)
    error("SerializationException", "PutRecord", '{"StreamName": "a", "PartitionKey": "k", "Data": "not base64"}')
    message = error("ValidationException", "CreateStream", '{"StreamName": null}')
    assert message == (
        "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null"
    )
    # The largest request that is read, and one byte more.
    error("SerializationException", "ListStreams", b" " * (16 << 20))
    error("RequestEntityTooLargeException", "ListStreams", b" " * ((16 << 20) + 1), 413)
    wire.connection.close()


def in_json(wire):
    wire.json("CreateStream", {"StreamName": "wire", "ShardCount": 1, "Unknown": {"is": ["passed", "over"]}})
    stored = wire.json("PutRecord", {"StreamName": "wire", "Data": "aGk=", "PartitionKey": "k", "Other": None})
    assert stored["ShardId"] == "shardId-000000000000"
    # An escaped slash is a slash, and an escaped key a key.
    wire.post("PutRecord", r'{"StreamName":"wire","Data":"\/\/\/\/","PartitionKey":"\u00e9"}')
    twice = '{"StreamName":"none","StreamName":"wire","Data":"aGk=","PartitionKey":"k"}'
    answer, text = wire.post("PutRecord", twice)
    assert answer.status == 200, (text, "the last of two members counts")
    described = wire.json("DescribeStream", {"StreamName": "wire"}, content_type="application/x-amz-json-1.1; charset=utf-8")
    created = described["StreamDescription"]["StreamCreationTimestamp"]
    assert isinstance(created, float) and created > 1.6e9, created
    # boto3 would send a request with a stream's id elsewhere.
    by_id = {"StreamId": wire.json("DescribeStreamSummary", {"StreamName": "wire"})["StreamDescriptionSummary"]["StreamId"]}
    assert wire.json("DescribeStreamSummary", by_id)["StreamDescriptionSummary"]["StreamName"] == "wire"
    assert wire.json("DescribeStream", {"StreamId": "0" * 20 + "-001"}, 400)["__type"] == "ResourceNotFoundException"
    iterator = wire.json("GetShardIterator", {"StreamName": "wire", "ShardId": "shardId-0", "ShardIteratorType": "TRIM_HORIZON"})
    read = wire.json("GetRecords", iterator)
    assert [record["Data"] for record in read["Records"]] == ["aGk=", "////", "aGk="]
    assert read["Records"][1]["PartitionKey"] == "é"


def in_cbor(wire):
    wire.cbor("CreateStream", {"StreamName": "binary", "ShardCount": 1})
    records = [{"Data": bytes([n]) * n, "PartitionKey": f"k{n}"} for n in range(1, 200)]
    stored = wire.cbor("PutRecords", {"StreamName": "binary", "Records": records})
    assert stored["FailedRecordCount"] == 0 and len(stored["Records"]) == 199
    big = wire.cbor("PutRecord", {"StreamName": "binary", "Data": b"x" * 500_000, "PartitionKey": "big"})
    place = {"StreamName": "binary", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    read = wire.cbor("GetRecords", wire.cbor("GetShardIterator", place))
    assert [record["Data"] for record in read["Records"]] == [record["Data"] for record in records] + [b"x" * 500_000]
    assert read["Records"][-1]["SequenceNumber"] == big["SequenceNumber"]
    # Times are milliseconds under the tag of epochs, which cbor2 would take for seconds: read them as they are.
    answer, text = wire.post("DescribeStreamSummary", cbor2.dumps({"StreamName": "binary"}), CBOR)
    at = text.index(b"StreamCreationTimestamp") + len("StreamCreationTimestamp")
    assert text[at : at + 2] == b"\xc1\x1b" and int.from_bytes(text[at + 2 : at + 10]) > 1.6e12, text
    millis = int.from_bytes(text[at + 2 : at + 10])
    place = {**place, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": cbor2.CBORTag(1, millis)}
    assert wire.cbor("GetShardIterator", place)["ShardIterator"]
    # As Jackson writes: maps, arrays and long texts without a length.
    answer, text = wire.post("ListStreams", b"\xbf\x65Limit\x01\xff", CBOR)
    assert answer.status == 200 and len(loads(text)["StreamNames"]) == 1
    answer, text = wire.post("DescribeStream", b"\xbf\x6aStreamName\x7f\x63bin\x63ary\xff\xff", CBOR)
    assert answer.status == 200, text
    for body in (b"", b"\xbf", b"\x00", b"\xa1\x00\x00", b"\xff" * 10, b"\x9f" * 10000):
        answer, text = wire.post("ListStreams", body, CBOR)
        assert answer.status == 400 and loads(text)["__type"] == "SerializationException", (body[:10], text)
    told = wire.cbor("DescribeStream", {"StreamName": "none"}, 400)
    assert told["__type"] == "ResourceNotFoundException", told


if __name__ == "__main__":
    main()

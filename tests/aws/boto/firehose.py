"""Every Firehose operation by boto3, against two servers: `firehose.py ENDPOINT SHORT LAKE FLIGHTS`.

The first has a master key and the tables `default.flights` and `default.ice`; LAKE is its store's folder and FLIGHTS a file of
lines. The second has low limits and no master key. Prints what was seen as JSON, as `operations.py` does.
"""

import gzip
import json
import pathlib
import sys
import time

import pyarrow.parquet
import snappy
from botocore.exceptions import ClientError
from kafka.codec import snappy_decode
from sdk import ACCOUNT, REGION, client, fails, told, until

ROLE = f"arn:aws:iam::{ACCOUNT}:role/firehose"
DESTINATION = "destinationId-000000000001"


def s3(**members):
    return {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::flights", **members}


def quick(**members):
    """A destination that is written about a second after its first record."""
    return s3(BufferingHints={"SizeInMBs": 64, "IntervalInSeconds": 1}, **members)


def processing(*processors):
    made = [
        {"Type": kind, "Parameters": [{"ParameterName": k, "ParameterValue": v} for k, v in given.items()]}
        for kind, given in processors
    ]
    return {"Enabled": True, "Processors": made}


def create(firehose, name, **configuration):
    arn = firehose.create_delivery_stream(DeliveryStreamName=name, **configuration)["DeliveryStreamARN"]
    assert arn == f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/{name}", arn
    described = describe(firehose, name)
    assert described["DeliveryStreamStatus"] == "ACTIVE", described
    return described


def describe(firehose, name):
    return firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]


def put_lines(firehose, name, lines):
    for start in range(0, len(lines), 500):
        records = [{"Data": line} for line in lines[start : start + 500]]
        answer = firehose.put_record_batch(DeliveryStreamName=name, Records=records)
        assert answer["FailedPutCount"] == 0, answer
        ids = [response["RecordId"] for response in answer["RequestResponses"]]
        assert len(set(ids)) == len(records)


def delivered(folder, wanted, decode, ending):
    """Waits until the files of a folder hold so many bytes; gives them, in the order of their batches."""

    def read():
        # A file that is being written has another name, with a #.
        written = (path for path in folder.rglob("*") if path.is_file() and "#" not in path.name)
        files = sorted(written, key=lambda path: path.name)
        assert all(path.name.endswith(ending) for path in files), files
        data = b"".join(decode(path.read_bytes()) for path in files)
        return data if len(data) >= wanted else None

    return until(f"{wanted} bytes below {folder}", read, seconds=60)


def hadoop(data):
    return snappy.HadoopStreamDecompressor().decompress(data)


def whole_way(firehose, lake, lines):
    """The lines that are put are the objects' content, by each compression's own reader."""
    for name, compression, decode, ending in (
        ("plain", "UNCOMPRESSED", bytes, "-000"),
        ("gzipped", "GZIP", gzip.decompress, ".gz"),
        ("xerial", "Snappy", snappy_decode, ".snappy"),
        ("hadoop", "HADOOP_SNAPPY", hadoop, ".hsnappy"),
    ):
        prefix = name + "/year=!{timestamp:yyyy}/"
        create(
            firehose,
            name,
            ExtendedS3DestinationConfiguration=quick(
                CompressionFormat=compression,
                Prefix=prefix,
                ErrorOutputPrefix="failed/!{firehose:error-output-type}/",
                ProcessingConfiguration=processing(("AppendDelimiterToRecord", {"Delimiter": "\\n"})),
            ),
        )
        put_lines(firehose, name, lines)
        expected = b"".join(line + b"\n" for line in lines)
        folder = lake / "firehose/flights" / name / f"year={time.gmtime().tm_year}"
        assert delivered(folder, len(expected), decode, ending) == expected, name


def without_delimiters(firehose, lake):
    create(firehose, "joined", S3DestinationConfiguration=quick(Prefix="joined/"))
    for data in (b'{"a":1}', b'{"a":2}\n', b"\xff\x00"):
        assert firehose.put_record(DeliveryStreamName="joined", Record={"Data": data})["RecordId"]
    expected = b'{"a":1}{"a":2}\n\xff\x00'
    assert delivered(lake / "firehose/flights/joined", len(expected), bytes, "-000") == expected


def columns(firehose, lake, lines):
    conversion = {
        "SchemaConfiguration": {"DatabaseName": "default", "TableName": "flights", "RoleARN": ROLE},
        "InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {}}},
        "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {"Compression": "GZIP"}}},
    }
    destination = quick(DataFormatConversionConfiguration=conversion)
    create(firehose, "columns", ExtendedS3DestinationConfiguration=destination)
    # Two values in one record are two rows.
    put_lines(firehose, "columns", [lines[0] + lines[1], *lines[2:]])
    expected = sorted((row["flight"], row["time_hour"]) for row in map(json.loads, lines))
    folder = lake / "default/flights/data"

    def rows():
        files = list(folder.rglob("*.parquet"))
        found = [row for path in files for row in pyarrow.parquet.ParquetFile(path).read().to_pylist()]
        return found if len(found) >= len(lines) else None

    found = until(f"{len(lines)} rows below {folder}", rows, seconds=60)
    assert sorted((row["flight"], row["time_hour"]) for row in found) == expected
    file = next(folder.rglob("*.parquet"))
    assert pyarrow.parquet.ParquetFile(file).metadata.row_group(0).column(0).compression == "GZIP"
    conversion["SchemaConfiguration"]["TableName"] = "missing"
    fails(
        "InvalidArgumentException",
        firehose.create_delivery_stream,
        "default.missing",
        DeliveryStreamName="nowhere",
        ExtendedS3DestinationConfiguration=destination,
    )


def iceberg(firehose):
    configuration = {
        "RoleARN": ROLE,
        "CatalogConfiguration": {"CatalogARN": f"arn:aws:glue:{REGION}:{ACCOUNT}:catalog"},
        "S3Configuration": s3(),
        "DestinationTableConfigurationList": [{"DestinationDatabaseName": "default", "DestinationTableName": "ice"}],
    }
    described = create(firehose, "ice", IcebergDestinationConfiguration=configuration)
    told = described["Destinations"][0]["IcebergDestinationDescription"]
    assert told["DestinationTableConfigurationList"][0]["DestinationTableName"] == "ice"
    assert told["S3DestinationDescription"]["BucketARN"] == "arn:aws:s3:::flights"
    spec = {"Identity": [{"SourceName": "carrier"}]}
    configuration["TableCreationConfiguration"] = {"Enabled": True}
    configuration["DestinationTableConfigurationList"] = [
        {"DestinationDatabaseName": "default", "DestinationTableName": "ice_by_carrier", "PartitionSpec": spec}
    ]
    described = create(firehose, "ice-parted", IcebergDestinationConfiguration=configuration)
    told = described["Destinations"][0]["IcebergDestinationDescription"]
    assert told["DestinationTableConfigurationList"][0]["PartitionSpec"] == spec


def partitions(firehose, lake, lines):
    create(
        firehose,
        "parted",
        ExtendedS3DestinationConfiguration=quick(
            Prefix="parted/c=!{partitionKeyFromQuery:c}/!{timestamp:yyyy}/",
            ErrorOutputPrefix="failed/!{firehose:error-output-type}/",
            DynamicPartitioningConfiguration={"Enabled": True},
            ProcessingConfiguration=processing(
                ("MetadataExtraction", {"MetadataExtractionQuery": "{c: .carrier}", "JsonParsingEngine": "JQ-1.6"}),
                ("AppendDelimiterToRecord", {"Delimiter": "\\n"}),
            ),
        ),
    )
    put_lines(firehose, "parted", lines)
    wanted = sum(len(line) + 1 for line in lines)
    folder = lake / "firehose/flights/parted"
    delivered(folder, wanted, bytes, "-000")
    for carrier in {json.loads(line)["carrier"] for line in lines}:
        files = [path for path in (folder / f"c={carrier}").rglob("*") if path.is_file()]
        told = {json.loads(line)["carrier"] for path in files for line in path.read_bytes().splitlines()}
        assert told == {carrier}, (carrier, told)


def source(firehose, kinesis):
    kinesis.create_stream(StreamName="events", ShardCount=1)
    stream = {"KinesisStreamARN": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/events", "RoleARN": ROLE}
    described = create(
        firehose,
        "following",
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration=stream,
        S3DestinationConfiguration=quick(Prefix="following/"),
    )
    told = described["Source"]["KinesisStreamSourceDescription"]
    assert told["KinesisStreamARN"] == stream["KinesisStreamARN"] and told["DeliveryStartTimestamp"]
    call = {"DeliveryStreamName": "following"}
    fails("InvalidArgumentException", firehose.put_record, "KinesisStreamAsSource", Record={"Data": b"a"}, **call)
    records = [{"Data": b"a"}]
    fails("InvalidArgumentException", firehose.put_record_batch, "KinesisStreamAsSource", Records=records, **call)
    fails("InvalidArgumentException", firehose.start_delivery_stream_encryption, "DirectPut", **call)
    fails("InvalidArgumentException", firehose.stop_delivery_stream_encryption, "DirectPut", **call)
    assert kinesis.list_streams()["StreamNames"] == ["events"], "hidden streams are listed"


def logs(firehose, lake):
    """One that decompresses takes what CloudWatch Logs sends, and nothing else."""
    message = {"messageType": "DATA_MESSAGE", "owner": ACCOUNT, "logGroup": "g", "logStream": "s",
               "subscriptionFilters": ["f"], "logEvents": [{"id": "1", "timestamp": 1, "message": "said"}]}
    envelope = gzip.compress(json.dumps(message).encode())
    steps = processing(
        ("Decompression", {"CompressionFormat": "GZIP"}),
        ("CloudWatchLogProcessing", {"DataMessageExtraction": "true"}),
    )
    destination = quick(Prefix="logs/", ProcessingConfiguration=steps)
    create(firehose, "logs", ExtendedS3DestinationConfiguration=destination)
    named = {"DeliveryStreamName": "logs"}
    fails("InvalidSourceException", firehose.put_record, "CloudWatch Logs", Record={"Data": b"said"}, **named)
    mixed = [{"Data": envelope}, {"Data": b"said"}]
    fails("InvalidSourceException", firehose.put_record_batch, "CloudWatch Logs", Records=mixed, **named)
    assert firehose.put_record(Record={"Data": envelope}, **named)["RecordId"]
    assert delivered(lake / "firehose/flights/logs", 4, bytes, "-000").strip() == b"said"


def control(firehose):
    """Updates, encryption, tags, lists, and what is refused."""
    tags = [{"Key": "team", "Value": "ops"}, {"Key": "empty"}]
    create(firehose, "told", ExtendedS3DestinationConfiguration=s3(Prefix="told/"), Tags=tags)
    named = {"DeliveryStreamName": "told"}
    taken = {"S3DestinationConfiguration": s3(), **named}
    fails("ResourceInUseException", firehose.create_delivery_stream, "already exists", **taken)
    update = {"CurrentDeliveryStreamVersionId": "1", "DestinationId": DESTINATION, **named}
    firehose.update_destination(ExtendedS3DestinationUpdate={"CompressionFormat": "GZIP"}, **update)
    described = describe(firehose, "told")
    extended = described["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert described["VersionId"] == "2" and described["LastUpdateTimestamp"]
    assert (extended["CompressionFormat"], extended["Prefix"]) == ("GZIP", "told/"), extended
    again = {"ExtendedS3DestinationUpdate": {}, **update}
    fails("ConcurrentModificationException", firehose.update_destination, "version", **again)
    update["CurrentDeliveryStreamVersionId"] = "2"
    zipped = {"CompressionFormat": "ZIP"}
    fails("InvalidArgumentException", firehose.update_destination, "ZIP", ExtendedS3DestinationUpdate=zipped, **update)
    redshift = {"RedshiftDestinationUpdate": {"RoleARN": ROLE}}
    fails("InvalidArgumentException", firehose.update_destination, "Redshift", **redshift, **update)

    key = {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/a"}
    firehose.start_delivery_stream_encryption(DeliveryStreamEncryptionConfigurationInput=key, **named)
    told = describe(firehose, "told")["DeliveryStreamEncryptionConfiguration"]
    assert told == {"KeyARN": key["KeyARN"], "KeyType": "CUSTOMER_MANAGED_CMK", "Status": "ENABLED"}, told
    assert firehose.put_record(Record={"Data": b"sealed"}, **named)["Encrypted"] is True
    without = {"DeliveryStreamEncryptionConfigurationInput": {"KeyType": "CUSTOMER_MANAGED_CMK"}}
    fails("InvalidArgumentException", firehose.start_delivery_stream_encryption, "KeyARN", **without, **named)
    firehose.stop_delivery_stream_encryption(**named)
    assert describe(firehose, "told")["DeliveryStreamEncryptionConfiguration"]["Status"] == "DISABLED"

    firehose.tag_delivery_stream(Tags=[{"Key": "tier", "Value": "1"}], **named)
    page = firehose.list_tags_for_delivery_stream(Limit=2, **named)
    assert [tag["Key"] for tag in page["Tags"]] == ["empty", "team"] and page["HasMoreTags"], page
    rest = firehose.list_tags_for_delivery_stream(ExclusiveStartTagKey="team", **named)
    assert rest["Tags"] == [{"Key": "tier", "Value": "1"}] and not rest["HasMoreTags"], rest
    firehose.untag_delivery_stream(TagKeys=["tier", "empty"], **named)
    assert firehose.list_tags_for_delivery_stream(**named)["Tags"] == [{"Key": "team", "Value": "ops"}]
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    fails("InvalidArgumentException", firehose.tag_delivery_stream, "twice", Tags=twice, **named)
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    fails("LimitExceededException", firehose.tag_delivery_stream, "50", Tags=many, **named)
    reserved = [{"Key": "aws:x", "Value": ""}]
    fails("ValidationException", firehose.tag_delivery_stream, "1 validation error", Tags=reserved, **named)

    names = firehose.list_delivery_streams(Limit=3)
    assert len(names["DeliveryStreamNames"]) == 3 and names["HasMoreDeliveryStreams"], names
    direct = firehose.list_delivery_streams(Limit=100, DeliveryStreamType="KinesisStreamAsSource")
    assert direct["DeliveryStreamNames"] == ["following"], direct


def refused(firehose):
    create_one = firehose.create_delivery_stream
    named = {"DeliveryStreamName": "refused"}
    for kind, words in (
        ("RedshiftDestinationConfiguration", "Redshift"),
        ("SplunkDestinationConfiguration", "Splunk"),
        ("HttpEndpointDestinationConfiguration", "HTTP endpoint"),
        ("SnowflakeDestinationConfiguration", "Snowflake"),
        ("ElasticsearchDestinationConfiguration", "Elasticsearch"),
        ("AmazonopensearchserviceDestinationConfiguration", "OpenSearch"),
        ("AmazonOpenSearchServerlessDestinationConfiguration", "OpenSearch"),
    ):
        fails("InvalidArgumentException", create_one, words, **{kind: {}}, **named)
    fails("InvalidArgumentException", create_one, "ZIP", S3DestinationConfiguration=s3(CompressionFormat="ZIP"), **named)
    escaping = s3(Prefix="../../../etc/")
    fails("InvalidArgumentException", create_one, "prefix", S3DestinationConfiguration=escaping, **named)
    hints = s3(BufferingHints={"SizeInMBs": 129, "IntervalInSeconds": 901})
    fails("ValidationException", create_one, "2 validation errors", S3DestinationConfiguration=hints, **named)
    fails("InvalidArgumentException", firehose.put_record_batch, "4194304", DeliveryStreamName="told",
          Records=[{"Data": b"x" * 900_000}] * 5)
    fails("ValidationException", firehose.put_record, "1024000", DeliveryStreamName="told",
          Record={"Data": b"x" * 1_024_001})
    record = {"Data": b"x" * 1_024_000}
    assert firehose.put_record(DeliveryStreamName="told", Record=record)["RecordId"]
    gone = {"DeliveryStreamName": "gone"}
    for call, members in (
        (firehose.delete_delivery_stream, {}),
        (firehose.describe_delivery_stream, {}),
        (firehose.list_tags_for_delivery_stream, {}),
        (firehose.put_record, {"Record": {"Data": b"a"}}),
        (firehose.put_record_batch, {"Records": [{"Data": b"a"}]}),
        (firehose.start_delivery_stream_encryption, {}),
        (firehose.stop_delivery_stream_encryption, {}),
        (firehose.tag_delivery_stream, {"Tags": [{"Key": "a"}]}),
        (firehose.untag_delivery_stream, {"TagKeys": ["a"]}),
        (firehose.update_destination, {"CurrentDeliveryStreamVersionId": "1", "DestinationId": DESTINATION}),
    ):
        fails("ResourceNotFoundException", call, "gone", **gone, **members)


def limits(short):
    """On a server of two delivery streams, two records and three puts a second, and no master key."""
    for name in ("one", "two"):
        create(short, name, S3DestinationConfiguration=s3())
    fails("LimitExceededException", short.create_delivery_stream, "2", DeliveryStreamName="three",
          S3DestinationConfiguration=s3())
    fails("InvalidKMSResourceException", short.start_delivery_stream_encryption, DeliveryStreamName="one")
    records = [{"Data": b"a"}] * 4
    answer = short.put_record_batch(DeliveryStreamName="one", Records=records)
    failed = [response for response in answer["RequestResponses"] if "ErrorCode" in response]
    assert answer["FailedPutCount"] == len(failed) == 2, answer
    assert {response["ErrorCode"] for response in failed} == {"ServiceUnavailableException"}

    def until_refused(call, **parameters):
        for _ in range(50):
            try:
                call(DeliveryStreamName="one", **parameters)
            except ClientError as error:
                return error.response["Error"]["Code"]
        raise AssertionError("no rate holds")

    assert until_refused(short.put_record, Record={"Data": b"a"}) == "ServiceUnavailableException"
    assert until_refused(short.put_record_batch, Records=records) == "ServiceUnavailableException"
    # It waits for nothing, so that what is buffered stands against a deletion.
    fails("ResourceInUseException", short.delete_delivery_stream, "AllowForceDelete", DeliveryStreamName="one")
    short.delete_delivery_stream(DeliveryStreamName="two", AllowForceDelete=True)
    fails("InvalidKMSResourceException", short.create_delivery_stream, DeliveryStreamName="sealed",
          S3DestinationConfiguration=s3(),
          DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"})
    assert short.list_delivery_streams()["DeliveryStreamNames"] == ["one"]


def deletion(firehose, lake):
    create(firehose, "last", S3DestinationConfiguration=s3(Prefix="last/"))
    firehose.put_record(DeliveryStreamName="last", Record={"Data": b"delivered"})
    firehose.delete_delivery_stream(DeliveryStreamName="last")
    # No wait: what was buffered is delivered before the answer.
    files = [path for path in (lake / "firehose/flights/last").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"delivered"]
    fails("ResourceNotFoundException", firehose.describe_delivery_stream, DeliveryStreamName="last")


def main():
    firehose, short = (client(endpoint, "firehose") for endpoint in sys.argv[1:3])
    kinesis = client(sys.argv[1])
    lake, lines = pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4]).read_bytes().splitlines()
    whole_way(firehose, lake, lines)
    without_delimiters(firehose, lake)
    columns(firehose, lake, lines)
    iceberg(firehose)
    partitions(firehose, lake, lines)
    source(firehose, kinesis)
    logs(firehose, lake)
    control(firehose)
    refused(firehose)
    limits(short)
    deletion(firehose, lake)
    print(json.dumps(told()))


if __name__ == "__main__":
    main()

"""Writes a service's constraint table, `server/src/api/aws/model/<service>.rs`, from botocore's service model.

Needs botocore of the version below and no network: the tables are checked in, and a build reads only them.
Run: python tests/aws/model.py            # writes all tables
     python tests/aws/model.py --check    # exits with 1 where a table differs from its model
"""

import pathlib
import re
import sys

import botocore
from botocore.loaders import Loader

BOTOCORE = "1.44.8"
TABLES = pathlib.Path(__file__).parents[2] / "server/src/api/aws/model"

# The operations that a table has. What a model has beyond them is not served, and an unknown operation.
SERVICES = {
    "kinesis": """
        AddTagsToStream CreateStream DecreaseStreamRetentionPeriod DeleteResourcePolicy DeleteStream
        DeregisterStreamConsumer DescribeAccountSettings DescribeLimits DescribeStream DescribeStreamConsumer
        DescribeStreamSummary DisableEnhancedMonitoring EnableEnhancedMonitoring GetRecords GetResourcePolicy
        GetShardIterator IncreaseStreamRetentionPeriod ListShards ListStreamConsumers ListStreams ListTagsForResource
        ListTagsForStream MergeShards PutRecord PutRecords PutResourcePolicy RegisterStreamConsumer
        RemoveTagsFromStream SplitShard StartStreamEncryption StopStreamEncryption SubscribeToShard TagResource
        UntagResource UpdateAccountSettings UpdateMaxRecordSize UpdateShardCount UpdateStreamMode
        UpdateStreamWarmThroughput""".split(),
    "firehose": """
        CreateDeliveryStream DeleteDeliveryStream DescribeDeliveryStream ListDeliveryStreams ListTagsForDeliveryStream
        PutRecord PutRecordBatch StartDeliveryStreamEncryption StopDeliveryStreamEncryption TagDeliveryStream
        UntagDeliveryStream UpdateDestination""".split(),
}
# Members that the service refuses whatever they hold: their shapes are not needed.
REFUSED = re.compile(
    r"(Redshift|Elasticsearch|Amazonopensearchservice|AmazonOpenSearchServerless|Splunk|HttpEndpoint|Snowflake)"
    r"Destination(Configuration|Update)|(MSK|Database)SourceConfiguration"
)


def served(shape):
    return {name: member for name, member in shape.get("members", {}).items() if not REFUSED.fullmatch(name)}


def constant(name):
    """SHARD_ID of ShardId, STREAM_ARN of StreamARN."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()


def number(value, default):
    return default if value is None else str(int(value))


def shape_text(shape):
    kind = shape["type"]
    low, high = number(shape.get("min"), "0"), number(shape.get("max"), "u64::MAX")
    if kind == "structure":
        required = shape.get("required", [])
        members = [
            f'Member {{ name: "{name}", shape: &{constant(member["shape"])}, is_required: {str(name in required).lower()} }}'
            for name, member in served(shape).items()
        ]
        return f"Shape::Structure(&[{', '.join(members)}])"
    if kind == "list":
        return f'Shape::List {{ member: &{constant(shape["member"]["shape"])}, min: {low}, max: {high} }}'
    if kind == "map":
        key, value = constant(shape["key"]["shape"]), constant(shape["value"]["shape"])
        return f"Shape::Map {{ key: &{key}, value: &{value}, min: {low}, max: {high} }}"
    if kind == "string":
        pattern = shape.get("pattern")
        pattern = "None" if pattern is None else f'Some(Pattern::new(r#"{pattern}"#))'
        values = ", ".join(f'"{value}"' for value in shape.get("enum", []))
        return f"Shape::Text {{ min: {low}, max: {high}, pattern: {pattern}, values: &[{values}] }}"
    if kind in ("integer", "long"):
        low, high = number(shape.get("min"), "i64::MIN"), number(shape.get("max"), "i64::MAX")
        return f"Shape::{'Integer' if kind == 'integer' else 'Long'} {{ min: {low}, max: {high} }}"
    if kind == "blob":
        return f"Shape::Blob {{ min: {low}, max: {high} }}"
    if kind in ("boolean", "timestamp", "double"):
        return f"Shape::{kind.capitalize()}"
    raise SystemExit(f"no shape for {kind}")


def reached(shapes, name, found):
    if name in found:
        return
    found.add(name)
    shape = shapes[name]
    inner = [member["shape"] for member in served(shape).values()]
    inner += [shape[part]["shape"] for part in ("member", "key", "value") if part in shape]
    for name in inner:
        reached(shapes, name, found)


def table(service, operations):
    model = Loader().load_service_model(service, "service-2")
    shapes, names = model["shapes"], set()
    rows = []
    for operation in operations:
        described = model["operations"][operation]
        source = described["input"]["shape"]
        reached(shapes, source, names)
        declared = [error["shape"] for error in described.get("errors", [])]
        listed = ", ".join(f'"{error}"' for error in declared)
        rows.append(f'    Operation {{ name: "{operation}", input: &{constant(source)}, errors: &[{listed}] }},')
    metadata = model["metadata"]
    return "\n".join(
        [
            f"//! What {metadata['serviceId']}'s service model demands of each request. Generated by `tests/aws/model.py` from",
            f"//! botocore {BOTOCORE}: do not edit.",
            "",
            "use super::{Member, Operation, Pattern, Service, Shape};",
            "",
            f"/// {metadata['serviceFullName']}, {metadata['apiVersion']}.",
            f"pub(in crate::api::aws) static {constant(service)}: Service = Service {{",
            f'    name: "{service}",',
            f'    target: "{metadata["targetPrefix"]}",',
            "    operations: OPERATIONS,",
            "};",
            "",
            "/// By name.",
            "static OPERATIONS: &[Operation] = &[",
            *rows,
            "];",
            "",
            *(f"static {constant(name)}: Shape = {shape_text(shapes[name])};" for name in sorted(names)),
            "",
        ]
    )


def main():
    if botocore.__version__ != BOTOCORE:
        raise SystemExit(f"the tables are of botocore {BOTOCORE}, and this is {botocore.__version__}")
    for service, operations in SERVICES.items():
        path, text = TABLES / f"{service}.rs", table(service, sorted(operations))
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path} differs from its model")


if __name__ == "__main__":
    main()

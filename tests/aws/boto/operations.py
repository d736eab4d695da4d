"""Every operation by boto3, against two servers: `operations.py ENDPOINT SHORT`.

The second server has short lifetimes, few streams and no master key. Prints what was seen as JSON: for each operation, how
often it succeeded, how often each error came, and which errors its model declares.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import attributes
import fan_out
import records
import resharding
import sdk
import streams
from model import SERVICES


def main():
    kinesis, short = (sdk.client(endpoint) for endpoint in sys.argv[1:3])
    for part in (streams, records, resharding, attributes, fan_out):
        print(part.__name__, file=sys.stderr, flush=True)
        part.run(kinesis, short)
    model = kinesis.meta.service_model
    told = {}
    for operation in SERVICES["kinesis"]:
        declared = [shape.name for shape in model.operation_model(operation).error_shapes]
        seen = sdk.SEEN[operation]
        told[operation] = {"ok": seen["ok"], "errors": sorted(seen["errors"]), "declared": sorted(declared)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()

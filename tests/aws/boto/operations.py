"""Every operation by boto3, against two servers: `operations.py ENDPOINT SHORT`.

The second server has short lifetimes, few streams and no master key. Prints what was seen as JSON: for each service and
operation, how often it succeeded, which errors came, and which its model declares.
"""

import json
import sys

import attributes
import fan_out
import records
import resharding
import sdk
import streams


def main():
    kinesis, short = (sdk.client(endpoint) for endpoint in sys.argv[1:3])
    for part in (streams, records, resharding, attributes, fan_out):
        print(part.__name__, file=sys.stderr, flush=True)
        part.run(kinesis, short)
    print(json.dumps(sdk.told()))


if __name__ == "__main__":
    main()

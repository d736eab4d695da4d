"""The rates of control-plane calls, on a server that has them as AWS does: `rates.py ENDPOINT`.

Each operation with a rate is called until that is used up. Prints what was seen as JSON, as `operations.py` does.
"""

import json
import sys
import time

import sdk
import valid
from botocore import xform_name

LIMIT = "LimitExceededException"
DAY = 24 * 3600
# Calls, and the seconds that they are for. 1,000 ListShards a second are more than one client makes.
RATES = {
    "kinesis": {
        5: """AddTagsToStream CreateStream DecreaseStreamRetentionPeriod DeleteResourcePolicy DeleteStream
            DeregisterStreamConsumer DescribeAccountSettings DisableEnhancedMonitoring EnableEnhancedMonitoring
            GetResourcePolicy IncreaseStreamRetentionPeriod ListStreamConsumers ListStreams ListTagsForResource
            ListTagsForStream MergeShards PutResourcePolicy RegisterStreamConsumer RemoveTagsFromStream SplitShard TagResource
            UntagResource UpdateAccountSettings UpdateMaxRecordSize UpdateStreamWarmThroughput""",
        1: "DescribeLimits",
        10: "DescribeStream UpdateShardCount",
        20: "DescribeStreamSummary DescribeStreamConsumer",
        (25, DAY): "StartStreamEncryption StopStreamEncryption",
        (2, DAY): "UpdateStreamMode",
    },
    "firehose": {
        5: "CreateDeliveryStream ListTagsForDeliveryStream TagDeliveryStream UntagDeliveryStream",
        (25, DAY): "StartDeliveryStreamEncryption",
        # A start and a stop share their calls.
        (0, DAY): "StopDeliveryStreamEncryption",
    },
}


def used_up(call, request):
    """How many calls were taken before one was refused, and the seconds that it took."""
    began = time.monotonic()
    for taken in range(100):
        if sdk.refusal(call, **request) == LIMIT:
            return taken, time.monotonic() - began
    raise AssertionError(f"no rate holds for {request}")


def main():
    endpoint = sys.argv[1]
    kinesis = sdk.client(endpoint)
    sdk.create(kinesis, "rated")
    consumer = f"{valid.ARN}rated/consumer/app:1700000000"
    requests = {"kinesis": valid.of_kinesis("rated", consumer, "-"), "firehose": valid.of_firehose("rated")}
    for service, rates in RATES.items():
        client = sdk.client(endpoint, service)
        for rate, operations in rates.items():
            calls, seconds = rate if isinstance(rate, tuple) else (rate, 1)
            for operation in operations.split():
                # What earlier calls took is there again.
                time.sleep(0 if seconds == DAY else 1)
                taken, passed = used_up(getattr(client, xform_name(operation)), requests[service][operation])
                # The call past the rate is refused, but for what came back meanwhile.
                assert calls <= taken <= calls + passed * calls / seconds, f"{operation}: {taken} in {passed} s"
    print(json.dumps(sdk.told()))


if __name__ == "__main__":
    main()

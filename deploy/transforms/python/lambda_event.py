"""The shape of Firehose's Lambda, so that a handler written for it runs as a Millrace transform unchanged.

A handler takes {"records": [{"recordId", "approximateArrivalTimestamp", "data"}]}, with the data in base64, and gives
{"records": [{"recordId", "result", "data"}]}, with a result of Ok, Dropped or ProcessingFailed, and may give
"metadata": {"partitionKeys": {...}} with a record. Millrace encodes and decodes the base64 on its side.
"""

import gc
import json

# An instance is thrown away after each call, with all its memory: there is nothing to collect.
gc.disable()


def answer_of(handler, event, data):
    """What a handler says of an event; the base64 of records comes and goes apart, a line for each."""
    event = json.loads(event)
    for record, line in zip(event["records"], data.split("\n")):
        record["data"] = line
    answer = handler(event, None)
    lines = [line_of(record.get("data")) for record in answer["records"]]
    for record in answer["records"]:
        record.pop("data", None)
    return json.dumps(answer), "\n".join(lines)


def line_of(data):
    """Base64 as one line: some encoders break it."""
    return "".join(data.split()) if data and "\n" in data else data or ""

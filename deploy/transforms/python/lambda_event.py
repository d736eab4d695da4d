"""The shape of Firehose's Lambda, so that a handler written for it runs as a Millrace transform unchanged.

A handler takes {"records": [{"recordId", "approximateArrivalTimestamp", "data"}]}, with the data in base64, and gives
{"records": [{"recordId", "result", "data"}]}, with a result of Ok, Dropped or ProcessingFailed, and may give
"metadata": {"partitionKeys": {...}} with a record.
"""

import base64

from wit_world.imports.types import Outcome_Dropped, Outcome_Failed, Outcome_Ok, Output


def event_of(batch):
    """The event that a Lambda would get for these records."""
    return {
        "invocationId": batch[0].id if batch else "",
        "deliveryStreamArn": "arn:aws:firehose:local:000000000000:deliverystream/millrace",
        "region": "local",
        "records": [
            {
                "recordId": record.id,
                "approximateArrivalTimestamp": record.arrival_time_ms,
                "data": base64.b64encode(record.data).decode(),
                "kinesisRecordMetadata": {"partitionKey": record.partition_key},
            }
            for record in batch
        ],
    }


def outcomes_of(batch, answer):
    """What the handler's answer says of each record. A record that it does not name has failed, as with Firehose."""
    answered = {record["recordId"]: record for record in answer["records"]}
    return [outcome_of(answered.get(record.id)) for record in batch]


def outcome_of(answer):
    if answer is None:
        return Outcome_Failed("the handler gave no answer for the record")
    if answer["result"] == "Dropped":
        return Outcome_Dropped()
    if answer["result"] != "Ok":
        return Outcome_Failed("the handler gave the result " + str(answer["result"]))
    keys = answer.get("metadata", {}).get("partitionKeys", {})
    pairs = [(str(name), str(value)) for name, value in keys.items()]
    return Outcome_Ok([Output(base64.b64decode(answer["data"]), pairs)])

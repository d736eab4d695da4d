"""The classic newline Lambda: Firehose puts records together without a delimiter, so each gets one.

The handler is the Lambda, as it runs in AWS: base64 in, a newline, base64 out. Below it is all that makes it a transform.
"""

import base64

import wit_world
from lambda_event import answer_of


def lambda_handler(event, context):
    output = []
    for record in event["records"]:
        payload = base64.b64decode(record["data"]).decode("utf-8")
        if not payload.endswith("\n"):
            payload += "\n"
        output.append({
            "recordId": record["recordId"],
            "result": "Ok",
            "data": base64.b64encode(payload.encode("utf-8")).decode("utf-8"),
        })
    return {"records": output}


class WitWorld(wit_world.WitWorld):
    def handle(self, event, data):
        return answer_of(lambda_handler, event, data)

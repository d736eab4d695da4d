"""A handler that uses all that a Lambda's answer may say: records are kept with partition keys, dropped, or failed."""

import base64
import json

import wit_world
from lambda_event import answer_of


def lambda_handler(event, context):
    return {"records": [answer_to(record) for record in event["records"]]}


def answer_to(record):
    answer = {"recordId": record["recordId"], "data": record["data"]}
    payload = json.loads(base64.b64decode(record["data"]))
    kind = payload["kind"]
    if kind == "keep":
        return {**answer, "result": "Ok", "metadata": {"partitionKeys": {"customer": payload["customer"]}}}
    if kind == "drop":
        return {**answer, "result": "Dropped"}
    if kind == "raise":
        raise ValueError("as asked")
    return {**answer, "result": "ProcessingFailed"}


class WitWorld(wit_world.WitWorld):
    def handle(self, event, data):
        return answer_of(lambda_handler, event, data)

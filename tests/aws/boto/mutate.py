"""Valid requests, changed at random: `mutate.py ENDPOINT COUNT SEED`.

Every answer is a success or an error that the operation declares or that every operation has; never a failure of the server,
never silence. Prints what came as JSON.
"""

import http.client
import json
import pathlib
import random
import string
import sys
from collections import Counter
from urllib.parse import urlparse

import cbor2

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import valid
from botocore.loaders import Loader
from model import SERVICES
from valid import ARN

JSON, CBOR = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"
TARGETS = {"kinesis": "Kinesis_20131202", "firehose": "Firehose_20150804"}
# What every operation may answer: it is not in the model.
COMMON = {
    "ValidationException",
    "SerializationException",
    "UnknownOperationException",
    "MissingAction",
    "AccessDeniedException",
    "InvalidArgumentException",
    "RequestEntityTooLargeException",
}


class Mutator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def value(self):
        choose = self.random
        return choose.choice(
            [
                None, True, False, 0, 1, -1, 2**31 - 1, 2**31, 2**63, -(2**63), 10**19, 1.5, 1e308, "", "a", "\0", "é" * 300,
                "x" * 3000, "shardId-000000000000", "shardId-4294967296", "49" + "9" * 54, "0", "-1", "9" * 129, ARN, ARN + "x",
                "[", [], [None], [[]], {}, {"a": None}, [{}] * 501, {str(n): "" for n in range(60)}, "aGk", "aGk=", "\ud83d",
            ]
        )  # fmt: skip

    def text(self, text):
        """A text with a few characters changed, left out, doubled or added."""
        characters = list(text)
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randrange(len(characters) + 1)
            kind = self.random.randrange(4)
            if kind == 0:
                characters.insert(at, self.random.choice(string.printable + "é\0\U0001f980"))
            elif characters:
                at %= len(characters)
                if kind == 1:
                    characters[at] = chr(ord(characters[at]) ^ (1 << self.random.randrange(7)))
                elif kind == 2:
                    del characters[at]
                else:
                    characters[at:at] = characters[max(0, at - 5) : at + 5]
        return "".join(characters)

    def tree(self, value):
        """One place of a tree, at random, made another value."""
        if isinstance(value, dict) and value and self.random.random() < 0.9:
            value = dict(value)
            key = self.random.choice(list(value))
            kind = self.random.randrange(6)
            if kind == 0:
                del value[key]
            elif kind == 1:
                value[self.text(key)] = value.pop(key)
            else:
                value[key] = self.tree(value[key])
            return value
        if isinstance(value, list) and value and self.random.random() < 0.9:
            value = list(value)
            at = self.random.randrange(len(value))
            kind = self.random.randrange(4)
            if kind == 0:
                del value[at]
            elif kind == 1:
                value.insert(at, self.value())
            else:
                value[at] = self.tree(value[at])
            return value
        if isinstance(value, str) and self.random.random() < 0.5:
            return self.text(value)
        return self.value()

    def bytes(self, body):
        body = bytearray(body)
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randrange(len(body) + 1)
            kind = self.random.randrange(3)
            if kind == 0:
                body.insert(at, self.random.randrange(256))
            elif kind == 1 and body:
                body[at % len(body)] ^= 1 << self.random.randrange(8)
            else:
                del body[at:]
        return bytes(body)

    def request(self, requests):
        named = self.random.choice(list(requests))
        tree, is_cbor = requests[named], self.random.random() < 0.25
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 3])):
            tree = self.tree(tree)
        body = encode(tree, is_cbor)
        if self.random.random() < 0.3:
            body = self.bytes(body)
        return *named, body, CBOR if is_cbor else JSON


def encode(tree, is_cbor):
    if not is_cbor:
        return json.dumps(tree).encode()

    def clean(value):
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode()
        if isinstance(value, dict):
            return {clean(key): clean(entry) for key, entry in value.items()}
        return [clean(entry) for entry in value] if isinstance(value, list) else value

    return cbor2.dumps(clean(tree))


def main():
    endpoint, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    address = urlparse(endpoint).netloc
    connection = http.client.HTTPConnection(address, timeout=20)

    def post(service, operation, body, content_type=JSON):
        target = f"{TARGETS[service]}.{operation}"
        connection.request("POST", "/", body, {"X-Amz-Target": target, "Content-Type": content_type})
        answer = connection.getresponse()
        return answer, answer.read()

    def ask(operation, service="kinesis", **parameters):
        answer, text = post(service, operation, json.dumps(parameters))
        assert answer.status == 200, (operation, text)
        return json.loads(text) if text else None

    stream = "mutated"
    ask("CreateStream", StreamName=stream, ShardCount=2)
    consumer = ask("RegisterStreamConsumer", StreamARN=ARN + stream, ConsumerName="app")["Consumer"]["ConsumerARN"]
    place = {"StreamName": stream, "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    requests = {
        "kinesis": valid.of_kinesis(stream, consumer, ask("GetShardIterator", **place)["ShardIterator"]),
        "firehose": valid.of_firehose(stream),
    }
    ask("CreateDeliveryStream", "firehose", **{**requests["firehose"]["CreateDeliveryStream"], "DeliveryStreamName": stream})
    assert all(sorted(requests[service]) == sorted(SERVICES[service]) for service in SERVICES)
    models = {service: Loader().load_service_model(service, "service-2")["operations"] for service in SERVICES}
    requests = {(service, name): tree for service, named in requests.items() for name, tree in named.items()}
    mutator, outcomes = Mutator(seed), {service: Counter() for service in SERVICES}
    for number in range(count):
        service, operation, body, content_type = mutator.request(requests)
        what = f"request {number} of seed {seed}: {service} {operation} {body[:2000]!r} as {content_type}"
        try:
            answer, text = post(service, operation, body, content_type)
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"{what}: no answer: {error!r}") from error
        if answer.status == 200:
            outcomes[service]["ok"] += 1
            continue
        told = cbor2.loads(text) if content_type == CBOR else json.loads(text)
        code = told["__type"]
        declared = {error["shape"] for error in models[service][operation].get("errors", [])} | COMMON
        assert answer.status < 500 and code in declared, f"{what}: {answer.status} {told}"
        outcomes[service][code] += 1
    ask("ListStreams")
    print(json.dumps({"outcomes": outcomes}))


if __name__ == "__main__":
    main()

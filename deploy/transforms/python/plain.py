"""The newline fix without the Lambda's clothes: bytes in, bytes out. Faster, as nothing is encoded."""

import wit_world
from wit_world.imports.types import Outcome_Ok, Output


class WitWorld(wit_world.WitWorld):
    def transform(self, batch):
        return [
            Outcome_Ok([Output(record.data if record.data.endswith(b"\n") else record.data + b"\n", [])])
            for record in batch
        ]

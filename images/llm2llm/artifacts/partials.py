"""What an evaluation has so far: a new attempt asks only what no attempt before it has answered.

Each object is one part, written by one pod under a name of its own, and read as a union. They go once the step is
committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import ValidationError

from llm2llm.artifacts.keys import content_key
from llm2llm.layout import part_folder
from llm2llm.records import Prediction, canonical_json
from llm2llm.runtime.context import Step
from llm2llm.storage import ObjectMissing, Store

RowKey = tuple[str, str]
"""A dataset, and the id of a row of it."""


class PartialPredictions:
    """The parts of one step; another experiment's, whose content key differs, are none of them."""

    def __init__(self, store: Store, step: Step, pod_uid: str) -> None:
        """Takes the store, the step, and the name of this writer."""
        self._store = store
        self._folder = part_folder(step.folder, content_key(step))
        self._pod_uid = pod_uid
        self._written = 0

    def read(self) -> dict[RowKey, Prediction]:
        """All that is answered; a part that cannot be read is asked again."""
        found: dict[RowKey, Prediction] = {}
        for key in self._store.list(f"{self._folder}/"):
            try:
                lines = self._store.read(key).splitlines()  # of bytes: in text U+2028 would end one, too
                found |= {(dataset, told.id): told for dataset, told in map(_prediction, lines)}
            except (ObjectMissing, ValidationError, ValueError, TypeError):
                continue
        return found

    def keep(self, answered: Mapping[RowKey, Prediction]) -> None:
        """Makes a part durable."""
        text = "".join(
            canonical_json([dataset, told.model_dump(mode="json")]) + "\n" for (dataset, _), told in answered.items()
        )
        self._store.write(f"{self._folder}/{self._pod_uid}-{self._written:06d}.jsonl", text.encode())
        self._written += 1

    def clear(self) -> None:
        """Removes them."""
        for key in list(self._store.list(f"{self._folder}/")):
            self._store.delete(key)


def _prediction(line: bytes) -> tuple[str, Prediction]:
    dataset, told = json.loads(line)
    return str(dataset), Prediction.model_validate(told)

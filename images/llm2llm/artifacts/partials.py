"""Keeps the predictions of an unfinished evaluation: a new attempt answers only rows that no earlier one has.

Each object is one part, written by one pod under a unique name; all parts are read together. They are deleted once the
step is committed.
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
"""A dataset, and the id of one of its rows."""


class PartialPredictions:
    """The parts of one step; those of another experiment, with another content key, are ignored."""

    def __init__(self, store: Store, step: Step, pod_uid: str) -> None:
        """Takes the store, the step, and the name of this writer."""
        self._store = store
        self._folder = part_folder(step.folder, content_key(step))
        self._pod_uid = pod_uid
        self._written = 0

    def read(self) -> dict[RowKey, Prediction]:
        """Returns all predictions so far; rows in a part that cannot be read are answered again."""
        predictions: dict[RowKey, Prediction] = {}
        for key in self._store.list(f"{self._folder}/"):
            try:
                lines = self._store.read(key).splitlines()  # of bytes: in text U+2028 ends one, too
                predictions |= {(dataset, row.id): row for dataset, row in map(_prediction, lines)}
            except (ObjectMissing, ValidationError, ValueError, TypeError):
                continue
        return predictions

    def keep(self, answered: Mapping[RowKey, Prediction]) -> None:
        """Stores a part."""
        text = "".join(
            canonical_json([dataset, prediction.model_dump(mode="json")]) + "\n"
            for (dataset, _), prediction in answered.items()
        )
        self._store.write(f"{self._folder}/{self._pod_uid}-{self._written:06d}.jsonl", text.encode())
        self._written += 1

    def clear(self) -> None:
        """Deletes all parts."""
        for key in list(self._store.list(f"{self._folder}/")):
            self._store.delete(key)


def _prediction(line: bytes) -> tuple[str, Prediction]:
    dataset, document = json.loads(line)
    return str(dataset), Prediction.model_validate(document)

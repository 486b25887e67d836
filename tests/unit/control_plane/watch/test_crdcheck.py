"""When the operator looks at the fields of the CRD, and what it says of them how often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.support import virtualtime
from tests.support.log import logged

from llm2llm_crdgen.crd import custom_resource_definition
from llm2llm_operator.kube.errors import ApiUnavailable
from llm2llm_operator.watch.crdcheck import compare_forever

SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
PAUSE = 300.0


def document(*, without: str = "") -> dict[str, Any]:
    spec = SCHEMA["properties"]["spec"]
    kept = {name: node for name, node in spec["properties"].items() if name != without}
    kind = {"group": "llm2llm.dev", "version": "v1alpha1", "kind": "AugmentationRun"}
    properties = SCHEMA["properties"] | {"spec": spec | {"properties": kept}}
    return {"components": {"schemas": {"run": {"properties": properties, "x-kubernetes-group-version-kind": [kind]}}}}


class Server:
    """Answers with these, one after the other, and then with the last one again."""

    def __init__(self, *answers: dict[str, Any] | Exception | None) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.last: Any = None
        self.asked = 0

    async def openapi(self) -> dict[str, Any] | None:
        self.asked += 1
        self.last = next(self._answers, self.last)
        if isinstance(self.last, Exception):
            raise self.last
        return self.last


def looks(server: Server, times: int) -> None:
    """Lets the check look so many times."""

    async def scenario() -> None:
        check = asyncio.create_task(compare_forever(server, PAUSE))
        await asyncio.sleep(PAUSE * (times - 0.5))
        check.cancel()
        await asyncio.wait({check})

    virtualtime.run(scenario())
    assert server.asked == times


OLDER, EQUAL = document(without="retry"), document()


@pytest.mark.parametrize(
    ("answers", "levels", "differs"),
    [
        pytest.param([EQUAL, EQUAL], [], 0, id="nothing is said of equal fields"),
        pytest.param([OLDER, OLDER, OLDER], ["WARNING"], 1, id="a difference is said once"),
        pytest.param([OLDER, EQUAL, EQUAL], ["WARNING", "INFO"], 0, id="and that it has ended"),
        pytest.param([EQUAL, OLDER], ["WARNING"], 1, id="also one that comes while the operator runs"),
        pytest.param(
            [OLDER, document(without="budget")], ["WARNING", "WARNING"], 1, id="another difference is another line"
        ),
        pytest.param(
            [OLDER, ApiUnavailable(503, "", ""), None, {}, OLDER],
            ["WARNING"],
            1,
            id="a document that cannot be had says nothing",
        ),
    ],
)
def test_each_change_is_logged_once_and_the_metric_follows(answers: list[Any], levels: list[str], differs: int):
    with logged(logging.INFO) as log:
        looks(Server(*answers), len(answers))
    assert [record.levelname for record in log.records if "crdcheck" in record.name] == levels
    assert REGISTRY.get_sample_value("llm2llm_crd_differs") == differs

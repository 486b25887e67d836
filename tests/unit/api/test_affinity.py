"""Affinity is passed on as a user wrote it, as far as Kubernetes has a field for it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llm2llm.api.affinity import Affinity

ZONE = {
    "topologyKey": "zone",
    "labelSelector": {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "k", "operator": "Exists"}]},
}
WRITTEN: dict[str, Any] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h200"]}]},
                {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]},
            ]
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["15"]}]}}
        ],
    },
    "podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [ZONE | {"namespaces": ["a"], "matchLabelKeys": ["hash"]}]
    },
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": ZONE | {"namespaceSelector": {}, "mismatchLabelKeys": ["tenant"]}}
        ]
    },
}


def dumped(document: dict[str, Any]) -> dict[str, Any]:
    return Affinity.model_validate(document).model_dump(by_alias=True, exclude_unset=True, exclude_none=True)


def test_every_field_of_kubernetes_reaches_the_pod():
    assert dumped(WRITTEN) == WRITTEN


def test_what_is_no_affinity_is_dropped_however_deep_it_is():
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"f": deep}
    assert dumped({"nodeAffinity": {"unknown": deep}, "f": deep}) == {"nodeAffinity": {}}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(
            {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 101, "preference": {}}]}},
            id="a weight above 100",
        ),
        pytest.param(
            {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["a"]}]}},
            id="a term without its place",
        ),
        pytest.param(
            {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}] * 17}},
            id="more terms than a list may have",
        ),
        pytest.param(
            {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "in"}]}]
                    }
                }
            },
            id="an operator that Kubernetes does not have",
        ),
    ],
)
def test_what_kubernetes_refuses_is_refused_here(document: dict[str, Any]):
    with pytest.raises(ValidationError):
        Affinity.model_validate(document)

"""What the operator says of a CRD whose fields are not those that it knows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm2llm_crdgen.crd import custom_resource_definition
from llm2llm_operator.model.crdfields import describe_difference, known_fields, served_fields

KNOWN = known_fields()
SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def openapi(schema: dict[str, Any], kind: str = "AugmentationRun") -> dict[str, Any]:
    """The document as an API server writes it."""
    described = {"group": "llm2llm.dev", "kind": kind, "version": "v1alpha1"}
    return {"components": {"schemas": {f"dev.llm2llm.v1alpha1.{kind}": schema | {"x-kubernetes-group-version-kind": [described]}}}}  # fmt: skip


def test_the_models_have_the_fields_of_the_crd_that_is_made_from_them():
    assert served_fields(openapi(SCHEMA)) == KNOWN
    assert {"spec.train.env[].name", "status.conditions[].reason", "spec.podOverrides.affinity"} <= KNOWN
    assert len(KNOWN) > 300


def test_a_document_without_the_kind_has_no_fields():
    assert served_fields({}) == served_fields(openapi(SCHEMA, kind="AugmentationRunList")) == frozenset()


@pytest.mark.parametrize(
    ("fewer", "more", "words"),
    [
        pytest.param((), (), "", id="the same fields"),
        pytest.param(("spec.retry",), (), "lacks spec.retry, which the API server drops", id="an older CRD"),
        pytest.param((), ("spec.novel",), "has spec.novel, which this operator", id="a newer CRD"),
        pytest.param(
            ("spec.budget", "spec.budget.currency"), (), "lacks spec.budget, which", id="a block stands for its fields"
        ),
        pytest.param(
            ("status.iterations[].index",), (), "lacks status.iterations[].index, which", id="a field of a list"
        ),
        pytest.param(
            ("spec.retry",),
            ("spec.novel",),
            "lacks spec.retry.* crds.enabled=true.; the CRD .* has spec.novel",
            id="both",
        ),
        pytest.param(
            (),
            tuple(f"spec.novel{number}" for number in range(10)),
            "spec.novel7 and 2 more fields, which",
            id="no more than eight are named",
        ),
    ],
)
def test_a_difference_is_named_with_what_to_do(fewer: tuple[str, ...], more: tuple[str, ...], words: str):
    told = describe_difference(KNOWN, KNOWN.difference(fewer).union(more))
    if not words:
        assert told == ""
        return
    assert re.search(words.replace("[]", r"\[\]"), told), told
    assert ("kubectl apply --server-side --force-conflicts -f crds/llm2llm.dev_augmentationruns.yaml" in told) == bool(
        fewer
    )
    assert ("upgrade the operator" in told) == bool(more)

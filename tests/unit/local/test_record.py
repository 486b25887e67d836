"""`run.json` against a manifest: what is a change of the experiment, and what only another release's default."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from llm2llm.api.base import added_later, dump_identity
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.api.stages import Hyperparameters
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.local.record import RunRecord, changed_fields, given_fields, keep_defaults


def spec(**changes: Any) -> AugmentationRunSpec:
    return AugmentationRunSpec.model_validate(builders.spec(**changes))


def record(written: AugmentationRunSpec, *, given: bool = True, **defaults: Any) -> RunRecord:
    """The record of a run; `defaults` are paths, with `__` for dots, that its release had other defaults for."""
    document = dump_identity(written)
    for path, value in defaults.items():
        *parents, last = path.split("__")
        node = document
        for parent in parents:
            node = node[parent]
        node[last] = value
    return RunRecord(name="r", namespace="n", uid="u", spec=document, given=given_fields(written) if given else None)


def test_the_same_manifest_is_the_same_experiment():
    for given in (True, False):
        earlier = record(spec(train={"lora": {"r": 4}}), given=given)
        now = keep_defaults(spec(train={"lora": {"r": 4}}), earlier)
        assert changed_fields(earlier, now) == []


def test_fault_57_a_run_keeps_the_defaults_that_it_began_with():
    earlier = record(
        spec(train={"lora": {"r": 4}}), train__lora__dropout="0.2", train__minSteps=7, retries__transient=1
    )
    now = keep_defaults(spec(train={"lora": {"r": 4}}), earlier)
    assert (now.train.lora.r, now.train.lora.dropout, now.train.min_steps, now.retries.transient) == (4, "0.2", 7, 1)
    assert changed_fields(earlier, now) == []


def test_what_a_manifest_says_goes_before_what_its_run_began_with():
    earlier = record(spec(), train__minSteps=7, maxIterations=3)
    now = keep_defaults(spec(train={"minSteps": 8}, maxIterations=9), earlier)
    assert now.max_iterations == 9
    assert changed_fields(earlier, now) == ["spec.train.minSteps was 7, is now 8"]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"train": {"minSteps": 7}}, {}, "spec.train.minSteps was 7, is now 100"),
        ({"randomSeed": 3}, {}, "spec.randomSeed was 3, is now 0"),
        ({"train": {"lora": {"r": 4}}}, {"train": {"lora": {"alpha": 32}}}, "spec.train.lora.r was 4, is now 16"),
        ({"train": {"lora": {"r": 4}}}, {}, "spec.train.lora.r was 4, is now 16"),
    ],
)
def test_a_field_that_was_taken_out_of_the_manifest_is_a_change(before: dict[str, Any], now: dict[str, Any], told: str):
    earlier = record(spec(**before))
    assert changed_fields(earlier, keep_defaults(spec(**now), earlier)) == [told]


def test_a_map_is_compared_as_a_whole():
    teacher = {"model": "m", "baseUrl": "http://t/v1"}
    earlier = record(spec(generate={"teacher": {**teacher, "parameters": {"temperature": "1", "top_p": "1"}}}))
    now = keep_defaults(spec(generate={"teacher": {**teacher, "parameters": {"temperature": "1"}}}), earlier)
    assert changed_fields(earlier, now) == ['spec.generate.teacher.parameters.top_p was "1", is now null']


def test_a_record_of_the_first_release_says_nothing_of_who_wrote_what():
    earlier = record(spec(), given=False, train__minSteps=7)
    assert keep_defaults(spec(), earlier) == spec()
    assert changed_fields(earlier, spec()) == ["spec.train.minSteps was 7, is now 100"]


def test_a_field_of_a_later_release_is_passed_over():
    earlier = record(spec(), train__hyperparameters__beta="0.9", ofTheFuture={"a": 1})
    now = keep_defaults(spec(), earlier)
    assert now == spec()


def test_what_a_run_began_with_and_a_manifest_that_do_not_go_together_are_told():
    earlier = record(spec(), train__lora__r=64)
    with pytest.raises(IncompatibleArtifacts, match=r"is inconsistent with what run\.json says"):
        keep_defaults(spec(train={"method": "Full"}), earlier)


def test_a_field_that_was_added_later_keeps_its_first_default_when_its_default_changes(monkeypatch: pytest.MonkeyPatch):
    field = Hyperparameters.model_fields["weight_decay"]
    earlier = record(spec())
    del earlier.spec["train"]["hyperparameters"]["weightDecay"]  # as the release that added it wrote it
    monkeypatch.setattr(field, "json_schema_extra", added_later("0.5"))  # and its default is 0 now
    now = keep_defaults(spec(), earlier)
    assert now.train.hyperparameters.weight_decay == "0.5"
    assert changed_fields(earlier, now) == []

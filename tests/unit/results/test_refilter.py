"""The settings that refilter takes, and how it says what they change."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders, filteredrun

from llm2llm.api.base import dump_identity
from llm2llm.api.run import API_VERSION, KIND, AugmentationRunSpec
from llm2llm.errors import ConfigurationError, InvalidManifest
from llm2llm.local.record import RunRecord
from llm2llm.results.refilter import filters_of, notes, settable, summary_rows, warnings
from llm2llm.stages.refilter import ChangedAnswer, RefilteredRound

SPEC = AugmentationRunSpec.model_validate(filteredrun.spec())
RECORD = RunRecord(name="r", namespace="n", uid="u", spec=dump_identity(SPEC))


def manifest(**changes: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "r"}, "spec": filteredrun.spec() | changes}


def test_all_settings_of_the_filters_can_be_set():
    assert settable() == [
        "spec.generate.filters.dedup.threshold",
        "spec.generate.filters.decontaminate.ngram",
        "spec.generate.filters.minAcceptance",
    ]


@pytest.mark.parametrize("prefix", ["", "spec."])
def test_a_path_may_begin_at_the_spec_or_below_it(prefix: str):
    found = filters_of(SPEC, RECORD, None, [f"{prefix}generate.filters.decontaminate.ngram=20"])
    assert (found.decontaminate.ngram, found.dedup.threshold) == (20, "0.95")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("generate.filters.dedup.treshold=0.9", "did you mean 'spec.generate.filters.dedup.threshold'?"),
        ("maxIterations=3", "only its filters may differ: set spec.generate.filters.dedup.threshold, "),
        ("generate.filters=none", "only its filters may differ"),
        ("generate.filters.dedup=none", "only its filters may differ"),
        ("", "only its filters may differ"),
    ],
)
def test_what_is_no_filter_is_refused(setting: str, words: str):
    with pytest.raises(ConfigurationError) as refused:
        filters_of(SPEC, RECORD, None, [setting])
    assert words in refused.value.message


@pytest.mark.parametrize(
    "setting",
    [
        "generate.filters.dedup.threshold=1.9",
        "generate.filters.decontaminate.ngram=3",
        "generate.filters.decontaminate.ngram=many",
        "generate.filters.dedup.threshold",
    ],
)
def test_what_no_filter_can_be_set_to_is_refused_with_its_path(setting: str):
    with pytest.raises(InvalidManifest) as refused:
        filters_of(SPEC, RECORD, None, [setting])
    assert setting.partition("=")[0] in refused.value.problems[0]


def test_a_manifest_gives_its_filters_and_set_counts_more():
    stricter = manifest(generate=builders.spec()["generate"] | {"filters": {"dedup": {"threshold": "0.8"}}})
    found = filters_of(SPEC, RECORD, stricter, ["generate.filters.minAcceptance=0.5"])
    assert (found.dedup.threshold, found.min_acceptance) == ("0.8", "0.5")


def test_a_manifest_of_another_experiment_is_refused():
    with pytest.raises(ConfigurationError, match=r"spec\.randomSeed was 0, is now 7"):
        filters_of(SPEC, RECORD, manifest(randomSeed=7), [])


def test_what_the_run_was_given_by_set_is_not_missing_in_its_manifest():
    recorded = RECORD.model_copy(update={"settings": ("spec.randomSeed=7",), "spec": {**RECORD.spec, "randomSeed": 7}})
    assert filters_of(SPEC, recorded, manifest(), []) == SPEC.generate.filters


def round_of(**changes: Any) -> RefilteredRound:
    change = ChangedAnswer("s0-a-1", "a", 0, "kept", "nearDuplicate", "why", "{}", {"prompt": "p"}, "yes")
    values: dict[str, Any] = {
        "iteration": 0, "finished": True, "answers": 10, "kept": 5, "would_keep": 4, "unanswered": 0,
        "too_few": False, "unexplained": 0, "changes": [change],
    }  # fmt: skip
    return RefilteredRound(**(values | changes))


def test_a_round_is_a_row_that_counts_its_changes():
    assert summary_rows([round_of()])[0]["changes"] == "1 kept -> nearDuplicate"
    assert summary_rows([round_of(changes=[])])[0]["changes"] == "none"


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ([round_of()], []),
        ([round_of(finished=False, unanswered=3)], ["the run has not finished this round"]),
        ([round_of(too_few=True)], ["the step would fail (minAcceptance 0)"]),
        ([round_of(unanswered=2)], ["for 2 of the refused rows the teacher would be asked once more"]),
        ([round_of(), round_of(iteration=1)], ["its students would have made other mistakes"]),
    ],
)
def test_what_the_numbers_do_not_say_is_said(rounds: list[RefilteredRound], words: list[str]):
    said = list(notes(rounds, SPEC.generate.filters))
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


def test_another_release_is_warned_of():
    assert list(warnings([round_of()])) == []
    assert "3 of 10 answers another verdict" in next(warnings([round_of(unexplained=3)]))

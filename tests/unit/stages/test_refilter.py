"""Recorded answers under other filters; with the run's own nothing changes.

That a new run keeps what is told here is in tests/integration/generation/test_reuse.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import filteredrun
from tests.support.filteredrun import finished_run, rewrite, unfinish

from llm2llm.api.generate import Filters
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.stages.refilter import RefilteredRound, refilter_run
from llm2llm.storage import LocalStore, Store


def refiltered(store: Store, *, local_teacher: bool = False, **filters: Any) -> list[RefilteredRound]:
    """Judges a run that kept to the defaults, with these filters."""
    spec = AugmentationRunSpec.model_validate(filteredrun.spec(local_teacher=local_teacher))
    return list(refilter_run(spec, store, Filters.model_validate({"minAcceptance": "0", **filters})))


def files_in(store: LocalStore) -> dict[str, bytes]:
    return {key: store.read(key) for key in store.list("")}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    found = finished_run(tmp_path)
    assert isinstance(found, LocalStore)
    return found


def test_with_the_filters_of_the_run_each_answer_has_the_verdict_that_the_run_recorded(store: LocalStore):
    rounds = refiltered(store)
    assert [(each.answers, each.kept, each.would_keep) for each in rounds] == [(7, 3, 3), (3, 2, 2)]
    assert all(not each.changes and not each.unexplained and not each.unanswered for each in rounds)


def test_it_writes_nothing(store: LocalStore):
    before = files_in(store)
    refiltered(store, dedup={"threshold": "0.5"})
    assert files_in(store) == before


def test_a_stricter_filter_refuses_rows_and_a_later_round_no_longer_knows_them(store: LocalStore):
    first, second = refiltered(store, dedup={"threshold": "0.9"})
    assert first.counts == {("kept", "nearDuplicate"): 1}
    assert (first.kept, first.would_keep, first.unanswered) == (3, 2, 1)
    assert first.changes[0].detail.startswith("ROUGE-L 0.923 to s0-s0-1")
    # what it resembled is not there any more, so the first answer is kept and the second one not needed
    assert second.counts == {("nearDuplicate", "kept"): 1, ("kept", "notNeeded"): 1}


def test_a_looser_filter_keeps_what_was_refused(store: LocalStore):
    first, second = refiltered(store, dedup={"threshold": "0.99"})
    assert not first.changes
    assert second.counts == {("nearDuplicate", "kept"): 1, ("kept", "notNeeded"): 1}


def test_a_share_of_few_answers_means_nothing_here_either(store: LocalStore):
    assert [each.too_few for each in refiltered(store, minAcceptance="0.99")] == [False, False]


def test_a_round_that_was_stopped_is_judged_by_what_it_paid_for(store: LocalStore):
    unfinish(store, 1)
    first, second = refiltered(store)
    assert (first.finished, second.finished) == (True, False)
    assert (second.answers, second.kept, second.would_keep, second.changes) == (3, 2, 2, [])
    assert refiltered(store, dedup={"threshold": "0.99"})[1].counts == {
        ("nearDuplicate", "kept"): 1,
        ("kept", "notNeeded"): 1,
    }


def test_the_answers_of_a_teacher_that_the_run_served_are_found_by_its_revision(tmp_path: Path):
    store = finished_run(tmp_path, local_teacher=True)
    unfinish(store, 1)  # which has no file of the teacher by itself
    assert [(each.answers, each.changes) for each in refiltered(store, local_teacher=True)] == [(7, []), (3, [])]


def test_a_verdict_that_this_release_does_not_give_is_counted(store: LocalStore):
    rewrite(store, 0, "rejected.jsonl", lambda rows: rows.replace(b'"reason":"contaminated"', b'"reason":"other"'))
    assert [each.unexplained for each in refiltered(store)] == [3, 0]


def test_requests_that_another_release_worded_are_not_taken_for_none(store: LocalStore):
    rewrite(store, 0, "ledger.jsonl", lambda records: records.replace(b'"key":"sha256:', b'"key":"sha256:0'))
    with pytest.raises(IncompatibleArtifacts, match="another release worded these requests"):
        refiltered(store)


def test_a_run_without_a_round_has_none(tmp_path: Path):
    assert refiltered(LocalStore(tmp_path)) == []

"""The classes of the best iteration's answers."""

from __future__ import annotations

import pytest
from tests.support import builders, reports

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.report import classes as module
from llm2llm.report.classes import ClassScore, classes_of


def test_a_class_has_precision_recall_and_f1_and_the_matrix_its_counts():
    """Of six rows, the first, a `yes`, was answered `no`."""
    found = classes_of(reports.contents())
    assert found is not None
    assert found.dataset == "evaluation"
    assert [label for label, _ in found.matrix] == ["no", "perhaps", "yes"]
    assert [counts for _, counts in found.matrix] == [[2, 0, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0]]
    assert found.confusions == [("yes", "no", 1)]
    no, perhaps, yes = found.scores
    assert perhaps == ClassScore("perhaps", 2, 1.0, 1.0, 1.0)
    assert [no.precision, no.recall, no.f1] == pytest.approx([2 / 3, 1.0, 0.8])
    assert [yes.precision, yes.recall, yes.f1] == pytest.approx([1.0, 0.5, 2 / 3])


def test_a_task_without_classes_has_none_and_neither_has_a_run_without_an_evaluation():
    free = AugmentationRunSpec.model_validate(builders.spec())
    assert classes_of(reports.contents(spec=free)) is None
    assert classes_of(reports.contents(best=None)) is None


def test_many_classes_are_listed_and_not_drawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MATRIX_LIMIT", 2)
    found = classes_of(reports.contents())
    assert found is not None
    assert (found.matrix, len(found.scores), len(found.confusions)) == ([], 3, 1)

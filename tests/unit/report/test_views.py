"""The views of a run, rewritten from what its store has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support import builders
from tests.support.steps import commit_step, step_of

from llm2llm.errors import Transient
from llm2llm.records import Example, Metric, Prediction, Stage, to_jsonl
from llm2llm.report.views import write_views
from llm2llm.runtime.context import Step, StepContext
from llm2llm.storage import LocalStore

SEEDS = [Example(id=f"s{number}", fields={"prompt": f"p{number}"}, completion="x") for number in range(2)]
REJECTED = b"".join(b'{"reason":"%s"}\n' % reason for reason in (b"leak", b"duplicate", b"duplicate"))


def answers(verdicts: str) -> bytes:
    """Predictions on the seed rows: + is right, - is wrong."""
    return to_jsonl(
        Prediction(id=seed.id, output=f"said {verdict}", correct=verdict == "+", verdict="correct" if verdict == "+" else "wrong")
        for seed, verdict in zip(SEEDS, verdicts, strict=True)
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Of a run that is prepared."""
    store = LocalStore(tmp_path / "run")
    commit_step(store, step_of(Stage.PREPARE), {"seed.jsonl": to_jsonl(SEEDS)})
    return store


def iterate(store: LocalStore, index: int, score: float, verdicts: str, *scores: Metric, name: str = "seed") -> None:
    """Commits training and evaluation of an iteration."""
    commit_step(store, step_of(Stage.TRAIN, index))
    metrics = (builders.accuracy(score), *scores)
    commit_step(
        store, step_of(Stage.EVALUATE, index), {f"predictions.{name}.jsonl": answers(verdicts)}, metrics=metrics
    )


def write(store: LocalStore, step: Step) -> list[dict[str, Any]]:
    """Writes the views; returns what the step said."""
    events: list[dict[str, Any]] = []
    context = StepContext("pod-a", Path("unused"), progress=lambda event: events.append(dict(event)))
    write_views(step, store, context)
    return events


def rows_of(page: str) -> dict[str, Any]:
    """The rows that the page's script shows."""
    found: dict[str, Any] = json.loads(page.partition('id="rows">')[2].partition("</script>")[0])
    return found


def best(store: LocalStore) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(store.read("best.json"))
    return document


def test_best_json_names_the_best_iteration_its_score_and_its_adapter(store: LocalStore):
    iterate(store, 0, 0.7, "+-")
    iterate(store, 1, 0.6, "++")
    assert write(store, step_of(Stage.EVALUATE, 1)) == []
    trained = json.loads(store.read("iterations/000/train/manifest.json"))
    assert best(store) == {
        "iteration": 0,
        "metric": builders.accuracy(0.7).model_dump(),
        "modelUri": "s3://b/adapter0",
        "digest": trained["digest"],
    }


def test_the_test_score_is_that_of_the_best_iteration(store: LocalStore):
    iterate(store, 0, 0.7, "+-")
    iterate(store, 1, 0.6, "++")
    commit_step(store, step_of(Stage.TEST, 0))
    write(store, step_of(Stage.TEST, 0))
    assert best(store)["test"] == [builders.accuracy(0.69, "test").model_dump()]
    assert b"accuracy 0.690" in store.read("report/index.html")


def test_the_score_of_an_iteration_that_is_no_longer_the_best_is_not_shown(store: LocalStore):
    iterate(store, 0, 0.7, "+-")
    commit_step(store, step_of(Stage.TEST, 0))
    iterate(store, 1, 0.8, "++")
    write(store, step_of(Stage.EVALUATE, 1))
    assert (best(store)["iteration"], best(store).get("test")) == (1, None)


def test_before_an_iteration_is_evaluated_nothing_is_best(store: LocalStore):
    commit_step(store, step_of(Stage.TRAIN))
    write(store, step_of(Stage.TRAIN))
    assert [key for key in store.list("") if "manifest" not in key and "/data/" not in key] == [
        "report/index.html", "report/seeds.jsonl"
    ]  # fmt: skip


def test_a_probing_run_that_ends_without_a_closing_iteration_has_a_best_one_all_the_same(store: LocalStore):
    iterate(store, 0, 0.7, "+-", name="probe")
    write(store, step_of(Stage.EVALUATE, errorsFrom="Probe"))
    assert "best.json" not in list(store.list("best"))
    write(store, step_of(Stage.TEST, errorsFrom="Probe"))
    assert best(store)["iteration"] == 0


def test_each_seed_row_is_followed_over_the_iterations(store: LocalStore):
    iterate(store, 0, 0.5, "+-")
    iterate(store, 1, 0.5, "-+", name="probe")
    write(store, step_of(Stage.EVALUATE, 1))
    lines = [json.loads(line) for line in store.read("report/seeds.jsonl").splitlines()]
    assert [(line["id"], line["verdicts"], line["learnt"], line["forgotten"]) for line in lines] == [
        ("s0", {"0": "correct", "1": "wrong"}, [], [1]),
        ("s1", {"0": "wrong", "1": "correct"}, [1], []),
    ]


def test_the_page_shows_the_rows_of_a_round_and_why_others_were_rejected(store: LocalStore):
    iterate(store, 0, 0.5, "--")
    written = [Example(id="n1", fields={"prompt": "a new question"}, completion="y")]
    commit_step(store, step_of(Stage.GENERATE), {"rejected.jsonl": REJECTED, "synthetic.jsonl": to_jsonl(written)})
    write(store, step_of(Stage.GENERATE))
    page = store.read("report/index.html").decode()
    assert "ns/r" in page
    assert '0 <span class="badge">best</span>' in page
    assert "a new question" in page
    assert [row["verdict"] for row in rows_of(page)["written"]] == ["kept", "leak", "duplicate", "duplicate"]


@pytest.mark.parametrize(
    "content", [pytest.param(b"{", id="no JSON"), pytest.param(b"{}", id="no reason"), pytest.param(None, id="gone")]
)
def test_a_page_that_cannot_be_written_is_told_and_fails_nothing(store: LocalStore, content: bytes | None):
    iterate(store, 0, 0.5, "--")
    commit_step(store, step_of(Stage.GENERATE), {} if content is None else {"rejected.jsonl": content})
    [event] = write(store, step_of(Stage.GENERATE))
    assert event["message"].startswith(f"{store.uri}/report/index.html could not be rewritten: ")
    assert best(store)["iteration"] == 0


@pytest.mark.parametrize("error", [ImportError("no matplotlib"), OSError("read-only"), MemoryError(), RecursionError()])
def test_nothing_that_a_library_of_the_page_comes_upon_fails_the_step(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(_: object) -> None:
        raise error

    iterate(store, 0, 0.5, "--")
    monkeypatch.setattr("llm2llm.report.views.render", fail)
    [event] = write(store, step_of(Stage.EVALUATE))
    assert "could not be rewritten" in event["message"]
    assert best(store)["iteration"] == 0


def test_best_json_that_cannot_be_written_fails_the_step(store: LocalStore, monkeypatch: pytest.MonkeyPatch):
    iterate(store, 0, 0.5, "--")

    def away(key: str, data: bytes) -> None:
        raise Transient(f"{key} cannot be reached")

    monkeypatch.setattr(store, "write", away)
    with pytest.raises(Transient, match=r"best\.json"):
        write(store, step_of(Stage.EVALUATE))

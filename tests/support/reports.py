"""What a report is made of: a run of two iterations whose every text is given by the test."""

from __future__ import annotations

from typing import Any

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stopping import Best, Finished
from llm2llm.records import Example, Lineage, Paired, Prediction, Stage, Usage
from llm2llm.report.collect import Contents, Iteration, RejectedAnswer
from llm2llm.report.history import histories
from tests.support import builders

LABELS = ["yes", "no", "perhaps"]


def given(row: str, correct: bool, output: str = "an answer", answer: str | None = None) -> Prediction:
    """A student's answer."""
    return Prediction(
        id=row, output=output, answer=answer, correct=correct, verdict="correct" if correct else "wrong"
    )  # fmt: skip


def spec(**changes: Any) -> AugmentationRunSpec:
    """A run that sorts rows into LABELS."""
    task = {"promptTemplate": "{{ prompt }}", "grader": {"type": "Choice"}, "labels": LABELS}
    return AugmentationRunSpec.model_validate(builders.spec(task=task, **changes))


def contents(text: str = "words", *, rows: int = 6, **changes: Any) -> Contents:
    """A finished run: of its rows, iteration 0 got every second one right and iteration 1 all but the first."""
    seeds = [Example(id=f"{text}{n}", fields={text: text}, completion=LABELS[n % 3]) for n in range(rows)]
    held_out = [Example(id=f"e{text}{n}", fields={text: text}, completion=LABELS[n % 3]) for n in range(rows)]
    lineage = Lineage(seed=f"{text}0", parent=f"{text}0")
    usage = Usage(teacher_requests=30, teacher_input_tokens=1000, teacher_output_tokens=234)
    iterations = [
        Iteration(
            index=index,
            train=builders.report(Stage.TRAIN, index, seconds={"load": 1.0, "compute": 2.5}),
            evaluate=builders.report(
                Stage.EVALUATE,
                index,
                paired=Paired(against=0, dataset="evaluation", examples=100, gained=9, lost=4) if index else None,
            ),
            generate=builders.report(Stage.GENERATE, index, usage=usage) if not index else None,
            judged=builders.accuracy(0.5 + index / 5),
            answers={
                name: [given(row.id, right(index, n), text, LABELS[(n + 1 - right(index, n)) % 3]) for n, row in enumerate(of)]
                for name, of in (("seed", seeds), ("evaluation", held_out))
            },
            kept=[Example(id=f"s{text}", fields={text: text}, completion="yes", lineage=lineage)] if not index else (),
            rejected=[RejectedAnswer(f"r{text}", text, text, text, f"{text}0")] * 3 if not index else (),
            losses=[(1, 2.5), (2, 1.25)],
        )
        for index in range(2)
    ]  # fmt: skip
    values: dict[str, Any] = {
        "run": f"ns/{text}",
        "uri": text,
        "spec": spec(),
        "inputs": builders.report(Stage.PREPARE),
        "iterations": iterations,
        "seeds": histories(seeds, {each.index: each.answers["seed"] for each in iterations}),
        "held_out": held_out,
        "best": Best(1, builders.accuracy(0.7), "s3://b/adapter1", "sha256:1234"),
        "test": (builders.accuracy(0.69, "test"),),
        "state": Finished("MaxIterationsReached", "all 2 iterations are done"),
    }
    return Contents(**(values | changes))


def right(iteration: int, row: int) -> bool:
    """Whether an iteration gets a row right."""
    return row > 0 if iteration else row % 2 == 1

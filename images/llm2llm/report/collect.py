"""Reads everything that the report shows from a run's store: manifests, rows, answers, and the losses in its logs."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.artifacts.iterations import CommittedIteration, committed_iterations, step_results
from llm2llm.data.rows import EVALUATION, HELD_OUT, PROBED, SEED, SEEDS, SYNTHETIC, predictions_in, read_examples
from llm2llm.errors import StepError
from llm2llm.layout import LOGS
from llm2llm.loop.outcomes import StepId, StepResult, iteration_label
from llm2llm.loop.stages import INPUTS, step_label
from llm2llm.loop.steps import next_step
from llm2llm.loop.stopping import Best, Finished, best_iteration, objective_metric, objective_name
from llm2llm.records import Example, Manifest, Metric, Prediction, Report, Stage
from llm2llm.report.history import SeedHistory, histories
from llm2llm.runtime.context import Step
from llm2llm.storage import Store

ANSWERS_LIMIT = 100_000
"""Number of answers to evaluation rows from which on only those of the first, the best and the newest iteration are
read: a step that has done its work must not run out of memory over its report."""
LOSSES = 200
"""Maximum number of losses of a training that are kept for its curve."""


@dataclass(frozen=True)
class RejectedAnswer:
    """An answer of the teacher that a filter rejected."""

    id: str
    reason: str
    detail: str
    text: str
    seed: str


@dataclass(frozen=True)
class Iteration:
    """An iteration, as far as it is done; `judged` is the score that the objective refers to.

    Attributes:
        answers: dataset to the student's answers.
        losses: pairs of optimizer step and loss, as its training logged them.
    """

    index: int
    train: Report
    evaluate: Report | None = None
    generate: Report | None = None
    judged: Metric | None = None
    answers: Mapping[str, Sequence[Prediction]] = field(default_factory=dict)
    kept: Sequence[Example] = ()
    rejected: Sequence[RejectedAnswer] = ()
    losses: Sequence[tuple[int, float]] = ()

    @property
    def name(self) -> str:
        """Its number; the closing iteration has a name."""
        return iteration_label(self.index)

    @property
    def reasons(self) -> dict[str, int]:
        """Reason to the number of the teacher's answers that were rejected for it, the most frequent first."""
        return dict(Counter(answer.reason for answer in self.rejected).most_common())


@dataclass(frozen=True)
class Contents:
    """Everything that the report shows, as it is in the store.

    Attributes:
        state: why the loop ended, the step that is next, or None before the first evaluation.
        gpu_seconds: what the run had spent when the step that wrote the page was created.
    """

    run: str
    uri: str
    spec: AugmentationRunSpec
    inputs: Report | None
    iterations: Sequence[Iteration]
    seeds: Sequence[SeedHistory]
    held_out: Sequence[Example]
    best: Best | None
    test: Sequence[Metric]
    state: Finished | StepId | None
    gpu_seconds: float = 0.0

    @property
    def judged(self) -> list[Iteration]:
        """The iterations that have a score."""
        return [iteration for iteration in self.iterations if iteration.judged]

    @property
    def best_iteration(self) -> Iteration | None:
        """The best iteration so far."""
        found = (each for each in self.iterations if self.best and each.index == self.best.iteration)
        return next(found, None)


def collect(
    step: Step,
    store: Store,
    committed: Sequence[CommittedIteration] | None = None,
    *,
    everything: bool = False,
) -> Contents:
    """Returns what the store has of a run; of very many answers, only some iterations' if not `everything`.

    Raises:
        StepError: an object is missing or damaged.
    """
    committed = list(committed_iterations(store)) if committed is None else committed
    results = step_results(committed)
    evaluations = [result for result in results if result.step.stage is Stage.EVALUATE]
    name = objective_name(step.spec, evaluations)
    judged = {result.step.iteration: objective_metric(result, name) for result in evaluations}
    logs = sorted(store.list(LOGS))
    inputs = manifest_in(store, INPUTS)
    best = best_iteration(step.spec, results, ended=step.stage is Stage.TEST)
    whole = set(judged) if everything else _read_whole(inputs, list(judged), best)
    iterations = [_iteration(store, each, judged.get(each.index), logs, each.index in whole) for each in committed]
    answers = {each.index: [*each.answers.get(SEEDS, ()), *each.answers.get(PROBED, ())] for each in iterations}
    return Contents(
        run=f"{step.namespace}/{step.run}",
        uri=store.uri,
        spec=step.spec,
        inputs=inputs.report if inputs else None,
        iterations=iterations,
        seeds=histories(read_examples(store, inputs, SEED) if inputs else [], answers),
        held_out=read_examples(store, inputs, EVALUATION) if inputs else [],
        best=best,
        test=test_scores(best, committed),
        state=_state(step.spec, inputs, committed) if evaluations else None,
        gpu_seconds=step.gpu_seconds,
    )


def _state(
    spec: AugmentationRunSpec, inputs: Manifest | None, committed: Sequence[CommittedIteration]
) -> Finished | StepId:
    manifests = [inputs, *(m for each in committed for m in (each.train, each.evaluate, each.generate, each.test))]
    return next_step(spec, [StepResult.of(manifest.report) for manifest in manifests if manifest])


def _read_whole(inputs: Manifest | None, evaluated: Sequence[int], best: Best | None) -> set[int]:
    """Returns the iterations whose answers to the evaluation rows are read."""
    resolved = inputs.report.resolved if inputs else None
    if resolved is None or resolved.evaluation_count * len(evaluated) <= ANSWERS_LIMIT:
        return set(evaluated)
    return {evaluated[0], evaluated[-1], *([best.iteration] if best else [])}


def _iteration(
    store: Store, committed: CommittedIteration, judged: Metric | None, logs: Sequence[str], whole: bool
) -> Iteration:
    evaluated, generated = committed.evaluate, committed.generate
    sets = (SEEDS, PROBED, HELD_OUT) if whole else (SEEDS, PROBED)
    return Iteration(
        index=committed.index,
        train=committed.train.report,
        evaluate=evaluated.report if evaluated else None,
        generate=generated.report if generated else None,
        judged=judged,
        answers={name: predictions_in(store, evaluated, name) for name in sets} if evaluated else {},
        kept=read_examples(store, generated, SYNTHETIC) if generated else (),
        rejected=_rejected(store, generated) if generated else (),
        losses=_losses(store, committed.index, logs),
    )


def _rejected(store: Store, generated: Manifest) -> list[RejectedAnswer]:
    lines = map(json.loads, read_object(store, generated, "rejected.jsonl").splitlines())
    return [
        RejectedAnswer(
            id=str(line.get("id", "")),
            reason=str(line["reason"]),
            detail=str(line.get("detail", "")),
            text=str(line.get("text", "")),
            seed=str((line.get("lineage") or {}).get("seed", "")),
        )
        for line in lines
    ]


def _losses(store: Store, iteration: int, logs: Sequence[str]) -> list[tuple[int, float]]:
    """Returns the losses that the attempts of a training logged; a later attempt's replace an earlier one's.

    Logs are for people, so what cannot be read is left out.
    """
    label = re.escape(step_label(Stage.TRAIN, iteration))
    losses: dict[int, float] = {}
    for key in logs:
        if re.fullmatch(rf"{LOGS}{label}-a[0-9]+-[^/]+\.log", key):
            losses |= dict(_logged_losses(store, key))
    points = sorted(losses.items())
    stride = math.ceil(len(points) / LOSSES) or 1
    return points[::-1][::stride][::-1]


def _logged_losses(store: Store, key: str) -> list[tuple[int, float]]:
    try:
        lines = store.read(key).decode(errors="replace").splitlines()
    except StepError:
        return []
    points = []
    for line in lines:
        if '"loss"' in line:
            try:
                event = json.loads(line)
                points.append((int(event["step"]), float(event["loss"])))
            except (ArithmeticError, ValueError, TypeError, KeyError, RecursionError):
                continue
    return [(number, loss) for number, loss in points if math.isfinite(loss)]


def test_scores(best: Best | None, committed: Sequence[CommittedIteration]) -> tuple[Metric, ...]:
    """Returns the scores of the best student on the test set; empty if it has not been tested."""
    tested = (each.test for each in committed if best and each.index == best.iteration)
    return next((test.report.metrics for test in tested if test), ())

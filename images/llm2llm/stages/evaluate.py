"""Evaluate: what the student of this iteration answers, on which rows it is wrong, and how often it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from llm2llm.api import AugmentationRunSpec
from llm2llm.engines import Draws, Engine, Student, engine_named
from llm2llm.errors import Terminated
from llm2llm.layout import INPUTS, step_folder, trained_part
from llm2llm.paired import compared
from llm2llm.records import (
    POOL,
    Example,
    Metric,
    Paired,
    Prediction,
    Report,
    Stage,
    StepDocument,
    canonical_json,
    digest_of,
    to_jsonl,
)
from llm2llm.stages.commit import commit, download_folder, parent_manifest
from llm2llm.stages.context import StepContext
from llm2llm.stages.retention import drop_weights
from llm2llm.stages.rows import SEED, SEEDS, WRITTEN, asked, frozen, predictions_in, resolved, right, token_rows
from llm2llm.stages.scores import scored
from llm2llm.stages.views import write_views
from llm2llm.stopping import JUDGED_ON
from llm2llm.storage import Store
from llm2llm.storage.hub import fetch_model
from llm2llm.tasks import Task, grading, task_of
from llm2llm.tasks.tokens import Tokens, load_tokenizer

_LEAST_TOKENS = 4
_CHUNK = 4096
"""Prompts between two looks at SIGTERM and two lines of progress."""


def run(step: StepDocument, store: Store, context: StepContext) -> Report:
    """Answers both sets with one engine load, and commits the predictions.

    Raises:
        Terminated: SIGTERM came; a new attempt begins anew.
        ConfigurationError: the engine is not there.
        MetricInvalid: a score is not a number.
    """
    with context.timed("load"):
        sets = asked(store, step)
    answered = answers(step, store, context, sets)
    metrics, files = results(answered)
    wrong = {dataset: answered[dataset].mistakes for dataset in POOL if dataset in answered}
    changes = _changes(step, store, answered)
    files["changes.json"] = (canonical_json(changes.document()) + "\n").encode()
    report = Report(
        run_uid=step.run_uid,
        stage=Stage.EVALUATE,
        iteration=step.iteration,
        attempt=step.attempt,
        metrics=metrics,
        paired=changes.paired,
        learnt=len(changes.learnt),
        forgotten=len(changes.forgotten),
        mistakes=sum(wrong.values()),
        message=", ".join(
            f"{count} of {len(answered[dataset].examples)} {dataset} rows are wrong" for dataset, count in wrong.items()
        ),
    )
    report = commit(store, step, context, files, report)
    write_views(step, store, context)
    drop_weights(step, store)
    return report


@dataclass(frozen=True)
class Answered:
    """A set, and what the student answered to it; in the order of the rows."""

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    task: Task

    @property
    def mistakes(self) -> int:
        """Rows that it got wrong."""
        return sum(not prediction.correct for prediction in self.predictions)


@dataclass(frozen=True)
class Changes:
    """How the verdicts on the same rows changed: against the iteration to beat, and against the one before."""

    paired: Paired | None
    learnt: Sequence[str]
    forgotten: Sequence[str]

    def document(self) -> dict[str, Any]:
        """What `changes.json` says: ids of the seed rows, in the order of the seed set."""
        told = {"learnt": list(self.learnt), "forgotten": list(self.forgotten)}
        return told | ({"paired": self.paired.model_dump(mode="json")} if self.paired else {})


def _changes(step: StepDocument, store: Store, answered: Mapping[str, Answered]) -> Changes:
    """Compares with the evaluations among the parents: the oldest of them is the one to beat (loop.parents)."""
    earlier = [i for i in range(step.iteration) if step_folder(Stage.EVALUATE, i) in step.parents]
    if not earlier:
        return Changes(None, (), ())

    def verdicts(iteration: int, dataset: str) -> dict[str, bool]:
        evaluated = parent_manifest(store, step, step_folder(Stage.EVALUATE, iteration))
        return right(predictions_in(store, evaluated, dataset))

    judged = next(dataset for dataset in JUDGED_ON if dataset in answered)
    now = right(answered[judged].predictions)
    seeds = right(answered[SEEDS].predictions) if SEEDS in answered else {}
    before = verdicts(earlier[-1], SEEDS) if seeds else {}
    return Changes(
        compared(earlier[0], judged, verdicts(earlier[0], judged), now),
        [row for row, correct in seeds.items() if correct and before.get(row) is False],
        [row for row, correct in seeds.items() if not correct and before.get(row) is True],
    )


def results(answered: Mapping[str, Answered]) -> tuple[tuple[Metric, ...], dict[str, bytes]]:
    """The scores of some sets, and the files that hold them: predictions of each and `scores.json` of all.

    Raises:
        MetricInvalid: a set has no rows.
    """
    metrics: list[Metric] = []
    told: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for dataset, of in answered.items():
        scores, told[dataset] = scored(dataset, of.examples, of.predictions, of.task)
        metrics += scores
        files[f"predictions.{dataset}.jsonl"] = to_jsonl(of.predictions)
    files["scores.json"] = (canonical_json(told) + "\n").encode()
    return tuple(metrics), files


def answers(
    step: StepDocument, store: Store, context: StepContext, sets: Mapping[str, Sequence[Example]]
) -> dict[str, Answered]:
    """What the student of an iteration answers to some sets, with one engine load for all of them.

    A synthetic row that is too long to be trained on is not asked either.
    """
    spec = AugmentationRunSpec.model_validate(step.spec)
    with context.timed("imports"):
        load = engine_named(spec.evaluate.resolved_engine())
    with context.timed("load"):
        inputs = parent_manifest(store, step, INPUTS)
        trained = parent_manifest(store, step, step_folder(Stage.TRAIN, step.iteration))
        part = trained_part(spec)
        folder = context.scratch / f"{part}-{step.iteration:03d}-{context.pod_uid}"
        download_folder(store, trained, f"{part}/", folder)
        if part == "model":
            model, adapter = folder, None
        else:
            model = fetch_model(spec, resolved(inputs).model_revision, context.environ, context.scratch)
            adapter = folder
        trusted = spec.student.trust_remote_code
        tokens = load_tokenizer(model, chat=spec.task.chat_template == "Auto", trusted=trusted)
        engine = load(
            Student(model, adapter, spec.train.quantization, tokens.eos, tokens.pad, trusted),
            precision=spec.evaluate.precision,
            gpus=spec.evaluate.tensor_parallel_size,
        )
    task = task_of(spec.task)
    longest = spec.train.hyperparameters.max_length
    sets = {
        dataset: _fitting(rows, task, tokens, longest) if dataset == WRITTEN else rows for dataset, rows in sets.items()
    }
    limit = spec.evaluate.sampling.max_tokens or task.max_tokens or _token_limit(frozen(store, inputs, SEED), tokens)
    with context.timed("compute"):
        rows = [row for examples in sets.values() for row in examples]
        draws = _draws(rows, spec)
        predictions = iter(_predict(rows, task, tokens, engine, limit, draws, step, context))
    return {
        dataset: Answered(examples, list(islice(predictions, len(examples))), task)
        for dataset, examples in sets.items()
        if examples
    }


def _fitting(examples: Sequence[Example], task: Task, tokens: Tokens, longest: int) -> list[Example]:
    rows = token_rows(examples, task, tokens)
    return [example for example, row in zip(examples, rows, strict=True) if len(row.ids) <= longest]


def _token_limit(seeds: Sequence[Example], tokens: Tokens) -> int:
    """Twice the longest seed completion, its EOS not counted."""
    completions = tokens.completions([example.completion for example in seeds])
    return max(_LEAST_TOKENS, 2 * max(len(ids) - 1 for ids in completions))


def _draws(examples: Sequence[Example], spec: AugmentationRunSpec) -> Draws | None:
    """The seed of each row: of the run's and the row's id alone, so that every iteration draws a row alike."""
    temperature = float(spec.evaluate.sampling.temperature)
    if not temperature:
        return None
    digests = (digest_of([spec.random_seed, "answer", example.id]) for example in examples)
    return Draws(temperature, [int(digest.removeprefix("sha256:")[:15], 16) for digest in digests])


def _predict(
    examples: Sequence[Example],
    task: Task,
    tokens: Tokens,
    engine: Engine,
    limit: int,
    draws: Draws | None,
    step: StepDocument,
    context: StepContext,
) -> list[Prediction]:
    prompts = tokens.prompts([task.render(example.fields) for example in examples])
    predictions: list[Prediction] = []
    for start in range(0, len(examples), _CHUNK):
        if context.stopping.is_set():
            raise Terminated("stopped by SIGTERM; the scoring begins anew")
        seeded = Draws(draws.temperature, draws.seeds[start : start + _CHUNK]) if draws else None
        answers = engine.generate(prompts[start : start + _CHUNK], limit, seeded)
        predictions += [
            predict(example, answer, task, tokens)
            for example, answer in zip(examples[start : start + _CHUNK], answers, strict=True)
        ]
        context.progress(
            {"stage": step.stage.value, "iteration": step.iteration, "step": len(predictions), "steps": len(examples)}
        )
    return predictions


def predict(example: Example, answer_ids: Sequence[int], task: Task, tokens: Tokens) -> Prediction:
    """What an answer's token ids mean: an answer without EOS was cut off, and is wrong."""
    ended = tokens.eos in answer_ids
    output = tokens.text(answer_ids[: list(answer_ids).index(tokens.eos)] if ended else answer_ids)
    answer = task.extract(output)
    verdict = task.judge(answer, example.completion) if ended else grading.TRUNCATED
    return Prediction(id=example.id, output=output, answer=answer, correct=verdict == grading.CORRECT, verdict=verdict)

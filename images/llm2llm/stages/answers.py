"""Has the student of an iteration answer the rows of some sets.

It downloads the trained student, tokenizes the rows, loads the engine once for all sets, and generates the answers that
no earlier attempt has stored. What is new is stored now and then, so that a killed evaluation resumes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import download_folder, parent_manifest
from llm2llm.artifacts.partials import PartialPredictions, RowKey
from llm2llm.data.rows import SEED, WRITTEN, read_examples, read_resolved
from llm2llm.data.token_cache import TokenCache
from llm2llm.engines import SamplingSettings, Student, engine_named
from llm2llm.errors import Terminated
from llm2llm.layout import trained_part
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.models.device import limit_threads
from llm2llm.models.fetch import fetch_model
from llm2llm.models.info import read_model_info
from llm2llm.models.tokenizer import StudentTokenizer, load_tokenizer
from llm2llm.records import Example, Manifest, Prediction, Stage, digest_of
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.engine_checks import check_engine
from llm2llm.storage import Store
from llm2llm.tasks import Task, grading, task_of

_MIN_TOKENS = 4
_KEEP_SECONDS = 60.0
"""Seconds between two uploads of new answers: a shorter evaluation uploads none before its commit."""


@dataclass(frozen=True)
class Answered:
    """A set and the student's predictions, in the order of the rows."""

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    task: Task

    @property
    def mistakes(self) -> int:
        """Returns the number of rows that the student got wrong."""
        return sum(not prediction.correct for prediction in self.predictions)


@dataclass(frozen=True)
class _Question:
    """A row to answer: its key among the sets, its prompt as token ids, and the maximum tokens of its answer."""

    place: RowKey
    example: Example
    prompt: Sequence[int]
    limit: int


def answers(
    step: Step, store: Store, context: StepContext, sets: Mapping[str, Sequence[Example]]
) -> dict[str, Answered]:
    """Has the student of an iteration answer some sets, with one engine load for all of them.

    A synthetic row that is too long to be trained on is not evaluated either.

    Raises:
        Terminated: SIGTERM came; the answers so far are in the store.
        ConfigurationError: the engine is not available, or cannot do what the spec requires.
    """
    spec = step.spec
    check_engine(spec)  # GPUs may have been changed since Prepare
    with context.timed("imports"):
        load = engine_named(spec.evaluate.resolved_engine())
        context.progress(_fields_of(step) | {"threads": limit_threads()})
    with context.timed("load"):
        inputs = parent_manifest(store, step, INPUTS)
        student, tokenizer = _download_student(step, store, context, spec, inputs)
        context_tokens = read_model_info(student.model, trusted=student.trusted).context or sys.maxsize
        task = task_of(spec.task)
        token_cache = TokenCache.of(spec, read_resolved(inputs).model_revision, tokenizer, task)
        rows_of_sets = [(dataset, example) for dataset, examples in sets.items() for example in examples]
        seeds = read_examples(store, inputs, SEED)
        rows = token_cache.rows([*(example for _, example in rows_of_sets), *seeds], store, context)
        lengths = [len(row.ids) - row.prompt for row in rows[len(rows_of_sets) :]]
        limit = spec.evaluate.sampling.max_tokens or task.max_tokens or token_limit(lengths)
        longest = min(spec.train.hyperparameters.max_length, context_tokens)
        questions = [
            _Question((dataset, example.id), example, row.ids[: row.prompt], min(limit, context_tokens - row.prompt))
            for (dataset, example), row in zip(rows_of_sets, rows, strict=False)
            if dataset != WRITTEN or len(row.ids) <= longest
        ]
        engine = load(
            student,
            precision=spec.evaluate.precision,
            gpus=spec.evaluate.tensor_parallel_size,
            context=max((len(question.prompt) + question.limit for question in questions), default=1),
        )

    def predict_questions(left: Sequence[_Question]) -> Generator[dict[RowKey, Prediction]]:
        draws = _sampling_settings([question.example for question in left], spec)
        limits = [question.limit for question in left]
        for batch in engine.generate([question.prompt for question in left], limits, draws):
            answered = ((left[index], ids) for index, ids in batch.items())
            yield {question.place: predict(question.example, ids, task, tokenizer) for question, ids in answered}

    with context.timed("compute"):
        predictions = _predict_in_parts(questions, predict_questions, step, store, context)
    by_set = {dataset: [question for question in questions if question.place[0] == dataset] for dataset in sets}
    return {
        dataset: Answered(
            [row.example for row in questions_of_set], [predictions[row.place] for row in questions_of_set], task
        )
        for dataset, questions_of_set in by_set.items()
        if questions_of_set
    }


def _predict_in_parts(
    questions: Sequence[_Question],
    predict_questions: Callable[[Sequence[_Question]], Generator[dict[RowKey, Prediction]]],
    step: Step,
    store: Store,
    context: StepContext,
) -> dict[RowKey, Prediction]:
    """Returns all answers, including those of earlier attempts.

    New answers are durable within a minute, and before SIGTERM ends the step; the last are committed with the step.
    """
    step_fields = _fields_of(step)
    parts = PartialPredictions(store, step, context.pod_uid)
    predictions = parts.read()
    left = [question for question in questions if question.place not in predictions]
    if predictions:
        context.progress({**step_fields, "answeredBefore": len(questions) - len(left)})
    done = len(questions) - len(left)
    unsaved: dict[RowKey, Prediction] = {}
    saved_at = context.clock()
    with closing(predict_questions(left)) as batches:
        while done < len(questions):
            if unsaved and (context.stopping.is_set() or context.clock() - saved_at >= _KEEP_SECONDS):
                parts.keep(unsaved)
                unsaved, saved_at = {}, context.clock()
            if context.stopping.is_set():
                raise Terminated("stopped by SIGTERM; the answers so far are in the store")
            answered = next(batches)
            unsaved |= answered
            predictions |= answered
            done += len(answered)
            context.progress({**step_fields, "step": done, "steps": len(questions)})
    return predictions


def _download_student(
    step: Step, store: Store, context: StepContext, spec: AugmentationRunSpec, inputs: Manifest
) -> tuple[Student, StudentTokenizer]:
    """Downloads the student that this iteration trained; returns it with its tokenizer."""
    trained = parent_manifest(store, step, step_folder(Stage.TRAIN, step.iteration))
    part = trained_part(spec)
    folder = context.scratch / f"{part}-{step.iteration:03d}-{context.pod_uid}"
    download_folder(store, trained, f"{part}/", folder)
    if part == "model":
        model, adapter = folder, None
    else:
        model = fetch_model(spec, read_resolved(inputs).model_revision, context.environ, context.scratch, store=store)
        adapter = folder
    trusted = spec.student.trust_remote_code
    tokenizer = load_tokenizer(model, chat=spec.task.chat_template == "Auto", trusted=trusted)
    return Student(model, adapter, spec.train.quantization, tokenizer.eos, trusted), tokenizer


def _fields_of(step: Step) -> dict[str, object]:
    return {"stage": step.stage.value, "iteration": step.iteration}


def token_limit(lengths: Sequence[int]) -> int:
    """Returns the default token limit of an answer: twice the longest seed completion, not counting its EOS.

    Args:
        lengths: tokens of each seed completion, with its EOS.
    """
    return max(_MIN_TOKENS, 2 * (max(lengths) - 1))


def _sampling_settings(examples: Sequence[Example], spec: AugmentationRunSpec) -> SamplingSettings | None:
    """Returns the seed of each row, from the run's seed and the row's id only: every iteration samples a row alike."""
    temperature = float(spec.evaluate.sampling.temperature)
    if not temperature:
        return None
    digests = (digest_of([spec.random_seed, "answer", example.id]) for example in examples)
    return SamplingSettings(temperature, [int(digest.removeprefix("sha256:")[:15], 16) for digest in digests])


def predict(example: Example, answer_ids: Sequence[int], task: Task, tokens: StudentTokenizer) -> Prediction:
    """Turns an answer's token ids into a prediction; an answer without EOS was cut off, and is wrong."""
    ended = tokens.eos in answer_ids
    output = tokens.text(answer_ids)
    answer, verdict = task.grade(output, example.completion)
    verdict = verdict if ended else grading.TRUNCATED
    return Prediction(id=example.id, output=output, answer=answer, correct=verdict == grading.CORRECT, verdict=verdict)

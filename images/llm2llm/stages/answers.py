"""What the student of an iteration answers: one engine load for all sets, and no row asked that is answered already."""

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
from llm2llm.models.fetch import fetch_model
from llm2llm.models.tokenizer import StudentTokenizer, load_tokenizer, read_model_info
from llm2llm.records import Example, Manifest, Prediction, Stage, digest_of
from llm2llm.runtime.context import Step, StepContext
from llm2llm.stages.engine_checks import check_engine
from llm2llm.storage import Store
from llm2llm.tasks import Task, grading, task_of
from llm2llm.training.data import TokenizedRow

_LEAST_TOKENS = 4
_KEEP_SECONDS = 60.0
"""What is answered becomes durable so often: an evaluation that takes less writes nothing on the way."""


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
class _Question:
    """A row that is asked: its place among the sets, its prompt as token ids, and how many its answer may have."""

    place: RowKey
    example: Example
    prompt: Sequence[int]
    limit: int


def answers(
    step: Step, store: Store, context: StepContext, sets: Mapping[str, Sequence[Example]]
) -> dict[str, Answered]:
    """What the student of an iteration answers to some sets, with one engine load for all of them.

    A synthetic row that is too long to be trained on is not asked either.

    Raises:
        Terminated: SIGTERM came; what is answered by then is in the store.
        ConfigurationError: the engine is not there, or is asked for what it cannot.
    """
    spec = step.spec
    check_engine(spec)  # GPUs may have been changed since Prepare
    with context.timed("imports"):
        load = engine_named(spec.evaluate.resolved_engine())
    with context.timed("load"):
        inputs = parent_manifest(store, step, INPUTS)
        student, tokens = _student(step, store, context, spec, inputs)
        room = read_model_info(student.model, trusted=student.trusted).context or sys.maxsize
        task = task_of(spec.task)
        tokenizer = TokenCache.of(spec, read_resolved(inputs).model_revision, tokens, task)
        asked = [(dataset, example) for dataset, examples in sets.items() for example in examples]
        seeds = read_examples(store, inputs, SEED)
        rows = tokenizer.rows([*(example for _, example in asked), *seeds], store, context)
        limit = spec.evaluate.sampling.max_tokens or task.max_tokens or _token_limit(rows[len(asked) :])
        longest = min(spec.train.hyperparameters.max_length, room)
        questions = [
            _Question((dataset, example.id), example, row.ids[: row.prompt], min(limit, room - row.prompt))
            for (dataset, example), row in zip(asked, rows, strict=False)
            if dataset != WRITTEN or len(row.ids) <= longest
        ]
        engine = load(
            student,
            precision=spec.evaluate.precision,
            gpus=spec.evaluate.tensor_parallel_size,
            context=max((len(question.prompt) + question.limit for question in questions), default=1),
        )

    def ask(left: Sequence[_Question]) -> Generator[dict[RowKey, Prediction]]:
        draws = _sampling_settings([question.example for question in left], spec)
        limits = [question.limit for question in left]
        for batch in engine.generate([question.prompt for question in left], limits, draws):
            asked = ((left[index], ids) for index, ids in batch.items())
            yield {question.place: predict(question.example, ids, task, tokens) for question, ids in asked}

    with context.timed("compute"):
        told = _answer_in_parts(questions, ask, step, store, context)
    by_set = {dataset: [question for question in questions if question.place[0] == dataset] for dataset in sets}
    return {
        dataset: Answered([row.example for row in of_set], [told[row.place] for row in of_set], task)
        for dataset, of_set in by_set.items()
        if of_set
    }


def _answer_in_parts(
    questions: Sequence[_Question],
    ask: Callable[[Sequence[_Question]], Generator[dict[RowKey, Prediction]]],
    step: Step,
    store: Store,
    context: StepContext,
) -> dict[RowKey, Prediction]:
    """All answers, those of earlier attempts among them.

    What is new is durable within a minute, and before SIGTERM ends the step; the last of it is committed with the step.
    """
    of_step = {"stage": step.stage.value, "iteration": step.iteration}
    parts = PartialPredictions(store, step, context.pod_uid)
    told = parts.read()
    left = [question for question in questions if question.place not in told]
    if told:
        context.progress({**of_step, "answeredBefore": len(questions) - len(left)})
    done = len(questions) - len(left)
    unkept: dict[RowKey, Prediction] = {}
    since = context.clock()
    with closing(ask(left)) as batches:
        while done < len(questions):
            if unkept and (context.stopping.is_set() or context.clock() - since >= _KEEP_SECONDS):
                parts.keep(unkept)
                unkept, since = {}, context.clock()
            if context.stopping.is_set():
                raise Terminated("stopped by SIGTERM; the answers so far are in the store")
            answered = next(batches)
            unkept |= answered
            told |= answered
            done += len(answered)
            context.progress({**of_step, "step": done, "steps": len(questions)})
    return told


def _student(
    step: Step, store: Store, context: StepContext, spec: AugmentationRunSpec, inputs: Manifest
) -> tuple[Student, StudentTokenizer]:
    """The files of what this iteration trained, on this machine."""
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
    tokens = load_tokenizer(model, chat=spec.task.chat_template == "Auto", trusted=trusted)
    return Student(model, adapter, spec.train.quantization, tokens.eos, trusted), tokens


def _token_limit(seeds: Sequence[TokenizedRow]) -> int:
    """Twice the longest seed completion, its EOS not counted."""
    return max(_LEAST_TOKENS, 2 * max(len(row.ids) - row.prompt - 1 for row in seeds))


def _sampling_settings(examples: Sequence[Example], spec: AugmentationRunSpec) -> SamplingSettings | None:
    """The seed of each row: of the run's and the row's id alone, so that every iteration draws a row alike."""
    temperature = float(spec.evaluate.sampling.temperature)
    if not temperature:
        return None
    digests = (digest_of([spec.random_seed, "answer", example.id]) for example in examples)
    return SamplingSettings(temperature, [int(digest.removeprefix("sha256:")[:15], 16) for digest in digests])


def predict(example: Example, answer_ids: Sequence[int], task: Task, tokens: StudentTokenizer) -> Prediction:
    """What an answer's token ids mean: an answer without EOS was cut off, and is wrong."""
    ended = tokens.eos in answer_ids
    output = tokens.text(answer_ids)
    answer = task.extract(output)
    verdict = task.judge(answer, example.completion) if ended else grading.TRUNCATED
    return Prediction(id=example.id, output=output, answer=answer, correct=verdict == grading.CORRECT, verdict=verdict)

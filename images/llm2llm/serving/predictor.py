"""Loads a student and has it answer one prompt at a time, for `llm2llm serve`: a row as evaluation asks it, or a text.

It is the evaluation's own code: the same template, token ids, engine, limit, and grader. So a row that the run has
answered greedily gets the same answer.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llm2llm.api.data import S3Access
from llm2llm.artifacts.committed import manifest_in
from llm2llm.data.rows import SEED, read_examples, read_resolved
from llm2llm.engines import Engine, SamplingSettings, Student, engine_named
from llm2llm.errors import IncompatibleArtifacts
from llm2llm.loop.stages import INPUTS
from llm2llm.models.device import limit_threads
from llm2llm.models.fetch import ModelAt, fetch_base, fetch_model
from llm2llm.models.info import read_model_info
from llm2llm.models.tokenizer import StudentTokenizer, load_tokenizer
from llm2llm.records import Example
from llm2llm.results.fetch import fetch_student
from llm2llm.results.student import LocatedStudent, StudentRecord
from llm2llm.results.targets import NamedRun
from llm2llm.stages.answers import token_limit
from llm2llm.tasks import Task

DEFAULT_LIMIT = 512
"""Maximum tokens of an answer where neither spec, preset, nor seed rows say it. An answer that ends is the same."""


class RequestRefused(ValueError):
    """A request that cannot be answered as it is; the message says why."""


@dataclass(frozen=True)
class Completion:
    """An answer: its text, tokens counted with the EOS, and whether it ended by itself."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    ended: bool


@dataclass
class Predictor:
    """A loaded student.

    Attributes:
        record: what it was trained for.
        limit: maximum tokens of an answer, unless a request says another number.
        context: of the model, in tokens; prompt and answer fit into it together.
        example: fields of a row that it can answer.
    """

    record: StudentRecord
    task: Task
    engine: Engine
    tokens: StudentTokenizer
    limit: int
    context: int
    example: Mapping[str, str]
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def predict(self, fields: Mapping[str, str]) -> tuple[str, Completion, str | None]:
        """Answers a row; returns the rendered prompt, the answer, and what the grader finds in an answer that ended.

        Raises:
            RequestRefused: the template cannot be rendered with these fields, or the prompt is too long.
        """
        try:
            prompt = self.task.render(fields)
        except ValueError as error:
            raise RequestRefused(str(error)) from error
        [ids] = self.tokens.prompts([prompt])
        answer = self.complete(ids)
        return prompt, answer, self.task.extract(answer.text) if answer.ended else None

    def complete_text(self, text: str, limit: int | None, draws: SamplingSettings | None) -> Completion:
        """Continues a text as it is: neither the run's template nor the tokenizer's is applied."""
        [ids] = replace(self.tokens, chat=None).prompts([text])
        return self.complete(ids, limit, draws)

    def complete_conversation(
        self, turns: Sequence[Mapping[str, str]], limit: int | None, draws: SamplingSettings | None
    ) -> Completion:
        """Answers a conversation by the tokenizer's chat template.

        Raises:
            RequestRefused: it was not trained with one, or that refuses these turns.
        """
        from jinja2 import TemplateError

        if self.tokens.conversation is None:
            why = "its tokenizer has none" if self.record.settings.chat_template == "Auto" else "chatTemplate is Never"
            raise RequestRefused(
                f"this student was trained without a chat template ({why}): POST a row to /predict, or a whole prompt "
                "to /v1/completions"
            )
        try:
            text = self.tokens.conversation(turns)
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise RequestRefused(f"the tokenizer's chat template refuses these messages: {error}") from error
        [ids] = self.tokens.encode([text], False)
        return self.complete(ids, limit, draws)

    def complete(
        self, prompt: Sequence[int], limit: int | None = None, draws: SamplingSettings | None = None
    ) -> Completion:
        """Continues token ids: greedily, unless `draws` say otherwise.

        Raises:
            RequestRefused: the prompt is empty, or leaves no room in the model's context.
            GpuOutOfMemory: the GPU does not hold this row.
        """
        room = self.context - len(prompt)
        if not prompt or room < 1:
            raise RequestRefused(
                f"the prompt has {len(prompt)} tokens, and the model's context is {self.context}: send from 1 to "
                f"{self.context - 1} tokens"
            )
        with self._one_at_a_time:
            [ids] = [
                ids
                for answers in self.engine.generate([prompt], [min(limit or self.limit, room)], draws)
                for ids in answers.values()
            ]
        return Completion(self.tokens.text(ids), len(prompt), len(ids), self.tokens.eos in ids)


def load_predictor(student: LocatedStudent, endpoint: str, environ: Mapping[str, str], scratch: Path) -> Predictor:
    """Loads a student with its base model, by transformers: on the GPU if there is one.

    Args:
        student: to load.
        endpoint: of an S3 server other than AWS, for the base model of a student in a folder.
        environ: has the credentials.
        scratch: folder for what has to be downloaded.

    Raises:
        ConfigurationError: the base model cannot be fetched or loaded.
        IncompatibleArtifacts: it has changed since, or files of the student are damaged.
    """
    load = engine_named("Transformers")
    limit_threads()
    record, task = student.record, student.record.graded_task()
    folder = student.folder or scratch / "student"
    trusted, completions, example = False, [], dict.fromkeys(sorted(task.names), "...")
    if student.run:
        fetch_student(student.run, folder, record.iteration)
        trusted = student.run.view().spec.student.trust_remote_code
        seeds = _seeds(student.run)
        completions = [seed.completion for seed in seeds]
        shortest = min((seed.fields for seed in seeds), key=lambda fields: sum(map(len, fields.values())))
        example = {name: text for name, text in shortest.items() if name in task.names}
    adapter = folder if record.part == "adapter" else None
    model = _fetch_base(student, endpoint, environ, scratch) if adapter else folder
    tokens = load_tokenizer(model, chat=record.settings.chat_template == "Auto", trusted=trusted)
    engine = load(
        Student(model, adapter, record.quantization if adapter else "none", tokens.eos, trusted),
        precision=record.precision,
        gpus=1,
        context=0,
    )
    lengths = [len(ids) for ids in tokens.completions(completions)]
    limit = record.max_tokens or (token_limit(lengths) if lengths else DEFAULT_LIMIT)
    context = read_model_info(model, trusted=trusted).context or sys.maxsize
    return Predictor(record, task, engine, tokens, limit, context, example)


def _seeds(run: NamedRun) -> list[Example]:
    prepared = manifest_in(run.store, INPUTS)
    if prepared is None:
        raise IncompatibleArtifacts(f"{run.title}: the run's rows are gone: restore its folder {INPUTS}")
    return read_examples(run.store, prepared, SEED)


def _fetch_base(student: LocatedStudent, endpoint: str, environ: Mapping[str, str], scratch: Path) -> Path:
    record = student.record
    if student.run:
        prepared = manifest_in(student.run.store, INPUTS)
        revision = read_resolved(prepared).model_revision if prepared else record.model_revision
        return fetch_model(student.run.view().spec, revision, environ, scratch, store=student.run.store)
    return fetch_base(ModelAt(record.model_uri, record.model_revision), S3Access(endpoint=endpoint), environ, scratch)

"""`llm2llm.json`: what a student's folder says about itself once it has left its run, and where a student is.

A server needs more than weights: the template that its prompts were written by, the grader that finds the answer, and
the base at its revision. A run has all that in its spec; `fetch` writes it beside the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import ValidationError

from llm2llm.api.data import Task
from llm2llm.api.run import AugmentationRunSpec
from llm2llm.artifacts.committed import manifest_in, read_object
from llm2llm.errors import ConfigurationError, IncompatibleArtifacts
from llm2llm.layout import trained_part
from llm2llm.local.record import RECORD
from llm2llm.loop.stages import INPUTS, step_folder
from llm2llm.models.files import STUDENT
from llm2llm.models.tokenizer import CHAT_TEMPLATES, has_chat_template
from llm2llm.records import Manifest, Record, Stage
from llm2llm.report.collect import Contents, Iteration, collect
from llm2llm.results.targets import NamedRun, the_run
from llm2llm.results.views import iteration_named
from llm2llm.runtime.context import Step
from llm2llm.tasks import Task as GradedTask
from llm2llm.tasks import task_of

_MODEL_FILES = ("adapter_config.json", "config.json")


class StudentRecord(Record):
    """What is to know of a student in order to ask it as it was asked when it was scored.

    Attributes:
        digest: of the output of the training.
        part: whether its files are an adapter for a base model, or a complete model.
        model_uri: of the base model; `model_revision` is the commit or digest that it was trained on.
        task: `spec.task`: template, grader, labels.
        precision: of the evaluation.
        max_tokens: of an answer, by the spec or the preset; 0 if the run took it from its seed rows.
    """

    run: str
    namespace: str
    iteration: int
    digest: str
    part: Literal["adapter", "model"]
    model_uri: str
    model_revision: str = ""
    quantization: Literal["none", "nf4"] = "none"
    precision: Literal["Auto", "fp32", "bf16"] = "Auto"
    max_tokens: int = 0
    task: dict[str, Any]

    @property
    def settings(self) -> Task:
        """`spec.task`, parsed."""
        return Task.model_validate(self.task)

    def graded_task(self) -> GradedTask:
        """Returns the task: it renders prompts and finds answers."""
        return task_of(self.settings)


@dataclass(frozen=True)
class LocatedStudent:
    """A student, and where its files are: in a folder of this machine, or in the store of its run.

    Attributes:
        folder: that fetch wrote; None if `run` has it.
        run: whose student it is; None if only the folder is known.
        uri: its files in the store of the run; '' for a folder.
        rank: of its adapter; 0 for a complete model.
        chat: whether its prompts go through its tokenizer's chat template.
    """

    record: StudentRecord
    folder: Path | None = None
    run: NamedRun | None = None
    uri: str = ""
    rank: int = 0
    chat: bool = False


def record_of(view: Step, iteration: int, trained: Manifest, prepared: Manifest | None) -> StudentRecord:
    """Returns the record of the student that an iteration trained."""
    spec: AugmentationRunSpec = view.spec
    resolved = prepared.report.resolved if prepared else None
    return StudentRecord(
        run=view.run,
        namespace=view.namespace,
        iteration=iteration,
        digest=trained.digest,
        part=trained_part(spec),
        model_uri=spec.student.model.uri,
        model_revision=resolved.model_revision if resolved else "",
        quantization=spec.train.quantization,
        precision=spec.evaluate.precision,
        max_tokens=spec.evaluate.sampling.max_tokens or task_of(spec.task).max_tokens,
        task=spec.task.model_dump(mode="json", by_alias=True, exclude_unset=True),
    )


def trained_in(run: NamedRun, contents: Contents, index: int | None) -> tuple[Iteration, Manifest]:
    """Returns the iteration that a command line names, the best one if it names none, and the output of its training.

    Raises:
        ConfigurationError: there is no such student.
        IncompatibleArtifacts: it is gone.
    """
    iteration = iteration_named(contents, index)
    manifest = manifest_in(run.store, step_folder(Stage.TRAIN, iteration.index))
    if manifest is None:
        raise IncompatibleArtifacts(f"{contents.uri}: the manifest of iteration {iteration.name} is gone")
    return iteration, manifest


def find_student(target: str, index: int | None, endpoint: str, environ: Mapping[str, str]) -> LocatedStudent:
    """Finds the student of a run, or the one in a folder that fetch wrote.

    Raises:
        ConfigurationError: there is none, or the folder does not say what it was trained for.
        StepError: the run cannot be read.
    """
    folder = Path(target)
    if is_student_folder(folder):
        if index is not None:
            raise ConfigurationError(f"{target} is one student: --iteration is for a run")
        return _student_in(folder)
    return locate(the_run(target, endpoint, environ), index)


def locate(run: NamedRun, index: int | None) -> LocatedStudent:
    """Returns the student of a run: the best one, or that of an iteration.

    Raises:
        StepError: there is none, or the run cannot be read.
    """
    view = run.view()
    iteration, manifest = trained_in(run, collect(view, run.store), index)
    record = record_of(view, iteration.index, manifest, manifest_in(run.store, INPUTS))
    [place, *_] = [entry.key for entry in manifest.objects if entry.name.startswith(f"{record.part}/")]
    uri = f"{run.store.uri}/{place.rpartition('/')[0]}"
    return LocatedStudent(
        record,
        run=run,
        uri=uri,
        rank=view.spec.train.lora.r if record.part == "adapter" else 0,
        chat=record.settings.chat_template == "Auto" and _has_chat_template(run, manifest, record.part),
    )


def _has_chat_template(run: NamedRun, manifest: Manifest, part: str) -> bool:
    """Returns whether a student's tokenizer has one; its files are small, so they are read from the store."""
    names = {entry.name for entry in manifest.objects}
    config = f"{part}/tokenizer_config.json"
    with TemporaryDirectory(prefix="llm2llm-") as scratch:
        for name in names & {config, *(f"{part}/{file}" for file in CHAT_TEMPLATES)}:
            Path(scratch, name.removeprefix(f"{part}/")).write_bytes(read_object(run.store, manifest, name))
        return has_chat_template(Path(scratch), config)


def is_student_folder(folder: Path) -> bool:
    """Returns whether a folder holds the files of a student, and not runs beside files of these names."""
    if (folder / STUDENT).is_file():
        return True
    return any((folder / name).is_file() for name in _MODEL_FILES) and not any(folder.rglob(RECORD))


def _student_in(folder: Path) -> LocatedStudent:
    path = folder / STUDENT
    try:
        record = StudentRecord.model_validate_json(path.read_bytes())
        Task.model_validate(record.task)
        adapter = json.loads((folder / "adapter_config.json").read_bytes()) if record.part == "adapter" else {}
        chat = record.settings.chat_template == "Auto" and has_chat_template(folder, "tokenizer_config.json")
        return LocatedStudent(record, folder=folder, rank=int(adapter.get("r", 0)), chat=chat)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{folder} has no {Path(str(error.filename)).name}, which says what the student was trained for: fetch it "
            "again with this release, or name its run"
        ) from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ConfigurationError(f"{path} cannot be read: {place}: {problem['msg']}: fetch it again") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder} cannot be read: {error}: fetch it again") from error

"""PURE: what `llm2llm refilter` reads from its command line, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from llm2llm.api.base import dump_identity
from llm2llm.api.generate import Filters
from llm2llm.api.run import API_VERSION, KIND, AugmentationRunSpec, model_in
from llm2llm.errors import ConfigurationError
from llm2llm.local.record import RunRecord, changed_fields, keep_defaults
from llm2llm.loop.outcomes import describe_iteration, iteration_label
from llm2llm.manifests.documents import set_fields
from llm2llm.manifests.problems import validate_spec
from llm2llm.results.targets import NamedRun
from llm2llm.results.views import Row, apart
from llm2llm.stages.refilter import RefilteredRound
from llm2llm.suggestion import did_you_mean

_FILTERS = "spec.generate.filters."
_ONLY_FILTERS = "refilter judges the answers that the run has, so only its filters may differ"
ROWS = ("iteration", "id", "wave", "was", "now", "detail", "text", "seed")
"""Columns of the rows that change, which a program gets also if there are none."""


def settable() -> list[str]:
    """Returns the paths of all settings of the filters."""
    return [f"{_FILTERS}{name}" for name in _leaves(Filters)]


def _leaves(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        part = model_in(field.annotation)
        yield from (f"{field.alias or name}.{leaf}" for leaf in _leaves(part)) if part else [field.alias or name]


def filters_of(
    spec: AugmentationRunSpec, record: RunRecord, manifest: Mapping[str, Any] | None, settings: Sequence[str]
) -> Filters:
    """Returns the filters that a command line names: the run's, or those of a manifest, with each `path=value` set.

    Args:
        spec: of the run.
        record: what the run has been computed with.
        manifest: an AugmentationRun that differs from the run in its filters alone.
        settings: `--set`; a path may begin with `spec.` or with what follows it.

    Raises:
        ConfigurationError: one sets something else than the filters.
        InvalidManifest: the manifest, or a value, is invalid.
    """
    if manifest is not None:
        others = [setting for setting in record.settings if not setting.startswith(_FILTERS)]
        spec = keep_defaults(validate_spec(set_fields(manifest, others)), record)
        changed = [change for change in changed_fields(record, spec) if not change.startswith(_FILTERS)]
        if changed:
            raise ConfigurationError(f"the manifest differs from the run ({'; '.join(changed)}): {_ONLY_FILTERS}")
    settings = [setting if setting.startswith("spec.") else f"spec.{setting}" for setting in settings]
    known = settable()
    for setting in settings:
        path = setting.partition("=")[0]
        if path not in known:
            hint = did_you_mean(path, known) or f": set {', '.join(known)}"
            raise ConfigurationError(f"--set {path}: {_ONLY_FILTERS}{hint}")
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "run"}, "spec": dump_identity(spec)}
    return validate_spec(set_fields(document, settings)).generate.filters


def record_of(run: NamedRun, spec: AugmentationRunSpec) -> RunRecord:
    """Returns what a run has been computed with; an object of a cluster says it itself."""
    return run.record or RunRecord(name=run.title, namespace="", uid="", spec=dump_identity(spec))


def summary_rows(rounds: Sequence[RefilteredRound]) -> list[Row]:
    """Returns a row for each round, for people."""
    return [
        {
            "iteration": _label(each),
            "answers": each.answers,
            "kept": each.kept,
            "would keep": each.would_keep,
            "changes": ", ".join(f"{number} {was} -> {now}" for (was, now), number in each.counts.items()) or "none",
        }
        for each in rounds
    ]


def records(rounds: Sequence[RefilteredRound]) -> list[Row]:
    """Returns a document for each round, for programs."""
    return [
        {
            "iteration": each.iteration,
            "finished": each.finished,
            "answers": each.answers,
            "kept": each.kept,
            "wouldKeep": each.would_keep,
            "unanswered": each.unanswered,
            "belowMinAcceptance": each.too_few,
            "changes": [{"was": was, "now": now, "answers": number} for (was, now), number in each.counts.items()],
        }
        for each in rounds
    ]


def changed_rows(rounds: Sequence[RefilteredRound]) -> list[Row]:
    """Returns the answers whose verdict changes."""
    return [
        {
            "iteration": _label(each),
            "id": change.id,
            "wave": change.wave,
            "was": change.was,
            "now": change.now,
            "detail": change.detail,
            **({"text": change.text} if not change.fields else apart(change.fields)),
            "label": change.completion,
            "seed": change.seed,
        }
        for each in rounds
        for change in each.changes
    ]


def warnings(rounds: Sequence[RefilteredRound]) -> Iterator[str]:
    """Yields the rounds of which this release, with the run's own filters, thinks otherwise than the run did."""
    for each in rounds:
        if each.unexplained:
            yield (
                f"warning: {describe_iteration(each.iteration)}: with the run's own filters this release gives "
                f"{each.unexplained} of {each.answers} answers another verdict than the run did: another release has "
                "judged it, so not all changes are those of the filters"
            )


def notes(rounds: Sequence[RefilteredRound], filters: Filters) -> Iterator[str]:
    """Yields sentences about what the numbers do not say."""
    for each in rounds:
        where = describe_iteration(each.iteration)
        if not each.finished:
            yield f"{where}: the run has not finished this round; its {each.answers} recorded answers were judged."
        if each.too_few:
            yield (
                f"{where}: so few rows would be kept that the step would fail (minAcceptance {filters.min_acceptance})."
            )
        if each.unanswered and each.finished:
            yield (
                f"{where}: for {each.unanswered} of the refused rows the teacher would be asked once more, and nobody "
                "knows its answer; a run that reuses these answers does not ask."
            )
    if len(rounds) > 1:
        yield (
            "The rounds after the first are those of this run: with other rows its students would have made other "
            "mistakes."
        )


def _label(each: RefilteredRound) -> str:
    return iteration_label(each.iteration)

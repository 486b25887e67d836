"""Loads the tasks that ship with the project, one YAML file each; a sixth is one more file in this folder.

A preset is only a filled-in Custom task, so a run could spell it out. The first comment of a file says which
`data.*.fields` fit the published data: the template's names, then the files' own. Texts and examples are ours; the
formats of the answers are as published with the data sets. Templates and instructions are sent to models, and request
keys hash what is sent: a changed word is paid for again. A content key contains only the preset's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

GraderType = Literal["ExactMatch", "Choice", "Numeric", "Regex"]


@dataclass(frozen=True)
class Preset:
    """A task with its settings.

    Attributes:
        name: its name in `spec.task.preset`.
        template: template of the prompt.
        grader: how an answer is judged.
        max_tokens: maximum tokens of an answer.
        instructions: instructions for the teacher, with worked examples.
        labels: the answers of Choice.
        aliases: what data files write for a label: published numbers of classes, long names.
        marker: text that precedes the answer; an output without it has no answer.
    """

    name: str
    template: str
    grader: GraderType
    max_tokens: int
    instructions: str
    labels: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    marker: str = ""


@cache
def presets() -> Mapping[str, Preset]:
    """Returns every preset by its name, in the order of the file names."""
    loaded = (_read(path) for path in sorted(Path(__file__).parent.glob("*.yaml")))
    return {preset.name: preset for preset in loaded}


def _read(path: Path) -> Preset:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Preset(
        name=document["name"],
        template=document["template"],
        grader=document["grader"],
        max_tokens=document["maxTokens"],
        instructions=document["instructions"],
        labels=tuple(document.get("labels", ())),
        aliases=document.get("aliases", {}),
        marker=document.get("marker", ""),
    )

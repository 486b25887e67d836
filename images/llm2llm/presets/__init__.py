"""The tasks that come with the project, one YAML file each; a sixth is one more file here.

A preset is nothing but a filled-in Custom task, so that a run could spell it out. The first comment of a file says
which `data.*.fields` fit the published data: the template's names, then the files' own. Texts and examples are ours;
the formats of the answers are as published with the data sets. Templates and instructions are sent to models, and
request keys hash what is sent: a changed word is paid for again. A content key has no more of a preset than its name.
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
    """A task with everything that goes with it.

    Attributes:
        name: in `spec.task.preset`.
        template: of the prompt.
        grader: how an answer is judged.
        max_tokens: of an answer.
        instructions: for the teacher, with worked examples.
        labels: the answers of Choice.
        aliases: what files write for a label: published numbers of classes, long names.
        marker: what the answer stands behind; an output without it has no answer.
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
    """Every preset by its name, in the order of the files' names."""
    read = (_read(path) for path in sorted(Path(__file__).parent.glob("*.yaml")))
    return {preset.name: preset for preset in read}


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

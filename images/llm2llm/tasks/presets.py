"""The paper's five tasks: how each is asked, answered and judged, and what the teacher is told about it.

A preset is nothing but a filled-in Custom task, so that a run could spell it out. The comment before each says which
`data.*.fields` fit the published files: the template's names, then the files' own. Texts and examples are ours; the
formats of the answers are as published with the data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llm2llm.api.data import Grader, Task


@dataclass(frozen=True)
class Preset:
    """A task with everything that goes with it.

    Attributes:
        template: of the prompt.
        grader: how an answer is judged.
        labels: the answers of Choice.
        aliases: what files write for a label: published numbers of classes, long names.
        max_tokens: of an answer.
        instructions: for the teacher, with worked examples.
        marker: what the answer stands behind; an output without it has no answer.
    """

    template: str
    grader: Grader
    max_tokens: int
    instructions: str
    labels: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    marker: str = ""


def _numbered(labels: tuple[str, ...]) -> dict[str, str]:
    return {str(number): label for number, label in enumerate(labels)}


_LETTERS = ("A", "B", "C", "D", "E")
_INTENTS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)
_QUESTIONS = ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")
_SENTIMENTS = ("negative", "positive")

PRESETS: Mapping[str, Preset] = {
    # {prompt: question, completion: answer}; the answer is the working, then `#### ` and the number
    "GSM8K": Preset(
        template="Question: {{ prompt }}\nAnswer:",
        grader=Grader(type="Numeric"),
        marker="####",
        max_tokens=512,
        instructions=(
            "Word problems of grade-school arithmetic. An answer is the working in short steps, each calculation "
            "written out, then a last line with #### and nothing but the number. "
            "For example, question: A box holds 12 pens. Ria buys 3 boxes and gives away 5 pens. How many pens does "
            "she have? Answer: Ria buys 3 * 12 = 36 pens. After giving some away she has 36 - 5 = 31 pens.\n#### 31. "
            "Question: A bus of 40 seats is 3/4 full. At a stop 6 people get off. How many people are on it? Answer: "
            "40 * 3/4 = 30 people are on the bus. After the stop there are 30 - 6 = 24.\n#### 24. Check the "
            "calculation before you answer: a problem whose number is wrong is worse than none."
        ),
    ),
    # {prompt: citing_prompt, holding_0: ..., holding_4: ..., completion: label}; the label is 0 to 4
    "CaseHOLD": Preset(
        template=(
            "Which holding belongs at <HOLDING>? Answer with its letter.\n\n{{ prompt }}\n\n"
            "A. {{ holding_0 }}\nB. {{ holding_1 }}\nC. {{ holding_2 }}\nD. {{ holding_3 }}\nE. {{ holding_4 }}\n\n"
            "Answer:"
        ),
        grader=Grader(type="Choice"),
        labels=_LETTERS,
        aliases=_numbered(_LETTERS),
        max_tokens=8,
        instructions=(
            "Legal citations. The prompt is a passage of a court's opinion in which the holding of a cited case is "
            "replaced by <HOLDING>; five holdings follow, one of which belongs there, and the answer is its letter, A "
            "for holding_0 to E for holding_4. The four others are holdings of the same field of law that do not fit "
            "the passage. Write a new passage with five holdings so that the given letter is right. For example, "
            "passage: The notice was mailed and never returned, which suffices. See Marlow v. Dean (<HOLDING>). "
            "Right: holding that a properly mailed notice is presumed to be received. Wrong: holding that a tenant "
            "may withhold rent after notice of a defect."
        ),
    ),
    # {prompt: text, completion: intent}
    "SNIPS": Preset(
        template="Utterance: {{ prompt }}\nIntent:",
        grader=Grader(type="Choice"),
        labels=_INTENTS,
        max_tokens=16,
        instructions=(
            "Intents of what people say to a voice assistant: AddToPlaylist (put a song or artist on a playlist), "
            "BookRestaurant (reserve a table), GetWeather (ask for weather), PlayMusic (hear something), RateBook "
            "(give a book points), SearchCreativeWork (find a film, book, game or album by its name), "
            "SearchScreeningEvent (find when or where films are shown). For example, 'put the new Okafor single on my "
            "running mix' is AddToPlaylist, 'which cinemas near the harbour show it tonight' is SearchScreeningEvent. "
            "Vary names, "
            "places, wording and length, as speech does."
        ),
    ),
    # {prompt: text, completion: coarse_label}; the class by name, or its published number
    "TREC": Preset(
        template="Question: {{ prompt }}\nType:",
        grader=Grader(type="Choice"),
        labels=_QUESTIONS,
        aliases=_numbered(_QUESTIONS),
        max_tokens=16,
        instructions=(
            "Types of questions by what their answer is: ABBR (an abbreviation or what it stands for), ENTY (a thing: "
            "animal, colour, event, product, language, word), DESC (a definition, description, manner or reason), HUM "
            "(a person or group), LOC (a place), NUM (a count, date, price, distance or other number). For example, "
            "'What do the letters in NGO mean?' is ABBR, 'How do bees find their way home?' is DESC, 'How far is it "
            "from Lima to Cusco?' is NUM. Write plain questions of knowledge, most of them below fifteen words."
        ),
    ),
    # {prompt: sentence, completion: label}; by name, or 0 and 1
    "SST2": Preset(
        template="Review: {{ prompt }}\nSentiment:",
        grader=Grader(type="Choice"),
        labels=_SENTIMENTS,
        aliases=_numbered(_SENTIMENTS),
        max_tokens=16,
        instructions=(
            "Sentiment of sentences and phrases from film reviews, positive or negative about the film. For example, "
            "'a patient, quietly funny portrait' is positive, 'two hours that feel like a hostage situation' is "
            "negative. Irony, concessions and comparisons are welcome; the sentiment must be clear to a reader."
        ),
    ),
}


def expand_preset(task: Task) -> Task:
    """The task with what its preset brings; a template of the user's own stays."""
    preset = PRESETS.get(task.preset)
    if preset is None:
        return task
    return task.model_copy(
        update={
            "prompt_template": task.prompt_template or preset.template,
            "grader": preset.grader,
            "labels": list(preset.labels),
        }
    )


def instructions_for(task: Task, own: str) -> str:
    """What the teacher is told about the task: the user's words, else the preset's."""
    preset = PRESETS.get(task.preset)
    return own or (preset.instructions if preset else "")

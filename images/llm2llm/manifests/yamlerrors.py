"""PURE: says what is wrong with a YAML file, and where, in words for people who write manifests."""

from __future__ import annotations

import yaml

_ADVICE = (
    ("cannot start any token", "a tab or another character that YAML does not take here: indent with spaces"),
    (
        "mapping values are not allowed",
        "this line is indented further than the one before it allows, or a text with ': ' in it has no quotes",
    ),
    ("expected <block end>", "the indentation of this line fits none of the lines before it"),
    ("could not find expected ':'", "a name without its colon, or a text over several lines without quotes"),
    (
        "did not find expected key",
        "the indentation of this line fits none of the lines before it, or a quote before it is not closed",
    ),
    ("did not find expected node content", "a value is missing, or a bracket, brace or quote is not closed"),
    ("expected ',' or '}'", "a brace is not closed, or a comma is missing"),
    ("expected ',' or ']'", "a bracket is not closed, or a comma is missing"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("unknown escape character", "a backslash in double quotes: use single quotes"),
    ("found undefined alias", "a text that begins with * needs quotes"),
)
"""Parts of libyaml's problems to what they mean for a manifest."""


def describe_yaml_error(error: Exception) -> str:
    """Returns what to put after a file's name: the place, what is wrong, and the line itself."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f": {' '.join(str(error).split())}"
    mark = error.problem_mark
    problem = " ".join(str(error.problem or error.context or "").split())
    advice = next((words for part, words in _ADVICE if part in problem), problem)
    return f", line {mark.line + 1}, column {mark.column + 1}: {advice}"

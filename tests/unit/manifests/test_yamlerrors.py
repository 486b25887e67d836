"""What is wrong with a file that is no YAML, in words, with the place."""

from __future__ import annotations

import pytest
import yaml

from llm2llm.manifests.kubectlyaml import load_all
from llm2llm.manifests.yamlerrors import describe_yaml_error


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:\n\tb: 1\n", ", line 2, column 1: a tab or another character"),
        ("a: 1\n  b: 2\n", ", line 2, column 4: this line is indented further"),
        ("a:\n    b: 1\n  c: 2\n", ", line 3, column 3: the indentation of this line fits none"),
        ("a: {b: 1\n", ", line 2, column 1: a brace is not closed, or a comma is missing"),
        ("a: [1\nb: 2\n", ", line 2, column 2: a bracket is not closed, or a comma is missing"),
        ("a: 'b\n", ", line 2, column 1: a quote is not closed"),
        ('a: "\\q"\n', ", line 1, column 5: a backslash in double quotes"),
        ("a: *x\n", ", line 1, column 4: a text that begins with * needs quotes"),
        ("a: @x\n", ", line 1, column 4: a tab or another character that YAML does not take here"),
    ],
)
def test_a_file_that_is_no_yaml(text: str, told: str):
    with pytest.raises(yaml.YAMLError) as error:
        list(load_all(text))
    assert describe_yaml_error(error.value).startswith(told)


def test_other_errors_keep_their_words_on_one_line():
    assert describe_yaml_error(OSError("no\n  such file")) == ": no such file"

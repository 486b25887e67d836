"""Each pair is what kubectl 1.34 makes of the text (`kubectl apply --dry-run=client -o json`)."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from llm2llm.manifests import kubectlyaml
from llm2llm.manifests.kubectlyaml import DEPTH_LIMIT, SIZE_LIMIT, load, load_all


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("2e-4", 0.0002, id="a number needs no dot"),
        pytest.param("12:30:45", "12:30:45", id="a time is no number"),
        pytest.param("2026-01-01", "2026-01-01", id="a date is a string"),
        pytest.param("y", True, id="y is a boolean"),
        pytest.param("Off", False, id="off is a boolean"),
        pytest.param("yEs", "yEs", id="not in every spelling"),
        pytest.param("010", 8, id="a zero makes it octal"),
        pytest.param("08", 8.0, id="unless it cannot be"),
        pytest.param("0o17", 15, id="the octal of YAML 1.2"),
        pytest.param("0x1f", 31, id="hexadecimal"),
        pytest.param("1_000", 1000, id="underscores between digits"),
        pytest.param(".5", 0.5, id="a number that begins with a dot"),
        pytest.param("e3", "e3", id="an exponent alone"),
        pytest.param("=", "=", id="an equals sign"),
        pytest.param("~", None, id="null"),
        pytest.param("''", "", id="an empty string"),
        pytest.param("{a: 1, a: 2}", {"a": 2}, id="of two values the last one counts"),
        pytest.param("{<<: {a: 1, b: 1}, b: 2}", {"a": 1, "b": 2}, id="a merge"),
        pytest.param("a: b\t", {"a": "b"}, id="a tab after a value"),
        pytest.param("a: 1 \t # why\nb:\t2\t# why", {"a": 1, "b": 2}, id="tabs around a value, before a comment"),
        pytest.param("a:\t\n- 'b'\t\n- [c,\t d]\t", {"a": ["b", ["c", "d"]]}, id="tabs after the parts of a list"),
        pytest.param("a: b\tc", {"a": "b\tc"}, id="a tab in a value"),
        pytest.param("a: |\t\n  b", {"a": "b\n"}, id="a text whose last line has no end"),
        pytest.param("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}, id="of two anchors the latest counts"),
        pytest.param("{1: a, 010: b, 0x10: c}", {"1": "a", "8": "b", "16": "c"}, id="a number as a key"),
        pytest.param("{true: a, no: b, y: c}", {"true": "c", "false": "b"}, id="a boolean as a key"),
        pytest.param("{1.50: a, 1e3: b, 1e6: c}", {"1.5": "a", "1000": "b", "1e+06": "c"}, id="a fraction as a key"),
        pytest.param("{0.1: a, 1234567.5: b}", {"0.1": "a", "1.2345675e+06": "b"}, id="in single precision"),
        pytest.param("{.inf: a, -.inf: b, 1e39: c, .nan: d}", {".inf": "c", "-.inf": "b", ".nan": "d"}, id="no number"),
        pytest.param("{<<: {1: a, 2: b}, 1: c}", {"1": "c", "2": "b"}, id="a number as a key of a merge"),
    ],
)
def test_a_text_means_what_kubectl_takes_it_for(text: str, value: object):
    assert load(text) == value
    assert type(load(text)) is type(value)


def test_a_file_may_have_several_documents():
    assert list(load_all("a: 1\n---\nb: y\n")) == [{"a": 1}, {"b": True}]


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]\n" for n in range(1, 12))
MERGES = "a0: &a0 {k: x}\n" + "".join(
    f"a{n}: &a{n} {{<<: [" + ", ".join([f"*a{n - 1}"] * 9) + "]}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(BOMB, "its aliases at line .* stand for more than 1,000,000 values", id="aliases of aliases"),
        pytest.param(MERGES, "its aliases at line .* stand for more than", id="merges of merges"),
        pytest.param(
            "a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 1000 + "]", "stand for more than", id="a long text"
        ),
        pytest.param("a: &a [*a]", "the alias at line 1, column 4, contains itself", id="a list of itself"),
        pytest.param("&a {b: {c: *a}}", "contains itself", id="a mapping of itself"),
        pytest.param("a: &a {<<: *a}", "contains itself", id="a merge of itself"),
        pytest.param("a: " + "9" * 5000, "the number at line 1, column 4, has 5,000 characters", id="digits"),
        pytest.param("a: 0x" + "f" * 5000, "the number at line 1", id="hexadecimal digits"),
        pytest.param("a: 1e" + "9" * 5000, "the number at line 1", id="an exponent"),
        pytest.param("a: ." + "0" * 5000, "the number at line 1", id="a fraction"),
        pytest.param("[" * 5000, "nested too deeply|expected", id="a deep list"),
        pytest.param("[" * 2000 + "]" * 2000, "nested too deeply", id="a deep list that ends"),
        pytest.param("- " * 2000, "nested too deeply", id="a deep block"),
        pytest.param('{"a": ' * 900 + "1" + "}" * 900, "nested too deeply", id="deep JSON"),
        pytest.param('{"a": ' * 201 + "1" + "}" * 201, "nested too deeply", id="JSON of one level too much"),
        pytest.param("{a: " * 201 + "1" + "}" * 201, "nested too deeply", id="YAML of one level too much"),
        pytest.param("a: !!int x", "a value cannot be read", id="a number that is none"),
        pytest.param("a: !!int ''", "a value cannot be read", id="a number that is empty"),
        pytest.param("a: !!float x", "a value cannot be read", id="a fraction that is none"),
        pytest.param("a: !!bool x", "a value cannot be read", id="a boolean that is none"),
        pytest.param("a: !!timestamp x", "a value cannot be read", id="a time that is none"),
        pytest.param("a: !!timestamp 2026-99-99", "a value cannot be read", id="a time that cannot be"),
        pytest.param("a: !!binary x", "failed to decode base64", id="bytes that are none"),
        pytest.param("a: !!python/object:os.system {}", "could not determine a constructor", id="code"),
        pytest.param("{[a]: b}", "unhashable key", id="a list as a key"),
        pytest.param(
            "a: 1\n~: b", "the key at line 2, column 1, is not a string: put it in quotes", id="null as a key"
        ),
        pytest.param(
            "9223372036854775808: a", "the key at line 1, column 1, is not a string", id="a large number as a key"
        ),
        pytest.param("x" * (SIZE_LIMIT + 1), "it has more than 16,777,216 characters: split it", id="a large file"),
        pytest.param("a: \0", "control characters are not allowed", id="a control character"),
        pytest.param("a: \ud800", "it is no text", id="half of a pair of surrogates"),
    ],
)
def test_what_would_run_for_minutes_or_end_in_a_traceback_is_an_error(text: str, words: str):
    with pytest.raises(yaml.YAMLError, match=words):
        list(load_all(text))
    with pytest.raises(yaml.YAMLError, match=words):
        load(text)


@pytest.mark.parametrize("opened", ['{"a": ', "{a: "])
def test_what_is_nested_less_is_read(opened: str):
    levels, value = 0, load(opened * DEPTH_LIMIT + "1" + "}" * DEPTH_LIMIT)
    while isinstance(value, dict):
        levels, value = levels + 1, value["a"]
    assert levels == DEPTH_LIMIT


def test_aliases_and_merges_of_an_ordinary_size_are_written_out():
    text = "base: &base {a: 1, b: &l [1, 2]}\nx: {<<: *base, b: 3}\nz: [*l, *l]"
    assert load(text) == {"base": {"a": 1, "b": [1, 2]}, "x": {"a": 1, "b": 3}, "z": [[1, 2], [1, 2]]}


def test_a_file_of_too_many_values_is_refused_before_all_are_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubectlyaml, "EXPANDED_LIMIT", 10)
    assert load("[" + "x, " * 9 + "]") == ["x"] * 9
    for text in ("[" + "x, " * 10 + "]: [", "[x, x, x, x]\n---\n[x, x, x, x]\n---\n1"):
        with pytest.raises(yaml.YAMLError, match="it has more than 10 values: split it"):
            list(load_all(text))


def test_where_libyaml_is_missing_the_same_is_read_but_for_tabs():
    lines = (
        "import sys; sys.modules['yaml._yaml'] = None",
        "from llm2llm.manifests.kubectlyaml import load",
        "assert load('a: &x 1\\nb: &x 2\\n3: *x') == {'a': 1, 'b': 2, '3': 2}",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_a_text_of_several_documents_is_no_value():
    with pytest.raises(yaml.YAMLError, match="more than one document"):
        load("a\n---\nb")
    assert load("") is None


def test_json_is_read_as_json():
    assert load('{\n\t"a": "\\ud83d\\ude00", "b": 1e3, "c": true}\n') == {"a": "\U0001f600", "b": 1000.0, "c": True}
    assert load("{a: 1, b: y}") == {"a": 1, "b": True}  # which is YAML alone
    with pytest.raises(yaml.YAMLError, match="5,000 characters"):
        load('{"a": ' + "9" * 5000 + "}")

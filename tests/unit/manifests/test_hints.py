"""What was probably meant by a text of another form, by a number, and by the name of an unknown field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm2llm.manifests.hints import address_of, correction, known_field, whole_number

FRACTION = r"0(\.[0-9]{1,9})?|1(\.0{1,9})?"
MONEY = r"[0-9]{1,9}(\.[0-9]{1,6})?"
QUANTITY = r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
ROWS = r"(s3|hf|pvc|configmap|file)://.+"
MODEL = r"(hf|s3|pvc|file)://.+"
ADDRESS = r"https?://.+"


@pytest.mark.parametrize(
    ("given", "pattern", "hint"),
    [
        ("20%", FRACTION, ': write "0.2"'),
        ("20", FRACTION, ': write "0.2"'),
        ("1%", FRACTION, ': write "0.01"'),
        ("0,25", FRACTION, ': write "0.25"'),
        ("half", FRACTION, ""),
        ("-1", FRACTION, ""),
        ("$5", MONEY, ': write "5"'),
        ("5 EUR", MONEY, ': write "5"'),
        ("2.5 hours", MONEY, ': write "2.5"'),
        ("1,000", MONEY, ': write "1000"'),
        ("-5", MONEY, ""),
        ("16GB", QUANTITY, ': write "16Gi"'),
        ("16 gb", QUANTITY, ': write "16Gi"'),
        ("512mb", QUANTITY, ': write "512Mi"'),
        ("lots", QUANTITY, ""),
        ("owner/name", MODEL, ": did you mean hf://owner/name?"),
        ("https://huggingface.co/owner/name/", MODEL, ": did you mean hf://owner/name?"),
        ("S3://bucket/x", ROWS, ": did you mean s3://bucket/x?"),
        ("s3:bucket/x", ROWS, ": did you mean s3://bucket/x?"),
        ("/me/rows.csv", ROWS, ": did you mean file:///me/rows.csv?"),
        ("file:/me/rows.csv", ROWS, ": did you mean file:///me/rows.csv?"),
        ("localhost:8000/v1", ADDRESS, ": did you mean http://localhost:8000/v1?"),
        ("api.openai.com/v1", ADDRESS, ": did you mean https://api.openai.com/v1?"),
        ("My Secret", r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", ': write "my-secret"'),
    ],
)
def test_a_text_of_another_form(given: str, pattern: str, hint: str):
    assert correction(given, pattern) == hint


def test_a_relative_path_is_one_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert correction("data/rows.csv", ROWS) == f": did you mean {(tmp_path / 'data/rows.csv').as_uri()}?"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model").mkdir()
    assert correction("own/model", MODEL) == f": did you mean {(tmp_path / 'own/model').as_uri()}?"


@pytest.mark.parametrize(
    ("given", "hint"),
    [("2", ": write 2"), ("2M", ": write 2000000"), ("10k", ": write 10000"), ("1_000", ": write 1000"), ("1,000", ": write 1000"),
     ("2.0", ": write 2"), ("two", ""), (2.5, ""), (True, ""), ("_", "")],
)  # fmt: skip
def test_a_whole_number(given: Any, hint: str):
    assert whole_number(given) == hint


@pytest.mark.parametrize(
    ("location", "hint"),
    [
        (("maxIteration",), ": did you mean maxIterations?"),
        (("train", "epochs"), ": use spec.train.hyperparameters.numTrainEpochs"),
        (("train", "hyperparameters", "maxSteps"), ": use numTrainEpochs or spec.train.minSteps"),
        (("train", "rank"), ": use spec.train.lora.r"),
        (("promptTemplate",), ": did you mean spec.task.promptTemplate?"),
        (("generate", "teacher", "token"), ": use apiKeySecretRef: {name, key}, which names a Secret"),
        (("student", "hfToken"), ": use tokenSecretRef: {name, key}, which names a Secret"),
        (("artifacts", "credentials"), ": use credentialsSecretRef: {name}, which names a Secret"),
        (("podOverrides", "env", 0, "valeu"), ": did you mean value?"),
        (("frobnicate",), ""),
        (("task", "labels", "x"), ""),
    ],
)
def test_an_unknown_field(location: tuple[int | str, ...], hint: str):
    assert known_field(location).startswith(hint)
    assert bool(hint) == bool(known_field(location))


@pytest.mark.parametrize(
    "given", ["~data/x", "~no such user/x", "a" * 300, "a" * 100_000, "\x00", "\ud800", "1" * 5000]
)
@pytest.mark.parametrize("pattern", [ROWS, MODEL, ADDRESS, MONEY])
def test_no_text_is_too_odd_for_a_hint(given: str, pattern: str):
    assert correction(given, pattern)[:2] in ("", ": ")


@pytest.mark.parametrize("given", ["1" * 5000, "1" * 5000 + "k", "1" * 26])
def test_a_number_that_nobody_means_is_not_repeated(given: str):
    assert whole_number(given) == ""


def test_an_address_of_a_path_follows_home_and_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROWS", "rows")
    assert address_of("~/$ROWS/a.csv") == f"{tmp_path.as_uri()}/rows/a.csv"

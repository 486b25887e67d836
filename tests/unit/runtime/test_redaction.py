"""A planted key occurs nowhere in what is passed on, wherever it was: each place and its siblings."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from llm2llm.runtime.redaction import HIDDEN, Redactor, without_secrets

KEY = "pl4nted/key+of=24chars!"


def env(name: str, value: str = KEY) -> dict[str, Any]:
    return {"spec": {"containers": [{"env": [{"name": name, "value": value}]}]}}


def headers(value: str = KEY) -> dict[str, Any]:
    return {"spec": {"generate": {"teacher": {"extraHeaders": {"x-gateway": value}}}}}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(headers(), id="a header"),
        pytest.param(headers(f"Bearer {KEY}"), id="a header of a bearer"),
        pytest.param(env("GATEWAY_API_KEY"), id="a variable with the name of a key"),
        pytest.param(env("API_KEY", f"/{KEY}"), id="a key that begins like a path"),
        pytest.param(env("HTTPS_PROXY", f"http://me:{quote(KEY, safe='')}@proxy:3128"), id="the password of a proxy"),
        pytest.param({"spec": {"baseUrl": f"https://me:{quote(KEY, safe='')}@gateway/v1"}}, id="a password in an address"),
        pytest.param(env("LLM2LLM_STEP", json.dumps(headers())), id="a header in a step document"),
        pytest.param(
            {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(env("A_TOKEN"))}}},
            id="a variable in what was applied last",
        ),
        pytest.param(
            {"settings": [f"spec.generate.teacher.extraHeaders.x-gateway={KEY}"]}, id="a header of a --set",
        ),
        pytest.param(
            {"settings": [f"spec.generate.teacher.baseUrl=https://me:{quote(KEY, safe='')}@gateway/v1"]},
            id="a password of a --set",
        ),
    ],
)  # fmt: skip
def test_a_value_that_an_object_has_is_shown_neither_there_nor_in_a_log(document: dict[str, Any]):
    redactor = Redactor()
    redactor.learn(document)
    shown = json.dumps(redactor.document(document))
    said = [KEY, quote(KEY, safe=""), json.dumps(KEY), base64.b64encode(KEY.encode()).decode()]
    logged = redactor.text("\n".join(f"the gateway refuses {form} of this run" for form in said))
    for form in said:
        assert form not in shown
        assert form not in logged
    assert logged.count("the gateway refuses") == len(said)
    assert redactor.counts.total() >= len(said)


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {'a1b2' * 6}",
        f"{{'authorization': 'Basic {'a1b2' * 6}'}}",
        f"api_key={'a1b2' * 6}",
        f'{{"password": "{"a1b2" * 6}"}}',
        f"GET https://me:{'a1b2' * 6}@gateway/v1",
        f"GET https://gateway/v1?token={'a1b2' * 6}",
        f"Authorization: token {'a1b2' * 6}",
        f"using sk-{'a1b2' * 6}",
        f"using hf_{'a1b2' * 6}",
    ],
)
def test_what_looks_like_a_key_in_a_log_is_masked(line: str):
    redactor = Redactor()
    shown = redactor.text(f"before\n{line}\nafter")
    assert "a1b2" not in shown
    assert shown.startswith("before\n")
    assert shown.endswith("\nafter")
    assert redactor.counts.total() >= 1


@pytest.mark.parametrize(
    "line",
    [
        '{"stage": "Train", "iteration": 1, "step": 39, "steps": 62, "loss": 0.5, "etaSeconds": 30.0}',
        "GET https://gateway/v1/chat/completions?model=big returned 429",
        "check Secret team-a/teacher, key api-key",
        f"key: sha256:{'0' * 64}",
        "max_tokens=4096, token 12 of 4096",
        "Token indices sequence length is longer than 64, in a basic approach",
        "spec.train.hyperparameters.maxLength: must be at least 1",
    ],
)
def test_what_is_no_secret_stays_readable(line: str):
    redactor = Redactor()
    assert redactor.text(line) == line
    assert not redactor.counts


def test_references_to_secrets_and_what_the_operator_has_set_stay_readable():
    document = {
        "env": [
            {"name": "LLM2LLM_TEACHER_API_KEY", "valueFrom": {"secretKeyRef": {"name": "teacher", "key": "api-key"}}},
            {"name": "LLM2LLM_TRAIN_PROCESSES", "value": "2"},
        ],
        "apiKeySecretRef": {"name": "teacher", "key": "api-key"},
    }
    assert without_secrets(document) == document


def test_references_in_a_step_document_stay_readable():
    step = json.dumps({"spec": {"apiKeySecretRef": {"name": "teacher", "key": "api-key"}}})
    document = {"env": [{"name": "LLM2LLM_STEP", "value": step}]}
    redactor = Redactor()
    redactor.learn(document)
    assert redactor.document(document) == document
    assert not redactor.counts


def test_a_literal_of_the_user_is_hidden_whatever_it_is_called():
    document = {"env": [{"name": "MODE", "value": "production"}]}
    assert without_secrets(document) == {"env": [{"name": "MODE", "value": HIDDEN}]}
    redactor = Redactor()
    redactor.learn(document)
    assert redactor.text("in production") == "in production"  # it is no secret, and a word of many sentences


def test_the_keys_of_the_callers_environment_are_masked():
    redactor = Redactor()
    redactor.learn_environment({"TEACHER_API_KEY": KEY, "HOME": "/home/me"})
    assert redactor.text(f"{KEY} of /home/me") == "*** of /home/me"

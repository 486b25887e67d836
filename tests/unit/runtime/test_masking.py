"""Secrets in whatever form something may print them."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.runtime.masking import Masker, masker_of, without_credentials

KEY = "s3cr3t/kéy+with\"all'of%it"


@pytest.mark.parametrize(
    "name",
    [
        "LLM2LLM_TEACHER_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "DB_PASSWORD", "DB_PASS", "SMTP_PASSWD", "PGPWD_X",
        "MY_PWD", "GCP_CREDENTIALS", "BASIC_AUTH", "aws_session_token", "Authorization", "X-Api-Key", "Cookie",
    ],
)  # fmt: skip
def test_a_variable_with_a_name_of_a_secret_is_one(name: str):
    expected = "it is ***" if name != "PGPWD_X" else "it is the-value"
    assert Masker({name: "the-value"})("it is the-value") == expected


@pytest.mark.parametrize(
    "name", ["HOME", "AWS_WEB_IDENTITY_TOKEN_FILE", "HF_TOKEN_PATH", "PASSAGE", "COMPASS_ROSE", "KEY_URL"]
)
def test_other_variables_are_none(name: str):
    assert Masker({name: "/var/run/the-value"})("it is /var/run/the-value") == "it is /var/run/the-value"


@pytest.mark.parametrize(
    "name",
    [
        "LLM2LLM_TEACHER_API_KEY", "LLM2LLM_TEACHER_HF_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY",
        "LLM2LLM_SEED_AWS_SECRET_ACCESS_KEY",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["/Jx3kQ9zP+abc=", "unix:Jx3kQ9zP", "tcp://Jx3kQ9zP"])
def test_a_variable_of_a_secret_is_masked_also_if_its_value_looks_like_a_place(name: str, value: str):
    assert Masker({name: value})(f"it is {value}") == "it is ***"


@pytest.mark.parametrize("header", ["api-key", "X-Auth-Token", "Authorization"])
def test_a_header_is_masked_also_if_its_value_looks_like_a_path(header: str):
    assert Masker({}, {header: "/Jx3kQ9zP+abc="})("it is /Jx3kQ9zP+abc=") == "it is ***"


@pytest.mark.parametrize(
    "printed",
    [
        pytest.param(KEY, id="as it is"),
        pytest.param(repr(KEY), id="by repr"),
        pytest.param(str({"key": KEY}), id="in a dictionary"),
        pytest.param(json.dumps(KEY), id="in JSON"),
        pytest.param(json.dumps(KEY, ensure_ascii=False), id="in JSON with its letters"),
        pytest.param(quote(KEY), id="in a URL"),
        pytest.param(quote(KEY, safe=""), id="in a part of a URL"),
        pytest.param(quote_plus(KEY), id="in a query"),
        pytest.param(base64.b64encode(KEY.encode()).decode(), id="in base64, as a Secret has it"),
    ],
)
def test_a_secret_is_masked_in_every_form(printed: str):
    for value in (KEY, f"{KEY}\n", f" {KEY}\r\n", f"\ufeff{KEY}"):
        masked = Masker({"API_KEY": value})(f"it is {printed}!")
        assert masked.startswith("it is ")
        assert "s3cr3t" not in masked
        assert base64.b64encode(b"s3cr3t").decode()[:6] not in masked
        assert masked.endswith("!")


def test_each_line_of_a_secret_of_several_lines_is_masked():
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n"
    assert Masker({"TLS_KEY": pem})("line 2 is MIIEvQIBADANBg") == "line 2 is ***"


@pytest.mark.parametrize(
    "address",
    [
        "http://me:pass-word@proxy:3128", "http://me:pass#word@proxy:3128", "http://me:pass/word@proxy:3128",
        "http://me:p@ss:word@proxy:3128", "http://me:pass%23word@proxy:3128", "socks5h://me:pass-word@proxy",
        "https://me:pass-word@host/path?query",
    ],
)  # fmt: skip
def test_passwords_in_addresses_are_masked_with_their_users(address: str):
    password = address.rpartition("@")[0].partition("//")[2].partition(":")[2]
    masker = Masker({"HTTPS_PROXY": address})
    assert password not in masker(f"cannot reach {address}: InvalidURL {password!r}")
    assert masker(f"cannot reach {address}").startswith("cannot reach ")
    assert "proxy" in masker(f"cannot reach {address}") or "host" in masker(f"cannot reach {address}")


def test_a_basic_authorization_of_a_proxy_is_masked():
    header = base64.b64encode(b"me:pass#word").decode()
    assert Masker({"HTTPS_PROXY": "http://me:pass%23word@proxy"})(f"Basic {header}") == "Basic ***"


@pytest.mark.parametrize("after", ["", "\n", ":x", " and more"])
@pytest.mark.parametrize("user", ["", "m", "me", "you", "user"])
def test_a_basic_authorization_with_a_key_is_masked_whoever_the_user_is(user: str, after: str):
    key = "sk-s3cr3t/key"
    masked = Masker({"API_KEY": f"{key}\n"})(base64.b64encode(f"{user}:{key}{after}".encode()).decode())
    before, _, behind = masked.partition("***")
    bits_of_others = len(user) * 8 + 8 + len(after) * 8
    assert "***" in masked
    assert len(before + behind.rstrip("=")) * 6 - bits_of_others < 14  # 6 bits at either end: no whole letter
    assert user or after or masked == "***"


def test_headers_are_masked_too():
    assert (
        Masker({}, {"Authorization": "Bearer abcdef", "X-Team": "research"})("Bearer abcdef research") == "*** research"
    )


def test_what_is_too_short_to_be_told_from_words_stays():
    assert (
        Masker({"HF_TOKEN": "none", "TOKENIZERS_PARALLELISM": "false", "KEY": ""})("none is false") == "none is false"
    )
    assert Masker({})("text") == "text"


def test_the_longest_form_goes_first():
    assert Masker({"A_KEY": "secret", "B_KEY": "secret-and-more"})("secret-and-more, secret") == "***, ***"


def test_bytes_that_are_no_text_are_masked():
    value = b"s3cr3t\xff".decode("utf-8", "surrogateescape")
    assert "s3cr3t" not in Masker({"API_KEY": value})(f"it is {value}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PWD", "/home/user/project"), ("SSH_AUTH_SOCK", "/tmp/agent"), ("GOOGLE_APPLICATION_CREDENTIALS", "/var/key.json"),
        ("MONKEY", "chimpanzee"), ("KEYBOARD", "qwertz"), ("KEY_COLUMN", "prompt"), ("TOKEN_LIMIT", "100000"),
        ("MAX_NEW_TOKENS", "100000"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "disabled"), ("KEYRING_BACKEND", "keyring"),
        ("TOKEN_SERVER_PORT", "tcp://10.0.0.1:80"), ("KEYCLOAK_SERVICE_HOST", "keycloak.svc"), ("KEY_VAULT_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("NO_PROXY", "me@example.com"), ("URL", "https://host:8080/path?mail=a@b.c"), ("IMAGE", "docker://repo:5000/img@sha256:0123"),
    ],
)  # fmt: skip
def test_what_an_ordinary_environment_has_stays_readable(name: str, value: str):
    assert Masker({name: value})(f"{value}/rows.jsonl does not exist") == f"{value}/rows.jsonl does not exist"


def test_the_words_of_a_header_are_masked_each():
    masker = Masker({}, {"Authorization": "Bearer sk-abcdefghijk", "Cookie": "session=0123456789; c=dddddd"})
    assert masker("wrong key sk-abcdefghijk, 0123456789") == "wrong key ***, ***"


def test_a_placeholder_that_everybody_can_read_is_no_secret():
    run = AugmentationRunSpec.model_validate(
        builders.spec(generate={"teacher": {"model": "m", "baseUrl": "http://u:hunter22@ollama:11434/v1"}})
    )
    masker = masker_of(run, {"LLM2LLM_TEACHER_API_KEY": "ollama", "AWS_SECRET_ACCESS_KEY": "psst-psst"})
    assert masker("http://u:hunter22@ollama:11434 psst-psst") == "http://***@ollama:11434 ***"


def test_passwords_of_several_addresses_and_of_one_without_a_scheme_are_masked():
    masker = Masker({"HTTP_PROXY": "me:s3cretpw@proxy:3128", "BROKERS": "amqp://a:first-pw@x,amqp://b:other-pw@y"})
    for password in ("s3cretpw", "other-pw"):
        assert password not in masker(f"cannot reach it with {password}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("https://me:pa55@host/v1", "https://host/v1", id="a user and a password"),
        pytest.param("https://key@host/v1", "https://host/v1", id="a user alone"),
        pytest.param("http://me:pa/s#s@host:80/v1", "http://host:80/v1", id="a password with a slash"),
        pytest.param("http://me:p@ss@host", "http://host", id="a password with an at sign"),
        pytest.param("see http://a:b@c and https://d:e@f.", "see http://c and https://f.", id="two in a sentence"),
        pytest.param("https://h/v1?api-key=abc&v=1", "https://h/v1?api-key=***&v=1", id="a key in a query"),
        pytest.param("http://host:8080/a@b", "http://host:8080/a@b", id="a port, and an at sign in the path"),
        pytest.param("https://host/@user/x", "https://host/@user/x", id="an at sign in the path"),
        pytest.param("http://[::1]:80/a@b", "http://[::1]:80/a@b", id="an address with colons"),
        pytest.param("mail me@host: token=abc", "mail me@host: token=abc", id="no address"),
    ],
)
def test_an_address_is_shown_without_its_credentials(text: str, shown: str):
    assert without_credentials(text) == shown


def test_the_password_of_an_endpoint_of_a_store_is_masked():
    spec = AugmentationRunSpec.model_validate(
        builders.spec(artifacts={"uri": "s3://b/r", "endpoint": "http://me:pa55word@minio:9000"})
    )
    assert "pa55word" not in masker_of(spec, {})("http://me:pa55word@minio:9000 is gone")
    assert "minio:9000" in masker_of(spec, {})("http://me:pa55word@minio:9000 is gone")

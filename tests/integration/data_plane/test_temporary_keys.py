"""Keys that run out: with a session token in the environment, or given for a pod's token (IRSA, and what works like it).

The S3 server is moto, which checks signature and session token of each request; versitygw, with which all other tests
work, knows no session tokens. The token service is a stand-in for AWS STS that knows one role and one token, and gives
out keys of moto's. The exchange is boto3's.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from tests.cluster.processes import free_port, listens, spawn, stop, wait_until

from llm2llm.api.data import Artifacts
from llm2llm.errors import AuthenticationError
from llm2llm.storage import Store, open_store

TOKEN = "token-of-the-pod"
TRUST = {"Version": "2012-10-17", "Statement": []}
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{AWS_ACCESS_KEY_ID}</AccessKeyId>
<SecretAccessKey>{AWS_SECRET_ACCESS_KEY}</SecretAccessKey><SessionToken>{AWS_SESSION_TOKEN}</SessionToken>
<Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
REFUSAL = (
    "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no such token</Message></Error></ErrorResponse>"
)


class Server:
    """An S3 server with a bucket and a role; it lets nobody in who has no key of the role's.

    Attributes:
        endpoint: its URL.
        role: the role's ARN.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.role: str = ""

    def set_up(self) -> None:
        self._client("s3").create_bucket(Bucket="bucket")
        roles = self._client("iam")
        self.role = roles.create_role(RoleName="trainer", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        roles.put_role_policy(RoleName="trainer", PolicyName="s3", PolicyDocument=json.dumps(POLICY))
        self._ask_for_keys(True)

    def keys(self) -> dict[str, str]:
        """Keys of the role, with their session token, as the variables that boto3 knows."""
        self._ask_for_keys(False)
        given = self._client("sts").assume_role(RoleArn=self.role, RoleSessionName="pod")["Credentials"]
        self._ask_for_keys(True)
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }

    def store(self, environ: dict[str, str], prefix: str) -> Store:
        access = {"uri": "s3://bucket/runs", "endpoint": self.endpoint, "pathStyle": True}
        return open_store(f"s3://bucket/{prefix}", Artifacts.model_validate(access), environ)

    def _ask_for_keys(self, always: bool) -> None:
        """moto counts the requests that need no right key: none from now on, or all."""
        data, headers = (b"0" if always else b"inf"), {"Content-Type": "text/plain"}
        url = f"{self.endpoint}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10).close()

    def _client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    child = spawn("moto", command, folder=tmp_path_factory.mktemp("moto"))
    try:
        wait_until("the S3 server's port", lambda: listens(child, port), [child])
        server = Server(port)
        server.set_up()
        yield server
    finally:
        stop([child])


class TokenService(ThreadingHTTPServer):
    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys, self.role = server.keys(), server.role
        self.exchanges = 0


class Handler(BaseHTTPRequestHandler):
    server: TokenService

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        right = (asked["RoleArn"], asked["WebIdentityToken"]) == ([self.server.role], [TOKEN])
        self.server.exchanges += right
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = ANSWER.format(until=until, **self.server.keys) if right else REFUSAL
        self.send_response(200 if right else 400)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def service(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenService]:
    """A token service, and the environment that a cluster's webhook gives a pod of the role's ServiceAccount."""
    (tmp_path / "token").write_text(TOKEN)
    with TokenService(server) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ROLE_ARN", server.role)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{service.server_address[1]}")
        yield service
        service.shutdown()


def test_keys_with_their_session_token_write_and_read(server: Server, tmp_path: Path, prefix: str) -> None:
    store = server.store(server.keys(), prefix)
    assert store.create("key", b"value")
    assert not store.create("key", b"another")
    assert store.read("key") == b"value"
    large = tmp_path / "large"
    large.write_bytes(bytes(40 * 1024 * 1024))  # in parts, beside each other
    store.upload("large", large)
    assert list(store.list("")) == ["key", "large"]


@pytest.mark.parametrize("token", ["of-another-session", ""])
def test_another_session_token_or_none_is_refused_and_told(server: Server, prefix: str, token: str) -> None:
    store = server.store(server.keys() | {"AWS_SESSION_TOKEN": token}, prefix)
    with pytest.raises(AuthenticationError, match="the environment"):
        store.write("key", b"value")


def test_the_pods_token_is_exchanged_for_keys_once(service: TokenService, server: Server, prefix: str) -> None:
    store = server.store({}, prefix)
    assert store.create("key", b"value")
    assert store.read("key") == b"value"
    assert service.exchanges == 1


def test_a_token_that_is_refused_is_told(service: TokenService, server: Server, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "token").write_text("of somebody else")

    with pytest.raises(AuthenticationError, match="no such token"):
        server.store({}, prefix).read("key")

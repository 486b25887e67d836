"""Keys that nobody wrote into a Secret: a pod's token is exchanged for them (IRSA, and what works like it).

The token service is a stand-in for AWS STS that knows one role and one token. It gives out the S3 server's own keys, and no
session token, because this S3 server knows none. The exchange is boto3's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from tests.cluster.s3 import S3Server

from llm2llm.api_data import Artifacts
from llm2llm.errors import AuthenticationError
from llm2llm.storage import open_store

ROLE, TOKEN = "arn:aws:iam::123456789012:role/trainer", "token-of-the-pod"
ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken></SessionToken><Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
REFUSAL = (
    "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no such token</Message></Error></ErrorResponse>"
)


class TokenService(ThreadingHTTPServer):
    def __init__(self, s3: S3Server) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys = (s3.access_key, s3.secret_key)
        self.exchanges = 0


class Handler(BaseHTTPRequestHandler):
    server: TokenService

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        right = (asked["RoleArn"], asked["WebIdentityToken"]) == ([ROLE], [TOKEN])
        self.server.exchanges += right
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = ANSWER.format(key=self.server.keys[0], secret=self.server.keys[1], until=until) if right else REFUSAL
        self.send_response(200 if right else 400)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def service(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenService]:
    """A token service, and the environment that a cluster's webhook gives a pod of the role's ServiceAccount."""
    (tmp_path / "token").write_text(TOKEN)
    with TokenService(s3) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_address[1]}")
        yield server
        server.shutdown()


def artifacts(s3: S3Server) -> Artifacts:
    return Artifacts.model_validate({"uri": "s3://bucket/runs", "endpoint": s3.endpoint, "pathStyle": True})


def test_the_pods_token_is_exchanged_for_keys_once(service: TokenService, s3: S3Server, prefix: str) -> None:
    store = open_store(f"s3://bucket/{prefix}", artifacts(s3), {})
    assert store.create("key", b"value")
    assert store.read("key") == b"value"
    assert service.exchanges == 1


def test_a_token_that_is_refused_is_told(service: TokenService, s3: S3Server, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "token").write_text("of somebody else")

    with pytest.raises(AuthenticationError, match="no such token"):
        open_store(f"s3://bucket/{prefix}", artifacts(s3), {}).read("key")

"""A Hub over HTTP: the few endpoints by which HfApi creates a repository and commits to it. It keeps what comes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import yaml

TOKEN = "hf_write"


@dataclass
class Repo:
    """A repository: its commits, each with all files, and whether it is private."""

    private: bool = True
    commits: list[dict[str, bytes]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1] if self.commits else {}

    @property
    def head(self) -> str:
        return hashlib.sha1(json.dumps(self.messages).encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    """Attributes:
    repos: kind and name of a repository to what is in it.
    lfs: sha256 to the content of large files that were uploaded.
    refuse: beginning of a path to the status and message that it answers with.
    requests: method and path of all that came.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        refused = next((answer for start, answer in self.server.refuse.items() if path.startswith(start)), None)
        authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}" or path.startswith("/lfs/")
        if refused:
            self._send(refused[0], {"error": refused[1], "errors": [{"message": refused[1]}]})
        elif not authorized:
            self._send(401, {"error": "Invalid username or password."})
        else:
            self._send(*self._route(path.strip("/").split("/"), body))

    def _route(self, path: list[str], body: bytes) -> tuple[int, Any]:
        match path:
            case ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                front = yaml.safe_load(json.loads(body)["content"].split("---")[1])
                return 200, {"errors": [] if front else [{"message": "no metadata"}], "warnings": []}
            case ["api", kind, owner, name, *rest]:
                repo = self.server.repos.get((kind.removesuffix("s"), f"{owner}/{name}"))
                if repo is None:
                    return 404, {"error": "Repository not found"}
                return self._of_repo(repo, f"{owner}/{name}", rest, body)
            case ["lfs", oid]:
                if hashlib.sha256(body).hexdigest() != oid:
                    return 400, {"error": "another content"}
                self.server.lfs[oid] = body
                return 200, {}
            case [*_, "info", "lfs", "objects", "batch"]:
                objects = json.loads(body)["objects"]
                return 200, {"transfer": "basic", "objects": [self._upload(entry) for entry in objects]}
        return 404, {"error": f"no route {path}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        key = (asked.get("type", "model"), name)
        if key in self.server.repos:
            return 409, {"error": "You already created this repo"}
        self.server.repos[key] = Repo(private=asked.get("visibility") == "private")
        return 200, {"url": f"{self.server.url}/{'' if key[0] == 'model' else f'{key[0]}s/'}{name}"}

    def _of_repo(self, repo: Repo, name: str, rest: list[str], body: bytes) -> tuple[int, Any]:
        match rest:
            case ["preupload", "main"]:
                modes = [
                    {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                    for file in json.loads(body)["files"]
                ]
                return 200, {"files": [mode | {"shouldIgnore": False, "oid": None} for mode in modes]}
            case ["commit", "main"]:
                lines = [json.loads(line) for line in body.splitlines()]
                return self._commit(repo, f"{self.server.url}/{name}/commit", lines)
        siblings = [{"rfilename": path} for path in repo.files]
        return 200, {"id": name, "sha": repo.head, "siblings": siblings, "private": repo.private}

    def _commit(self, repo: Repo, url: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        files = dict(repo.files)
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    if value.get("parentCommit") not in (None, repo.head):
                        return 412, {"error": "A commit has happened since."}
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.server.lfs[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        repo.commits.append(files)
        repo.messages.append(message)
        return 200, {"commitUrl": f"{url}/{repo.head}", "commitOid": repo.head}

    def _upload(self, entry: dict[str, Any]) -> dict[str, Any]:
        if entry["oid"] in self.server.lfs:
            return entry
        return entry | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{entry['oid']}"}}}

    def _send(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

"""Speaks MLflow's REST API 2.0, as far as report/mlflow.py needs it: runs, registered models, and what goes wrong.

The client's own package would add some 20 others to the images. Each call has a few seconds, and all of them together
TOTAL_SECONDS. Keys go to the address in the spec alone, and answers are bounded.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2  # the HTTP library of openai
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from llm2llm.api.tracking import Mlflow
from llm2llm.errors import AuthenticationError
from llm2llm.plaintext import plain
from llm2llm.podenv import MLFLOW_CA_BUNDLE, MLFLOW_KEYS, MLFLOW_PASSWORD, MLFLOW_TOKEN, MLFLOW_USERNAME
from llm2llm.report.tracking import ARTIFACTS, ITERATION, RUN_UID, FoundRun, Point, TrackedModel, TrackedRun
from llm2llm.runtime.context import StepContext
from llm2llm.runtime.credentials import stripped_key

ALIAS = "best"
CALL_SECONDS = 10.0
TOTAL_SECONDS = 30.0
RESPONSE_LIMIT = 8 * 1024 * 1024
"""Bytes; a hundred runs with all their tags have less than one MiB."""
_PAGE = 100
_QUOTED = 300
"""Characters of a server's message that are shown."""
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_UNAUTHORIZED = frozenset({401, 403})

_REACH = (
    "check spec.tracking.mlflow.uri, and that the pods of Evaluate and Test may connect to it (NetworkPolicy, proxy)"
)
_NO_MLFLOW = "is spec.tracking.mlflow.uri the address of an MLflow tracking server?"

T = TypeVar("T")


class TrackingFailed(Exception):
    """The server does not have everything; the message says why and what to do.

    Attributes:
        code: MLflow's own code of the error, if it gave one.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class _Entry(BaseModel):
    key: str
    value: str = ""


class _Metric(BaseModel):
    key: str
    value: float
    timestamp: int = 0
    step: int = 0


class _Info(BaseModel):
    run_id: str = Field(min_length=1)
    status: str = ""
    start_time: int = 0


class _Data(BaseModel):
    tags: list[_Entry] = []
    params: list[_Entry] = []
    metrics: list[_Metric] = []


class _Run(BaseModel):
    """A run in MLflow's answers."""

    info: _Info
    data: _Data = _Data()

    def found(self) -> FoundRun:
        """Returns it as the decisions need it."""
        return FoundRun(
            id=self.info.run_id,
            started=self.info.start_time,
            finished=self.info.status == "FINISHED",
            tags={entry.key: entry.value for entry in self.data.tags},
            parameters={entry.key: entry.value for entry in self.data.params},
            latest={each.key: (Point(each.key, each.step, each.value), each.timestamp) for each in self.data.metrics},
        )


class _Version(BaseModel):
    name: str
    version: str
    source: str = ""


class _Alias(BaseModel):
    alias: str
    version: str


class Api:
    """MLflow's REST API, as far as it is needed here. All methods raise TrackingFailed."""

    def __init__(self, client: httpx2.Client, server: Mlflow, context: StepContext) -> None:
        self.server = server
        self._client = client
        self._context = context
        self._deadline = context.clock() + TOTAL_SECONDS

    def experiment(self, name: str) -> str:
        """Returns the id of the experiment, which is created if there is none."""
        try:
            answer = self._get("experiments/get-by-name", experiment_name=name)
        except TrackingFailed as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            with _unless_it_exists():
                return _read(str, self._post("experiments/create", name=name), "experiment_id")
            answer = self._get("experiments/get-by-name", experiment_name=name)  # another run was faster
        return _read(str, answer, "experiment", "experiment_id")

    def runs_by_iteration(self, experiment: str, run_uid: str, artifacts: str) -> dict[int | None, FoundRun]:
        """Returns the runs that earlier steps have written, by iteration; the parent has None. Of two, the older."""
        found: dict[int | None, FoundRun] = {}
        for run in self._search(experiment, run_uid):
            if run.tags.get(ARTIFACTS) == artifacts:
                number = run.tags.get(ITERATION, "")
                found.setdefault(int(number) if number.isdecimal() else None, run)
        return found

    def _search(self, experiment: str, run_uid: str) -> Iterator[FoundRun]:
        query = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{RUN_UID}` = '{run_uid}'",
            "order_by": ["attributes.start_time ASC"],
            "max_results": _PAGE,
        }
        token = ""
        while True:
            answer = self._post("runs/search", **query, **({"page_token": token} if token else {}))
            yield from (run.found() for run in _read(list[_Run], answer, "runs", default=[]))
            token = _read(str, answer, "next_page_token", default="")
            if not token:
                return

    def create_run(self, experiment: str, wanted: TrackedRun, tags: Mapping[str, str], started: int) -> FoundRun:
        """Creates a run with its tags, by which it is found from then on."""
        entries = [{"key": key, "value": value} for key, value in tags.items()]
        answer = self._post(
            "runs/create", experiment_id=experiment, run_name=wanted.name, start_time=started, tags=entries
        )
        return _read(_Run, answer, "run").found()

    def log(self, run: FoundRun, entries: Mapping[str, Any]) -> None:
        """Adds tags, parameters and metrics to a run."""
        if entries:
            self._post("runs/log-batch", run_id=run.id, **entries)

    def set_finished(self, run: FoundRun, finished: bool, ended: int) -> None:
        """Says whether a run is over, if the server says something else."""
        if finished and not run.finished:
            self._post("runs/update", run_id=run.id, status="FINISHED", end_time=ended)
        elif run.finished and not finished:  # maxIterations was raised
            self._post("runs/update", run_id=run.id, status="RUNNING")

    def register(self, name: str, model: TrackedModel, run_id: str) -> None:
        """Makes an adapter a version of a registered model, unless it is one, and moves the alias to it."""
        with _unless_it_exists():
            self._post("registered-models/create", name=name)
        answer = self._get("model-versions/search", filter=f"run_id = '{run_id}'", max_results=str(_PAGE))
        versions = _read(list[_Version], answer, "model_versions", default=[])
        known = [each.version for each in versions if (each.name, each.source) == (name, model.source)]
        if known:
            version = min(known, key=int)
        else:
            tags = [{"key": key, "value": value} for key, value in model.tags.items()]
            answer = self._post("model-versions/create", name=name, source=model.source, run_id=run_id, tags=tags)
            version = _read(_Version, answer, "model_version").version
        answer = self._get("registered-models/get", name=name)
        aliases = _read(list[_Alias], answer, "registered_model", "aliases", default=[])
        if _Alias(alias=ALIAS, version=version) not in aliases:
            self._post("registered-models/alias", name=name, alias=ALIAS, version=version)

    def _get(self, path: str, **query: str) -> Any:
        return self._call("GET", path, params=query)

    def _post(self, path: str, **body: Any) -> Any:
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **content: Any) -> Any:
        """Sends a request and returns the answer's JSON."""
        left = self._deadline - self._context.clock()
        if self._context.stopping.is_set():
            raise TrackingFailed("the step was told to stop")
        if left <= 0:
            raise TrackingFailed(f"it did not take everything within {TOTAL_SECONDS:.0f} s")
        url = f"{self.server.uri.rstrip('/')}/api/2.0/mlflow/{path}"
        try:
            with self._client.stream(method, url, timeout=min(CALL_SECONDS, left), **content) as response:
                body = self._body(response)
        except httpx2.TimeoutException as error:
            raise TrackingFailed(f"it did not answer in time ({path}): {_REACH}") from error
        except httpx2.TransportError as error:
            raise TrackingFailed(f"it cannot be reached ({error or type(error).__name__}): {_REACH}") from error
        return self._judged(response, body, path)

    def _body(self, response: httpx2.Response) -> bytes:
        body = b""
        for part in response.iter_raw():
            body += part
            if len(body) > RESPONSE_LIMIT:
                raise TrackingFailed(f"an answer has more than {RESPONSE_LIMIT} bytes: {_NO_MLFLOW}")
            if self._context.clock() > self._deadline:
                raise TrackingFailed(f"it did not answer within {TOTAL_SECONDS:.0f} s: {_REACH}")
        return body

    def _judged(self, response: httpx2.Response, body: bytes, path: str) -> Any:
        """Returns the JSON of an answer, or says what is wrong with it."""
        status = response.status_code
        if status in _UNAUTHORIZED:
            raise TrackingFailed(f"it refused the request with {status}: {self._which_keys()}")
        if response.is_redirect:
            place = urlsplit(response.headers.get("location", ""))
            raise TrackingFailed(
                f"it redirects to {place.scheme}://{place.hostname}: set uri to the address itself, because keys are "
                "sent nowhere else"
            )
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise TrackingFailed(f"{path} answered {status} without a JSON object: {_NO_MLFLOW}")
        if response.is_success:
            return answer
        quoted = plain(self._context.mask(str(answer.get("message", ""))))[:_QUOTED]
        raise TrackingFailed(f"{path} answered {status}: {quoted or 'no message'}", str(answer.get("error_code", "")))

    def _which_keys(self) -> str:
        reference = self.server.credentials_secret_ref
        if reference is None:
            return "name a Secret in spec.tracking.mlflow.credentialsSecretRef"
        token, *pair = MLFLOW_KEYS.values()
        return f"check Secret {reference.name}, key {token}, or keys {' and '.join(pair)}"


@contextmanager
def _unless_it_exists() -> Iterator[None]:
    """Goes on after a block that was to create what is there already."""
    try:
        yield
    except TrackingFailed as error:
        if error.code != _EXISTS:
            raise


def _read(kind: type[T], answer: Any, *path: str, default: T | None = None) -> T:
    """Returns a part of an answer as a type.

    Raises:
        TrackingFailed: it is missing and has no default, or is something else.
    """
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    if answer is None and default is not None:
        return default
    try:
        return TypeAdapter(kind).validate_python(answer)
    except ValidationError:
        raise TrackingFailed(f"an answer has no valid {'.'.join(path)}: {_NO_MLFLOW}") from None


def open_client(server: Mlflow, environ: Mapping[str, str]) -> httpx2.Client:
    """Creates the HTTP client; like the teacher's, it uses the environment's proxy except on loopback.

    It asks for answers that are not compressed, so that their size is known before they are in memory.
    """
    headers = {"Accept-Encoding": "identity", **_authorization(server, environ)}
    outside = urlsplit(server.uri).hostname not in ("127.0.0.1", "localhost")
    return httpx2.Client(
        headers=headers, verify=_verification(server, environ), trust_env=outside, follow_redirects=False
    )


def _authorization(server: Mlflow, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the header with the keys of the run's Secret; none without a Secret, or if it has none of the keys."""
    if server.credentials_secret_ref is None:
        return {}
    if environ.get(MLFLOW_TOKEN, "").strip():
        source = f"Secret {server.credentials_secret_ref.name}, key {MLFLOW_KEYS[MLFLOW_TOKEN]}"
        try:
            token = stripped_key(environ[MLFLOW_TOKEN], source)
        except AuthenticationError as error:
            raise TrackingFailed(error.message) from None
        return {"Authorization": f"Bearer {token}"}
    username, password = (environ.get(name, "").strip() for name in (MLFLOW_USERNAME, MLFLOW_PASSWORD))
    if username or password:
        pair = f"{username}:{password}".encode(errors="surrogateescape")
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _verification(server: Mlflow, environ: Mapping[str, str]) -> ssl.SSLContext | bool:
    """Returns the certificates to trust: those of `caBundleRef`, or True for the system's."""
    reference = server.ca_bundle_ref
    if reference is None:
        return True
    try:
        return ssl.create_default_context(cafile=environ.get(MLFLOW_CA_BUNDLE) or "")
    except (OSError, ssl.SSLError) as error:
        raise TrackingFailed(
            f"ConfigMap {reference.name}, key {reference.key} (caBundleRef) does not exist, or contains no valid "
            f"certificates ({error})"
        ) from error

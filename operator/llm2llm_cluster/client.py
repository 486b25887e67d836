"""Reads and changes runs through the API server, with the kubeconfig of whoever calls."""

from __future__ import annotations

import codecs
import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from llm2llm.api.run import GROUP, PLURAL, VERSION
from llm2llm.errors import ConfigurationError, Transient
from llm2llm_cluster import kubeconfig
from llm2llm_operator.constants import LABEL_ATTEMPT, LABEL_ITERATION, LABEL_RUN, LABEL_STAGE

CONTAINER = "step"
_SECONDS = 30
_WATCH_SECONDS = 50
"""After which the API server ends a watch: who reads the run again then misses nothing that a dead connection hid."""
_NOT_FOUND = 404
_CONFLICT = 409
_FOR_NOW = (429, 500, 502, 503, 504)
"""Answers that may be others in a moment."""
_PAGE = 100
"""Runs in one answer."""
_PIECE = 1_000_000
"""Characters of a line without an end after which it is shown in pieces."""


class Cluster:
    """Runs of one namespace, through one context of a kubeconfig.

    Raises:
        ConfigurationError: there is no usable kubeconfig.
    """

    def __init__(self, context: str | None = None, namespace: str | None = None) -> None:
        configuration, found = kubeconfig.load(context, os.environ)
        self.namespace = namespace or found
        api = client.ApiClient(configuration)
        self._runs, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)
        self._version = client.VersionApi(api)

    def get(self, name: str) -> dict[str, Any]:
        """Returns a run.

        Raises:
            NotFoundError: there is none of this name; the message names those that there are.
            StepError: the API server cannot be asked, or refuses.
        """
        try:
            found: dict[str, Any] = self._call(
                self._runs.get_namespaced_custom_object, GROUP, VERSION, self.namespace, PLURAL, name
            )
        except NotFoundError:
            raise NotFoundError(self._describe_missing(name)) from None
        return found

    def names(self) -> list[str]:
        """Returns the names of the runs in the namespace."""
        found = self._call(self._runs.list_namespaced_custom_object, GROUP, VERSION, self.namespace, PLURAL, limit=500)
        return sorted(str(run["metadata"]["name"]) for run in found["items"])

    def runs(self) -> list[dict[str, Any]]:
        """Returns the runs of the namespace, by name."""
        found: list[dict[str, Any]] = []
        following = ""
        while True:
            page = self._call(
                self._runs.list_namespaced_custom_object,
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                limit=_PAGE,
                **({"_continue": following} if following else {}),
            )
            found += page["items"]
            following = (page.get("metadata") or {}).get("continue") or ""
            if not following:
                return sorted(found, key=lambda run: str(run["metadata"]["name"]))

    def create(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Creates a run and returns it.

        Raises:
            ConfigurationError: there is one of this name, or the API server refuses it; its words are in the message.
        """
        method = self._runs.create_namespaced_custom_object
        try:
            created: dict[str, Any] = self._call(method, GROUP, VERSION, self.namespace, PLURAL, dict(run))
        except ChangedMeanwhile as error:
            raise ConfigurationError(f"{error.message}: delete that one, or choose another name") from error
        return created

    def delete(self, name: str) -> None:
        """Deletes a run.

        Raises:
            NotFoundError: there is none of this name.
        """
        try:
            self._call(self._runs.delete_namespaced_custom_object, GROUP, VERSION, self.namespace, PLURAL, name)
        except NotFoundError:
            raise NotFoundError(self._describe_missing(name)) from None

    def change(self, run: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        """Changes fields of a run's spec, if the run is still as it was when it was read.

        Raises:
            ChangedMeanwhile: it is another one.
            StepError: the API server refuses it; its words are in the message.
        """
        known = {key: run["metadata"][key] for key in ("uid", "resourceVersion")}
        method, name = self._runs.patch_namespaced_custom_object, run["metadata"]["name"]
        body = {"metadata": known, "spec": dict(change)}
        self._call(method, GROUP, VERSION, self.namespace, PLURAL, name, body)

    def changes(self, run: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields what happens to a run from the state on that was read, until the watch ends, as it does after a while.

        Yields:
            MODIFIED or DELETED, and the run.

        Raises:
            Transient: the watch was cut, or the state is too old to begin with: read the run again.
        """
        metadata = run["metadata"]
        answer = self._call(
            self._runs.list_namespaced_custom_object,
            GROUP,
            VERSION,
            self.namespace,
            PLURAL,
            watch=True,
            field_selector=f"metadata.name={metadata['name']}",
            resource_version=metadata["resourceVersion"],
            timeout_seconds=_WATCH_SECONDS,
            _preload_content=False,
            _request_timeout=(_SECONDS, _WATCH_SECONDS + _SECONDS),
        )
        try:
            for line in lines_of(answer.stream()):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise Transient(f"the watch ended: {event['object'].get('message')}")
                yield event["type"], event["object"]
        except (HTTPError, OSError, ValueError) as error:
            raise Transient(f"the watch was cut: {error}") from error

    def newest_pod(self, run: str, stage: str | None, iteration: int | None) -> dict[str, Any] | None:
        """Returns the newest pod of a run, of a stage or an iteration if one is named; None if there is none."""
        labels = {LABEL_RUN: run}
        labels |= {LABEL_STAGE: stage} if stage else {}
        labels |= {LABEL_ITERATION: str(iteration)} if iteration is not None else {}
        pods = self.pods(",".join(f"{name}={value}" for name, value in labels.items()))
        return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Returns the pods of the namespace with these labels."""
        return self._core_items(self._core.list_namespaced_pod, label_selector=selector)

    def events_about(self, name: str) -> list[dict[str, Any]]:
        """Returns the Events about the objects of this name."""
        return self._core_items(self._core.list_namespaced_event, field_selector=f"involvedObject.name={name}")

    def _core_items(self, method: Any, **options: Any) -> list[dict[str, Any]]:
        answer = self._call(method, self.namespace, _preload_content=False, **options)
        found: list[dict[str, Any]] = json.loads(answer.data)["items"]
        return found

    def objects(self, group: str, version: str, plural: str, selector: str) -> list[dict[str, Any]]:
        """Returns the objects of a kind in the namespace with these labels.

        Raises:
            NotFoundError: the API server does not know the kind.
        """
        method = self._runs.list_namespaced_custom_object
        found = self._call(method, group, version, self.namespace, plural, label_selector=selector)
        return list(found["items"])

    def objects_everywhere(self, group: str, version: str, plural: str, selector: str) -> list[dict[str, Any]]:
        """Returns the objects of a kind in all namespaces with these labels."""
        method = self._runs.list_cluster_custom_object
        return list(self._call(method, group, version, plural, label_selector=selector)["items"])

    def server_version(self) -> str:
        """Returns the version of the API server."""
        return str(json.loads(self._call(self._version.get_code, _preload_content=False).data)["gitVersion"])

    def log(self, pod: str, *, follow: bool, tail: int | None = None) -> Iterator[str]:
        """Yields the lines of a step's log, as they come if asked to follow; a very long one comes in pieces.

        Args:
            pod: its name.
            follow: whether to go on until the container ends.
            tail: how many of the lines that are there already; all if None.

        Raises:
            Transient: the connection was cut.
        """
        answer = self._call(
            self._core.read_namespaced_pod_log,
            pod,
            self.namespace,
            container=CONTAINER,
            follow=follow,
            **({} if tail is None else {"tail_lines": tail}),
            _preload_content=False,
            _request_timeout=None if follow else _SECONDS,
        )
        try:
            yield from lines_of(answer.stream())
        except (HTTPError, OSError) as error:
            raise Transient(f"the log of {pod} was cut: {error}: try again") from error

    def _describe_missing(self, name: str) -> str:
        """Returns why there is no such run, and those that there are, if the caller may list them."""
        missing = f"there is no AugmentationRun {name} in namespace {self.namespace}"
        try:
            names = self.names()
        except NotFoundError:
            return "this cluster has no AugmentationRuns: install the chart (docs/install.md)"
        except ConfigurationError:
            return missing
        alike = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {alike[0]}?" if alike else f"there are: {', '.join(names[:20]) or 'none'}"
        return f"{missing}: {hint}"

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        options.setdefault("_request_timeout", _SECONDS)
        try:
            return method(*arguments, **options)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                raise NotFoundError(_words(error)) from error
            if error.status == _CONFLICT:
                raise ChangedMeanwhile(_words(error)) from error
            answered = f"the API server answered {error.status}: {_words(error)}"
            if error.status in _FOR_NOW:
                raise Transient(f"{answered}: try again") from error
            raise ConfigurationError(answered) from error
        except (HTTPError, OSError) as error:
            raise Transient(f"the API server cannot be reached: {error}") from error


class ChangedMeanwhile(Transient):
    """A run is no longer as it was when it was read."""


class NotFoundError(ConfigurationError):
    """There is no such object, or the API server does not know its kind."""


def lines_of(parts: Iterable[bytes]) -> Iterator[str]:
    """Yields the lines of a text that comes in parts; one of more than _PIECE characters in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    line: list[str] = []
    length = 0
    for part in parts:
        *ends, rest = decoder.decode(part).split("\n")
        for end in ends:
            yield "".join([*line, end])
            line, length = [], 0
        line.append(rest)
        length += len(rest)
        if length >= _PIECE:
            yield "".join(line)
            line, length = [], 0
    if rest := "".join([*line, decoder.decode(b"", final=True)]):
        yield rest


def _words(error: ApiException) -> str:
    """Returns what the API server said of a request that it refused."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def attempt_of(pod: Mapping[str, Any]) -> str:
    """Returns the step that a pod runs, for people."""
    labels = pod["metadata"].get("labels") or {}
    stage, iteration = labels.get(LABEL_STAGE, "?").capitalize(), labels.get(LABEL_ITERATION, "?")
    return f"{stage} of iteration {iteration}, attempt {labels.get(LABEL_ATTEMPT, '?')}"


def pod_of_step(cluster: Any, run: Mapping[str, Any], stage: str | None, iteration: int | None) -> dict[str, Any]:
    """Returns the newest pod of a run, of a stage or an iteration if one is named.

    Raises:
        ConfigurationError: there is none; the message says where the logs of ended steps are.
    """
    name = run["metadata"]["name"]
    pod: dict[str, Any] | None = cluster.newest_pod(name, stage.lower() if stage else None, iteration)
    if pod is None:
        uri = (run.get("status") or {}).get("artifactsUri")
        where = f"; logs of ended steps are in {uri}/logs/" if uri else ""
        raise ConfigurationError(f"{name} has no pod of this step{where}")
    return pod

"""A real Prometheus that scrapes one operator every second, as the chart's ServiceMonitor would have it done.

with Prometheus(folder, operator_port, authority) as prometheus:
    prometheus.query("llm2llm_leader")
"""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tests.cluster import binaries
from tests.cluster.processes import Child, free_port, listens, spawn, stop, wait_until
from tests.support.install import RELEASE, SYSTEM

JOB = f"{RELEASE}-metrics"
SERVER_NAME = f"{JOB}.{SYSTEM}.svc"
"""The name that the chart's ServiceMonitor verifies."""


class Sample(NamedTuple):
    """What a query answers with, at one moment."""

    labels: dict[str, str]
    value: float


class QueryError(Exception):
    """Prometheus refuses the query; the message is its own."""


class Prometheus:
    """Prometheus, on a free port of loopback, with its storage in `folder`."""

    def __init__(self, folder: Path, target: int, authority: Path, rules: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._child: Child | None = None
        scrape = {
            "job_name": JOB,
            "honor_labels": True,
            "scheme": "https",
            "tls_config": {"ca_file": str(authority), "server_name": SERVER_NAME},
            "static_configs": [
                {"targets": [f"127.0.0.1:{target}"], "labels": {"namespace": SYSTEM, "pod": "operator"}}
            ],
        }
        self._configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [scrape],
        }

    def __enter__(self) -> Prometheus:
        self._folder.mkdir(parents=True)
        file = self._folder / "prometheus.yaml"
        file.write_text(json.dumps(self._configuration))
        command = [
            str(binaries.prometheus()),
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        child = self._child = spawn("prometheus", command, folder=self._folder)
        wait_until("Prometheus' port", lambda: listens(child, self._port), [child])
        wait_until("Prometheus", self._is_ready, [child])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._child is not None:
            stop([self._child])

    def query(self, expression: str) -> list[Sample]:
        """Evaluates an expression that gives a vector. Raises QueryError."""
        found = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in found]

    def numbers(self, expression: str) -> list[Sample]:
        """The samples of a query that are numbers: a quantile of nothing is none."""
        return [sample for sample in self.query(expression) if math.isfinite(sample.value)]

    def rules(self) -> list[dict[str, Any]]:
        """The alerts that it has loaded, each with its health and its state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _is_ready(self) -> bool:
        """Whether it answers queries: for a moment after its start it says "Service Unavailable" to all of them."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=10) as answer:
                return dict(json.load(answer)["data"])
        except urllib.error.HTTPError as error:
            raise QueryError(json.load(error).get("error", "")) from error

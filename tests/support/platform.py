"""Everything that the keyword example needs in a cluster: data in S3, a teacher, Secrets, and its run with addresses."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config

from llm2llm.api.run import GROUP, PLURAL, VERSION
from tests.cluster.controlplane import Cluster
from tests.cluster.jsonlines import read_json_lines
from tests.cluster.s3 import REGION, S3Server
from tests.support import keyword
from tests.support.teacher import Teacher

BUCKET = "llm2llm-demo"
RUNS = f"/apis/{GROUP}/{VERSION}"


class Platform:
    """A cluster that has what a run needs; used by the demo and by the end-to-end tests alike."""

    def __init__(self, cluster: Cluster, s3: S3Server, teacher: Teacher) -> None:
        self.cluster = cluster
        self.s3 = s3
        self.teacher = teacher

    def client(self) -> Any:
        """A boto3 client of the S3 server."""
        return boto3.client(
            "s3",
            endpoint_url=self.s3.endpoint,
            region_name=REGION,
            aws_access_key_id=self.s3.access_key,
            aws_secret_access_key=self.s3.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard"}),
        )

    def upload_example(self, folder: Path, seed: int = 0) -> None:
        """Makes the example's data and base model, and uploads them to where run.yaml looks for them."""
        keyword.make_example(folder, seed)
        self.s3.create_bucket(BUCKET)
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), BUCKET, f"keyword/{path.relative_to(folder)}")

    def prepare_namespace(self, name: str) -> None:
        """A namespace that enforces `restricted`, with the two Secrets that run.yaml names."""
        self.cluster.create_namespace(name, pod_security="restricted")
        self.secret(name, "s3", {"AWS_ACCESS_KEY_ID": self.s3.access_key, "AWS_SECRET_ACCESS_KEY": self.s3.secret_key})
        self.secret(name, "teacher", {"api-key": self.teacher.key})

    def warm_up(self) -> None:
        """Runs one pod: the node's first start of a step waits for imports, which is no figure of a run."""
        self.cluster.create_namespace("warm-up", pod_security="privileged")
        container = {"name": "step", "image": "none", "command": ["llm2llm", "--help"]}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "warm-up", "namespace": "warm-up"},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        ended = ["--for=jsonpath={.status.phase}=Succeeded", "pod/warm-up", "--timeout=180s"]
        self.cluster.kubectl("-n", "warm-up", "wait", *ended)

    def secret(self, namespace: str, name: str, values: dict[str, str]) -> None:
        """Creates or replaces a Secret."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": values,
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def manifest(self, name: str = "keyword", **spec: Any) -> dict[str, Any]:
        """examples/keyword/run.yaml with this platform's addresses; `spec` replaces top-level fields."""
        document: dict[str, Any] = yaml.safe_load((keyword.EXAMPLE / "run.yaml").read_text())
        document = copy.deepcopy(document)
        document["metadata"]["name"] = name
        document["spec"]["artifacts"] |= {"endpoint": self.s3.endpoint, "pathStyle": True, "region": REGION}
        document["spec"]["generate"]["teacher"]["baseUrl"] = self.teacher.base_url
        document["spec"] |= spec
        return document

    def apply(self, namespace: str, document: dict[str, Any], *options: str) -> str:
        """`kubectl apply -f -`."""
        return self.cluster.kubectl("apply", "-n", namespace, *options, "-f", "-", stdin=json.dumps(document))

    def run(self, namespace: str, name: str = "keyword") -> dict[str, Any]:
        """The run as the API server has it."""
        body = self.cluster.request("GET", f"{RUNS}/namespaces/{namespace}/{PLURAL}/{name}")
        assert isinstance(body, dict)
        return body

    def wait(
        self, namespace: str, name: str, done: Callable[[dict[str, Any]], bool], *, timeout: float = 300
    ) -> dict[str, Any]:
        """Waits until `done(status)`; returns the status.

        Raises:
            TimeoutError: with the last status.
        """
        deadline = time.monotonic() + timeout
        while True:
            status: dict[str, Any] = self.run(namespace, name).get("status") or {}
            if done(status):
                return status
            if time.monotonic() > deadline:
                raise TimeoutError(f"{namespace}/{name} after {timeout:.0f} s: {json.dumps(status, indent=1)}")
            time.sleep(0.2)

    def wait_for_end(self, namespace: str, name: str = "keyword", *, timeout: float = 300) -> dict[str, Any]:
        """Waits until the run succeeded or failed."""
        return self.wait(namespace, name, lambda s: s.get("phase") in ("Succeeded", "Failed"), timeout=timeout)

    def writes(self, user: str, namespace: str) -> list[dict[str, str]]:
        """What a user wrote in a namespace, from the API server's audit log: verb, resource and name, in order."""
        found = []
        for entry in read_json_lines(self.cluster.audit_log):
            about = entry.get("objectRef", {})
            ours = entry["user"]["username"] == user and about.get("namespace") == namespace
            if ours and entry["verb"] in ("create", "update", "patch", "delete"):
                part = f"/{about['subresource']}" if about.get("subresource") else ""
                code = str(entry["responseStatus"]["code"])
                name = about.get("name", "")
                found.append({"verb": entry["verb"], "resource": about["resource"] + part, "name": name, "code": code})
        return found

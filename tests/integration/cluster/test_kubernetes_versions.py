"""The oldest Kubernetes that is supported takes all that the chart has and the operator creates, by its own validators.

`LLM2LLM_SWEEP=full` asks the newest one, too. The control plane of the other tests is of a version between them.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import binaries
from tests.support import builders, corpus
from tests.support.chartswitches import rows, values_of
from tests.support.install import CHART, parse_manifests, render, rendered
from tests.support.manifests import IMAGES

from llm2llm.manifests.documents import read_documents
from llm2llm.manifests.problems import validate_spec
from llm2llm.records import Kind, Stage
from llm2llm_operator.build.job import job_manifest
from llm2llm_operator.model.status import CurrentStep

Document = dict[str, Any]
VERSIONS = {"1.31": "go.mod"} | ({"1.37": "newest.mod"} if os.environ.get("LLM2LLM_SWEEP") == "full" else {})
NO_TYPES = ("monitoring.coreos.com", "llm2llm.dev")
"""Groups that Kubernetes itself does not know."""
EVERYTHING = {
    "admission": {"operator": {"enabled": True}, "runs": {"enabled": True, "maxGPUHours": 100, "secretNames": ["s3"]}},
    "deployment": {"replicas": 2},
    "deleteFinishedRuns": True,
    "kueue": {"readWorkloads": True},
    "metrics": {"dashboard": {"enabled": True}, "tls": {"secretName": "tls"}},
    "networkPolicy": {"enabled": True},
}


@pytest.fixture(scope="module", params=list(VERSIONS.values()), ids=list(VERSIONS))
def apicheck(request: pytest.FixtureRequest) -> Path:
    """The checker of one version."""
    return binaries.apicheck(request.param)


def problems(apicheck: Path, documents: list[Document]) -> list[list[str]]:
    """What is wrong with each, in that version's words."""
    lines = "\n".join(map(json.dumps, documents))
    done = subprocess.run([apicheck], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def jobs() -> Iterator[Document]:
    """The Job of each stage, as every valid manifest has it, and of an attempt that only collects."""
    for _, document in read_documents(corpus.valid()).runs:
        run, spec = builders.run(**document["spec"]), validate_spec(document)
        for stage in Stage:
            for kind in Kind:
                current = CurrentStep(stage=stage.value, kind=kind, job_name="job")
                yield json.loads(json.dumps(job_manifest(run, spec, current, {}, IMAGES)))


def test_the_floor_is_the_one_that_the_chart_says():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == ">=1.31.0-0"
    assert "k8s.io/api v0.31." in (Path(binaries.__file__).parent / "apicheck" / "go.mod").read_text()


def test_a_kubernetes_version_takes_the_crd_and_all_that_the_chart_renders(apicheck: Path):
    chart = rendered(values=EVERYTHING)
    documents = [each for each in chart.values() if each["apiVersion"].partition("/")[0] not in NO_TYPES]
    kinds = {each["kind"] for each in documents}
    assert {"CustomResourceDefinition", "Deployment", "NetworkPolicy", "ValidatingAdmissionPolicy"} <= kinds
    wrong = zip(documents, problems(apicheck, documents), strict=True)
    assert [(each["kind"], words) for each, words in wrong if words] == []


def test_a_kubernetes_version_takes_whichever_two_switches_of_the_chart_meet(apicheck: Path):
    found = {
        json.dumps(document): document
        for row in rows()
        for document in parse_manifests(render(values=values_of(row)))
        if document["apiVersion"].partition("/")[0] not in NO_TYPES
    }
    documents = list(found.values())
    wrong = zip(documents, problems(apicheck, documents), strict=True)
    assert len(documents) > 100
    assert [(each["kind"], words) for each, words in wrong if words] == []


def test_a_kubernetes_version_knows_every_field_of_the_jobs_that_the_operator_creates(apicheck: Path):
    documents = list(jobs())
    assert len(documents) > 300
    assert [words for words in problems(apicheck, documents) if words] == []


def test_what_a_kubernetes_version_does_not_know_is_found(apicheck: Path):
    chart = rendered(values=EVERYTHING)
    crd = copy.deepcopy(next(each for (kind, _), each in chart.items() if kind == "CustomResourceDefinition"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    costly = {"rule": "self.all(a, self.all(b, self.all(c, a != b + c)))"}
    schema["properties"]["spec"]["properties"]["words"] = {
        "type": "array",
        "items": {"type": "string"},
        "x-kubernetes-validations": [costly],
    }
    policy = copy.deepcopy(next(each for (kind, _), each in chart.items() if kind == "ValidatingAdmissionPolicy"))
    policy["spec"]["matchConditions"] = [{"name": "unknown", "expression": "object.nobodyHasThisFunction()"}]
    job = next(jobs())
    job["spec"]["template"]["spec"]["containers"][0]["sidecar"] = True
    [of_crd, of_policy, of_job] = problems(apicheck, [crd, policy, job])
    assert "cost" in str(of_crd)
    assert "undeclared reference to 'nobodyHasThisFunction'" in str(of_policy)
    assert 'unknown field "spec.template.spec.containers[0].sidecar"' in str(of_job)

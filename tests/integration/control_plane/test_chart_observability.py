"""What the chart gives Prometheus and Grafana, and what it closes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import binaries
from tests.cluster.controlplane import Cluster
from tests.support.install import CHART, CHECKOUT, RELEASE, SYSTEM, render
from tests.support.promql import ALERTS

from llm2llm_crdgen.dashboard import dashboard

PAGE = CHECKOUT / "docs" / "observability.md"
SWITCHES = (
    "metrics.serviceMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboard.enabled=true",
    "networkPolicy.enabled=true",
)
TLS = "metrics.tls.secretName=metrics-cert"
SCRAPER = "networkPolicy.scrapers[0].namespaceSelector.matchLabels.team=monitoring"
Documents = dict[tuple[str, str], dict[str, Any]]


def rendered(*settings: str) -> Documents:
    documents = [document for document in yaml.safe_load_all(render(*settings)) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def container(chart: Documents) -> dict[str, Any]:
    [found] = chart["Deployment", RELEASE]["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.fixture(scope="session")
def monitoring_crds() -> str:
    return binaries.monitoring_crds().read_text()


def test_without_a_switch_there_is_only_a_service_that_has_the_address_of_each_replica():
    chart = rendered()
    kinds = {kind for kind, _ in chart}
    assert kinds & {"ServiceMonitor", "PrometheusRule", "ConfigMap", "NetworkPolicy"} == set()
    spec = chart["Service", f"{RELEASE}-metrics"]["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    assert spec["ports"] == [{"name": "metrics", "port": 8080, "targetPort": "http"}]
    template = chart["Deployment", RELEASE]["spec"]["template"]
    assert spec["selector"].items() <= template["metadata"]["labels"].items()
    assert container(chart)["ports"] == [{"name": "http", "containerPort": 8080}]


def test_prometheus_scrapes_that_service_and_leaves_the_namespaces_of_runs_as_they_are():
    chart = rendered(*SWITCHES, "metrics.serviceMonitor.labels.release=prom", "metrics.serviceMonitor.interval=15s")
    monitor = chart["ServiceMonitor", RELEASE]
    assert monitor["metadata"]["labels"]["release"] == "prom"
    service = chart["Service", f"{RELEASE}-metrics"]["metadata"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["labels"].items()
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["namespace"]] == [SYSTEM]
    endpoint = {"port": "metrics", "path": "/metrics", "interval": "15s", "honorLabels": True}
    assert monitor["spec"]["endpoints"] == [endpoint]


def test_the_alerts_are_those_of_the_file_and_their_braces_are_left_to_prometheus():
    rule = rendered(*SWITCHES, "metrics.prometheusRule.labels.release=prom")["PrometheusRule", RELEASE]
    assert rule["metadata"]["labels"]["release"] == "prom"
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    assert "{{ $labels.reason }}" in json.dumps(rule["spec"])


def test_the_dashboard_is_a_configmap_that_grafanas_sidecar_finds():
    settings = (*SWITCHES, "metrics.dashboard.annotations.grafana_folder=Teams")
    page = rendered(*settings)["ConfigMap", f"{RELEASE}-dashboard"]
    assert page["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert page["metadata"]["annotations"] == {"grafana_folder": "Teams"}
    assert {name: json.loads(text) for name, text in page["data"].items()} == {f"{RELEASE}.json": dashboard()}


def test_a_certificate_moves_metrics_to_a_port_of_their_own_for_all_who_ask_for_them():
    chart = rendered(*SWITCHES, TLS, SCRAPER)
    operator = container(chart)
    folder = "/etc/llm2llm/metrics-tls"
    assert {"name": "LLM2LLM_METRICS_TLS_FOLDER", "value": folder} in operator["env"]
    assert {"name": "metrics", "containerPort": 8443} in operator["ports"]
    assert {"name": "metrics-tls", "mountPath": folder, "readOnly": True} in operator["volumeMounts"]
    volumes = chart["Deployment", RELEASE]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "metrics-tls", "secret": {"secretName": "metrics-cert"}} in volumes
    assert {operator[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} == {"http"}
    service = chart["Service", f"{RELEASE}-metrics"]["spec"]
    assert service["ports"] == [{"name": "metrics", "port": 8443, "targetPort": "metrics"}]
    [endpoint] = chart["ServiceMonitor", RELEASE]["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    authority = {"secret": {"name": "metrics-cert", "key": "ca.crt"}}
    assert endpoint["tlsConfig"] == {"serverName": f"{RELEASE}-metrics.{SYSTEM}.svc", "ca": authority}
    [rule] = chart["NetworkPolicy", RELEASE]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "metrics"}]


def test_how_prometheus_verifies_the_certificate_can_be_said():
    chart = rendered(*SWITCHES, TLS, "metrics.serviceMonitor.tlsConfig.insecureSkipVerify=true")
    [endpoint] = chart["ServiceMonitor", RELEASE]["spec"]["endpoints"]
    assert endpoint["tlsConfig"] == {"insecureSkipVerify": True}


def test_a_network_policy_without_scrapers_lets_nobody_in_and_the_operator_out():
    spec = rendered(*SWITCHES)["NetworkPolicy", RELEASE]["spec"]
    assert (spec["policyTypes"], spec["ingress"], "egress" in spec) == (["Ingress"], [], False)


def test_a_network_policy_lets_the_scrapers_in_to_the_metrics_alone():
    chart = rendered(*SWITCHES, SCRAPER)
    spec = chart["NetworkPolicy", RELEASE]["spec"]
    peer = {"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}
    assert spec["ingress"] == [{"from": [peer], "ports": [{"protocol": "TCP", "port": "http"}]}]
    selected = spec["podSelector"]["matchLabels"].items()
    assert selected <= chart["Deployment", RELEASE]["spec"]["template"]["metadata"]["labels"].items()


def test_a_network_policy_limits_what_the_operator_may_reach_if_there_are_rules_for_it():
    spec = rendered(*SWITCHES, "networkPolicy.egress[0].ports[0].port=443")["NetworkPolicy", RELEASE]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == [{"ports": [{"port": 443}]}]


def test_an_operator_that_runs_elsewhere_has_alerts_and_a_dashboard_all_the_same():
    kinds = {kind for kind, _ in rendered(*SWITCHES, "deployment.enabled=false")}
    assert kinds & {"PrometheusRule", "ConfigMap"} == {"PrometheusRule", "ConfigMap"}
    assert kinds & {"Service", "ServiceMonitor", "NetworkPolicy"} == set()


def test_the_values_that_the_page_shows_switch_everything_on(tmp_path: Path):
    [values, *_] = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "values.yaml").write_text(values)
    command = [str(binaries.helm()), "template", RELEASE, str(CHART), "--values", str(tmp_path / "values.yaml")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kinds = {document["kind"] for document in yaml.safe_load_all(told) if document}
    assert kinds >= {"ServiceMonitor", "PrometheusRule", "ConfigMap", "NetworkPolicy"}


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("metrics.serviceMonitor.interval=soon", id="no duration"),
        pytest.param("metrics.serviceMonitor.enabled=maybe", id="neither true nor false"),
        pytest.param("metrics.serviceMonitors.enabled=true", id="a name that is not known"),
        pytest.param("metrics.tls.secretName=Not_A_Name", id="no name of a Secret"),
        pytest.param("networkPolicy.scrapers[0].selector.app=x", id="no peer"),
        pytest.param("networkPolicy.scrapers[0]=prometheus", id="a word instead of a peer"),
    ],
)
def test_values_that_could_not_work_are_refused(setting: str):
    with pytest.raises(RuntimeError, match=r"metrics|networkPolicy"):
        render(setting)


def test_the_api_server_and_the_prometheus_operators_types_take_it_all(api: Cluster, monitoring_crds: str):
    api.kubectl("apply", "--server-side", "-f", "-", stdin=monitoring_crds)
    for kind in ("servicemonitors", "prometheusrules"):
        api.kubectl("wait", "--for=condition=Established", f"crd/{kind}.monitoring.coreos.com", "--timeout=30s")
    dry = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
    for settings in (SWITCHES, (*SWITCHES, TLS, SCRAPER)):
        told = api.kubectl(*dry, stdin=render(*settings))
        for name in (
            f"servicemonitor.monitoring.coreos.com/{RELEASE}",
            f"prometheusrule.monitoring.coreos.com/{RELEASE}",
        ):
            assert f"{name} serverside-applied" in told
        assert f"networkpolicy.networking.k8s.io/{RELEASE} serverside-applied" in told

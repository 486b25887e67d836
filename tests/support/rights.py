"""What the operator may do by the chart, and what it asks the API server for by the audit log."""

from __future__ import annotations

from typing import Any

from tests.cluster.controlplane import Cluster
from tests.cluster.jsonlines import read_json_lines
from tests.support.install import RELEASE, SYSTEM, parse_manifests

OPERATOR_USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
_UNKNOWN_KIND = "cannot find RESTMapping"
Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""


def asked(api: Cluster, since: int) -> list[dict[str, Any]]:
    """The operator's requests for resources from this place of the audit log on."""
    entries = read_json_lines(api.audit_log, since)
    return [e for e in entries if e["user"]["username"] == OPERATOR_USER and "objectRef" in e]


def right_of(entry: dict[str, Any]) -> Right:
    """The right that a request needs."""
    about = entry["objectRef"]
    resource = "/".join(part for part in (about["resource"], about.get("subresource", "")) if part)
    return about.get("apiGroup", ""), resource, entry["verb"]


def granted(manifests: str) -> set[Right]:
    """What the Roles and ClusterRoles that are bound to the operator's ServiceAccount allow."""
    documents = parse_manifests(manifests)
    bound = {
        (document["roleRef"]["kind"], document["roleRef"]["name"])
        for document in documents
        if document["kind"].endswith("RoleBinding")
        and {"kind": "ServiceAccount", "name": RELEASE, "namespace": SYSTEM} in document["subjects"]
    }
    return {
        (group, resource, verb)
        for document in documents
        if (document["kind"], document["metadata"]["name"]) in bound
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def refused(entries: list[dict[str, Any]]) -> set[Right]:
    """The rights that the operator asked for and did not have.

    For about half a minute after a CRD is created, the plugin that asks whether we may block the deletion of an object of
    its kind does not know the kind, and refuses: it says so, and the operator tries again.
    """
    refusals = [entry for entry in entries if entry["responseStatus"]["code"] == 403]
    return {right_of(entry) for entry in refusals if _UNKNOWN_KIND not in entry["responseStatus"].get("message", "")}

"""What is read of a Workload: the conditions are those that Kueue 0.17 wrote beside the test cluster."""

from __future__ import annotations

from typing import Any

import pytest

from llm2llm_operator.model.workload import Workload, workload_from_object


def body(*conditions: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "w"}, "spec": spec, "status": {"conditions": list(conditions)}}


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def checked(*conditions: dict[str, str]) -> dict[str, Any]:
    document = body(*conditions, queueName="main")
    document["status"]["admissionChecks"] = [
        {"name": "capacity", "state": "Pending", "message": "Previously: Retry"},
    ]
    return document


PENDING = condition("QuotaReserved", "False", "Pending", "insufficient unused quota for cpu in flavor default")
EVICTED = condition("Evicted", "True", "Preempted", "Preempted to accommodate a workload")


@pytest.mark.parametrize(
    ("document", "read"),
    [
        pytest.param({"metadata": {"name": "w"}}, Workload("w"), id="one that Kueue has not looked at"),
        pytest.param(body(PENDING), Workload("w", quota="Pending", quota_words=PENDING["message"]), id="no quota"),
        pytest.param(
            body(PENDING, EVICTED, active=False),
            Workload(
                "w",
                active=False,
                quota="Pending",
                quota_words=PENDING["message"],
                eviction="Preempted",
                eviction_words=EVICTED["message"],
            ),
            id="evicted and deactivated",
        ),
        pytest.param(
            body(condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved"), EVICTED | {"status": "False"}),
            Workload("w"),
            id="quota, after an eviction",
        ),
        pytest.param(
            {
                "metadata": {"name": "w"},
                "status": {
                    "conditions": [condition("QuotaReserved", "True")],
                    "admissionChecks": [
                        {"name": "capacity", "state": "Pending", "message": "waiting for nodes"},
                        {"name": "quick", "state": "Ready", "message": "done"},
                        {"name": "silent", "state": "Retry", "message": ""},
                    ],
                },
            },
            Workload(
                "w",
                check_words="admission check capacity is Pending: waiting for nodes; admission check silent is Retry",
            ),
            id="quota, before its admission checks",
        ),
        pytest.param(
            checked(PENDING),
            Workload("w", quota="Pending", quota_words=PENDING["message"], queue="main"),
            id="no quota, and so no check begun",
        ),
        pytest.param(
            checked(EVICTED | {"reason": "AdmissionCheck", "message": "a check is false"}),
            Workload(
                "w",
                eviction="AdmissionCheck",
                eviction_words="a check is false",
                check_words="admission check capacity is Pending: Previously: Retry",
                queue="main",
            ),
            id="evicted by a check",
        ),
    ],
)
def test_what_is_read_of_a_workload(document: dict[str, Any], read: Workload):
    assert workload_from_object(document) == read


def test_texts_are_cut():
    words = "x" * 100_000
    read = workload_from_object(body(condition("QuotaReserved", "False", words, words)))
    assert len(read.quota) < 1_000
    assert len(read.quota_words) < 5_000

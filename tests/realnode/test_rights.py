"""Last: what the operator asked for in all the tests before, under the rights that the packed chart gives it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.realnode.conftest import Installed
from tests.support.install import RELEASE
from tests.support.rights import asked, granted, refused, right_of


def test_nothing_that_the_operator_asked_for_was_refused_and_all_of_it_is_in_the_chart(installed: Installed):
    entries = asked(installed.cluster, 0)
    used, allowed = {right_of(entry) for entry in entries}, granted(installed.helm("get", "manifest", RELEASE))
    assert refused([entry for entry in entries if not _is_without_rights(installed, entry)]) == set()
    assert sorted(used - allowed) == []
    assert {("batch", "jobs", "create"), ("llm2llm.dev", "augmentationruns/status", "patch")} <= used


def _is_without_rights(installed: Installed, entry: dict[str, Any]) -> bool:
    at = datetime.fromisoformat(entry["requestReceivedTimestamp"])
    return any(began <= at <= ended for began, ended in installed.without_rights)

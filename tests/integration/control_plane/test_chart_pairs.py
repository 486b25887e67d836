"""Whichever two switches of the chart meet, a real API server takes all that it renders.

What two switches break together shows in one of about twenty combinations; their full product would be thousands.
"""

from __future__ import annotations

import contextlib
import json
from itertools import combinations

from tests.cluster.controlplane import Cluster, RequestError
from tests.support.allpairs import pairs_of
from tests.support.chartswitches import SWITCHES, rows, values_of
from tests.support.install import parse_manifests, render


def test_every_pair_of_settings_is_in_one_of_a_few_combinations():
    wanted = {
        frozenset(((first, a), (second, b)))
        for first, second in combinations(SWITCHES, 2)
        for a in SWITCHES[first]
        for b in SWITCHES[second]
    }
    assert set().union(*map(pairs_of, rows())) == wanted
    assert len(rows()) <= 24


def test_the_api_server_takes_what_every_pair_of_switches_renders(api: Cluster):
    with contextlib.suppress(RequestError):
        api.create_namespace("a")
    taken: set[str] = set()
    for row in rows():
        documents = parse_manifests(render(values=values_of(row)))
        assert any(document["kind"] == "Deployment" for document in documents) == (row["deployment.enabled"] == "true")
        fresh = {json.dumps(document) for document in documents} - taken  # an API server takes 2 s for a CRD
        taken |= fresh
        if not fresh:
            continue
        options = ("--server-side", "--force-conflicts", "--dry-run=server", "--field-manager=pairs")
        told = api.kubectl("apply", *options, "-f", "-", stdin="\n---\n".join(sorted(fresh)))
        assert told.count("serverside-applied (server dry run)") == len(fresh), row

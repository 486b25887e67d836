"""How the API server is asked, and what is made of its answers, beside a server that says what the test has it say."""

from __future__ import annotations

import json
import time

import pytest
from tests.support.apianswers import Server, refusal

from llm2llm.errors import ConfigurationError, Transient
from llm2llm_cluster.client import ChangedMeanwhile, Cluster, lines_of

RUN = {"metadata": {"name": "tickets", "uid": "u", "resourceVersion": "7"}}


@pytest.fixture
def cluster(server: Server) -> Cluster:
    return Cluster()


def test_a_change_is_bound_to_the_run_that_was_read(server: Server, cluster: Cluster):
    server.answers["PATCH", "/namespaces/ml/augmentationruns/tickets"] = (200, b"{}")
    cluster.change(RUN, {"suspend": True})
    assert server.sent == [{"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"suspend": True}}]
    server.answers["PATCH", "/tickets"] = server.answers["PATCH", "/namespaces/ml/augmentationruns/tickets"] = (
        409, refusal("the object has been modified"),
    )  # fmt: skip
    with pytest.raises(ChangedMeanwhile, match="the object has been modified"):
        cluster.change(RUN, {"suspend": True})


def test_a_log_that_is_cut_is_shown_as_far_as_it_came_and_said(server: Server, cluster: Cluster):
    server.answers["GET", "/log"] = (200, b"one\ntwo\nthr")
    assert list(cluster.log("whole", follow=True)) == ["one", "two", "thr"]
    cut = cluster.log("cut", follow=True)
    assert [next(cut), next(cut)] == ["one", "two"]
    with pytest.raises(Transient, match="the log of cut was cut"):
        next(cut)


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        pytest.param([b"a\nb", b"c\n", b"\nd"], ["a", "bc", "", "d"], id="lines"),
        pytest.param(
            ["x\u00e4".encode()[:2], "\u00e4".encode()[1:], b"\n"], ["x\u00e4"], id="a character in two parts"
        ),
        pytest.param([b"\xff\xc3"], ["\ufffd\ufffd"], id="no text"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_the_lines_of_parts(parts: list[bytes], lines: list[str]):
    assert list(lines_of(parts)) == lines


def test_a_line_without_an_end_comes_in_pieces_and_takes_no_longer_than_its_length():
    """64 MB in parts of 16 KiB: to put a line together anew with each part would take minutes."""
    parts = [b"x" * (1 << 14)] * (1 << 12)
    began = time.process_time()
    pieces = list(lines_of(parts))
    assert time.process_time() - began < 10
    assert sum(map(len, pieces)) == 1 << 26
    assert max(map(len, pieces)) < 1_100_000
    assert len(pieces) > 50


def test_what_the_api_server_cannot_do_for_now_may_be_tried_again(server: Server, cluster: Cluster):
    server.answers["GET", "/tickets"] = (503, refusal("shutting down"))
    with pytest.raises(Transient, match="the API server answered 503: shutting down"):
        cluster.get("tickets")
    server.answers["GET", "/tickets"] = (403, refusal("tickets is forbidden"))
    with pytest.raises(ConfigurationError, match="the API server answered 403: tickets is forbidden"):
        cluster.get("tickets")


def test_a_cluster_without_the_crd_is_told_what_to_install(cluster: Cluster):
    with pytest.raises(ConfigurationError, match=r"^this cluster has no AugmentationRuns: install the chart"):
        cluster.get("tickets")


@pytest.mark.parametrize(
    ("listed", "hint"),
    [
        pytest.param((200, json.dumps({"items": [RUN]}).encode()), ": did you mean tickets?", id="a similar name"),
        pytest.param((200, b'{"items": []}'), ": there are: none", id="none at all"),
        pytest.param((403, refusal("cannot list")), "", id="no right to list"),
    ],
)
def test_a_run_that_does_not_exist_is_told_with_the_names_that_may_be_known(
    server: Server, cluster: Cluster, listed: tuple[int, bytes], hint: str
):
    server.answers["GET", "/augmentationruns"] = listed
    with pytest.raises(ConfigurationError) as caught:
        cluster.get("tikets")
    assert caught.value.message == f"there is no AugmentationRun tikets in namespace ml{hint}"


def test_a_busy_api_server_does_not_make_a_run_missing(server: Server, cluster: Cluster):
    server.answers["GET", "/augmentationruns"] = (503, refusal("shutting down"))
    with pytest.raises(Transient):
        cluster.get("tikets")


def test_what_is_gone_meanwhile_is_told_in_the_servers_words(server: Server, cluster: Cluster):
    server.answers["PATCH", "/tickets"] = (404, refusal('augmentationruns "tickets" not found'))
    with pytest.raises(ConfigurationError, match='"tickets" not found'):
        cluster.change(RUN, {"suspend": True})
    server.answers["GET", "/log"] = (404, refusal('pods "p" not found'))
    with pytest.raises(ConfigurationError, match='pods "p" not found'):
        list(cluster.log("p", follow=False))


def test_a_watch_yields_what_happens_until_it_ends(server: Server, cluster: Cluster):
    events = [{"type": "MODIFIED", "object": RUN}, {"type": "DELETED", "object": RUN}]
    server.answers["GET", "/augmentationruns"] = (200, b"\n".join(json.dumps(event).encode() for event in events))
    assert list(cluster.changes(RUN)) == [("MODIFIED", RUN), ("DELETED", RUN)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            b'{"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}\n', id="too old"
        ),
        pytest.param(b'{"type": "MODIFIED", "obj', id="cut within an event"),
    ],
)
def test_a_watch_that_breaks_off_is_one_to_begin_anew(server: Server, cluster: Cluster, body: bytes):
    server.answers["GET", "/augmentationruns"] = (200, body)
    with pytest.raises(Transient, match="the watch"):
        list(cluster.changes(RUN))

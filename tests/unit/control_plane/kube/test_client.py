from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes.aio import client

from llm2llm_operator.kube.client import KubeClient
from llm2llm_operator.kube.decode import ListedObject, Page
from llm2llm_operator.kube.errors import ApiUnavailable, NotFound, NotLeading

NOBODY = "http://127.0.0.1:1"  # port 1: refused
WRITES: dict[str, Callable[[KubeClient], Awaitable[object]]] = {
    "the status of a run": lambda cluster: cluster.patch_status("ns", "r", 1, {}),
    "a new Job": lambda cluster: cluster.create_job("ns", {"metadata": {"name": "j"}}),
    "the end of a Job": lambda cluster: cluster.delete_job("ns", "j", "uid", "Background"),
    "an event": lambda cluster: cluster.create_event("ns", {}),
}


async def with_cluster(use: Callable[[KubeClient], Awaitable[object]]) -> object:
    cluster = KubeClient(client.Configuration(host=NOBODY), write_rate=100, write_burst=100)
    try:
        return await use(cluster)
    finally:
        await cluster.close()


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_while_the_gate_is_closed_no_request_is_made_for(write: Callable[[KubeClient], Awaitable[object]]):
    with pytest.raises(NotLeading):
        asyncio.run(with_cluster(write))


def test_a_write_that_is_tried_again_passes_the_gate_again():
    async def write(cluster: KubeClient) -> None:
        chances = iter([True, True, False])
        cluster.gate.open(lambda: next(chances))
        with pytest.raises(NotLeading):
            await cluster.create_event("ns", {})
        assert next(chances, None) is None

    asyncio.run(with_cluster(write))


@pytest.mark.parametrize(
    ("bytes_each", "limits"),
    [
        pytest.param(6_000, ["20", "40", "80", "100", "100"], id="ordinary objects"),
        pytest.param(1_000_000, ["20", "4", "4"], id="objects of a megabyte"),
        pytest.param(9_000_000, ["20", "1", "1"], id="objects that weigh more than a page"),
    ],
)
def test_fault_53_a_page_of_a_list_has_as_many_objects_as_weigh_what_it_may(
    bytes_each: int, limits: list[str], monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    async def list_them(cluster: KubeClient) -> None:
        async def answer(_: str, path: str, **__: object) -> Page:
            asked.append(parse_qs(urlsplit(path).query)["limit"][0])
            count = int(asked[-1])
            items = [ListedObject(str(number), 1, b"") for number in range(count)]
            return Page(items, 1, "more" if len(asked) < len(limits) else "", size=count * bytes_each)

        monkeypatch.setattr(cluster, "_request", answer)
        async for _ in cluster.pages("runs"):
            pass

    asyncio.run(with_cluster(list_them))
    assert asked == limits


def test_the_lease_passes_whatever_the_gate_says():
    with pytest.raises(ApiUnavailable):
        asyncio.run(with_cluster(lambda cluster: cluster.put_lease("ns", {"metadata": {"name": "l"}})))


@pytest.mark.parametrize(("served", "found"), [("v1beta2", ["old", "new"]), ("v1beta1", ["old", "new"]), ("v1", [])])
def test_workloads_are_read_by_whichever_version_of_kueues_api_is_served_oldest_first(
    served: str, found: list[str], monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    async def list_them(cluster: KubeClient) -> list[str]:
        async def answer(_: str, path: str, **__: object) -> dict[str, object]:
            asked.append(path)
            if f"/{served}/" not in path:
                raise NotFound(404, "NotFound", "the server could not find the requested resource")
            ages = {"new": "2026-01-02T00:00:00Z", "old": "2026-01-01T00:00:00Z"}
            return {"items": [{"metadata": {"name": name, "creationTimestamp": age}} for name, age in ages.items()]}

        monkeypatch.setattr(cluster, "_request", answer)
        return [body["metadata"]["name"] for body in await cluster.workloads_of_job("ns", "uid-of-job")]

    assert asyncio.run(with_cluster(list_them)) == found
    where = urlsplit(asked[0])
    assert where.path == "/apis/kueue.x-k8s.io/v1beta2/namespaces/ns/workloads"
    assert parse_qs(where.query)["labelSelector"] == ["kueue.x-k8s.io/job-uid=uid-of-job"]

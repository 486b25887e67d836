"""The page about a run."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from html.parser import HTMLParser
from typing import Any

import yaml
from tests.support import builders, reports

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.loop.stopping import Best
from llm2llm.manifests.documents import validate_run
from llm2llm.manifests.kubectlyaml import load
from llm2llm.report.page import manifest_of, render

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=\"alert('2')\"> {{ 7*7 }} & \u202etxet \ud800"
VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """What a browser would see: elements, attributes and text; fails on tags that do not match."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page.decode())
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@cache
def rendered(text: str, rows: int = 6) -> bytes:
    """A page on which everything that others write is `text`."""
    return render(reports.contents(text, rows=rows, best=Best(1, builders.accuracy(0.7), text, text)))


def embedded(page: bytes) -> dict[str, Any]:
    """The rows that the page's script reads."""
    found: dict[str, Any] = json.loads(page.decode().partition('id="rows">')[2].partition("</script>")[0])
    return found


def test_a_page_of_hostile_rows_has_the_elements_of_one_of_harmless_rows() -> None:
    hostile, harmless = Checked(rendered(HOSTILE)), Checked(rendered("harmless"))

    assert hostile.tags == harmless.tags
    assert names(hostile) == names(harmless)
    assert hostile.tags.count("script") == 2  # the rows, and what shows them
    assert embedded(rendered(HOSTILE))["answered"][0]["text"] == {HOSTILE: HOSTILE}


def names(checked: Checked) -> list[str]:
    return [name for name, _ in checked.attributes]


def test_a_page_runs_its_own_script_alone_and_loads_nothing() -> None:
    page = rendered(HOSTILE).decode()
    checked = Checked(page.encode())
    [policy] = [value for name, value in checked.attributes if value and value.startswith("default-src")]

    assert not {"link", "img", "iframe", "object", "form"} & set(checked.tags)
    assert not {"src", "style", "onload", "onerror"} & set(names(checked))
    assert all(value and value.startswith("#") for name, value in checked.attributes if name == "href")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    for tag in ("style", "script"):
        text = page.rpartition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert "@import" not in page
    assert "http:" not in page.replace("http://www.w3.org/", "").replace("http://teacher/v1", "")


def test_a_page_tells_the_numbers() -> None:
    text = " ".join(" ".join(Checked(rendered("x")).text).split())

    for words in (
        "Accuracy rose from 0.500 to 0.700", "MaxIterationsReached: all 2 iterations are done", "1 best",
        "accuracy 0.700 [0.650, 0.750]", "100 evaluation rows", "9 / 4 against 0", "28 / 30", "kept of 4", "1,234",
        "accuracy 0.690 [0.640, 0.740] on 100 rows", "i001-train", "load 1.0, compute 2.5", "kind: AugmentationRun",
    ):  # fmt: skip
        assert words in text, words


def test_a_long_text_is_cut_and_the_page_stays_small() -> None:
    assert len(rendered("y" * 100_000)) < 400_000
    assert len(rendered("y" * 3_000, rows=2000)) < 5_000_000


def test_rows_without_room_are_counted() -> None:
    assert b"Not on this page, to keep it small:" in rendered("y" * 3_000, rows=2000)
    assert b"Not on this page" not in rendered("y")


def test_a_manifest_repeats_the_run_and_shows_no_value_of_the_environment() -> None:
    spec = reports.spec(train={"env": [{"name": "TOKEN", "value": "hush"}]}, maxIterations=3)
    manifest = manifest_of(reports.contents(spec=spec))
    document = yaml.safe_load(manifest)

    assert "hush" not in manifest
    assert document["metadata"] == {"name": "words", "namespace": "ns"}
    assert document["spec"]["train"]["env"] == [{"name": "TOKEN", "value": "(not shown)"}]
    assert AugmentationRunSpec.model_validate(document["spec"]).max_iterations == 3


def test_a_manifest_shows_no_header_and_no_user_of_an_address() -> None:
    teacher = {
        "model": "m",
        "baseUrl": "https://me:pa55word@gateway/v1?api-version=2&api-key=hush1",
        "extraHeaders": {"Authorization": "Bearer hush2", "X-Team": "hush3", "value": "hush4"},
    }
    artifacts = {"uri": "s3://bucket/runs", "endpoint": "http://me:hush/5@minio:9000"}
    manifest = manifest_of(reports.contents(spec=reports.spec(generate={"teacher": teacher}, artifacts=artifacts)))
    shown = load(manifest)["spec"]

    assert "hush" not in manifest
    assert "pa55word" not in manifest
    assert shown["generate"]["teacher"]["baseUrl"] == "https://gateway/v1?api-version=2&api-key=***"
    assert shown["generate"]["teacher"]["extraHeaders"] == dict.fromkeys(teacher["extraHeaders"], "(not shown)")
    assert shown["artifacts"]["endpoint"] == "http://minio:9000"


def test_a_manifest_is_read_back_as_the_run_was() -> None:
    fields = {"extraHeaders": "e", "env": "n", "value": "v", "prompt": "y", "completion": "08"}
    labels = ["y", "n", "08", "1e3", "0o17", "12:30", "~", "1_000", "2026-01-01"]
    task = {"promptTemplate": "{{ prompt }}: https://x.org/@y", "grader": {"type": "Choice"}, "labels": labels}
    changes: dict[str, Any] = {
        "task": task,
        "data": {"seed": {"uri": "file:///a.jsonl", "fields": fields}},
        "train": {"hyperparameters": {"learningRate": "3e-3"}},
    }
    spec = AugmentationRunSpec.model_validate(builders.spec(**changes))
    assert validate_run(load(manifest_of(reports.contents(spec=spec)))).spec == spec


def test_a_page_before_the_first_evaluation_says_so() -> None:
    page = render(reports.contents(iterations=[], best=None, test=(), state=None, seeds=[], held_out=[]))
    assert b"No iteration has been evaluated yet." in page
    assert b"figcaption" not in page.partition(b"</style>")[2]

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SETUP = """
import asyncio, logging, threading, warnings
from llm2llm_operator.observability import logs
from llm2llm_operator.model.status import CurrentStep
logs.set_up({style!r})
log = logging.getLogger("llm2llm_operator.x")
train = CurrentStep(stage="Train", iteration=3, attempt=1)
"""


def logged(code: str, style: str = "json") -> str:
    """What a process that runs this code writes to stderr; stdout has to stay empty."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP.format(style=style) + code], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    return done.stderr


def one(code: str) -> dict[str, Any]:
    [line] = logged(code).splitlines()
    return dict(json.loads(line))


def test_a_line_of_a_pass_knows_its_run_step_and_attempt():
    line = one(
        "with logs.about(('team-a', 'x')):\n logs.about_uid('u'); logs.about_step(train); log.info('created %s', 'it')"
    )
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "llm2llm_operator.x",
        "message": "created it",
        "run": "team-a/x",
        "uid": "u",
        "step": "i003-train",
        "attempt": 1,
    }


def test_a_line_after_a_pass_knows_nothing_of_it():
    line = one("with logs.about(('team-a', 'x')):\n logs.about_step(train)\nlog.info('idle')")
    assert line.keys() == {"ts", "level", "logger", "message"}


def test_passes_beside_each_other_do_not_mix():
    code = """
async def one_pass(name, step):
    with logs.about(("team-a", name)):
        logs.about_step(step)
        for _ in range(3):
            await asyncio.sleep(0)
            log.info(name)
async def both():
    await asyncio.gather(one_pass("x", train), one_pass("y", None))
asyncio.run(both())
"""
    lines = [json.loads(line) for line in logged(code).splitlines()]
    assert len(lines) == 6
    assert all(line["run"] == f"team-a/{line['message']}" for line in lines)
    assert {line["message"]: line.get("step") for line in lines} == {"x": "i003-train", "y": None}


@pytest.mark.parametrize(
    ("code", "logger", "words"),
    [
        pytest.param("logging.getLogger('kopf.x').warning('a\\nb')", "kopf.x", "a\nb", id="kopf, and a line break"),
        pytest.param("logging.getLogger('aiohttp.server').error('broken')", "aiohttp.server", "broken", id="aiohttp"),
        pytest.param("warnings.warn('old')", "py.warnings", "UserWarning: old", id="a warning of Python"),
        pytest.param("1 / 0", "llm2llm_operator.observability.logs", "unhandled exception", id="what nobody caught"),
        pytest.param("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", "llm2llm_operator.observability.logs", "unhandled exception", id="nor in a thread"),
    ],
)  # fmt: skip
def test_it_is_one_json_object_a_line_whoever_logs(code: str, logger: str, words: str):
    line = one(code)
    assert line["logger"] == logger
    assert words in line["message"]
    assert ("ZeroDivisionError" in line.get("exception", "")) == ("1 / 0" in code)


def test_what_kopf_says_of_a_run_names_the_run():
    reference = {"kind": "AugmentationRun", "namespace": "team-a", "name": "x", "uid": "u"}
    line = one(f"logging.getLogger('kopf.objects').error('no', extra={{'k8s_ref': {reference}}})")
    assert (line["run"], line["uid"]) == ("team-a/x", "u")


def test_text_is_for_people_and_says_the_same():
    text = logged("with logs.about(('team-a', 'x')):\n logs.about_step(train)\n log.warning('slow')", style="text")
    assert text.endswith("WARNING llm2llm_operator.x slow [run=team-a/x step=i003-train attempt=1]\n")

from __future__ import annotations

import asyncio
import inspect

import pytest
from kopf._core.reactor import orchestration

from llm2llm_operator.watch import watchers
from llm2llm_operator.watch.watchers import WATCHER, Watchers


def test_a_watch_that_ends_is_missed_and_one_that_has_not_begun_yet_is_not():
    async def watch() -> list[bool]:
        mine = Watchers(2)
        answers = [mine.one_is_missing()]
        tasks = [asyncio.create_task(asyncio.sleep(60), name=f"{WATCHER}{name}") for name in ("runs", "jobs")]
        answers.append(mine.one_is_missing())
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        answers.append(mine.one_is_missing())
        tasks[1].cancel()
        return answers

    assert asyncio.run(watch()) == [False, False, True]


def test_a_watch_that_never_begins_is_missed_in_the_end(monkeypatch: pytest.MonkeyPatch):
    async def watch() -> bool:
        monkeypatch.setattr(watchers, "STARTING_SECONDS", -1.0)
        mine = Watchers(2)
        alone = mine.one_is_missing()
        task = asyncio.create_task(asyncio.sleep(60), name=f"{WATCHER}jobs")
        beside_another = mine.one_is_missing()
        task.cancel()
        return (alone, beside_another) == (False, True)  # while none begins, the API server is away

    assert asyncio.run(watch())


def test_kopf_names_its_watches_as_is_expected():
    assert f'name=f"{WATCHER}{{what}}"' in inspect.getsource(orchestration)

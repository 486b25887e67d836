"""The mistakes that a beginner makes, each with its message: what was wrong, where, and what to do."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.chatserver import ChatServer
from tests.support.desk import KEY, Desk, Said, good_row, stop_before_training, write_model
from tests.support.keyword import CHECKOUT
from tests.support.mistakes import AROUND_THE_RUN, ELSEWHERE, IN_THE_MANIFEST, IN_THE_ROWS, Mistake

from llm2llm.local import runner

ALL = 69
REGULAR_EXPRESSION = re.compile(r"\[0-9|\[a-z|\\[.dws]|\)\?|\.\+\$|\]\*|\]\+")
FOR_PROGRAMMERS = ("Traceback", "Errno", "unicode string", "NoneType", "pydantic", "does not match ^")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ChatServer]:
    with ChatServer(good_row, key=KEY) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "model"
    folder.mkdir()
    write_model(folder)
    return folder


@pytest.fixture
def desk(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    endpoint: ChatServer,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    endpoint.answer, endpoint.key = good_row, KEY
    endpoint.requests.clear()
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HF_ENDPOINT", "http://no-such-hub.invalid")
    for name in [name for name in os.environ if re.match("AWS_(ACCESS|SECRET|SESSION|PROFILE)", name)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(runner, "FIRST_PAUSE", 0.0)
    stop_before_training(monkeypatch)
    shutil.copytree(model, tmp_path / "model")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Desk(tmp_path, capsys, endpoint)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def cases(mistakes: tuple[Mistake, ...]) -> list[object]:
    return [pytest.param(mistake, id=f"{mistake.number}: {mistake.name}") for mistake in mistakes]


def check(mistake: Mistake, said: Said) -> None:
    """Checks the message of a mistake, and what holds for every message."""
    assert said.code == mistake.code, said.text
    lines = said.err.splitlines()
    place = 0
    for words in mistake.says:
        assert words in lines[0][place:], said.text
        place = lines[0].index(words, place)
    for words in mistake.further:
        assert words in said.text
    assert KEY not in said.text
    assert REGULAR_EXPRESSION.search(said.text) is None
    assert [words for words in FOR_PROGRAMMERS if words in said.text] == []
    assert len(set(lines)) == len(lines), "something is said twice"
    sentences = [part for line in lines for part in re.split(r"; ", line) if len(part) > 20]
    assert len(set(sentences)) == len(sentences), "something is said twice"


@pytest.mark.parametrize("mistake", cases(IN_THE_MANIFEST))
def test_validate_names_the_field_and_what_was_meant(desk: Desk, mistake: Mistake) -> None:
    mistake.change(desk)
    check(mistake, desk.validate())


@pytest.mark.parametrize("mistake", cases((*IN_THE_ROWS, *AROUND_THE_RUN)))
def test_run_says_what_is_wrong_before_it_trains(desk: Desk, mistake: Mistake) -> None:
    mistake.change(desk)
    asked = len(desk.teacher.requests)
    check(mistake, desk.run())
    assert len(desk.teacher.requests) - asked <= mistake.asked


def test_a_desk_without_a_mistake_gets_as_far_as_training(desk: Desk) -> None:
    assert desk.validate().code == 0
    said = desk.run()
    assert (said.code, said.err, "warning" in said.out) == (143, "training was reached\n", False)
    assert len(desk.teacher.requests) == 1


def test_every_mistake_of_the_list_has_its_test() -> None:
    shown = {mistake.number for mistake in (*IN_THE_MANIFEST, *IN_THE_ROWS, *AROUND_THE_RUN)} | ELSEWHERE.keys()
    assert {str(number) for number in range(1, ALL + 1)} <= shown
    for file, name in ELSEWHERE.values():
        assert f"def {name}(" in (CHECKOUT / file).read_text(), file

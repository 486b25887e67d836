"""Two commands in one folder: one of them works, and nothing is paid for twice."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster.s3 import S3Server
from tests.integration.local.workplace import Workplace, digests, environment, run
from tests.support.commands import Command, start_command
from tests.support.keyword import CHECKOUT
from tests.support.teacher import Teacher

CONCURRENCY = 8
SECONDS = {"BEAT_SECONDS = 5.0": "0.5", "STALE_SECONDS = 30.0": "4.0", "DOUBT_SECONDS = 15.0": "1.5"}
SLOW_HEART = SECONDS | {"BEAT_SECONDS = 5.0": "600.0"}
"""Nothing but the look before a payment can notice in time that the run was lost."""
USED = "is in use by "


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with Teacher(latency=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where Python finds a copy of the package that waits less long for a holder in a bucket."""
    return copy_package(tmp_path_factory.mktemp("hurried"), SECONDS)


def copy_package(folder: Path, seconds: dict[str, str]) -> str:
    shutil.copytree(CHECKOUT / "images" / "llm2llm", folder / "llm2llm")
    module = folder / "llm2llm" / "local" / "heartbeat.py"
    text = module.read_text()
    for before, value in seconds.items():
        assert text.count(before) == 1, before
        text = text.replace(before, f"{before.partition(' ')[0]} = {value}")
    module.write_text(text)
    return str(folder)


class Place:
    """One work folder or bucket, and the command that runs there."""

    def __init__(self, command: list[str], package: str, folder: Path, manifests: Path) -> None:
        self.command = command
        self.environment = environment(PYTHONPATH=package)
        self.folder = folder
        self.manifests = manifests
        self._started = 0

    def start(self, *further: str) -> Command:
        self._started += 1
        log = self.folder / f"run-{self._started}.log"
        return start_command([*self.command, *further], log=log, env=self.environment, cwd=CHECKOUT)

    def digests(self) -> dict[str, str]:
        return digests(self.manifests)


@pytest.fixture(params=["folder", "bucket"])
def place(
    request: pytest.FixtureRequest,
    workplace: Workplace,
    teacher: Teacher,
    hurried: str,
    tmp_path: Path,
    s3: S3Server,
    prefix: str,
) -> Place:
    command = workplace.command(tmp_path / "out", teacher)
    if request.param == "folder":
        return Place(command, hurried, tmp_path, tmp_path / "out")
    return on_s3(command, hurried, tmp_path, s3, prefix)


def on_s3(command: list[str], package: str, folder: Path, s3: S3Server, prefix: str) -> Place:
    secret = {"kind": "Secret", "metadata": {"name": "s3"}, "stringData": s3.keys}
    (folder / "secret.yaml").write_text(json.dumps(secret))
    artifacts = {"uri": f"s3://bucket/{prefix}", "endpoint": s3.endpoint, "region": "us-east-1", "pathStyle": "true"}
    where = command.index("--workdir")
    command[where : where + 2] = [str(folder / "secret.yaml")]
    command += [part for name, value in artifacts.items() for part in ("--set", f"spec.artifacts.{name}={value}")]
    return Place(command, package, folder, s3.folder / "objects" / "bucket" / prefix)


def wait_until(condition: Callable[[], bool], *processes: Command) -> None:
    while not condition() and all(process.alive() for process in processes):
        time.sleep(0.02)
    assert condition(), "\n".join(process.log_tail() for process in processes)


def pays(teacher: Teacher, more_than: int = 20) -> Callable[[], bool]:
    return lambda: teacher.stats()["answered"] > more_than


def settled_requests(teacher: Teacher) -> int:
    """The requests that it has received, once none is on its way any more."""
    before, now = -1, teacher.stats()["requests"]
    while before != now:
        time.sleep(0.5)
        before, now = now, teacher.stats()["requests"]
    return int(now)


@pytest.mark.turns("hold: two at once")
def test_fault_66_of_two_commands_in_one_folder_one_says_who_works_there(place: Place, teacher: Teacher) -> None:
    both = [place.start(), place.start()]
    ends = [process.wait() for process in both]

    assert sorted(ends) == [0, 75], [process.log_tail() for process in both]
    refused = both[ends.index(75)].log_tail()
    works = both[ends.index(0)]
    assert USED in refused
    assert f"(process {works.pid}, since 20" in refused
    assert "give one of them another --workdir" in refused
    assert "Traceback" not in refused
    assert teacher.stats()["repeated"] == 0


@pytest.mark.turns("hold: one comes later")
def test_fault_66_a_second_command_that_comes_later_is_refused_too_and_changes_nothing(
    place: Place, teacher: Teacher
) -> None:
    first = place.start()
    wait_until(pays(teacher), first)
    second = place.start()
    assert second.wait() == 75
    assert USED in second.log_tail()
    assert first.wait() == 0
    assert teacher.stats()["repeated"] == 0
    before = place.digests()
    again = place.start()
    assert again.wait() == 0, again.log_tail()
    assert place.digests() == before


@pytest.mark.turns("hold: however it ends")
@pytest.mark.parametrize(
    ("number", "repeated"),
    [
        pytest.param(signal.SIGINT, 0, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 0, id="SIGTERM"),
        pytest.param(signal.SIGKILL, CONCURRENCY, id="SIGKILL"),
    ],
)
def test_fault_66_however_a_command_ends_the_next_one_goes_on(
    place: Place, teacher: Teacher, number: signal.Signals, repeated: int
) -> None:
    first = place.start()
    wait_until(pays(teacher), first)
    first.send_signal(number)
    first.wait()
    second = place.start()
    assert second.wait() == 0, second.log_tail()
    assert teacher.stats()["repeated"] <= repeated


@pytest.mark.turns("local: runs that stop")
def test_fault_66_a_command_that_was_suspended_until_another_took_over_pays_no_more(
    workplace: Workplace, teacher: Teacher, tmp_path: Path, s3: S3Server, prefix: str
) -> None:
    package = copy_package(tmp_path / "package", SLOW_HEART)
    place = on_s3(workplace.command(tmp_path / "out", teacher), package, tmp_path, s3, prefix)
    first = place.start()
    wait_until(pays(teacher), first)
    first.send_signal(signal.SIGSTOP)
    answered = teacher.stats()["answered"]
    second = place.start()
    wait_until(lambda: teacher.stats()["answered"] > answered + CONCURRENCY, second)
    second.send_signal(signal.SIGSTOP)
    sent = settled_requests(teacher)
    first.send_signal(signal.SIGCONT)

    assert first.wait() == 75
    assert "was taken over by another command" in first.log_tail()
    # What was on its way out when the process was stopped could still go.
    assert settled_requests(teacher) <= sent + CONCURRENCY
    second.send_signal(signal.SIGCONT)
    assert second.wait() == 0, second.log_tail()
    assert teacher.stats()["repeated"] <= CONCURRENCY


def test_two_runs_in_one_folder_do_not_wait_for_each_other(
    workplace: Workplace, teacher: Teacher, tmp_path: Path
) -> None:
    command = workplace.command(tmp_path / "out", teacher, "--set", "spec.maxIterations=1")
    both = [
        start_command([*command, "--set", f"metadata.name={name}"], log=tmp_path / f"{name}.log", env=environment())
        for name in ("one", "other")
    ]
    assert [process.wait() for process in both] == [0, 0], [process.log_tail() for process in both]


def test_the_lock_is_no_artifact(workplace: Workplace, teacher: Teacher, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(workplace.command(out, teacher, "--set", "spec.maxIterations=1"))
    assert done.returncode == 0, done.stderr
    locks = list(out.rglob("*.lock"))
    assert [lock.name for lock in locks] == ["run.lock"]
    assert locks[0].read_bytes() == b""
    assert not any("run.lock" in path.read_text() for path in out.rglob("manifest.json"))
    verified = run(["verify", str(out)])
    assert verified.returncode == 0, verified.stderr
    assert "lock" not in verified.stdout
    assert "0 problems" in verified.stdout

"""How vLLM is started as a local teacher, and what a client is told of it; nothing is started here."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support import builders

from llm2llm.api.run import AugmentationRunSpec
from llm2llm.errors import ConfigurationError, StepError, Transient
from llm2llm.podenv import TEACHER_CA_BUNDLE, TEACHER_KEY
from llm2llm.runtime.masking import Masker
from llm2llm.teacher.local import LOG_LINES, QUOTE_CHARACTERS, LocalTeacher

ENVIRON = {TEACHER_KEY: "of the Secret", TEACHER_CA_BUNDLE: "/mnt/ca/teacher/ca.crt", "PATH": "/bin"}
SECRET = "s3cr3t-0f-my-0wn-hub-42"
MASK = Masker({"HF_TOKEN": SECRET})


def local(folder: Path, environ: dict[str, str] | None = None, **changes: Any) -> LocalTeacher:
    teacher = {"model": "tiny", "source": {"uri": "hf://owner/teacher"}}
    spec = AugmentationRunSpec.model_validate(builders.spec(generate={"mode": "Local", "teacher": teacher, **changes}))
    folder.mkdir(exist_ok=True)
    return LocalTeacher(
        spec.generate, lambda: folder / "model", folder, environ or ENVIRON, lambda _: None, threading.Event(), MASK, port=8123, key="own"
    )  # fmt: skip


def test_a_client_finds_it_on_loopback_with_a_key_of_its_own_and_no_bundle_of_an_endpoint(tmp_path: Path) -> None:
    teacher = local(tmp_path)

    assert str(teacher.address.base_url) == "http://127.0.0.1:8123/v1"
    assert teacher.address.model == "tiny"
    assert teacher.client_environ == {TEACHER_KEY: "own", "PATH": "/bin"}


SECRET = "s3cr3t-0f-my-0wn-hub-42"
MASK = Masker({"HF_TOKEN": SECRET})


def test_two_teachers_of_a_machine_have_ports_and_keys_of_their_own(tmp_path: Path) -> None:
    given: tuple[Any, ...] = (local(tmp_path).generate, Path, tmp_path, {}, print, threading.Event(), MASK)
    first, second = LocalTeacher(*given), LocalTeacher(*given)
    assert first.key != second.key
    assert 0 < first.port < 2**16


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_server_serves_the_folder_under_the_name_of_the_spec_to_as_many_requests_as_are_sent(
    tmp_path: Path,
) -> None:
    gpus = {"limits": {"nvidia.com/gpu": "4"}}
    teacher = local(tmp_path, resources=gpus, tensorParallelSize=4, limits={"maxConcurrentRequests": 7})
    command = teacher._command(tmp_path / "model")

    assert (option(command, "--model"), option(command, "--served-model-name")) == (str(tmp_path / "model"), "tiny")
    assert (option(command, "--host"), option(command, "--port")) == ("127.0.0.1", "8123")
    assert (option(command, "--tensor-parallel-size"), option(command, "--max-num-seqs")) == ("4", "7")
    assert "--enforce-eager" not in command
    assert not any("own" in part for part in command)  # every process of the machine can read a command line


def test_the_environment_may_change_the_servers_settings_but_not_its_key(tmp_path: Path) -> None:
    environ = local(
        tmp_path, {"HF_HUB_OFFLINE": "0", "VLLM_API_KEY": "another", "VLLM_LOGGING_LEVEL": "DEBUG"}
    )._child_environ()

    assert (environ["HF_HUB_OFFLINE"], environ["VLLM_LOGGING_LEVEL"]) == ("0", "DEBUG")
    assert environ["VLLM_API_KEY"] == "own"
    caches = [environ[name] for name in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")]
    assert all(Path(cache).is_relative_to(tmp_path) for cache in caches)  # nothing else can be written to in a pod
    assert len(set(caches)) == 3


def ended(teacher: LocalTeacher, log: bytes, code: int | None = 1) -> LocalTeacher:
    """As it is when its server has written this and ended; None: it still runs."""
    (teacher.scratch / "vllm.log").write_bytes(log)
    teacher._child = cast("Any", SimpleNamespace(poll=lambda: code, returncode=code))
    return teacher


@pytest.mark.parametrize(
    ("log", "error", "words"),
    [
        pytest.param(b"loading\n\n  CUDA out of memory \n", Transient, "exited with code 1: loading | CUDA out of memory", id="its last lines"),
        pytest.param(b"", Transient, "exited with code 1: ", id="nothing was written"),
        pytest.param(b"ModuleNotFoundError: No module named 'vllm'\n", ConfigurationError, "set spec.generate.image to an image that contains it", id="no vLLM"),
        pytest.param(b"ModuleNotFoundError: No module named 'vllm_plugin'\n", Transient, "No module named 'vllm_plugin'", id="another module"),
        pytest.param(b"\xff\xfe cut in a letter \xc3", Transient, "cut in a letter", id="bytes that are no text"),
    ],
)  # fmt: skip
def test_a_server_that_ended_is_told_with_its_last_words(
    tmp_path: Path, log: bytes, error: type[StepError], words: str
) -> None:
    with pytest.raises(error) as caught:
        ended(local(tmp_path), log).check()
    assert words in caught.value.message


def test_of_a_long_log_the_last_lines_are_told(tmp_path: Path) -> None:
    log = "".join(f"line {number} of the log\n" for number in range(10_000)).encode()
    with pytest.raises(Transient) as caught:
        ended(local(tmp_path), log).check()

    lines = caught.value.message.partition("code 1: ")[2].split(" | ")
    assert [line.split()[1] for line in lines] == [str(number) for number in range(10_000 - LOG_LINES, 10_000)]


def test_of_long_lines_the_end_is_told_so_that_a_reports_message_has_it(tmp_path: Path) -> None:
    log = "".join(f"ERROR {number} [core.py:1000] {'x' * 150}\n" for number in range(20)) + "RuntimeError: the cause\n"
    with pytest.raises(Transient, match=r"exited with code 1: .* \| RuntimeError: the cause$") as caught:
        ended(local(tmp_path), log.encode()).check()
    assert len(caught.value.message) < 2048  # records.Report cuts the end of what is longer


@pytest.mark.parametrize("shown", range(0, len(SECRET), 5))
@pytest.mark.parametrize("limit", [QUOTE_CHARACTERS, 16_384])
def test_a_secret_where_the_quote_of_a_log_is_cut_is_masked_as_a_whole(tmp_path: Path, limit: int, shown: int) -> None:
    end = "x" * (limit - shown - len("\n \n")) if limit == QUOTE_CHARACTERS else "\n" * (limit - shown)
    with pytest.raises(Transient) as caught:
        ended(local(tmp_path), f"the token is {SECRET}{end}\n".encode()).check()
    assert not any(SECRET[at : at + 4] in caught.value.message for at in range(len(SECRET) - 3))


def test_a_line_of_the_log_that_is_being_written_is_told_without_the_beginning_of_a_secret(tmp_path: Path) -> None:
    teacher = ended(local(tmp_path), f"token {SECRET}\ntoken {SECRET[:9]}".encode(), code=None)
    assert teacher._last_lines() == ["token ***", "token"]


def test_a_server_that_runs_or_was_never_started_is_no_error(tmp_path: Path) -> None:
    local(tmp_path).check()
    ended(local(tmp_path), b"loading", code=None).check()
    with local(tmp_path):
        pass  # and nothing is left to be ended

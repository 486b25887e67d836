"""The CPU time of a block: over its limit it ends, and nothing is left behind."""

from __future__ import annotations

import re
import signal
import threading
import time

import pytest

from llm2llm.tasks.timelimit import TimeLimitExceeded, limit_cpu_time


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_fault_62_a_block_that_computes_too_long_is_ended_even_within_a_pattern():
    for work in (lambda: spin(60), lambda: re.search("(a+)+b", "a" * 60)):
        with pytest.raises(TimeLimitExceeded), limit_cpu_time(0.05):
            work()
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL


def test_a_block_that_waits_is_not_ended():
    with limit_cpu_time(0.05):
        time.sleep(0.3)
    spin(0.2)  # and nobody ends it afterwards


def test_the_limit_goes_with_the_block_also_where_it_fails():
    with pytest.raises(KeyError), limit_cpu_time(0.05):
        raise KeyError
    spin(0.2)


def test_in_another_thread_there_is_none():
    seen: list[str] = []

    def work() -> None:
        with limit_cpu_time(0.01):
            spin(0.1)
        seen.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["done"]


def test_an_outer_limit_still_holds_after_an_inner_one():
    def work() -> None:
        with limit_cpu_time(0.2):
            with limit_cpu_time(5):
                spin(0.05)
            spin(60)

    with pytest.raises(TimeLimitExceeded):
        work()

"""One table of reasons: whoever says one says a member, and the data plane's own words are among them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm2llm.errors import ENDINGS, REASONS
from llm2llm.loop import stopping
from llm2llm.loop.stages import STAGES
from llm2llm_operator.model.status import IterationStatus, RunStatus
from llm2llm_operator.reasons import About, Reason

CHECKOUT = Path(__file__).resolve().parents[3]
OPERATOR = CHECKOUT / "operator" / "llm2llm_operator"


def test_the_reasons_of_exit_codes_of_the_loops_end_and_of_working_stages_are_in_the_table():
    literals = re.findall(r'Finished\(\s*"(\w+)"', Path(stopping.__file__).read_text())
    assert literals
    ends = {stopping.NO_MISTAKES, *literals}
    assert ends == {reason for reason in Reason if About.COMPLETE in reason.about} - {Reason.BUDGET_EXCEEDED}
    assert {*REASONS.values(), *(one.reason for one in ENDINGS if one.reason)} <= set(Reason)
    assert {traits.verb for traits in STAGES.values()} <= set(Reason)


def test_no_module_says_a_reason_of_the_table_as_a_literal():
    states = {
        "BackingOff",
        "Queued",
        "Replacing",
        "Unschedulable",
    }  # of a step, of a run (phase), of the condition PodScheduled
    words = "|".join(set(Reason) - states)
    found = {
        path.relative_to(OPERATOR).as_posix(): literals
        for path in OPERATOR.rglob("*.py")
        if path.name != "reasons.py" and (literals := re.findall(rf'"({words})"', path.read_text()))
    }
    assert found == {}


def test_every_reason_is_a_word_that_a_condition_takes_and_has_a_sentence():
    for reason in Reason:
        assert re.fullmatch(r"[A-Z][A-Za-z]{2,63}", reason)
        assert reason.sentence.endswith(".")
        assert reason.about


def test_an_update_of_the_status_refuses_a_field_that_there_is_not():
    status = RunStatus(iterations=[IterationStatus(index=0)])
    with pytest.raises(TypeError, match="RunStatus has no field actve_since"):
        status.updated(actve_since="now")
    with pytest.raises(TypeError, match="IterationStatus has no field keept"):
        status.iterations[0].updated(kept=1, keept=2)
    with pytest.raises(ValueError, match="no step is in progress"):
        status.with_step(state="Pending")

"""What people are told of an ending: the step's own words before the cluster's."""

from __future__ import annotations

import pytest
from tests.support import builders

from llm2llm.records import Stage
from llm2llm_operator.decide.policies.verdicts import AttemptEnd

TOLD = builders.report(Stage.TRAIN, exit_code=75, message="the store is away")
SILENT = builders.report(Stage.TRAIN, exit_code=75)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        pytest.param(AttemptEnd(75, TOLD, "from the Job", "Error"), "the store is away", id="the step's own message"),
        pytest.param(AttemptEnd(75, SILENT, "from the Job", "Error"), "from the Job", id="else what the cluster says"),
        pytest.param(AttemptEnd(137, None, "", "OOMKilled"), "OOMKilled", id="else the reason of its container"),
        pytest.param(AttemptEnd(3), "exit code 3", id="else its exit code"),
    ],
)
def test_the_words_for_an_ending(ending: AttemptEnd, words: str):
    assert ending.words == words

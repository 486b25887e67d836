import sys

import pytest

from llm2llm.runtime.logs import LIMIT, tee_output


def test_what_is_written_goes_on_and_is_recorded_with_secrets_masked(capsys: pytest.CaptureFixture[str]) -> None:
    with tee_output() as log:
        print("key is s3cr3t-key")
        print("trouble", file=sys.stderr)

    assert capsys.readouterr().out == "key is s3cr3t-key\n"
    assert log.masked({"AWS_SECRET_ACCESS_KEY": "s3cr3t-key", "HOME": "trouble"}) == b"key is ***\ntrouble\n"


def test_only_the_end_of_a_long_log_is_kept() -> None:
    with tee_output() as log:
        for number in range(200_000):
            log.add(f"{number:09d}\n")

    text = log.masked({})
    assert LIMIT - 10 < len(text) <= LIMIT
    assert text.endswith(b"000199999\n")

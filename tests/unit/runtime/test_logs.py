import io
import sys
from contextlib import redirect_stdout

import pytest

from llm2llm.runtime.logs import LIMIT, tee_output
from llm2llm.runtime.masking import Masker

LONG = "a-very-long-secret-beside-a-short-one"
MASK = Masker({"AWS_SECRET_ACCESS_KEY": "s3cr3t-key", "HOME": "trouble"})


def test_what_is_written_goes_on_and_is_recorded_with_secrets_masked(capsys: pytest.CaptureFixture[str]) -> None:
    with tee_output(MASK) as log:
        print("key is s3cr3t-key")
        print("trouble with s3cr3t-key", file=sys.stderr)

    assert capsys.readouterr() == ("key is ***\n", "trouble with ***\n")
    assert log.encode() == b"key is ***\ntrouble with ***\n"


def test_a_secret_that_is_written_in_pieces_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    with tee_output(MASK) as log:
        for piece in ("key ", "s3cr", "3t-", "key\rnext s3cr3t", "-key\nand s3cr3", "t-key"):
            sys.stdout.write(piece)

    assert capsys.readouterr().out == "key ***\rnext ***\nand ***"
    assert log.encode() == b"key ***\rnext ***\nand ***"


def test_a_line_without_an_end_is_printed_when_it_is_flushed_or_long(capsys: pytest.CaptureFixture[str]) -> None:
    with tee_output(MASK):
        print("how far? ", end="", flush=True)
        assert capsys.readouterr().out == "how far? "
        sys.stdout.write("x" * 100_000)
        printed = len(capsys.readouterr().out)
        assert printed == 100_000
    assert capsys.readouterr().out == ""


def test_a_secret_that_is_flushed_in_pieces_is_masked_and_all_else_is_shown_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with tee_output(MASK) as log:
        shown = []
        for piece in (
            "key: ",
            "s",
            "3cr",
            "3t-ke",
            "y",
            " s3cr",
            "ow\r",
            "50 % s3",
            "cr3t-k\n",
            "is it s3cr?",
            " s3cr",
        ):
            print(piece, end="", flush=True)
            shown.append(capsys.readouterr().out)
    assert shown == ["key: ", "", "", "", "***", " ", "s3crow\r", "50 % ", "s3cr3t-k\n", "is it s3cr?", " "]
    assert capsys.readouterr().out == "s3cr"
    assert log.encode() == b"key: *** s3crow\r50 % s3cr3t-k\nis it s3cr? s3cr"


@pytest.mark.parametrize("length", [1, 3, 5])
def test_a_whole_secret_that_ends_as_it_begins_is_not_cut(length: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = "it is abc-1-abc-1, abc-1-abc-1-or-more, and abc-1-abc-1"
    with tee_output(Masker({"A_KEY": "abc-1-abc-1", "B_KEY": "abc-1-abc-1-or-more"})):
        for begin in range(0, len(text), length):
            print(text[begin : begin + length], end="", flush=True)
    assert capsys.readouterr().out == "it is ***, ***, and ***"


def test_what_is_held_back_is_passed_on_when_the_stream_is_closed() -> None:
    written: list[str] = []

    class Stream(io.StringIO):
        def close(self) -> None:
            written.append(self.getvalue())

    with redirect_stdout(Stream()), tee_output(MASK):
        print("half s3cr", end="", flush=True)
        sys.stdout.close()
    assert written[0] == "half s3cr"


def test_the_streams_are_as_before_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with tee_output(MASK):
            sys.stderr.write("half a line")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    print("s3cr3t-key")
    assert capsys.readouterr() == ("s3cr3t-key\n", "half a line")


def test_only_the_end_of_a_long_log_is_kept() -> None:
    with tee_output(MASK) as log:
        for number in range(200_000):
            log.add(f"{number:09d}\n")

    text = log.encode()
    assert LIMIT - 10 < len(text) <= LIMIT
    assert text.endswith(b"000199999\n")


def test_a_secret_across_the_cut_of_a_long_line_and_in_writelines_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    with tee_output(Masker({"A_KEY": "s3cr3t-key", "B_KEY": LONG})) as log:
        sys.stdout.write("x" * 65_530 + "s3cr3t")
        sys.stdout.write("-key\n")
        sys.stdout.writelines(["a s3cr3t", "-key\n"])
        sys.stdout.write("x" * 65_550 + "s3cr3t-key")
        sys.stdout.write("x" * 50)
        sys.stdout.write("\n")
    printed = capsys.readouterr().out
    assert "s3cr3t" not in printed
    assert "***\na ***\n" in printed
    assert printed.endswith("***" + "x" * 50 + "\n")
    assert b"s3cr3t" not in log.encode()

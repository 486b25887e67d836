"""What the tutorial says that its commands answer on its tickets is what they do; one that is not run here says why in a
comment before it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.corpus import EXAMPLES
from tests.support.tutorial import PAGE, Shown, answer, shown, work_folder

TRAIN = re.compile(r"^```yaml\n(  train:\n.*?)^```$", re.MULTILINE | re.DOTALL)


def test_commands_answer_as_the_page_says(tmp_path: Path):
    """Those that are always run, and `check` and `preview` with the estimates."""
    folder = work_folder(tmp_path)
    said = [Shown(command, answer(command, folder)) for command, _ in shown(run=True)]
    assert said == shown(run=True)
    later = dict(shown(run=False))
    student, check, preview = (
        next(command for command in later if word in command) for word in ("student.py", "llm2llm check", "preview")
    )
    answer(student, folder)
    teacher = [sys.executable, "-B", str(EXAMPLES / "tickets" / "teacher.py"), "--port", "0"]
    with subprocess.Popen(teacher, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            address = process.stdout.readline().strip()
            manifest = (folder / "run.yaml").read_text(encoding="utf-8").replace("http://127.0.0.1:8123/v1", address)
            [train] = TRAIN.findall(PAGE.read_text(encoding="utf-8"))
            (folder / "run.yaml").write_text(manifest + train, encoding="utf-8")
            checked = answer(check, folder, TEACHER_API_KEY="none")
            previewed = answer(preview, folder, TEACHER_API_KEY="none")
        finally:
            process.terminate()
    assert lines(checked) == lines(later[check])
    assert lines(previewed[previewed.index("---") :]) == lines(later[preview].removeprefix("...\n"))


def lines(text: str) -> list[str]:
    """The lines in any order, without blanks at their ends and the digest of the weights, which depends on torch."""
    return sorted(re.sub(r"sha256:[0-9a-f]{64}", "sha256:...", line.rstrip()) for line in text.splitlines())

"""A small command that ends in every way that a command can; the zygote's tests run it both ways.

Arguments: say, environment, code N, text, raise, thread, sleep, signals.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType


def main(argv: list[str]) -> int | str | None:
    print(f"argv {sys.argv[1:]} {Path(sys.argv[0]).name}")
    match argv:
        case ["environment"]:
            shown = {key: value for key, value in sorted(os.environ.items()) if key != "HOSTNAME"}
            print(json.dumps(shown), Path.cwd(), os.getpid(), os.getuid(), __name__ in sys.modules)
            print("to stderr", file=sys.stderr)
            Path("/scratch/written").write_text("x")
            return None
        case ["code", code]:
            atexit.register(print, "at exit")
            return int(code)
        case ["text"]:
            return "a text goes to stderr, with code 1"
        case ["raise"]:
            raise ValueError("uncaught")
        case ["thread"]:
            threading.Thread(target=_speak_late).start()
            return 0
        case ["exit"]:
            os._exit(9)
        case ["sigterm"]:
            return _until_asked()
        case _:
            return 64


def _speak_late() -> None:
    time.sleep(0.2)
    print("thread ended")


def _until_asked() -> int:
    def leave(number: int, frame: FrameType | None) -> None:
        print("asked to end", flush=True)
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, leave)
    print("waiting", flush=True)
    time.sleep(60)
    return 0

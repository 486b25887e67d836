"""Takes the picture of the report that the README shows, of a run in a work folder.

    make try && python -m tests.support.screenshot out docs/images/report.png

The folder's address on this machine is replaced by that of an example.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

from llm2llm.report.collect import collect
from llm2llm.report.page import render
from llm2llm.results.targets import the_run
from tests.support import browser

WIDTH, HEIGHT = 1400, 1160
ADDRESS = "file:///home/me/llm2llm/out"


def main(arguments: list[str]) -> int:
    workdir, picture = map(Path, arguments)
    program = browser.chromium()
    if program is None:
        print("there is no Chromium or Chrome: apt-get install chromium", file=sys.stderr)
        return 69
    run = the_run(str(workdir), "", {})
    page = render(collect(run.view(), run.store)).replace(workdir.absolute().as_uri().encode(), ADDRESS.encode())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.html"
        path.write_bytes(page)
        with browser.browse(program, Path(folder) / "profile") as tab:
            tab.open(path, width=WIDTH)
            clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 0.75}
            shot = tab.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    picture.write_bytes(base64.b64decode(shot["data"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A real Chromium without a window, driven over its DevTools protocol; it may reach nothing, and what it tries is kept."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

STARTUP_SECONDS = 60.0


def chromium() -> str | None:
    """The path of Chromium or Chrome on this machine."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome"))
    return next((path for path in found if path), None)


class Tab:
    """One tab of a browser.

    Attributes:
        requests: the addresses that the page asked for, its own first.
        errors: what its console complained about.
    """

    def __init__(self, address: str) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._session = self._loop.run_until_complete(self._open())
        self._socket = self._loop.run_until_complete(self._session.ws_connect(address, max_msg_size=2**28))
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    def call(self, method: str, **parameters: Any) -> Any:
        """Calls a method of the protocol, and notes the events that come before its answer."""
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._numbers)
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads((await asyncio.wait_for(self._socket.receive(), STARTUP_SECONDS)).data)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded":
                self.errors.append(parameters["entry"]["text"])

    def open(self, page: Path, fragment: str = "", width: int = 1400, *, dark: bool = False) -> None:
        """Opens a page and waits until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.requests.clear()
        self.errors.clear()
        self.call("Page.navigate", url=page.as_uri() + fragment)
        deadline = time.monotonic() + STARTUP_SECONDS
        while self.value("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < deadline, "the page does not load"

    def value(self, expression: str) -> Any:
        """The value of an expression of JavaScript; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key that has a character."""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def close(self) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()


@contextmanager
def browse(program: str, folder: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, which ends with the block."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, *options, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            tab = Tab(_address(folder / "DevToolsActivePort"))
            try:
                yield tab
            finally:
                tab.close()
        finally:
            process.kill()


def _address(port_file: Path) -> str:
    deadline = time.monotonic() + STARTUP_SECONDS
    while not (port_file.exists() and port_file.read_text().count("\n")):
        assert time.monotonic() < deadline, "the browser does not start"
        time.sleep(0.05)
    port = port_file.read_text().splitlines()[0]

    async def first_tab() -> str:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            tabs = await answer.json()
        return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))

    return asyncio.run(first_tab())

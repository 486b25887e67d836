"""A bad network before a real server: it delays what passes, and cuts connections in the middle of it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable

from tests.support.front import Front

CHUNK = 65536


class TcpProxy(Front):
    """Passes connections on to a port of this machine.

    Attributes:
        latency: seconds that every chunk of at most `CHUNK` bytes waits, each way; may be changed at any time.
        cuts: connections cut so far.
    """

    def __init__(self, backend: int, latency: float = 0.0) -> None:
        super().__init__(backend)
        self.latency = latency
        self.cuts = 0
        self._lock = threading.Lock()
        self._until: dict[str, deque[int]] = {"up": deque(), "down": deque()}
        self._passed = {"up": 0, "down": 0}
        self._dead = False
        self._silent = False

    def cut(self, direction: str, after: Iterable[int]) -> None:
        """Cuts the connection that carries the next so-many-th byte (up: to the server), then again after so many more."""
        with self._lock:
            self._passed[direction] = 0
            self._until[direction] = deque(after)

    def die(self, direction: str, after: int) -> None:
        """From the next so-many-th byte on, cuts every connection that carries anything, until `heal`."""
        self.cut(direction, [after])
        self._dead = True

    def stall(self, direction: str, after: int) -> None:
        """From the next so-many-th byte on, keeps every connection and passes nothing, until `heal`."""
        self.die(direction, after)
        self._silent = True

    def heal(self) -> None:
        """Cuts nothing any more."""
        with self._lock:
            self._dead = self._silent = False
            self._until = {"up": deque(), "down": deque()}

    def serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self.backend) as server:
            down = threading.Thread(target=self._pass, args=(server, client, "down"), daemon=True)
            down.start()
            self._pass(client, server, "up")
            down.join()

    def _pass(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                time.sleep(self.latency)
                kept = self._allowed(direction, len(data))
                target.sendall(data[:kept])
                if kept < len(data):
                    while self._silent:
                        time.sleep(0.05)
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _allowed(self, direction: str, size: int) -> int:
        """How many of these bytes pass before the cut."""
        with self._lock:
            until = self._until[direction]
            if not until or self._passed[direction] + size <= until[0]:
                self._passed[direction] += size
                return size
            allowed = until[0] - self._passed[direction]
            self._passed[direction] = 0
            self.cuts += 1
            if self._dead:
                until[0] = 0
            else:
                until.popleft()
            return allowed

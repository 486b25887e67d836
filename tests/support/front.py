"""What stands before a server of this machine and passes connections on to it."""

from __future__ import annotations

import abc
import socket
import threading
from types import TracebackType
from typing import Self


class Front(abc.ABC):
    """Listens on a free port; each connection is served in a thread of its own.

    Attributes:
        port: where it listens, on 127.0.0.1.
    """

    def __init__(self, backend: int) -> None:
        self.backend = ("127.0.0.1", backend)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()

    @abc.abstractmethod
    def serve(self, client: socket.socket) -> None:
        """Serves one connection, and closes it."""

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

"""TLS before a plain server: what a private endpoint with a certificate of its own looks like to a client."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from types import TracebackType


class TlsFront:
    """Takes TLS connections on a free port and passes their bytes to a plain one.

    Attributes:
        port: where it listens, on 127.0.0.1.
        authority: the certificate that a client has to trust.
    """

    def __init__(self, folder: Path, backend: int, name: str = "private") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        key, self.authority = folder / "tls.key", folder / "tls.crt"
        names = f"subjectAltName=IP:127.0.0.1,DNS:{name}"
        subject = ["-subj", f"/CN={name}", "-addext", names, "-days", "2", "-nodes"]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *subject]
        subprocess.run([*command, "-keyout", str(key), "-out", str(self.authority)], check=True, capture_output=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.authority, key)
        self._backend = backend
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> TlsFront:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            client = self._context.wrap_socket(plain, server_side=True)
            with client, socket.create_connection(("127.0.0.1", self._backend)) as server:
                threading.Thread(target=copy, args=(server, client), daemon=True).start()
                copy(client, server)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Passes bytes on until one of both ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

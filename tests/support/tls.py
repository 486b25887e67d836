"""TLS before a plain server: what a private endpoint with a certificate of its own looks like to a client."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path

from tests.support.front import Front


def issue(folder: Path, name: str = "private") -> tuple[Path, Path]:
    """Writes a new certificate for this name and loopback, which is its own authority, and its key: tls.crt, tls.key."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    names = f"subjectAltName=IP:127.0.0.1,DNS:{name}"
    subject = ["-subj", f"/CN={name}", "-addext", names, "-days", "2", "-nodes"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


class TlsFront(Front):
    """Takes TLS connections on a free port and passes their bytes to a plain one.

    Attributes:
        authority: the certificate that a client has to trust.
    """

    def __init__(self, folder: Path, backend: int, name: str = "private") -> None:
        super().__init__(backend)
        self.authority, key = issue(folder, name)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.authority, key)

    def serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            client = self._context.wrap_socket(plain, server_side=True)
            with client, socket.create_connection(self.backend) as server:
                threading.Thread(target=copy, args=(server, client), daemon=True).start()
                copy(client, server)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Passes bytes on until one of both ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

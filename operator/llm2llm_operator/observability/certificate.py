"""Reads the certificate that /metrics is served with, and reads it again when its files have changed.

A certificate is renewed while the operator runs: cert-manager writes the Secret, and the kubelet exchanges the files.
So each TLS handshake looks at the files. New ones take effect with that handshake; new ones that do not work are
logged once, and the previous certificate stays in use.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

CERTIFICATE, KEY = "tls.crt", "tls.key"
"""Names of the files, which are the keys of a Secret of type kubernetes.io/tls."""
log = logging.getLogger(__name__)


class CertificateError(Exception):
    """The certificate or its key is missing or does not work; the message says which, and what to do."""


class Certificate:
    """A certificate and its key in a folder.

    Attributes:
        context: what to serve with; it changes its certificate by itself.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the files. Raises CertificateError."""
        self._folder = folder
        self._files = self._read()
        self._newest = self.context = self._load()
        self.context.sni_callback = self._on_handshake  # called at each handshake, also at one without a server name

    def _on_handshake(self, connection: ssl.SSLObject, _server_name: str | None, _context: ssl.SSLContext) -> None:
        try:
            self._renew()
        except CertificateError as error:
            log.error("the certificate for /metrics stays what it was: %s", error)  # noqa: TRY400 - the message says it all
        connection.context = self._newest

    def _renew(self) -> None:
        """Loads the files if they have changed. Raises CertificateError, once for the same contents."""
        files = self._read_if_there()
        if files is not None and files != self._files:
            self._files = files
            self._newest = self._load()

    def _read_if_there(self) -> tuple[bytes, bytes] | None:
        try:
            return self._read()
        except CertificateError:  # between the removal of a file and its successor; the next handshake looks again
            return None

    def _read(self) -> tuple[bytes, bytes]:
        try:
            return (self._folder / CERTIFICATE).read_bytes(), (self._folder / KEY).read_bytes()
        except OSError as error:
            raise CertificateError(
                f"{error.filename} cannot be read ({error.strerror}): {self._folder} must have {CERTIFICATE} and "
                f"{KEY}, as a Secret of type kubernetes.io/tls has"
            ) from error

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # a password, so that nobody is asked for one when the key is encrypted
            context.load_cert_chain(self._folder / CERTIFICATE, self._folder / KEY, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                problem = f"{KEY} is not the key of {CERTIFICATE}"
            else:
                problem = f"{CERTIFICATE} or {KEY} is no PEM that can be read without a password ({error})"
            raise CertificateError(f"{problem}, in {self._folder}: reissue the certificate") from error
        return context

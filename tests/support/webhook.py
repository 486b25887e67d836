"""A validating webhook for Jobs on loopback, that allows or denies as it is told."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from tests.cluster import credentials
from tests.cluster.controlplane import Cluster
from tests.cluster.processes import free_port

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class Webhook:
    """Registered for the creation of Jobs in one namespace; away until it is started.

    Attributes:
        denies: why it denies; empty: it allows.
    """

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.denies = ""
        self._cluster = cluster
        self._name = f"webhook-of-{namespace}"
        self._namespace = namespace
        self._certificate, self._key = folder / "webhook.crt", folder / "webhook.key"
        self._port = free_port()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Webhook:
        credentials.write_self_signed(self._certificate, self._key)
        authority = base64.b64encode(self._certificate.read_bytes()).decode()
        rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
        hook = {
            "name": "jobs.example.com",
            "clientConfig": {"url": f"https://127.0.0.1:{self._port}/", "caBundle": authority},
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 2,
        }
        self._cluster.request("POST", CONFIGURATIONS, {"metadata": {"name": self._name}, "webhooks": [hook]})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cluster.request("DELETE", f"{CONFIGURATIONS}/{self._name}")
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def start(self) -> None:
        """From now on it answers."""
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
                answer = {"uid": asked["uid"], "allowed": not webhook.denies, "status": {"message": webhook.denies}}
                body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._certificate, self._key)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True).start()

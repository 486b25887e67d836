"""Who may speak to the test cluster: static tokens for its own parts, keys, and kubeconfig files that verify TLS."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

NODE_NAME = "node-0"

# name in the folder -> (user, groups)
USERS: dict[str, tuple[str, str]] = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "node": (f"system:node:{NODE_NAME}", "system:nodes"),
    # Does what a node's own identity may not: a storage class's provisioner, and the second node's agent.
    "provisioner": ("provisioner", "system:masters"),
}


def write_tokens(path: Path) -> dict[str, str]:
    """Makes a token for each of USERS in the form of `--token-auth-file`; returns them by the user's short name."""
    tokens = {name: secrets.token_hex(16) for name in USERS}
    lines = [f'{tokens[name]},{user},{name},"{groups}"' for name, (user, groups) in USERS.items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return tokens


def read_token(path: Path, name: str) -> str:
    """The token that `write_tokens` made for a user."""
    for line in path.read_text().splitlines():
        token, _, uid, _ = line.split(",", 3)
        if uid == name:
            return token
    raise KeyError(name)


def write_key(path: Path) -> None:
    """Makes the key that signs service account tokens."""
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))
    path.chmod(0o600)


def write_self_signed(certificate: Path, key: Path) -> None:
    """Makes a serving certificate for loopback."""
    write_key(key)
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    _openssl("req", "-x509", "-new", "-key", str(key), "-days", "365", *subject, "-out", str(certificate))


def write_kubeconfig(path: Path, *, server: str, authority: Path, token: str, namespace: str = "default") -> Path:
    """Writes a kubeconfig (JSON, which is YAML) that verifies the server by the authority's file."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1) + "\n")
    return path


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`openssl {arguments[0]}` failed: {done.stderr.strip()}")

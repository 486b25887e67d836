"""The certificate of /metrics: what is said of one that does not work. Handshakes are in test_http.py."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.tls import issue

from llm2llm_operator.observability.certificate import Certificate, CertificateError


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_the_key_of_another(folder: Path) -> None:
    _, key = issue(folder / "other")
    shutil.copy(key, folder / "tls.key")


def with_an_encrypted_key(folder: Path) -> None:
    key = folder / "tls.key"
    encrypted = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret"]
    key.write_bytes(subprocess.run(encrypted, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(without("tls.crt"), r"tls\.crt cannot be read \(No such file", id="no certificate"),
        pytest.param(without("tls.key"), r"tls\.key cannot be read \(No such file", id="no key"),
        pytest.param(with_the_key_of_another, r"tls\.key is not the key of tls\.crt", id="the key of another one"),
        pytest.param(
            lambda folder: (folder / "tls.crt").write_text("certificate"), "is no PEM", id="not a certificate at all"
        ),
        pytest.param(with_an_encrypted_key, "without a password", id="a key that nobody can decrypt"),
    ],
)
def test_a_certificate_that_does_not_work_is_told_with_its_folder(
    tmp_path: Path, damage: Callable[[Path], None], words: str
):
    issue(tmp_path)
    damage(tmp_path)
    with pytest.raises(CertificateError, match=words) as raised:
        Certificate(tmp_path)
    assert str(tmp_path) in str(raised.value)

from __future__ import annotations

import errno
import os
import ssl

import pytest

from llm2llm.runtime.disk import is_disk_error


@pytest.mark.parametrize(
    ("error", "of_the_disk"),
    [
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), True, id="a full disk"),
        pytest.param(OSError(errno.EROFS, "Read-only file system", "/scratch/x"), True, id="a read-only one"),
        pytest.param(PermissionError(errno.EACCES, "Permission denied"), True, id="one of somebody else"),
        pytest.param(ValueError("I/O error: No space left on device (os error 28)"), True, id="as safetensors says it"),
        pytest.param(RuntimeError("[enforce fail] . unexpected pos 576 vs 534"), True, id="as torch.save says it"),
        pytest.param(ValueError("I/O error: Connection refused (os error 111)"), False, id="another number in words"),
        pytest.param(ConnectionResetError(errno.ECONNRESET, "reset"), False, id="the network"),
        pytest.param(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), False, id="a missing file"),
        pytest.param(ssl.SSLError(1, "CERTIFICATE_VERIFY_FAILED"), False, id="a certificate, numbered as EPERM is"),
        pytest.param(RuntimeError("CUDA error"), False, id="something else"),
    ],
)
def test_fault_47_errors_of_the_disk_are_known_by_number_or_words(error: Exception, of_the_disk: bool) -> None:
    assert is_disk_error(error) is of_the_disk

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from llm2llm.runtime.passing import may_pass


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        pytest.param(FileNotFoundError(errno.ENOENT, "No such file or directory"), False, id="a file that is not there"),
        pytest.param(IsADirectoryError(errno.EISDIR, "Is a directory"), False, id="a folder in its place"),
        pytest.param(OSError(errno.ENAMETOOLONG, "File name too long"), False, id="a name that is none"),
        pytest.param(OSError("does not appear to have a file named config.json"), False, id="an error without a number"),
        pytest.param(ssl.SSLCertVerificationError(1, "unknown authority"), False, id="a certificate, numbered as EPERM is"),
        pytest.param(KeyError("vocab"), False, id="a library that fails"),
        pytest.param(OSError(errno.EIO, "Input/output error"), True, id="a disk that cannot be read"),
        pytest.param(OSError(errno.ESTALE, "Stale file handle"), True, id="a volume that went away"),
        pytest.param(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True, id="no name server"),
        pytest.param(OSError(errno.ENETUNREACH, "Network is unreachable"), True, id="no network"),
        pytest.param(ConnectionResetError(errno.ECONNRESET, "reset"), True, id="a cut connection"),
        pytest.param(ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), True, id="a connection cut in TLS"),
        pytest.param(OSError(errno.ENOTCONN, "Transport endpoint is not connected"), True, id="a mount that is gone"),
        pytest.param(MemoryError(), True, id="no memory"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), True, id="fault 47, a full disk"),
        pytest.param(PermissionError(errno.EACCES, "Permission denied"), True, id="fault 47, an unwritable one"),
        pytest.param(RuntimeError("No space left on device (os error 28)"), True, id="fault 47, as safetensors says it"),
    ],
)  # fmt: skip
def test_an_error_of_the_machine_may_pass_and_any_other_stays(error: Exception, passing: bool):
    assert may_pass(error) == passing

"""Opens the connection to the teacher's endpoint: key, certificates, proxy, and the query that its address may have."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx2  # the HTTP library of openai
import openai

from llm2llm.api import generate as api_generate
from llm2llm.errors import AuthenticationError, ConfigurationError
from llm2llm.podenv import TEACHER_CA_BUNDLE, TEACHER_KEY, TEACHER_TIMEOUT
from llm2llm.runtime.masking import Masker
from llm2llm.teacher.client import DEFAULT_TIMEOUT, TeacherClient

_LATIN = "the value of an HTTP header may have printable ASCII only"
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def connect(
    teacher: api_generate.Teacher,
    environ: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
    identity: str = "",
) -> TeacherClient:
    """Creates a client for this teacher; takes the key from the environment and sends nothing yet.

    Raises:
        AuthenticationError: the run names a Secret, and its key is not in the environment or is empty.
        ConfigurationError: the timeout is not a number, a header cannot be sent, or the environment's proxy cannot be
            used.
    """
    # A newline at the end of a Secret's value is a common slip, and never part of a key.
    key = environ.get(TEACHER_KEY, "").strip()
    reference = teacher.api_key_secret_ref
    if reference and not key:
        raise AuthenticationError(
            f"the teacher's key is missing: Secret {reference.name}, key {reference.key} "
            "(spec.generate.teacher.apiKeySecretRef) does not exist or is empty"
        )
    for name, value in teacher.extra_headers.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ConfigurationError(f"spec.generate.teacher.extraHeaders[{name!r}]: {_LATIN}")
    address, query = split_query(str(teacher.base_url))
    connection = openai.AsyncOpenAI(
        api_key=key or "none",
        base_url=address,
        default_headers=teacher.extra_headers,
        default_query=query,
        http_client=_http_client(environ, address),
        max_retries=0,
        timeout=_timeout(environ),
        _enforce_credentials=False,
    )
    mask = Masker(
        {**environ, "base_url": str(teacher.base_url)}, teacher.extra_headers, public=address.rpartition("@")[2]
    )
    return TeacherClient(teacher, connection, tell, mask, identity)


def split_query(base_url: str) -> tuple[str, dict[str, str]]:
    """Splits an address into the part that paths are added to, and its query (Azure's `?api-version=...`)."""
    scheme, host, path, query, _ = urlsplit(base_url)
    return urlunsplit((scheme, host, path, "", "")), dict(parse_qsl(query, keep_blank_values=True))


def _timeout(environ: Mapping[str, str]) -> float:
    text = environ.get(TEACHER_TIMEOUT, str(DEFAULT_TIMEOUT))
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{TEACHER_TIMEOUT} must be a number of seconds, not {text!r}") from None


def _http_client(environ: Mapping[str, str], base_url: str) -> openai.DefaultAsyncHttpxClient:
    """Creates an HTTP client that trusts the certificates in `teacher.caBundleRef`.

    It uses the environment's proxy, if there is one, except on loopback.

    Raises:
        ConfigurationError: the file contains no certificates, or the proxy's address is none.
    """
    bundle = environ.get(TEACHER_CA_BUNDLE)
    verify: ssl.SSLContext | bool = True
    if bundle:
        try:
            verify = ssl.create_default_context(cafile=bundle)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"spec.generate.teacher.caBundleRef: {bundle} contains no valid certificates: {error}"
            ) from error
    outside = urlsplit(base_url).hostname not in ("127.0.0.1", "localhost")
    try:
        return openai.DefaultAsyncHttpxClient(verify=verify, trust_env=outside)
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        names = [name for name in _PROXIES if environ.get(name) or environ.get(name.lower())]
        raise ConfigurationError(
            f"the proxy in {' or '.join(names) or 'the environment'} cannot be used ({type(error).__name__}): expected "
            "http://user:password@host:port or socks5://host:port, with #, /, @ and : in a password written as %23, "
            "%2F, %40 and %3A"
        ) from error

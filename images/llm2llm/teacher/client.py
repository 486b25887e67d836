"""Sends one request to an OpenAI-compatible endpoint, and turns each way of failing into an error of our own.

The client's own retries are off: a retry is a paid request, so `requests.py` decides on it and the ledger records it.
Unset parameters are not sent. If the endpoint rejects the form of a request, the client sends another form from then on
and reports the change (`dialect`). If an endpoint that has answered one row rejects another row, the rejection costs
that row and not the step (`refusal`).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import openai

from llm2llm.api import generate as api_generate
from llm2llm.errors import AuthenticationError, ConfigurationError, TeacherQuotaExhausted, Transient
from llm2llm.podenv import TEACHER_CA_BUNDLE, TEACHER_KEY, TEACHER_TIMEOUT
from llm2llm.records import Usage
from llm2llm.teacher.dialect import Dialect
from llm2llm.teacher.ratelimit_headers import RateLimitHeader, read_ratelimit_headers, retry_after
from llm2llm.teacher.refusal import OF_A_REQUEST, read_refusal
from llm2llm.teacher.reply import CONTEXT_LENGTH, EMPTY, Reply, read_reply, storable

DEFAULT_TIMEOUT = 120.0
Message = Mapping[str, str]
_MESSAGE_LIMIT = 300
_GATEWAY_TIMEOUTS = (HTTPStatus.GATEWAY_TIMEOUT, 524)
"""Statuses after which the endpoint behind a gateway (524: Cloudflare's) may still finish the request and charge for
it."""
_MAYBE_ABOUT_FORM = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.INTERNAL_SERVER_ERROR,  # llama.cpp's, for roles that the chat template does not know
)


class RateLimited(Exception):
    """The endpoint asked for a pause (429)."""

    def __init__(self, message: str, retry_after: float | None, announced: Mapping[str, RateLimitHeader]) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.announced = announced


class TeacherUnavailable(Exception):
    """A 5xx, a cut connection or a timeout; `maybe_paid` says that the endpoint may have worked on the request."""

    def __init__(self, message: str, retry_after: float | None, *, maybe_paid: bool) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.maybe_paid = maybe_paid


@dataclass
class TeacherClient:
    """A client for the teacher of a run. `connect` creates it; use it as an async context manager."""

    teacher: api_generate.Teacher
    connection: openai.AsyncOpenAI
    tell: Callable[[str], None] = lambda _: None
    identity: str = ""
    """Identifies the teacher in request keys; the model's name if empty."""
    dialect: Dialect = field(init=False)
    _has_answered: bool = False
    """The endpoint has answered before: address, key, model and parameters are right."""

    def __post_init__(self) -> None:
        self.dialect = Dialect(self.teacher.parameters)
        self.identity = self.identity or self.teacher.model

    @property
    def where(self) -> str:
        """The endpoint's address, for messages."""
        return str(self.teacher.base_url)

    @property
    def timeout(self) -> float:
        """Returns the seconds without any data after which a request is given up."""
        configured = self.connection.timeout
        return configured if isinstance(configured, int | float) else DEFAULT_TIMEOUT

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Reply:
        """Sends one paid request and returns its reply; the answer should be a JSON object of `schema`.

        Raises:
            RateLimited, TeacherUnavailable: a retry may help.
            AuthenticationError, TeacherQuotaExhausted, ConfigurationError: a retry cannot help.
        """
        while True:
            chat, arguments = self.dialect.messages(messages), self.dialect.arguments(schema)
            try:
                answer = await self.connection.chat.completions.with_raw_response.create(
                    model=self.teacher.model,
                    messages=chat,  # type: ignore[arg-type]
                    **arguments,
                )
            except openai.APIStatusError as error:
                if reply := self._handle_refusal(error, chat, arguments):
                    return reply
            except openai.OpenAIError as error:
                self._raise_error(error)
            else:
                return self._read(answer.content, answer.headers)

    def _read(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Reads an answer with status 200; raises RateLimited or TeacherUnavailable if it is not a completion."""
        announced = read_ratelimit_headers(headers, time.time())
        reply = read_reply(body, announced)
        if isinstance(reply, Reply):
            self._has_answered = True
            return reply
        message, pause = f"the teacher {self.where}: 200 {reply.words}", retry_after(headers, time.time())
        if reply.code == str(HTTPStatus.TOO_MANY_REQUESTS.value):
            raise RateLimited(message, pause, announced)
        advice = "" if reply.code else ", which is not a chat completion: check spec.generate.teacher.baseUrl"
        raise TeacherUnavailable(f"{message}{advice}", pause, maybe_paid=True)

    def _handle_refusal(
        self, error: openai.APIStatusError, chat: Sequence[Message], sent: Mapping[str, Any]
    ) -> Reply | None:
        """Returns a reply that rejects the row, or None if the request should be sent in another form; else raises."""
        refusal = read_refusal(error.body, str(error))
        finish = refusal.finish if error.status_code in OF_A_REQUEST else ""
        if not finish and error.status_code in _MAYBE_ABOUT_FORM:
            change = self.dialect.adapt_roles(chat, refusal.words)
            if change is None and error.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
                change = self.dialect.adapt(sent, refusal.named, refusal.words)
            if change:
                self.tell(f"the teacher {self.where} rejected the form of a request: {change} ({refusal.words[:200]})")
            if change is not None:
                return None
        if not finish and self._has_answered:
            finish = refusal.finish_where_others_pass(error.status_code)
        if not finish:
            self._raise_error(error)
        usage = None if refusal.maybe_paid else Usage(teacher_requests=1)
        return Reply(storable(refusal.words), finish, usage)

    def _raise_error(self, error: openai.OpenAIError) -> NoReturn:
        where = f"the teacher {self.where}"
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                raise AuthenticationError(
                    f"{where} refused the key ({error.status_code}): {self._key_advice()}, then raise spec.retry"
                    f"{_quote_forbidden(error)}"
                ) from error
            case openai.APIStatusError() if _without_credit(error):
                raise TeacherQuotaExhausted(
                    f"{where}: the account is out of credit ({_shortened(error)}): add credit, then raise spec.retry"
                ) from error
            case openai.RateLimitError():
                announced = read_ratelimit_headers(error.response.headers, time.time())
                raise RateLimited(f"{where}: {_shortened(error)}", _retry_after(error), announced) from error
            case openai.NotFoundError():
                raise ConfigurationError(
                    f"{where} does not know the model {self.teacher.model!r} or the path (404): check "
                    "spec.generate.teacher.model and baseUrl"
                ) from error
            case openai.APIStatusError() if _worth_another_try(error.status_code):
                message = f"{where}: {error.status_code} {_shortened(error)}"
                worked_on = error.status_code in _GATEWAY_TIMEOUTS
                raise TeacherUnavailable(message, _retry_after(error), maybe_paid=worked_on) from error
            case openai.BadRequestError() | openai.UnprocessableEntityError():
                words = read_refusal(error.body, str(error)).words[:_MESSAGE_LIMIT]
                raise ConfigurationError(
                    f"{where} refused a request ({error.status_code}): {words}: "
                    "check spec.generate.teacher.model and parameters"
                ) from error
            case openai.APIStatusError():
                raise ConfigurationError(f"{where}: {error.status_code} {_shortened(error)}") from error
            case openai.APITimeoutError():
                raise TeacherUnavailable(
                    f"{where}: no answer within {self.connection.timeout} s", None, maybe_paid=True
                ) from error
            case openai.APIConnectionError() if type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout"):
                raise TeacherUnavailable(
                    f"{where} cannot be reached: {_root_message(error)}", None, maybe_paid=False
                ) from error
            case _:
                # A cut connection, or an answer that is not a completion: the endpoint may have done the work.
                raise TeacherUnavailable(f"{where}: {_shortened(error)}", None, maybe_paid=True) from error

    def _key_advice(self) -> str:
        reference = self.teacher.api_key_secret_ref
        if reference is None:
            return "name a Secret in spec.generate.teacher.apiKeySecretRef"
        return f"check Secret {reference.name}, key {reference.key} (spec.generate.teacher.apiKeySecretRef)"


def connect(
    teacher: api_generate.Teacher,
    environ: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
    identity: str = "",
) -> TeacherClient:
    """Creates a client for this teacher; takes the key from the environment and sends nothing yet.

    Raises:
        AuthenticationError: the run names a Secret, and its key is not in the environment or is empty.
        ConfigurationError: the timeout is not a number.
    """
    # A newline at the end of a Secret's value is a common slip, and never part of a key.
    key = environ.get(TEACHER_KEY, "").strip()
    reference = teacher.api_key_secret_ref
    if reference and not key:
        raise AuthenticationError(
            f"the teacher's key is missing: Secret {reference.name}, key {reference.key} "
            "(spec.generate.teacher.apiKeySecretRef) does not exist or is empty"
        )
    text = environ.get(TEACHER_TIMEOUT, str(DEFAULT_TIMEOUT))
    try:
        timeout = float(text)
    except ValueError:
        raise ConfigurationError(f"{TEACHER_TIMEOUT} must be a number of seconds, not {text!r}") from None
    connection = openai.AsyncOpenAI(
        api_key=key or "none",
        base_url=teacher.base_url,
        default_headers=teacher.extra_headers,
        http_client=_http_client(environ, str(teacher.base_url)),
        max_retries=0,
        timeout=timeout,
        _enforce_credentials=False,
    )
    return TeacherClient(teacher, connection, tell, identity)


def _http_client(environ: Mapping[str, str], base_url: str) -> openai.DefaultAsyncHttpxClient:
    """Creates an HTTP client that trusts the certificates in `teacher.caBundleRef`.

    It uses the environment's proxy, if there is one, except on loopback.

    Raises:
        ConfigurationError: the file contains no certificates.
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
    return openai.DefaultAsyncHttpxClient(verify=verify, trust_env=outside)


def probe(
    generate: api_generate.Generate, environ: Mapping[str, str], tell: Callable[[str], None] = lambda _: None
) -> Usage:
    """Sends one small request to show that address, key, model, roles and parameters work (stage Prepare).

    Raises:
        Transient: the endpoint cannot be reached, asks for a pause, or returns something that is not a completion.
        AuthenticationError, TeacherQuotaExhausted, ConfigurationError: the endpoint refuses the request.
    """
    return asyncio.run(_probe(generate.teacher, environ, tell))


_PROBE = (
    {"role": "system", "content": "You check a connection. Answer with one JSON object and nothing else."},
    {"role": "user", "content": 'Answer with the JSON object {"ready": "yes"}.'},
)
"""Uses the same roles as generation."""


async def _probe(teacher: api_generate.Teacher, environ: Mapping[str, str], tell: Callable[[str], None]) -> Usage:
    schema = {
        "type": "object",
        "properties": {"ready": {"type": "string"}},
        "required": ["ready"],
        "additionalProperties": False,
    }
    async with connect(teacher, environ, tell) as client:
        try:
            reply = await client.complete(_PROBE, schema)
        except (RateLimited, TeacherUnavailable) as error:
            raise Transient(f"{error}; the next attempt tries again") from error
        if reply.finish == EMPTY:
            raise Transient(
                f"the teacher {client.where} returned a completion without a message; the next attempt tries again"
            )
        if reply.finish == CONTEXT_LENGTH:
            raise ConfigurationError(
                f"the teacher {client.where} has no room for even a small request: {reply.text[:_MESSAGE_LIMIT]}: "
                "check spec.generate.teacher.parameters"
            )
    return reply.usage or Usage(teacher_requests=1)


def _worth_another_try(status: int) -> bool:
    return status in (408, 409, 425) or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _without_credit(error: openai.APIStatusError) -> bool:
    """Returns whether the account has no credit: OpenAI sends a 429 with a code of its own, others a 402."""
    return error.status_code == HTTPStatus.PAYMENT_REQUIRED or (
        error.status_code == HTTPStatus.TOO_MANY_REQUESTS and "insufficient_quota" in (error.code, error.type)
    )


def _retry_after(error: openai.APIStatusError) -> float | None:
    return retry_after(error.response.headers, time.time())


def _quote_forbidden(error: openai.APIStatusError) -> str:
    """Quotes a 403, which mostly concerns a model, a region or a policy and not the key; a 401 may repeat the key."""
    if error.status_code != HTTPStatus.FORBIDDEN:
        return ""
    return f"; it says: {read_refusal(error.body, str(error)).words[:_MESSAGE_LIMIT]}"


def _root_message(error: BaseException) -> str:
    """Returns the message of the innermost error: the outer ones say only that all attempts failed."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)[:_MESSAGE_LIMIT] or type(error).__name__


def _shortened(error: Exception) -> str:
    return str(error)[:_MESSAGE_LIMIT]

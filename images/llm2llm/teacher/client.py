"""Sends one request to an OpenAI-compatible endpoint, and turns each way of failing into an error of our own.

The client's own retries are off: a retry is a paid request, so `requests.py` decides on it and the ledger records it.
Unset parameters are not sent. If the endpoint rejects the form of a request, the client sends another form from then on
and reports the change (`dialect`). If an endpoint that has answered one row rejects another row, the rejection costs
that row and not the step (`refusal`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import openai

from llm2llm.api import generate as api_generate
from llm2llm.errors import AuthenticationError, ConfigurationError, TeacherQuotaExhausted
from llm2llm.records import Usage, digest_of
from llm2llm.runtime.reach import why_unreachable
from llm2llm.teacher.dialect import Dialect
from llm2llm.teacher.ratelimit_headers import RateLimitHeader, read_ratelimit_headers, retry_after
from llm2llm.teacher.refusal import OF_A_REQUEST, Refusal, read_refusal
from llm2llm.teacher.reply import REFUSED, Reply, read_reply, storable

DEFAULT_TIMEOUT = 120.0
Message = Mapping[str, str]
_MESSAGE_LIMIT = 300
REFUSALS_IN_A_ROW = 5
"""Refusals of different rows without an answer between, after which the endpoint is at fault and not the rows."""
_OF_A_MODEL = re.compile(r"model\b.{0,80}\b(not exist|not found|no access|unknown)|model_not_found", re.IGNORECASE)
_API_PATH = re.compile(r"/(chat(/completions)?|completions|models|embeddings|responses)$")
_VERSION = re.compile(r"/v\d")
_KNOWN_REFUSALS = (400, 401, 402, 403, 404, 413, 422)
"""Statuses that say what is wrong; others (424, 498 of gateways) say little, and may pass by themselves."""
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
    """A client for the teacher of a run. `connection.connect` creates it; use it as an async context manager."""

    teacher: api_generate.Teacher
    connection: openai.AsyncOpenAI
    tell: Callable[[str], None] = lambda _: None
    mask: Callable[[str], str] = lambda text: text
    """Hides the secrets of this process in what the endpoint says: it may echo a key, and its words are cut."""
    identity: str = ""
    """Identifies the teacher in request keys; the model's name if empty."""
    dialect: Dialect = field(init=False)
    _has_answered: bool = False
    """The endpoint has answered before: address, key, model and parameters are right."""
    _refused_in_a_row: set[str] = field(default_factory=set)
    """Digests of the chats that were refused since the last answer, for no reason that is the row's."""

    def __post_init__(self) -> None:
        self.dialect = Dialect(self.teacher.parameters)
        self.identity = self.identity or self.teacher.model

    @property
    def where(self) -> str:
        """The endpoint's address, for messages."""
        return self.mask(str(self.teacher.base_url))

    @property
    def timeout(self) -> float:
        """Returns the seconds without any data after which a request is given up."""
        configured = self.connection.timeout
        return configured if isinstance(configured, int | float) else DEFAULT_TIMEOUT

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    async def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], *, suspect_row: bool = False
    ) -> Reply:
        """Sends one paid request and returns its reply.

        Args:
            messages: of the chat.
            schema: of the JSON object that the answer should be.
            suspect_row: takes a refusal that may be the row's fault for that also before the endpoint has answered one.

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
                if reply := self._handle_refusal(error, chat, arguments, suspect_row=suspect_row):
                    return reply
            except openai.OpenAIError as error:
                self._raise_error(error)
            else:
                return self._read(answer.content, answer.headers)

    def _read(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Reads an answer with status 200; raises RateLimited or TeacherUnavailable if it is not a completion."""
        announced = read_ratelimit_headers(headers, time.time())
        reply = read_reply(body, announced, self.mask)
        if isinstance(reply, Reply):
            self._has_answered = True
            self._refused_in_a_row.clear()
            return reply
        message, pause = f"the teacher {self.where}: 200 {reply.words}", retry_after(headers, time.time())
        if reply.code == str(HTTPStatus.TOO_MANY_REQUESTS.value):
            raise RateLimited(message, pause, announced)
        advice = "" if reply.code else ", which is not a chat completion: check spec.generate.teacher.baseUrl"
        raise TeacherUnavailable(f"{message}{advice}", pause, maybe_paid=True)

    def _handle_refusal(
        self, error: openai.APIStatusError, chat: Sequence[Message], sent: Mapping[str, Any], *, suspect_row: bool
    ) -> Reply | None:
        """Returns a reply that rejects the row, or None if the request should be sent in another form; else raises."""
        refusal = self._read_refusal(error)
        finish = refusal.finish if error.status_code in OF_A_REQUEST else ""
        if not finish and refusal.holds(error.status_code):
            self._raise_error(error)
        if not finish and error.status_code in _MAYBE_ABOUT_FORM:
            change = self.dialect.adapt_roles(chat, refusal.words)
            if change is None and error.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
                change = self.dialect.adapt(sent, refusal.named, refusal.words)
            if change:
                self.tell(f"the teacher {self.where} rejected the form of a request: {change} ({refusal.words[:200]})")
            if change is not None:
                return None
        if not finish and (self._has_answered or suspect_row):
            finish = refusal.finish_where_others_pass(error.status_code)
            if finish == REFUSED:
                self._count_refusal(chat, refusal.words)
        if not finish:
            self._raise_error(error)
        usage = None if refusal.maybe_paid else Usage(teacher_requests=1)
        return Reply(storable(refusal.words), finish, usage)

    def _count_refusal(self, chat: Sequence[Message], words: str) -> None:
        """Counts a refusal that may be the row's fault; of several different rows in a row it is the endpoint's.

        Raises:
            TeacherUnavailable: REFUSALS_IN_A_ROW different chats were refused, and none was answered in between.
        """
        self._refused_in_a_row.add(digest_of([dict(message) for message in chat]))
        if len(self._refused_in_a_row) >= REFUSALS_IN_A_ROW:
            raise TeacherUnavailable(
                f"the teacher {self.where} refused {len(self._refused_in_a_row)} different requests in a row, the last "
                f"with: {words[:_MESSAGE_LIMIT]}",
                None,
                maybe_paid=False,
            )

    def _raise_error(self, error: openai.OpenAIError) -> NoReturn:
        where = f"the teacher {self.where}"
        match error:
            case openai.APIStatusError() if self._read_refusal(error).holds(error.status_code):
                raise TeacherQuotaExhausted(
                    f"{where}: the account is out of credit, or its key has expired ({error.status_code} "
                    f"{self._words(error)}): renew it"
                ) from error
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                raise AuthenticationError(
                    f"{where} refused the key ({error.status_code}): {self._key_advice()}{self._quote_forbidden(error)}"
                ) from error
            case openai.RateLimitError():
                announced = read_ratelimit_headers(error.response.headers, time.time())
                raise RateLimited(f"{where}: {self._quote(str(error))}", _retry_after(error), announced) from error
            case openai.NotFoundError():
                raise ConfigurationError(f"{where} {self._not_found(error)}") from error
            case openai.APIStatusError() if _worth_another_try(error.status_code, known=not self._has_answered):
                message = f"{where}: {error.status_code} {self._words(error)}"
                worked_on = error.status_code in _GATEWAY_TIMEOUTS
                raise TeacherUnavailable(message, _retry_after(error), maybe_paid=worked_on) from error
            case openai.BadRequestError() | openai.UnprocessableEntityError():
                raise ConfigurationError(
                    f"{where} refused a request ({error.status_code}): {self._words(error)}: "
                    "check spec.generate.teacher.model and parameters"
                ) from error
            case openai.APIStatusError():
                raise ConfigurationError(f"{where}: {error.status_code} {self._words(error)}") from error
            case openai.APITimeoutError():
                raise TeacherUnavailable(
                    f"{where}: no answer within {self.connection.timeout} s", None, maybe_paid=True
                ) from error
            case openai.APIConnectionError() if type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout"):
                raise TeacherUnavailable(
                    f"{where} cannot be reached: {self._quote(why_unreachable(_root_message(error)))}",
                    None,
                    maybe_paid=False,
                ) from error
            case _:
                # A cut connection, or an answer that is not a completion: the endpoint may have done the work.
                raise TeacherUnavailable(f"{where}: {self._quote(str(error))}", None, maybe_paid=True) from error

    def _read_refusal(self, error: openai.APIStatusError) -> Refusal:
        refusal = read_refusal(error.body, str(error))
        return replace(refusal, words=self.mask(refusal.words))

    def _words(self, error: openai.APIStatusError) -> str:
        """Returns the endpoint's own words."""
        return self._read_refusal(error).words[:_MESSAGE_LIMIT]

    def _quote(self, text: str) -> str:
        return self.mask(text)[:_MESSAGE_LIMIT]

    def _quote_forbidden(self, error: openai.APIStatusError) -> str:
        """Quotes a 403, which mostly concerns a model, a region or a policy; a 401 says no more than its status."""
        if error.status_code != HTTPStatus.FORBIDDEN:
            return ""
        return f"; it says: {self._words(error)}"

    def _not_found(self, error: openai.APIStatusError) -> str:
        """Says whether an endpoint lacks the model or the path, as far as its words tell."""
        refusal = self._read_refusal(error)
        if _OF_A_MODEL.search("\n".join((*refusal.codes, refusal.words))):
            return f"does not know the model {self.teacher.model!r} (404): check spec.generate.teacher.model"
        path = urlsplit(str(self.teacher.base_url)).path.rstrip("/")
        advice = "check spec.generate.teacher.model and baseUrl"
        if end := _API_PATH.search(path):
            advice = f"remove {end[0]} from the end of baseUrl, which the client adds"
        elif not _VERSION.search(path):
            advice = f"{advice}, which mostly ends in /v1"
        return f"does not know the model {self.teacher.model!r} or the path (404): {advice}"

    def _key_advice(self) -> str:
        reference = self.teacher.api_key_secret_ref
        if reference is None:
            return "name a Secret in spec.generate.teacher.apiKeySecretRef"
        return f"check Secret {reference.name}, key {reference.key} (spec.generate.teacher.apiKeySecretRef)"


def _worth_another_try(status: int, *, known: bool) -> bool:
    """Returns whether a status may pass by itself; an unknown one may, if the endpoint has answered before."""
    if status in (408, 409, 425) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return True
    return not known and status not in _KNOWN_REFUSALS


def _retry_after(error: openai.APIStatusError) -> float | None:
    return retry_after(error.response.headers, time.time())


def _root_message(error: BaseException) -> str:
    """Returns the message of the innermost error: the outer ones say only that all attempts failed."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__

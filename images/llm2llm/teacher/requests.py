"""Gets an answer to each request and pays for it once: from the ledger if it is there, else from the teacher.

Each way of failing has its own response: a refused key, an empty account or a wrong setting ends the step; a 429 pauses
all requests; after 5xx, timeouts and cut connections a request is sent again, a bounded number of times. If an endpoint
asks to wait longer than PATIENCE_SECONDS, the attempt ends; a shorter wait is reported as progress, for the watchdog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from llm2llm.errors import BudgetReached, StepError, Terminated, Transient
from llm2llm.records import Usage
from llm2llm.teacher.client import RateLimited, TeacherClient, TeacherUnavailable
from llm2llm.teacher.ledger import Ledger, LedgerRecord, Request, usage_of
from llm2llm.teacher.limits import PATIENCE_SECONDS, Limiter, Stopping, UsedUp
from llm2llm.teacher.pacing import InFlightRequest
from llm2llm.teacher.reply import Reply
from llm2llm.teacher.reservations import BudgetReservations

ATTEMPTS = 6
"""Maximum number of times that one request is sent, not counting 429s."""
DRAIN_SECONDS = 20.0
"""Seconds that a stopping step waits for requests in flight; below a pod's usual grace of 30 s."""
POLL_SECONDS = 0.1
WAIT_TOLD_SECONDS = 5.0
"""Seconds between two reports of a wait; below the shortest progressDeadlineSeconds."""
_CHARACTERS_PER_TOKEN = 4


@dataclass
class LedgeredTeacher:
    """A teacher whose answers are paced, and recorded in the ledger."""

    client: TeacherClient
    limiter: Limiter
    ledger: Ledger
    purse: BudgetReservations
    confirm: Callable[[], None] = lambda: None
    """Called in a thread before a request is sent; raises StepError if this process may not pay for it."""
    answered: Callable[[], None] = lambda: None
    waits: Callable[[float], None] = lambda _: None
    """Called now and then with the maximum seconds for which nothing can be sent, because of `reason`."""
    _last_error: str = ""
    """Error of the newest failed request, if no answer and no 429 has come since."""
    _last_progress: float = 0.0
    _confirming: asyncio.Lock = field(default_factory=asyncio.Lock)
    _refused_since: float | None = None
    """Time of the first 429 after the last answer to any request."""

    @property
    def reason(self) -> str:
        """Returns why nothing is sent for a while."""
        limited = f"because of the rate limits of the teacher {self.client.where}"
        return f"after {self._last_error}" if self._last_error else limited

    async def answers(self, requests: Sequence[Request], stopping: Callable[[], bool]) -> list[LedgerRecord]:
        """Returns one record for each request, in their order; does not send those that are in the ledger already.

        Raises:
            Terminated: `stopping` became true; requests in flight are recorded, or charged if they took too long.
            StepError: the first error that ended a request; the same holds for those in flight.
        """
        results: list[LedgerRecord | None] = [self.ledger.answer(self.key(request)) for request in requests]
        queue = iter([index for index, result in enumerate(results) if result is None])
        self._last_progress = asyncio.get_running_loop().time()
        writer = asyncio.create_task(self.ledger.run())
        workers = {
            asyncio.create_task(self._work(queue, requests, results))
            for _ in range(min(self.limiter.ceiling, len(results)))
        }
        try:
            await self._watch(workers, stopping)
        finally:
            for tasks in (workers, {writer}):  # in this order: a canceled worker leaves a record of its request
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await self.ledger.close()
        return [record for record in results if record is not None]

    def key(self, request: Request) -> str:
        """Returns the request key of this request."""
        return request.key(self.client.identity, self.client.teacher.parameters)

    def known(self, request: Request) -> bool:
        """Returns whether the answer is recorded already, so that nothing would be sent."""
        return self.ledger.answer(self.key(request)) is not None

    async def _watch(self, workers: set[asyncio.Task[None]], stopping: Callable[[], bool]) -> None:
        """Waits for the workers; on a stop or an error lets requests in flight finish, then raises."""
        pending = workers
        error: BaseException | None = None
        while pending and error is None:
            done, pending = await asyncio.wait(pending, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            error = next((task.exception() for task in done if task.exception()), None)
            self._report_wait()
            if error is None and stopping():
                error = Terminated("stopped; what the teacher answered so far is in the ledger")
        if error is not None:
            self.limiter.stop()
            await self._drain(pending, stopping, hurried=isinstance(error, Terminated))
            raise error

    async def _drain(self, pending: set[asyncio.Task[None]], stopping: Callable[[], bool], *, hurried: bool) -> None:
        """Waits for requests in flight: as long as a request may take or, if `hurried`, as a pod's grace allows."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (DRAIN_SECONDS if hurried else self.client.timeout)
        while pending and (seconds_left := end - loop.time()) > 0:
            _, pending = await asyncio.wait(pending, timeout=min(seconds_left, POLL_SECONDS))
            if not hurried and stopping():
                hurried, end = True, min(end, loop.time() + DRAIN_SECONDS)

    def _report_wait(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self.limiter.waits_until and now - self._last_progress >= WAIT_TOLD_SECONDS:
            self._last_progress = now
            self.waits(self.limiter.waits_until - now)

    async def _work(
        self, queue: Iterator[int], requests: Sequence[Request], results: list[LedgerRecord | None]
    ) -> None:
        with suppress(Stopping):
            for index in queue:
                results[index] = await self._ask_with_retries(requests[index])
                self._last_progress = asyncio.get_running_loop().time()
                self.answered()

    async def _ask_with_retries(self, request: Request) -> LedgerRecord:
        failures, asked_seconds = 0, 0.0
        while True:
            try:
                record = await self._ask_once(request)
                if record is not None:
                    return record
            except TeacherUnavailable as error:
                self._last_error = str(error)
                failures += 1
                asked_seconds += error.retry_after or 0.0
                if asked_seconds > PATIENCE_SECONDS:
                    raise Transient(f"{error}; it asked to retry after {error.retry_after or 0.0:.0f} s") from error
                if failures >= ATTEMPTS:
                    raise Transient(f"{error} ({failures} times)") from error
                await self.limiter.sleep(max(error.retry_after or 0.0, self.limiter.backoff(failures)))

    async def _ask_once(self, request: Request) -> LedgerRecord | None:
        """Sends a request once; returns a durable answer, or None after a 429. Settles the cost in any case.

        Raises:
            BudgetReached: the budget does not allow it.
            TeacherUnavailable: after recording what may have been paid for.
            Transient: the endpoint accepts nothing for too long.
        """
        reserved = await self._reserve(request)
        actual = Usage()
        try:
            async with self.limiter.slot(_tokens(reserved)) as sent:
                await self._confirm()
                try:
                    reply = await self._send(request, sent)
                except asyncio.CancelledError:
                    actual = reserved
                    self.ledger.leave(self._lost_record(request, reserved))
                    raise
                if reply is None:
                    return None
                record = self._answer_record(request, reply, reserved)
                actual = usage_of([record])
                await self.ledger.add(record)  # while the slot is still held
                return record
        except UsedUp as error:
            self.limiter.stop()
            raise Transient(f"the teacher {self.client.where} reports {error}: check the account's limits") from error
        except TeacherUnavailable as error:
            if error.maybe_paid:
                actual = reserved
                await self.ledger.add(self._lost_record(request, reserved))
            raise
        finally:
            self.purse.settle(reserved, actual)
            self.limiter.tokens.give_back(_tokens(reserved) - _tokens(actual))

    async def _reserve(self, request: Request) -> Usage:
        try:
            return await self.purse.reserve(_estimated_tokens(request))
        except BudgetReached:
            self.limiter.stop()
            raise

    async def _confirm(self) -> None:
        """Makes sure that this process may pay; `confirm` may ask a store, and retry while answers have to be recorded.

        One thread asks for all requests: those that wait find the answer known, or the round stopped.
        """
        async with self._confirming:
            if self.limiter.stopped:
                raise Stopping
            try:
                await asyncio.to_thread(self.confirm)
            except StepError:
                self.limiter.stop()
                raise

    async def _send(self, request: Request, sent: InFlightRequest) -> Reply | None:
        """Sends a request; returns the reply, or None after a 429. Raises TeacherUnavailable."""
        try:
            reply = await self.client.complete(request.messages, request.schema)
        except RateLimited as error:
            self._last_error = ""
            if (error.retry_after or 0.0) > PATIENCE_SECONDS:
                self.limiter.stop()
                raise Transient(f"{error}; it asked to retry after {error.retry_after:.0f} s") from error
            self.limiter.record_429(sent, error.announced, error.retry_after)
            self._record_429()
            return None
        except StepError:
            self.limiter.stop()  # before this slot is free: no other request should be sent in vain
            raise
        self._refused_since, self._last_error = None, ""
        self.limiter.record_answer(sent, reply.announced)
        return reply

    def _record_429(self) -> None:
        """Records a 429. Raises Transient if the endpoint has returned nothing but 429s for too long."""
        # Not measured per request: with a low ceiling, a request spends most of its time waiting for our own slot.
        now = asyncio.get_running_loop().time()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since > PATIENCE_SECONDS:
            self.limiter.stop()
            raise Transient(
                f"the teacher {self.client.where} returned nothing but 429 for {PATIENCE_SECONDS:.0f} s: check the "
                "account's rate limit"
            )

    def _answer_record(self, request: Request, reply: Reply, reserved: Usage) -> LedgerRecord:
        usage = reply.usage or reserved
        return self._base_record(request).model_copy(
            update={
                "finish": reply.finish,
                "text": reply.text,
                "input_tokens": usage.teacher_input_tokens,
                "output_tokens": usage.teacher_output_tokens,
                "estimated": reply.usage is None,
            }
        )

    def _lost_record(self, request: Request, reserved: Usage) -> LedgerRecord:
        return self._base_record(request).model_copy(
            update={
                "outcome": "lost",
                "finish": "",
                "input_tokens": reserved.teacher_input_tokens,
                "output_tokens": reserved.teacher_output_tokens,
                "estimated": True,
            }
        )

    def _base_record(self, request: Request) -> LedgerRecord:
        return LedgerRecord(
            key=self.key(request),
            iteration=request.iteration,
            seed=request.seed,
            sample=request.sample,
            wave=request.wave,
            model=self.client.teacher.model,
            prompt_digest=request.prompt_digest,
        )


def _tokens(usage: Usage) -> int:
    return usage.teacher_input_tokens + usage.teacher_output_tokens


def _estimated_tokens(request: Request) -> int:
    """Estimates the tokens of a request from four characters per token."""
    return sum(len(message["content"]) for message in request.messages) // _CHARACTERS_PER_TOKEN

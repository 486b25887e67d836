"""An answer to each request, paid for once: from the ledger where it is there, else from the teacher.

Every way of failing has its own answer: a refused key, an empty account or a wrong setting ends the step; a 429 pauses
everybody; 5xx, timeouts and cut connections are asked again, each request a bounded number of times. However an
endpoint asks to wait, beyond PATIENCE_SECONDS the attempt ends; a shorter wait is told as progress, for the watchdog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from llm2llm.errors import BudgetReached, StepError, Terminated, Transient
from llm2llm.records import Usage
from llm2llm.teacher.client import RateLimited, TeacherClient, TeacherUnavailable
from llm2llm.teacher.ledger import Ledger, LedgerRecord, Request, usage_of
from llm2llm.teacher.limits import PATIENCE_SECONDS, Limiter, Stopping, UsedUp
from llm2llm.teacher.pacing import InFlightRequest
from llm2llm.teacher.reply import Reply
from llm2llm.teacher.reservations import BudgetReservations

ATTEMPTS = 6
"""How often one request is sent, 429s not counted."""
DRAIN_SECONDS = 20.0
"""How long a step that is to stop waits for what is in flight; below a pod's usual grace of 30 s."""
POLL_SECONDS = 0.1
WAIT_TOLD_SECONDS = 5.0
"""How often a wait is told; below the shortest progressDeadlineSeconds."""
_CHARACTERS_PER_TOKEN = 4


@dataclass
class LedgeredTeacher:
    """The teacher, its pace and its ledger."""

    client: TeacherClient
    limiter: Limiter
    ledger: Ledger
    purse: BudgetReservations
    answered: Callable[[], None] = lambda: None
    waits: Callable[[float], None] = lambda _: None
    """Is told now and then that nothing can be sent for so many seconds at most, for the `reason`."""
    _trouble: str = ""
    """What befell the newest request that failed, if no answer and no 429 has come since."""
    _moved: float = 0.0
    _refused_since: float | None = None
    """The first 429 after the last answer to anybody."""

    @property
    def reason(self) -> str:
        """Why nothing is sent for a while."""
        limited = f"because of the rate limits of the teacher {self.client.where}"
        return f"after {self._trouble}" if self._trouble else limited

    async def answers(self, requests: Sequence[Request], stopping: Callable[[], bool]) -> list[LedgerRecord]:
        """One record for each request, in their order; those in the ledger already are not sent.

        Raises:
            Terminated: `stopping` became true; what was in flight is recorded, or charged where it took too long.
            StepError: the first that ended a request; likewise.
        """
        results: list[LedgerRecord | None] = [self.ledger.answer(self.key(request)) for request in requests]
        queue = iter([place for place, result in enumerate(results) if result is None])
        self._moved = asyncio.get_running_loop().time()
        writer = asyncio.create_task(self.ledger.run())
        workers = {
            asyncio.create_task(self._work(queue, requests, results))
            for _ in range(min(self.limiter.ceiling, len(results)))
        }
        try:
            await self._watch(workers, stopping)
        finally:
            for tasks in (workers, {writer}):  # in this order: a worker leaves a record of what it has sent
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await self.ledger.close()
        return [record for record in results if record is not None]

    def key(self, request: Request) -> str:
        """What the answer to this request is known by."""
        return request.key(self.client.identity, self.client.teacher.parameters)

    def known(self, request: Request) -> bool:
        """Whether the answer is there already, and nothing would be sent."""
        return self.ledger.answer(self.key(request)) is not None

    async def _watch(self, workers: set[asyncio.Task[None]], stopping: Callable[[], bool]) -> None:
        """Waits for the workers; on a stop or an error lets those in flight finish, then raises."""
        pending = workers
        error: BaseException | None = None
        while pending and error is None:
            done, pending = await asyncio.wait(pending, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            error = next((task.exception() for task in done if task.exception()), None)
            self._tell_wait()
            if error is None and stopping():
                error = Terminated("stopped; what the teacher answered so far is in the ledger")
        if error is not None:
            self.limiter.stop()
            await self._drain(pending, stopping, hurried=isinstance(error, Terminated))
            raise error

    async def _drain(self, pending: set[asyncio.Task[None]], stopping: Callable[[], bool], *, hurried: bool) -> None:
        """Waits for what is in flight: as long as a request may take, or `hurried`, as a pod's grace allows."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (DRAIN_SECONDS if hurried else self.client.timeout)
        while pending and (left := end - loop.time()) > 0:
            _, pending = await asyncio.wait(pending, timeout=min(left, POLL_SECONDS))
            if not hurried and stopping():
                hurried, end = True, min(end, loop.time() + DRAIN_SECONDS)

    def _tell_wait(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self.limiter.waits_until and now - self._moved >= WAIT_TOLD_SECONDS:
            self._moved = now
            self.waits(self.limiter.waits_until - now)

    async def _work(
        self, queue: Iterator[int], requests: Sequence[Request], results: list[LedgerRecord | None]
    ) -> None:
        with suppress(Stopping):
            for place in queue:
                results[place] = await self._ask_with_retries(requests[place])
                self._moved = asyncio.get_running_loop().time()
                self.answered()

    async def _ask_with_retries(self, request: Request) -> LedgerRecord:
        failures, asked = 0, 0.0
        while True:
            try:
                record = await self._ask_once(request)
                if record is not None:
                    return record
            except TeacherUnavailable as error:
                self._trouble = str(error)
                failures += 1
                asked += error.retry_after or 0.0
                if asked > PATIENCE_SECONDS:
                    raise Transient(f"{error}; it asked to retry after {error.retry_after or 0.0:.0f} s") from error
                if failures >= ATTEMPTS:
                    raise Transient(f"{error} ({failures} times)") from error
                await self.limiter.sleep(max(error.retry_after or 0.0, self.limiter.backoff(failures)))

    async def _ask_once(self, request: Request) -> LedgerRecord | None:
        """A durable answer, or None after a 429; what it cost is settled in any case.

        Raises:
            BudgetReached: the budget does not allow it.
            Unavailable: after recording what may have been paid for.
            Transient: the endpoint lets nothing in for too long.
        """
        reserved = await self._reserve(request)
        actual = Usage()
        try:
            async with self.limiter.slot(_tokens(reserved)) as sent:
                try:
                    reply = await self._ask(request, sent)
                except asyncio.CancelledError:
                    actual = reserved
                    self.ledger.leave(self._lost(request, reserved))
                    raise
                if reply is None:
                    return None
                record = self._record(request, reply, reserved)
                actual = usage_of([record])
                await self.ledger.add(record)  # still holding its place
                return record
        except UsedUp as error:
            self.limiter.stop()
            raise Transient(f"the teacher {self.client.where} reports {error}: check the account's limits") from error
        except TeacherUnavailable as error:
            if error.maybe_paid:
                actual = reserved
                await self.ledger.add(self._lost(request, reserved))
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

    async def _ask(self, request: Request, sent: InFlightRequest) -> Reply | None:
        """The reply, or None after a 429. Raises Unavailable."""
        try:
            reply = await self.client.complete(request.messages, request.schema)
        except RateLimited as error:
            self._trouble = ""
            if (error.retry_after or 0.0) > PATIENCE_SECONDS:
                self.limiter.stop()
                raise Transient(f"{error}; it asked to retry after {error.retry_after:.0f} s") from error
            self.limiter.limited(sent, error.announced, error.retry_after)
            self._refused()
            return None
        except StepError:
            self.limiter.stop()  # before this place is free: nobody else shall ask in vain
            raise
        self._refused_since, self._trouble = None, ""
        self.limiter.succeeded(sent, reply.announced)
        return reply

    def _refused(self) -> None:
        """A 429 came. Raises Transient where nobody was answered anything else for too long."""
        # Not the time of one request: with a low ceiling that is mostly spent in our own line.
        now = asyncio.get_running_loop().time()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since > PATIENCE_SECONDS:
            self.limiter.stop()
            raise Transient(
                f"the teacher {self.client.where} returned nothing but 429 for {PATIENCE_SECONDS:.0f} s: check the "
                "account's rate limit"
            )

    def _record(self, request: Request, reply: Reply, reserved: Usage) -> LedgerRecord:
        usage = reply.usage or reserved
        return self._blank(request).model_copy(
            update={
                "finish": reply.finish,
                "text": reply.text,
                "input_tokens": usage.teacher_input_tokens,
                "output_tokens": usage.teacher_output_tokens,
                "estimated": reply.usage is None,
            }
        )

    def _lost(self, request: Request, reserved: Usage) -> LedgerRecord:
        return self._blank(request).model_copy(
            update={
                "outcome": "lost",
                "finish": "",
                "input_tokens": reserved.teacher_input_tokens,
                "output_tokens": reserved.teacher_output_tokens,
                "estimated": True,
            }
        )

    def _blank(self, request: Request) -> LedgerRecord:
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
    """Of what is sent: four characters a token."""
    return sum(len(message["content"]) for message in request.messages) // _CHARACTERS_PER_TOKEN

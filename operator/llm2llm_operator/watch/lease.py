"""Decides which replica may write: one Lease, held by one process at a time (rule C14).

Each replica reads the Lease every second. Whoever finds it free or expired takes it, renews it every two seconds, and
leads; every other replica waits. A leader that could not renew in time stops before anyone else can take over.

The elector is our own because kopf's peering compares wall clocks, and the client's elector (37.0.2) cannot create its
Lease and keeps leading after losing it. No wall clock decides here: another holder's lease has expired once it has not
changed for its duration on our clock, and our own term ends five seconds before anyone else may consider it expired.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Protocol

from llm2llm_operator.kube.errors import ApiError, Conflict, NotFound

log = logging.getLogger(__name__)
LEASE_SECONDS = 15
RENEW_DEADLINE_SECONDS = 10.0
"""We lead for this long after sending the last renewal; the rest of the lease covers writes still in flight."""
RENEW_EVERY_SECONDS = 2.0
LOOK_EVERY_SECONDS = 1.0
"""How soon another replica notices that the lease was released."""
TERM_CHECK_SECONDS = 0.25
CONFLICT_PAUSE_SECONDS = 0.1


class Action(Enum):
    """What to do with the lease."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


@dataclass(frozen=True)
class ObservedLease:
    """The lease as last read; `since` is when the local clock first saw it in this state."""

    holder: str
    seconds: float
    since: float
    metadata: Mapping[str, Any] = field(repr=False)
    spec: Mapping[str, Any] = field(repr=False)


def observe(known: ObservedLease | None, body: Mapping[str, Any] | None, now: float) -> ObservedLease | None:
    """Returns the lease as read at `now`. Only its spec shows that the holder is alive; anyone may set a label."""
    if body is None:
        return None
    spec = body.get("spec") or {}
    return ObservedLease(
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or LEASE_SECONDS),
        since=known.since if known and known.spec == spec else now,
        metadata=body["metadata"],
        spec=spec,
    )


def decide(seen: ObservedLease | None, identity: str, now: float) -> Action:
    """Returns what to do next, by the local clock alone."""
    if seen is None:
        return Action.CREATE
    if seen.holder == identity:
        return Action.RENEW
    if not seen.holder or now - seen.since >= seen.seconds:
        return Action.TAKE
    return Action.WAIT


def claim_body(seen: ObservedLease | None, namespace: str, name: str, identity: str, wall: datetime) -> dict[str, Any]:
    """Returns the lease with us as the holder. Its times are for people; nothing is decided by them."""
    moment = wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    old = seen.spec if seen else {}
    kept = seen is not None and seen.holder == identity
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": old.get("acquireTime") if kept else moment,
        "renewTime": moment,
        "leaseTransitions": (old.get("leaseTransitions") or 0) + (seen is not None and not kept),
    }
    metadata = dict(seen.metadata) if seen else {"name": name, "namespace": namespace}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def release_body(seen: ObservedLease) -> dict[str, Any]:
    """Returns the lease without a holder, so that another replica need not wait until it expires."""
    spec = {name: value for name, value in seen.spec.items() if name != "holderIdentity"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": dict(seen.metadata), "spec": spec}


def boot_clock() -> float:
    """Returns the seconds since boot, including time spent suspended, which `time.monotonic` would not count."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def utc_now() -> datetime:
    """Returns the wall-clock time."""
    return datetime.now(UTC)


def default_identity() -> str:
    """Returns a name that is unique to this process: a restarted container keeps its host name and its pid."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


class Leases(Protocol):
    """Stores leases; each method raises ApiError."""

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None: ...
    async def put_lease(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]: ...


class Elector:
    """Takes part in the election as `identity`."""

    def __init__(
        self,
        leases: Leases,
        namespace: str,
        name: str,
        identity: str,
        *,
        clock: Callable[[], float] = boot_clock,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._leases = leases
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._wall = wall
        self._seen: ObservedLease | None = None
        self._outdated = True
        self._renewed = -math.inf
        self._in_term = False
        self._acquired = asyncio.Event()

    def leads(self) -> bool:
        """Returns whether no one else can hold the lease now.

        Checked before each write: a timer can fire late, a clock cannot.
        """
        return self._clock() < self._renewed + RENEW_DEADLINE_SECONDS

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `lead` whenever we hold the lease and cancels it when we lose it; releases the lease when cancelled
        itself.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_lease())
                tasks.create_task(self._run_terms(lead))
        finally:
            self._renewed = -math.inf
            await self._release()

    async def step(self) -> None:
        """Checks the lease once, and creates, takes or renews it if needed. Raises ApiError."""
        if self._outdated or self._seen is None or self._seen.holder != self._identity:
            await self._read()
        action = decide(self._seen, self._identity, self._clock())
        if action is not Action.RENEW:
            self._renewed = -math.inf
            if action is Action.WAIT or self._in_term:  # our previous term must end before another one begins
                return
        sent = self._clock()
        body = claim_body(self._seen, self._namespace, self._name, self._identity, self._wall())
        self._outdated = True  # until the response arrives
        self._seen = observe(self._seen, await self._leases.put_lease(self._namespace, body), sent)
        self._outdated = False
        self._renewed = sent
        self._acquired.set()

    async def _read(self) -> None:
        body = await self._leases.get_lease(self._namespace, self._name)
        seen = observe(self._seen, body, self._clock())
        if seen and seen.holder and seen.holder != (self._seen.holder if self._seen else ""):
            log.info("%s holds the lease", seen.holder)
        self._seen = seen
        self._outdated = False

    async def _keep_lease(self) -> None:
        """Checks, takes and renews the lease forever; while the API server is unavailable, only the lease is lost."""
        warned = False
        while True:
            pause = LOOK_EVERY_SECONDS
            try:
                await self.step()
            except (Conflict, NotFound):  # someone else was first, or an earlier response to us was lost
                pause = CONFLICT_PAUSE_SECONDS
            except ApiError as error:
                log.log(logging.DEBUG if warned else logging.WARNING, "no access to the lease: %s", error)
                warned = True
            else:
                warned = False
                pause = RENEW_EVERY_SECONDS if self.leads() else min(LOOK_EVERY_SECONDS, self._until_expiry())
            await asyncio.sleep(pause)

    def _until_expiry(self) -> float:
        """Returns the seconds until another holder's lease may be taken, so that we try then, not at the next check."""
        if self._seen is None or not self._seen.holder:
            return LOOK_EVERY_SECONDS
        return max(CONFLICT_PAUSE_SECONDS, self._seen.since + self._seen.seconds - self._clock())

    async def _run_terms(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await self._acquired.wait()
            self._acquired.clear()
            if self.leads():
                await self._run_term(lead)

    async def _run_term(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `lead` for as long as we lead; raises what it raises."""
        log.info("leading as %s", self._identity)
        self._in_term = True
        task = asyncio.create_task(lead())
        try:
            while self.leads() and not task.done():
                remaining = self._renewed + RENEW_DEADLINE_SECONDS - self._clock()
                await asyncio.wait({task}, timeout=max(0.0, min(remaining, TERM_CHECK_SECONDS)))
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._in_term = False
        if not task.cancelled():
            task.result()
        log.warning("no longer leading: the lease was not renewed in time, or another replica holds it")

    async def _release(self) -> None:
        """Releases the lease.

        If an update of ours was interrupted when we were cancelled, reads the lease again first.
        """
        try:
            for _ in range(2):
                if self._outdated:
                    await self._read()
                if self._seen is None or self._seen.holder != self._identity:
                    return
                self._outdated = True
                try:
                    await self._leases.put_lease(self._namespace, release_body(self._seen))
                except Conflict:
                    continue
                log.info("released the lease")
                return
        except ApiError as error:
            log.warning("cannot release the lease, which stays ours until it expires: %s", error)

"""Journals replayed against another version's code: nothing is appended, no body runs, no instance notices.

A replay runs in a sandbox that instances never share, since code that spins over a foreign journal ends its sandbox. It
is an activation's conversation without its consequences: the guest is told what the journal holds, and says whether its
code would have done the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from data_plane import payloads
from data_plane.activating import GuestLease, LoadedGuest
from data_plane.activation import FRAME_BYTES, STREAM_BYTES
from data_plane.journal.store import InstanceKey, JournalStore
from data_plane.journal_frames import about_instance, completion_frame
from loader import messages
from loader.guest import GuestDiedError
from loader.messages import ActivationMessage, Ended
from loader.room import Room
from stepwell.engine.actions import Completion
from stepwell.engine.instance import Instance
from stepwell.engine.records import Completed, Errored, Payload, StepKey
from stepwell.names import Digest, InstanceUid, TenantUid

REPLAY_S_MAX: Final = 30.0
"""Of one journal, from when its sandbox is there."""

REPLAYS_AT_ONCE_MAX: Final = 8
"""On one node."""

REPLAYS_PER_TENANT_MAX: Final = 4
"""Of one tenant's, on one node."""

REPLAYS_WAITING_MAX: Final = 1_000
"""On one node; more are refused."""

_ENGINES_OWN: Final = frozenset({"SandboxDiedError", "LimitExceededError"})
"""Failures by which the engine ends an instance: `run` raised none of them."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What of an instance's journal a replay is about, as of one moment. Two that are equal are replayed alike."""

    uid: InstanceUid
    params: Payload
    about: dict[str, object]
    completions: tuple[Completion, ...]
    opened: tuple[StepKey, ...]
    """Asked for, and still to come."""
    ended: Ended
    """How `run` did, where the journal says so."""

    @staticmethod
    def of(key: InstanceKey, instance: Instance, now: int) -> Recorded:
        """The instance goes on, and what this holds does not."""
        return Recorded(
            instance.uid,
            instance.params,
            about_instance(key, instance, now),
            tuple(instance.completions),
            instance.asked,
            _ended(instance),
        )

    def is_of(self, instance: Instance) -> bool:
        """Whether the instance still stands where this was taken, as far as its code can tell."""
        return (
            self.uid == instance.uid
            and self.completions == tuple(instance.completions)
            and self.opened == instance.asked
            and self.ended == _ended(instance)
        )


@dataclass(frozen=True, slots=True)
class Matches:
    """The code does what the journal says; `next` tells people what it does after that."""

    next: str


@dataclass(frozen=True, slots=True)
class Differs:
    """At the completion `position`, from 0; behind the last one, it is what the journal shows open, or `run`'s end."""

    position: int
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Unchecked:
    """The replay came to no end."""

    reason: str


Verdict = Matches | Differs | Unchecked


class ReplayLoader(Protocol):
    """What replays need of `loader.loader.Loader`."""

    async def acquire(self, tenant: TenantUid, digest: Digest, *, replays: bool) -> GuestLease:
        """A lease on a sandbox with that version in which nothing but replays is."""


class Replays:
    """Of one node: so many at once, and tenants take turns."""

    def __init__(self, loader: ReplayLoader, store: JournalStore, clock: Callable[[], int]) -> None:
        self._loader = loader
        self._store = store
        self._clock = clock
        self._room = Room(REPLAYS_AT_ONCE_MAX, REPLAYS_PER_TENANT_MAX, REPLAYS_WAITING_MAX, _nothing_to_evict)

    def recorded(self, key: InstanceKey, instance: Instance) -> Recorded:
        """Of an instance that is durable as it is."""
        return Recorded.of(key, instance, self._clock())

    async def replay(
        self, key: InstanceKey, recorded: Recorded, digest: Digest, entrypoint: str, steps_max: int | None = None
    ) -> Verdict:
        """Whether that code does what was recorded, within the steps that its version allows.

        Raises NotFoundError (no such version), BundleRefusedError (it can't be imported), SandboxUnavailableError and
        UnavailableError (too many wait, or the server stops).
        """
        await self._room.enter(key.tenant)
        try:
            lease = await self._loader.acquire(key.tenant, digest, replays=True)
            try:
                about = {**recorded.about, "stepsMax": steps_max}
                return await self._run(_Replay(lease.guest), key, replace(recorded, about=about), entrypoint)
            finally:
                lease.release()
        finally:
            self._room.leave(key.tenant)

    async def _run(self, replay: _Replay, key: InstanceKey, recorded: Recorded, entrypoint: str) -> Verdict:
        try:
            replay.open()
            async with asyncio.timeout(REPLAY_S_MAX):
                await self._tell(replay, key, recorded, entrypoint)
                return await replay.verdict
        except GuestDiedError as died:
            return Unchecked(f"its sandbox ended: {died}")
        except TimeoutError:
            return Unchecked(f"its replay took longer than {REPLAY_S_MAX:g} seconds")
        except KeyError:
            return Unchecked("a payload of it is gone: it was deleted meanwhile")
        finally:
            replay.close()

    async def _tell(self, replay: _Replay, key: InstanceKey, recorded: Recorded, entrypoint: str) -> None:
        """Never much more of it is in memory than the guest has not read yet."""
        opened = [(each.kind, each.name, each.count) for each in recorded.opened]
        params = await self._fetched(key, recorded, recorded.params)
        completions = recorded.completions
        replay.send(
            messages.replay(replay.act, entrypoint, recorded.about, len(completions), opened, recorded.ended, params)
        )
        size = 0
        for completion in completions:
            if replay.verdict.done():
                return
            payload = await self._fetched(key, recorded, completion.payload)
            replay.send(completion_frame(replay.act, completion, payload))
            size += len(payload) + FRAME_BYTES
            if size > STREAM_BYTES:
                await replay.drain()
                size = 0

    async def _fetched(self, key: InstanceKey, recorded: Recorded, payload: Payload) -> bytes:
        return await payloads.fetch(payload, key, recorded.uid, self._store)


class _Replay:
    """One in its guest. Implements `GuestHandler`."""

    def __init__(self, guest: LoadedGuest) -> None:
        self._guest = guest
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.send = guest.send
        self.drain = guest.drain
        self.act = 0
        self._over = False

    def open(self) -> None:
        """Raises GuestDiedError."""
        self.act = self._guest.open(self)

    def close(self) -> None:
        """What the guest still says of it is dropped."""
        if self.act and not self._over:
            self.send(messages.order("stop", self.act))
        self._guest.close(self.act)

    def on_message(self, message: ActivationMessage, payload: bytes) -> None:
        match message:
            case messages.Mismatch():
                self._end(Differs(message.position, message.expected, message.got))
            case messages.Replayed():
                self._end(Matches(message.next))
            case messages.Closed():
                self._over = True
                self._end(Unchecked("its sandbox gave it up"))
            case _:
                self._guest.kill("the guest broke the protocol: it did more than replay a journal")

    def on_batch_end(self) -> None:
        """Nothing waits for that."""

    def on_death(self, reason: str) -> None:
        self._over = True
        self._end(Unchecked(f"its sandbox ended: {reason}"))

    def _end(self, verdict: Verdict) -> None:
        if not self.verdict.done():
            self.verdict.set_result(verdict)


def _ended(instance: Instance) -> Ended:
    if isinstance(instance.outcome, Completed):
        return "returned"
    if isinstance(instance.outcome, Errored):
        failure = instance.outcome.failure
        return "" if failure.module == "stepwell.errors" and failure.type in _ENGINES_OWN else "raised"
    return ""


def _nothing_to_evict(tenant: TenantUid | None) -> bool:
    """A replay ends by itself."""
    return False

"""One activation's conversation: what a guest says becomes events for the engine, what the engine says becomes frames.

Nothing is decided here. Frames of an activation that the engine has ended are dropped; payloads pass through unread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from data_plane import payloads
from data_plane.guest_calls import GuestCalls
from data_plane.journal_frames import about_instance, completion_frame, failure_from
from loader import messages
from loader.messages import ActivationMessage
from stepwell.engine import events
from stepwell.engine.actions import (
    EndGuest,
    TellCompletion,
    TellGo,
    TellHold,
    TellRelease,
    TellStart,
    TellStop,
)
from stepwell.engine.events import RetryPolicy
from stepwell.engine.instance import Live
from stepwell.engine.records import BlobRef, Payload, RolledBack, StepKey
from stepwell.names import WorkflowId

if TYPE_CHECKING:
    from data_plane.resident import Resident

STOP_GRACE_S: Final = 10.0
"""How long a guest may take to stop an activation before its sandbox is killed."""

READ_AGAIN_DELAY_S: Final = 1.0
"""After the store could not be read, before it is asked again: its failures are not the instance's."""

STREAM_BYTES: Final = 256 * 1024
"""Of a journal, before the guest is waited for; one with less, and all of it inline, is sent at once."""

FRAME_BYTES: Final = 128
"""What a frame is beside its payload, roughly."""

Told = TellStart | TellCompletion | TellGo | TellHold | TellRelease | TellStop | EndGuest


class GuestEnd(Protocol):
    """What an activation needs of `loader.guest.Guest`."""

    @property
    def bindings(self) -> Mapping[str, WorkflowId]: ...
    def send(self, frame: bytes) -> None: ...
    def close(self, act: int) -> None: ...
    def hold_reading(self, holder: object) -> None: ...
    def resume_reading(self, holder: object) -> None: ...
    async def drain(self) -> None: ...
    def kill(self, reason: str) -> None: ...


class Activation:
    """`ended` is called once, when nothing of the activation runs in the guest any more, or the guest is dead."""

    def __init__(
        self,
        resident: Resident,
        guest: GuestEnd,
        *,
        later: Callable[[float, Callable[[], None]], object],
        read: Callable[[Callable[[], Awaitable[None]]], None],
        ended: Callable[[], None],
    ) -> None:
        self.key = resident.key
        self.uid = resident.instance.uid
        self._entrypoint = resident.instance.entrypoint
        self._resident = resident
        self._guest = guest
        self._later = later
        self._read = read
        self._ended: Callable[[], None] | None = ended
        self._waiting: deque[Told] | None = None
        self.act = 0
        self.live: Live | None = None
        self.dead = False
        self.holds_up = False
        self._stopping = False
        self._streamed = 0
        self._calls = GuestCalls(resident, guest=guest, spawn=read)

    # ---------------------------------------------------------------- the guest speaks
    def on_message(self, message: ActivationMessage, payload: bytes) -> None:
        resident = self._resident
        if resident.instance.live is not self.live or self.live is None:
            if type(message) is messages.Closed:
                resident.settle()
                self._end()
            return
        if type(message) is messages.Closed:
            self.kill("the guest broke the protocol: it closed an activation that goes on")
            return
        if type(message) is messages.Call:
            self._calls.on_call(self, message, payload)
            return
        if type(message) is messages.Replayed:
            self.kill("the guest broke the protocol: it told how a replay went, and this is none")
            return
        event = self._event(message, payload)
        if event is not None:
            resident.step_guest(event, self)

    def on_batch_end(self) -> None:
        self._resident.settle()
        if self._resident.lane.crowded and not self.dead and not self._stopping:
            self.holds_up = True
            self._guest.hold_reading(self)

    def on_append(self) -> None:
        """A row of the instance is durable: the guest, which was held up, may go on."""
        if not self._resident.lane.crowded:
            self._read_on()

    def _read_on(self) -> None:
        self.holds_up = False
        self._guest.resume_reading(self)

    def on_death(self, reason: str) -> None:
        self.dead = True
        resident = self._resident
        if resident.instance.live is self.live and self.live is not None:
            resident.step(events.GuestLost(resident.now(), reason))
            resident.settle()
        self._end()

    def _event(self, message: ActivationMessage, payload: bytes) -> events.Event | None:
        at = self._resident.now()
        match message:
            case messages.Result():
                return events.StepSucceeded(
                    at,
                    StepKey(message.kind, message.name, message.count),
                    message.attempt,
                    min(message.elapsed_us // 1000, at),
                    self._resident.stage(payload),
                )
            case messages.Started():
                key = StepKey(message.kind, message.name, message.count)
                return events.StepStarted(at, key, message.attempt, message.timeout_ms)
            case messages.Idle():
                return events.GuestIdle(at, message.entered)
            case messages.Failed():
                return events.StepAttemptFailed(
                    at,
                    StepKey(message.kind, message.name, message.count),
                    message.attempt,
                    min(message.elapsed_us // 1000, at),
                    message.retryable,
                    RetryPolicy(message.limit, message.delay_ms, message.backoff),
                    payloads.fitted(failure_from(message.error), self._resident.instance),
                )
            case messages.Sleep():
                key = StepKey("sleep", message.name, message.count)
                return events.SleepAsked(at, key, message.duration_ms, message.until_ms)
            case messages.Wait():
                key = StepKey("waitForEvent", message.name, message.count)
                return events.WaitAsked(at, key, message.type, message.timeout_ms)
            case messages.Timer():
                return events.SleepAsked(at, StepKey("timer", "", message.count), None, message.when_ms)
            case messages.Cancel():
                return events.KeyCancelled(at, StepKey(message.kind, message.name, message.count))
            case messages.Quiet():
                return events.GuestQuiet(at, message.hold)
            case messages.Returned():
                return events.RunReturned(at, self._resident.stage(payload))
            case messages.Raised():
                return events.RunRaised(at, failure_from(message.error), _rolled_back(message))
            case messages.Mismatch():
                return events.ReplayMismatched(at, message.position, message.expected, message.got)
            case messages.Closed() | messages.Replayed() | messages.Log() | messages.Call():
                return None
            case _:
                assert_never(message)

    # ---------------------------------------------------------------- the engine speaks
    def tell(self, told: Told) -> None:
        """Send it, behind what waits for a blob or for the guest to read."""
        if self.dead:
            return
        if type(told) is TellStop:
            self._stopping = True
            self._read_on()
            self._later(STOP_GRACE_S, self._kill_if_not_ended)
            if self._waiting is not None:
                # A journal that is cut short must not be followed by what comes after it.
                self._waiting = deque((self._waiting[0],))
        if self._waiting is not None:
            self._waiting.append(told)
        elif _takes_time(told, self._resident):
            self._waiting = deque([told])
            self._read(self._send_waiting)
        else:
            self._send(told)

    async def _send_waiting(self) -> None:
        while self._waiting:
            told = self._waiting[0]
            try:
                if type(told) is TellStart:
                    await self._stream_start(told)
                elif type(told) is TellCompletion and not told.held:
                    payload = await self._fetched(told.completion.payload)
                    await self._guest.drain()
                    if not self.dead:
                        self._guest.send(completion_frame(self.act, told.completion, payload))
                else:
                    self._send(told)
            except KeyError as missing:
                self._guest.kill(f"a stored payload is missing: {missing}")
                return
            except Exception:
                if not self.dead:
                    self._later(READ_AGAIN_DELAY_S, lambda: self._read(self._send_waiting))
                raise
            if self.dead:
                return
            self._waiting.popleft()
        self._waiting = None

    async def _stream_start(self, told: TellStart) -> None:
        """Start the guest on a large journal: never much more of it is in memory than the guest has not read yet.

        `_streamed` is how many of its frames were sent, should a read fail in between.
        """
        instance, guest = self._resident.instance, self._guest
        size = 0
        if self._streamed == 0:
            params = await self._fetched(instance.params)
            if self.dead:
                return
            self._send_start(told, params)
            self._streamed = 1
        while self._streamed <= told.recorded and not self._stopping:
            completion = instance.completions[self._streamed - 1]
            payload = await self._fetched(completion.payload)
            if self.dead:
                return
            guest.send(completion_frame(self.act, completion, payload))
            self._streamed += 1
            size += len(payload) + FRAME_BYTES
            if size > STREAM_BYTES:
                await guest.drain()
                size = 0

    async def _fetched(self, payload: Payload) -> bytes:
        resident = self._resident
        return await payloads.fetch(payload, resident.key, resident.instance.uid, resident.store)

    def _send(self, told: Told) -> None:
        send, act = self._guest.send, self.act
        match told:
            case TellCompletion():
                if told.held:
                    key = told.completion.key
                    send(messages.completion(act, key.kind, key.name, key.count, told.completion.at, "held"))
                else:
                    send(completion_frame(act, told.completion, _inline(told.completion.payload)))
            case TellGo():
                send(messages.go(act, told.key.kind, told.key.name, told.key.count, told.attempt))
            case TellStart():
                instance = self._resident.instance
                self._send_start(told, _inline(instance.params))
                for completion in instance.completions[: told.recorded]:
                    send(completion_frame(act, completion, _inline(completion.payload)))
            case TellHold():
                send(messages.hold(act, told.number))
            case TellRelease():
                send(messages.order("release", act))
            case TellStop():
                send(messages.order("stop", act))
            case EndGuest():
                self._guest.kill(told.reason)
            case _:
                assert_never(told)

    def _send_start(self, told: TellStart, params: bytes) -> None:
        resident, instance = self._resident, self._resident.instance
        about = about_instance(resident.key, instance, resident.now())
        opened = [(key.kind, key.name, key.count) for key in told.opened]
        self._guest.send(messages.start(self.act, self._entrypoint, about, told.recorded, opened, params))

    # ---------------------------------------------------------------- the end
    def kill(self, reason: str) -> None:
        """End the sandbox: the guest did what no guest may do."""
        self._guest.kill(reason)

    def lose(self) -> None:
        """The instance is this node's no more: what the guest says of it counts for nothing. It is to stop; its
        sandbox, where other instances may run, goes on."""
        self.live = None
        self.tell(TellStop())

    def abandon(self) -> None:
        """The instance has no use for the guest any more; nothing was told to it."""
        self._end()

    def _kill_if_not_ended(self) -> None:
        if self._ended is not None and not self.dead:
            self._guest.kill("an activation did not stop in time")

    def _end(self) -> None:
        if self._ended is not None:
            ended, self._ended = self._ended, None
            if not self.dead:
                self._guest.close(self.act)
            ended()


def _inline(payload: Payload) -> bytes:
    assert not isinstance(payload, BlobRef)
    return payload


def _takes_time(told: Told, resident: Resident) -> bool:
    """Whether it has payloads that must be read first, or more than should be sent at once."""
    if type(told) is TellCompletion:
        return not told.held and isinstance(told.completion.payload, BlobRef)
    if type(told) is not TellStart:
        return False
    return resident.instance.blobs > 0 or resident.instance.stored_bytes > STREAM_BYTES


def _rolled_back(message: messages.Raised) -> RolledBack | None:
    if not message.rolled_back:
        return None
    return RolledBack(failure_from(message.rollback_error) if message.rollback_error is not None else None)

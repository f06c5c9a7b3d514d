"""One activation of one instance: what completes its `run`, live and on replay alike, and how it ends.

Completions enter one at a time, in journal order, each drained to the end. While recorded ones enter, nothing is sent
and no body starts: whatever `run` asks for then either completes further on, or is open (the host said so), or was
cancelled again, or is new; which of them is known once all have entered. A recorded completion that nobody asked for
means that the code is not what it was. All of it is deterministic but for the order in which live completions come.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final, Protocol

from stepwell.errors import EventTimeoutError, StepValueError, WorkflowStalledError
from stepwell.events import WorkflowEvent
from stepwell.guest import closing
from stepwell.guest.asking import Asking
from stepwell.guest.asks import Ask, Key, shown
from stepwell.guest.failures import described, rebuilt
from stepwell.guest.logs import SOURCE
from stepwell.steps import WorkflowStep
from stepwell.values import decode, encode

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from stepwell.guest.bodies import Attempt
    from stepwell.guest.limits import Limits
    from stepwell.guest.scheduler import RunTask

_SHOWN_LENGTH_MAX: Final = 1024


class InstanceHost(Protocol):
    """What an instance needs of the process that it lives in."""

    @property
    def loop(self) -> AbstractEventLoop:
        """The one that asyncio knows: a GuestLoop."""
        ...

    def send(self, envelope: bytes, payload: bytes = b"") -> None:
        """Queue a frame."""
        ...

    def touch(self, instance: Instance) -> None:
        """Call `instance.settle` before the next write."""
        ...

    def start(self, instance: Instance, ask: Ask, number: int) -> None:
        """Begin an attempt, and note it at the ask."""
        ...

    def flush_logs(self, source: Any) -> None:
        """Send the lines that the source has not ended."""
        ...


class Instance:
    """One activation. Implements `Asked`, and `Source` for what `run` prints."""

    def __init__(
        self,
        host: InstanceHost,
        act: int,
        entrypoint: Callable[[], Any],
        info: dict[str, Any],
        recorded: int,
        opened: list[list[Any]],
        params: bytes,
        limits: Limits,
    ) -> None:
        self.act = act
        self.uid: str = info["uid"]
        self.partial: dict[int, str] = {}
        self.left_out = 0
        self.gone = False
        """Nothing of it runs, and the host has been told."""
        self._host = host
        self._entrypoint = entrypoint
        self._info = info
        self._params = params
        self._payload_bytes_max = limits.payloadBytes
        started = info.get("started", info["created"])
        self._asking = Asking(self, host.loop, act, started, limits.drainTurns, limits.steps)
        self._main: RunTask | None = None
        self._recorded = recorded
        self._entered = 0
        self._known: dict[Key, None] = {(kind, name, count): None for kind, name, count in opened}
        """Asked for before this activation, and still open: the host need not hear of them again."""
        self._given_back: list[Key] = []
        """Waits that had an event in the journal, and that `run` had cancelled by then."""
        self._attempts: set[Attempt] = set()
        self._unacknowledged = 0
        """Results that were sent and are not known to be durable."""
        self._held_back: list[tuple[Ask, int]] | None = None
        """Attempts that wait for "release"; None when not on hold."""
        self._quiet_due: int | None = None
        """The number of the "hold" that is still to be answered."""
        self._idle_told = False
        self._outcome: tuple[str, bytes] | None = None
        self._outcome_told = False
        self._stopped = False

    @property
    def silent(self) -> bool:
        """Whether what `run` prints was printed before, or will be printed again."""
        if self._entered < self._recorded or self._stopped:
            return True
        asking = self._asking
        if asking.deferred is None or not self._known:
            return False
        return any(key not in asking.open and key not in asking.cancelled for key in self._known)

    def log_name(self) -> tuple[str, int, int]:
        return ("", 0, 0)

    def begin(self) -> None:
        """Run `run` until it waits for the first time."""
        self._drain(self._begin)
        self._after_replay()

    def _begin(self) -> None:
        context = copy_context()
        context.run(SOURCE.set, self)
        self._main = self._asking.loop.create_task(self._run(), name="run", context=context)

    async def _run(self) -> bytes:
        info = self._info
        event = WorkflowEvent.of(
            decode(self._params), info["created"], info["id"], info["workflow"], info.get("schedule")
        )
        output = self._entrypoint().run(event, WorkflowStep(self._asking))
        if hasattr(output, "__await__"):
            output = await output
        try:
            payload = encode(output)
        except StepValueError as error:
            raise StepValueError(f"the output of run can't be kept: {error}") from None
        if len(payload) > self._payload_bytes_max:
            raise StepValueError(
                f"the output of run is {len(payload)} bytes of JSON, over the limit of {self._payload_bytes_max}"
            )
        return payload

    def complete(self, key: Key, at_ms: int, outcome: str, detail: Any, payload: bytes) -> None:
        """A completion enters."""
        if self._outcome_told or self._stopped:
            return
        position = self._entered
        self._entered += 1
        self._idle_told = False
        asking = self._asking
        ask = asking.open.pop(key, None)
        if ask is not None:
            if ask.result is not None:
                self._unacknowledged -= 1
            if ask.attempt is not None:
                ask.attempt.cancel()
            if asking.deferred:
                asking.deferred.pop(key, None)
            self._drain(self._enter, ask, at_ms, outcome, detail, payload)
        elif key in asking.cancelled:
            asking.cancelled.discard(key)
            if outcome == "event" and asking.deferred is not None:
                self._given_back.append(key)
        else:
            self._mismatch(position, key)
            return
        self._after_replay()

    def _enter(self, ask: Ask, at_ms: int, outcome: str, detail: Any, payload: bytes) -> None:
        loop = self._asking.loop
        if at_ms > loop.now_ms:
            loop.now_ms = at_ms
        target = ask.target
        if ask.key[0] == "timer":
            target.fire()
        elif target.done():
            return
        elif outcome == "held":
            target.set_result(ask.result)
        elif outcome == "value":
            target.set_result(payload)
        elif outcome == "error":
            target.set_exception(rebuilt(detail))
        elif outcome == "fired":
            target.set_result(None)
        elif outcome == "event":
            target.set_result((payload, detail[0], detail[1]))
        else:
            target.set_exception(EventTimeoutError(f"{shown(ask.key)}: no event came in time"))

    def go(self, name: str, count: int, number: int) -> None:
        """The host wants this attempt of an open step to begin."""
        ask = self._asking.open.get(("do", name, count))
        if ask is not None and ask.attempt is None:
            self._start(ask, number)

    def hold(self, number: int) -> None:
        """Start no more bodies; say "quiet" with the number when none runs."""
        if self._held_back is None:
            self._held_back = []
        self._quiet_due = number
        self._host.touch(self)

    def release(self) -> None:
        """Go on where `hold` stopped."""
        held_back, self._held_back = self._held_back or [], None
        self._quiet_due = None
        for ask, number in held_back:
            if self._asking.open.get(ask.key) is ask:
                self._start(ask, number)
        self._host.touch(self)

    def stop(self) -> None:
        """Drop everything; `closed` is said once nothing runs."""
        self._stopped = True
        self._close()

    def put(self, ask: Ask) -> None:
        ask.told = True
        if ask.key in self._known:
            del self._known[ask.key]
        elif ask.call is None:
            self.say(ask.envelope)
        else:
            self._start(ask, 1)

    def withdraw(self, ask: Ask) -> None:
        if ask.result is not None:
            self._unacknowledged -= 1
        if ask.attempt is not None:
            ask.attempt.cancel()
        if ask.told and not self._asking.closing:
            self._tell_cancelled(ask.key)

    def _tell_cancelled(self, key: Key) -> None:
        kind, name, count = key
        self.say(f'["cancel",{self.act},"{kind}",{encode_basestring_ascii(name)},{count}]')

    def _start(self, ask: Ask, number: int) -> None:
        if self._held_back is not None:
            self._held_back.append((ask, number))
            return
        self._idle_told = False
        self._host.start(self, ask, number)
        if ask.attempt is not None:
            self._attempts.add(ask.attempt)

    def attempt_succeeded(self, attempt: Attempt, elapsed_us: int, payload: bytes) -> None:
        """Its result goes to the host, and waits here until it is durable."""
        ask = attempt.ask
        self.attempt_dropped(attempt)
        if self._asking.open.get(ask.key) is ask:
            ask.result = payload
            self._unacknowledged += 1
            head = f'["result",{self.act},{ask.quoted},{ask.key[2]},{attempt.number},{elapsed_us}]'
            self._host.send(head.encode(), payload)

    def attempt_failed(self, attempt: Attempt, elapsed_us: int, retryable: bool, error: str) -> None:
        """The host decides: another attempt, or the step's failure."""
        ask = attempt.ask
        self.attempt_dropped(attempt)
        if self._asking.open.get(ask.key) is ask:
            config = ask.config
            assert config is not None
            numbers = f"{ask.key[2]},{attempt.number},{elapsed_us},{'true' if retryable else 'false'}"
            policy = f'{config.limit},{config.delay_ms},"{config.backoff}"'
            self.say(f'["failed",{self.act},{ask.quoted},{numbers},{policy},{error}]')

    def attempt_dropped(self, attempt: Attempt) -> None:
        """It is over."""
        attempt.ask.attempt = None
        self._attempts.discard(attempt)
        self._host.touch(self)

    def say(self, envelope: str) -> None:
        """Queue a frame without a payload."""
        self._host.send(envelope.encode())

    def settle(self) -> None:
        """Called before frames are written: say what has become true by now."""
        if self.gone:
            return
        asking = self._asking
        if asking.loop.spoiled is not None and not self._stopped:
            self._end("raised", described(asking.loop.spoiled).encode())
            self._after_replay()
        if self._attempts:
            return
        if asking.closing:
            if self._outcome_told or self._stopped:
                self.gone = True
                self.say(f'["closed",{self.act}]')
            return
        if self._quiet_due is not None:
            hold, self._quiet_due = self._quiet_due, None
            self.say(f'["quiet",{self.act},{hold}]')
        if not (self._idle_told or self._unacknowledged or self._held_back) and asking.deferred is None:
            self._idle_told = True
            self.say(f'["idle",{self.act},{self._entered}]')

    def _drain(self, first: Callable[..., object], *args: Any) -> None:
        try:
            self._asking.loop.drain(first, *args)
        except BaseException as error:
            self._end("raised", described(error).encode())
        else:
            main = self._main
            assert main is not None
            if main.done():
                self._end_with(main)
            elif not self._asking.open:
                self._end("raised", described(_stalled()).encode())
        self._host.touch(self)

    def _end_with(self, main: RunTask) -> None:
        try:
            output = main.result()
        except BaseException as error:
            self._end("raised", described(error).encode())
        else:
            self._end("returned", output)

    def _end(self, how: str, what: bytes) -> None:
        """`run` is over; the host hears so once all recorded completions have entered."""
        if self._outcome is None:
            self._outcome = (how, what)
            self._asking.cancelled.update(self._asking.open)
            self._close()

    def _after_replay(self) -> None:
        """Once all recorded completions have entered: tell what is new, and how `run` ended if it did."""
        if self._entered < self._recorded or self._stopped:
            return
        if self._asking.deferred is not None:
            self._go_live(self._asking.deferred)
        if self._outcome is None or self._outcome_told or self._stopped:
            return
        self._outcome_told = True
        how, what = self._outcome
        if how == "returned":
            self._host.send(f'["returned",{self.act}]'.encode(), what)
        else:
            self._host.send(b'["raised",%d,%b]' % (self.act, what))

    def _go_live(self, deferred: dict[Key, Ask]) -> None:
        self._asking.deferred = None
        if self._outcome is None:
            for key in self._given_back:  # before new waits are told: the events are older than what these may get
                self._tell_cancelled(key)
        for ask in deferred.values():
            if self._asking.open.get(ask.key) is ask:
                self.put(ask)
        for key in self._known:
            if key not in self._asking.cancelled:
                self._mismatch(self._entered, key)
                return
            if self._outcome is None:
                self._tell_cancelled(key)
        self._known.clear()

    def _mismatch(self, position: int, key: Key) -> None:
        expected = shown(key)
        got = f"run {self._outcome[0]}" if self._outcome is not None else f"run waits for {self._asking.waited_for()}"
        texts = ",".join(encode_basestring_ascii(text[:_SHOWN_LENGTH_MAX]) for text in (expected, got))
        self.say(f'["mismatch",{self.act},{position},{texts}]')
        self.stop()

    def _close(self) -> None:
        self._host.touch(self)
        if self._asking.closing:
            return
        self._asking.closing = True
        for attempt in list(self._attempts):
            attempt.cancel()
        closing.close(self._asking.loop)
        self._host.flush_logs(self)
        self._asking.open.clear()


def _stalled() -> WorkflowStalledError:
    return WorkflowStalledError(
        "run waits for something, but for no step, sleep or event, so nothing can ever wake it: such as a future, "
        "a lock or a queue that no task of run's will settle"
    )

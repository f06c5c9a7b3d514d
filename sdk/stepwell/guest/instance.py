"""One activation of one instance: what completes its `run`, live and on replay alike, and how it ends.

Completions enter one at a time, in journal order, each drained to the end. While recorded ones enter, nothing is sent
and no body starts: whatever `run` asks for then either completes further on, or is open (the host said so), or was
cancelled again, or is new; which of them is known once all have entered. A recorded completion that nobody asked for
means that the code is not what it was. All of it is deterministic but for the order in which live completions come.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from contextvars import copy_context
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final

from stepwell.errors import WorkflowTerminatedError
from stepwell.events import WorkflowEvent
from stepwell.guest import closing
from stepwell.guest.asking import Asking
from stepwell.guest.asks import Ask, Key, shown
from stepwell.guest.entering import cancel_run, enter
from stepwell.guest.failures import described
from stepwell.guest.kept import kept
from stepwell.guest.logs import SOURCE
from stepwell.guest.scheduler import stalled
from stepwell.guest.undoing import undo_all
from stepwell.steps import WorkflowStep
from stepwell.values import decode

if TYPE_CHECKING:
    from stepwell.guest.bodies import Attempt
    from stepwell.guest.instance_host import InstanceHost
    from stepwell.guest.limits import Limits
    from stepwell.guest.scheduler import RunTask

_SHOWN_LENGTH_MAX: Final = 1024


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
        self._asking = Asking(self, host.loop, act, started, limits.drainTurns, limits.steps, info.get("stepsMax"))
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
        self._was_cancelled = False
        self._raised: str | None = None
        """What `run` failed with, once its steps are rolled back."""
        self._handler_waits: tuple[Ask, int] | None = None
        """A rollback handler's attempt, until no body of a step runs any more."""
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
        event = WorkflowEvent.of(decode(self._params), self._info)
        output = self._entrypoint().run(event, WorkflowStep(self._asking))
        if hasattr(output, "__await__"):
            output = await output
        return kept("the output of run", output, self._payload_bytes_max)

    def complete(self, key: Key, at_ms: int, outcome: str, detail: Any, payload: bytes) -> None:
        """A completion enters."""
        if self._outcome_told or self._stopped:
            return
        position = self._entered
        self._entered += 1
        self._idle_told = False
        if outcome == "cancelled":
            self._cancelled(at_ms, detail)
            return
        asking = self._asking
        ask = asking.open.pop(key, None)
        if outcome == "terminate":
            self._terminate()
        elif ask is not None:
            if ask.result is not None:
                self._unacknowledged -= 1
            if ask.attempt is not None:
                ask.attempt.cancel()
            if asking.deferred:
                asking.deferred.pop(key, None)
            self._drain(enter, asking.loop, ask, at_ms, outcome, detail, payload)
        elif key in asking.cancelled:
            asking.cancelled.discard(key)
            if outcome == "event" and asking.deferred is not None:
                self._given_back.append(key)
        else:
            self._mismatch(position, key)
            return
        self._after_replay()

    def _cancelled(self, at_ms: int, reason: str) -> None:
        """`run` is to end: unless it has, which the host had not heard of when it recorded the cancel."""
        if self._outcome is None and self._raised is None:
            assert self._main is not None
            self._was_cancelled = True
            self._drain(cancel_run, self._asking.loop, self._main, at_ms, reason)
        self._after_replay()

    def go(self, kind: str, name: str, count: int, number: int) -> None:
        """The host wants this attempt of an open step or rollback to begin."""
        ask = self._asking.open.get((kind, name, count))
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
        if ask.key[0] == "rollback" and self._attempts:
            self._handler_waits = (ask, number)
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
            head = f'["result",{self.act},{ask.quoted},{ask.key[2]},{attempt.number},{elapsed_us}{ask.kind}]'
            self._host.send(head.encode(), payload)

    def attempt_failed(self, attempt: Attempt, elapsed_us: int, delay_ms: int | None, error: str) -> None:
        """The host decides: another attempt, or the step's failure. Without a delay there is none to be."""
        ask = attempt.ask
        self.attempt_dropped(attempt)
        if self._asking.open.get(ask.key) is ask:
            config = ask.config
            assert config is not None
            numbers = f"{ask.key[2]},{attempt.number},{elapsed_us},{'false' if delay_ms is None else 'true'}"
            policy = f'{config.limit},{config.delay_ms if delay_ms is None else delay_ms},"{config.backoff}"'
            self.say(f'["failed",{self.act},{ask.quoted},{numbers},{policy},{error}{ask.kind}]')

    def attempt_dropped(self, attempt: Attempt) -> None:
        """It is over."""
        attempt.ask.attempt = None
        self._attempts.discard(attempt)
        if self._handler_waits is not None and not self._attempts:
            (ask, number), self._handler_waits = self._handler_waits, None
            if self._asking.open.get(ask.key) is ask:
                self._start(ask, number)
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
            asking.undos.clear()  # no replay would come to this again
            self._fail(asking.loop.spoiled)
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
            self._fail(error)
        else:
            assert self._main is not None
            if self._main.done():
                self._end_with(self._main)
            elif not self._asking.open:
                self._fail(stalled())
        self._host.touch(self)

    def _end_with(self, main: RunTask) -> None:
        try:
            output = main.result()
        except BaseException as error:
            self._fail(error)
        else:
            if self._raised is None:
                self._end("returned", output)
            else:
                self._end("raised", f"{self._raised},true,{output or 'null'}".encode())

    def _terminate(self) -> None:
        """A call ends `run` here, unless it failed by itself before: then its rollback is under way, or over."""
        if self._raised is None:
            self._outcome = None
            self._fail(WorkflowTerminatedError("the instance was terminated"))

    def _fail(self, error: BaseException) -> None:
        """`run` failed for good: roll back what it did, where there is anything. One that lets its cancel out has
        cleaned up as it saw fit."""
        text = described(error)
        let_out = self._was_cancelled and type(error) is CancelledError
        if self._raised is None and self._asking.undos and not let_out:
            self._roll_back(text)
        else:
            self._end("raised", (text if self._raised is None else f"{self._raised},true,{text}").encode())

    def _roll_back(self, error: str) -> None:
        """End `run`, then begin with what undoes its steps. Of what it still waited for, nothing counts."""
        asking = self._asking
        self._raised = error
        asking.cancel_all()
        asking.closing = True
        closing.close(asking.loop)
        asking.closing = False
        self._drain(self._begin_rollback, error)

    def _begin_rollback(self, error: str) -> None:
        context = copy_context()
        context.run(SOURCE.set, self)
        self._main = self._asking.loop.create_task(undo_all(self._asking, error), name="rollback", context=context)

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
        self._differs(position, shown(key))

    def _differs(self, position: int, expected: str) -> None:
        texts = ",".join(encode_basestring_ascii(text[:_SHOWN_LENGTH_MAX]) for text in (expected, self._does()))
        self.say(f'["mismatch",{self.act},{position},{texts}]')
        self.stop()

    def _does(self) -> str:
        """What `run` did last, for people."""
        if self._outcome is not None:
            return f"run {self._outcome[0]}"
        return f"run waits for {self._asking.waited_for()}"

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

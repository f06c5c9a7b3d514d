"""The host's end of one sandbox's conversation.

Frames are cut, decoded to typed messages and handed to the activation that they name; payloads pass through untouched.
What a guest does wrong ends that guest and nothing else: every way to die leads to `_die`, which happens once.

Everything runs in callbacks of the loop that it was made on: no task, no thread, no lock. All that is read in one turn
is handed on in one turn, as far as the tenant's share in it goes (`loader.turns`), and all frames sent within a turn
are written together.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Final, Protocol, TypeVar

import msgspec

from loader import messages
from loader.bundles.manifest import Manifest
from loader.limits import READ_BYTES_MAX
from loader.logs import LineCutter, LogGate, LogSink, ignore_log
from loader.messages import ActivationMessage, Hello, Loaded, Log, Pong, Unloadable, decode_guest_message
from loader.outbox import Outbox
from loader.pulse import Pulse
from loader.reasons import describe, end_of
from loader.sandbox.sandbox import Sandbox
from loader.turns import Share
from stepwell.errors import BundleRefusedError
from stepwell.frames import PROTOCOL, FrameError, FrameReader
from stepwell.names import WorkflowId

T = TypeVar("T")

_BACKLOG: Final = "a backlog"
"""What holds reading up while frames that were read wait for their turn."""

_ENDED: Final = "its end"
"""What holds reading up when there is no more to read."""

_END_S_MAX: Final = 3.0
"""For how long a guest that closed its connection is waited for: its end tells more, such as a want of memory. runsc
takes over a second to tell of it where all CPUs are busy."""


class GuestHandler(Protocol):
    """One activation's ear. All are called on the loop and must not block or raise; one that raises ends the guest."""

    def on_message(self, message: ActivationMessage, payload: bytes) -> None:
        """The guest said this. Log lines do not come here."""

    def on_batch_end(self) -> None:
        """All that came in one read was handed on, at least one message of it to this handler."""

    def on_death(self, reason: str) -> None:
        """The sandbox is gone. Called once, and last, for every activation that was open; never from within a call."""


class GuestDiedError(Exception):
    """The sandbox ended while an answer was awaited; the text is the reason."""


class ImportTimeoutError(BundleRefusedError):
    """Importing took too long, by the code's fault or since the machine, or its host, stood still."""


class Guest:
    """One sandbox that was booted, seen from the host."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        outgoing_bytes_max: int = 64 * 1024 * 1024,
        log_lines_a_second: int = 1_000,
        log_bytes_a_second: int = 1024 * 1024,
        loop_stall_ms: int = 10_000,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self.sandbox = sandbox
        self.death: asyncio.Future[str] = self._loop.create_future()
        """Set once, to the reason."""
        self.hello: Hello | None = None
        self.bindings: Mapping[str, WorkflowId] = {}
        """What its version is granted, by name."""
        self._handlers: dict[int, GuestHandler] = {}
        self._touched: dict[int, GuestHandler] = {}
        self._last_act = 0
        self._reader = FrameReader()
        self._outbox = Outbox(sandbox.socket, self._loop, outgoing_bytes_max, self._die)
        self.send = self._outbox.send
        self._logs = LogGate(
            ignore_log, self._loop.time, lines_a_second=log_lines_a_second, bytes_a_second=log_bytes_a_second
        )
        self._loop_stall_ms = loop_stall_ms
        self._pulse = Pulse(self._loop, loop_stall_ms, self._beat, self._stalled)
        self._outbox.read_on = self._on_read_on
        self._lines = LineCutter()
        self._output_waits = self._output_ended = False
        self._greeting: asyncio.Future[None] = self._loop.create_future()
        self._loading: asyncio.Future[Loaded | Unloadable] | None = None
        self._loaded = False
        self._put_down_for = ""
        self._share: Share | None = None
        self._holders: set[object] = set()
        self._loop.add_reader(sandbox.socket, self._on_readable)
        self._loop.add_reader(sandbox.output, self._on_output)
        sandbox.exited.add_done_callback(self._on_exit)

    @property
    def alive(self) -> bool:
        """Whether frames still go anywhere."""
        return not self.death.done()

    @property
    def usable(self) -> bool:
        """Whether anything new may begin in it: it lives, and neither closed its connection nor is put down."""
        return not (self.death.done() or self._put_down_for or _ENDED in self._holders)

    @property
    def runtime(self) -> str:
        """The guest runtime's name and version, as it greeted; empty before."""
        return self.hello.runtime if self.hello is not None else ""

    @property
    def activations(self) -> int:
        """How many are open."""
        return len(self._handlers)

    @property
    def outgoing_bytes(self) -> int:
        """What was sent and is not in the socket yet."""
        return self._outbox.waiting_bytes

    async def greet(self, timeout_ms: int) -> None:
        """Wait until the guest is ready for a bundle. Raises GuestDiedError, also when the time is over."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._greeting
        except TimeoutError:
            self.kill(f"it did not say hello within {timeout_ms} ms")
            raise GuestDiedError(self.death.result()) from None

    async def load(
        self,
        bundle_path: str,
        manifest: Manifest,
        limits: Mapping[str, int],
        *,
        share: Share | None = None,
        timeout_ms: int = 30_000,
        log_sink: LogSink = ignore_log,
    ) -> None:
        """Have the bundle imported; its files are there. What the tenant prints goes to `log_sink` from here on, and
        what it says is its tenant's `share` of each turn; without one, there is no bound.

        Raises BundleRefusedError when it can't be imported, or takes too long, and GuestDiedError. Either ends the
        guest.
        """
        self._logs.sink = log_sink
        self._share = share
        self._loading = self._loop.create_future()
        self.bindings = manifest.bindings
        bindings = dict(manifest.bindings)
        self.send(messages.load(bundle_path, manifest.entrypoints(), dict(manifest.vars), dict(limits), bindings))
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                answer = await self._loading
        except TimeoutError:
            self.kill(f"importing the bundle took over {timeout_ms} ms")
            raise ImportTimeoutError(
                f"Importing the bundle took over {timeout_ms / 1000:g} s: do slow work in a step, not while importing."
            ) from None
        except BaseException:
            self.kill("loading was given up")
            raise
        if isinstance(answer, Unloadable):
            self.kill("the bundle could not be imported")
            raise BundleRefusedError(f"The bundle can't be imported. {describe(answer.error)}")

    def open(self, handler: GuestHandler) -> int:
        """A new activation's number; its messages go to the handler. Raises GuestDiedError."""
        if not self.usable:
            raise GuestDiedError(self.death.result() if self.death.done() else "its end is awaited")
        self._last_act += 1
        self._handlers[self._last_act] = handler
        self._pulse.start()
        return self._last_act

    def close(self, act: int) -> None:
        """Forget an activation: what still comes for it is dropped. Idempotent."""
        self._handlers.pop(act, None)
        self._touched.pop(act, None)

    def kill(self, reason: str) -> None:
        """End the sandbox. Idempotent: the first reason stays."""
        self._die(reason)

    def hold_reading(self, holder: object) -> None:
        """Leave what the guest says in the socket, which in time holds the guest up. Idempotent."""
        if not self._holders and self.alive:
            self._loop.remove_reader(self.sandbox.socket)
        self._holders.add(holder)

    def resume_reading(self, holder: object) -> None:
        """Read on, as far as this holder is concerned. Idempotent."""
        if holder in self._holders:
            self._holders.remove(holder)
            if not self._holders and self.alive:
                self._loop.add_reader(self.sandbox.socket, self._on_readable)

    async def drain(self) -> None:
        """Wait until less than a mebibyte is waiting for the guest, or it died."""
        await self._outbox.drain()

    def _on_readable(self) -> None:
        try:
            data = self.sandbox.socket.recv(READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.hold_reading(_ENDED)  # how its process ends says why; or it lives, but can't say anything any more
            self._loop.call_later(_END_S_MAX, self._put_down, "it closed its connection")
            return
        self._reader.feed(data, 0)
        share = self._share
        if share is None:
            self._handle(sys.maxsize)
            return
        pause_s = share.pause_s(len(data))
        if pause_s > 0:
            self.hold_reading(share)
            self._loop.call_later(pause_s, self.resume_reading, share)
        if not share.handle(self._handle):
            self.hold_reading(_BACKLOG)

    def _handle(self, frames_max: int) -> int:
        """Handle so many frames of those that were read; how many there were, none once the guest is dead."""
        if self.death.done():
            return 0
        handlers, touched = self._handlers, self._touched
        count = 0
        try:
            frames = self._reader.feed(b"", frames_max)
            count = len(frames)
            if frames:
                self._pulse.heard = True
            for envelope, payload in frames:
                message = decode_guest_message(envelope)
                if isinstance(message, (Hello, Loaded, Unloadable, Pong, Log)):
                    self._on_own_message(message, payload)
                elif (handler := handlers.get(message.act)) is not None:
                    touched[message.act] = handler
                    _hand_on(handler, message, payload)
                elif not self._loaded:
                    raise FrameError("an activation's message before the bundle was loaded")
                if self.death.done():
                    return 0
            while touched:
                _end_batch(touched.pop(next(iter(touched))))
        except (FrameError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._die(f"it sent an illegal frame: {str(error)[:200]}")
        except _HandlerFailure as failure:
            self._die("the host failed to handle what it sent")
            self._loop.call_exception_handler(
                {"message": f"sandbox {self.sandbox.id}: a handler raised", "exception": failure.__cause__}
            )
        if count < frames_max:
            self.resume_reading(_BACKLOG)
        return count

    def _on_own_message(self, message: Hello | Loaded | Unloadable | Pong | Log, payload: bytes) -> None:
        if isinstance(message, Log):
            handler = self._handlers.get(message.act)
            self._logs.put(handler, message.name, message.count, message.attempt, message.stream, payload)
        elif isinstance(message, Pong):
            pass  # that it came at all is what it says
        elif isinstance(message, Hello):
            if self.hello is not None or message.protocol != PROTOCOL:
                raise FrameError(f"hello, with protocol {message.protocol}: {PROTOCOL} is served, once")
            self.hello = message
            _resolve(self._greeting, None)
        else:
            if self._loading is None or self._loaded:
                raise FrameError("it answered a load that it was not asked for")
            self._loaded = True
            _resolve(self._loading, message)

    def _beat(self) -> bool:
        """Ask for a sign of life, where one is due: while something runs, and its frames are read at all."""
        if not self._handlers:
            self._pulse.stop()
            return False
        self.send(messages.PING)
        return not self._holders

    def _on_read_on(self) -> None:
        self._pulse.heard = True

    def _stalled(self) -> None:
        self._put_down(
            f"its event loop stood still for over {self._loop_stall_ms / 1000:g} s: something held it up, such as a "
            "loop in run without an await, or slow work in a step that is an async def; work that blocks belongs into "
            "a step that is a plain def, which runs in a thread of its own"
        )

    def _on_output(self) -> None:
        if self._share is None:
            self._read_output(1)
        elif not self._share.handle(self._read_output):
            self._output_waits = True
            self._loop.remove_reader(self.sandbox.output)

    def _read_output(self, _: int) -> int:
        """Log what was written around `sys.stdout`: it costs what frames cost, and waits with them."""
        if self._output_ended:
            return 0
        if self._output_waits:
            self._output_waits = False
            self._loop.add_reader(self.sandbox.output, self._on_output)
        with contextlib.suppress(BlockingIOError, InterruptedError):
            data = os.read(self.sandbox.output, READ_BYTES_MAX)
            if not data:
                self._loop.remove_reader(self.sandbox.output)
            self._log_raw(self._lines.feed(data))
        return 0

    def _log_raw(self, lines: bytes) -> None:
        if lines:
            self._logs.put(None, "", 0, 0, 0, lines)

    def _put_down(self, reason: str) -> None:
        """Kill what shows no life any more; its end may tell more than that, such as a want of memory."""
        self._put_down_for = self._put_down_for or reason
        self.sandbox.kill()

    def _on_exit(self, exited: asyncio.Future[int]) -> None:
        self._die(self.sandbox.cause or self._put_down_for or end_of(exited.result()))
        self._read_output(1)
        self._output_ended = True
        self._log_raw(self._lines.end())
        self._loop.remove_reader(self.sandbox.output)
        with contextlib.suppress(OSError):
            os.close(self.sandbox.output)

    def _die(self, reason: str) -> None:
        if self.death.done():
            return
        self.death.set_result(reason)
        self._loop.remove_reader(self.sandbox.socket)
        self._pulse.stop()
        self._outbox.close()
        self.sandbox.kill()
        self.sandbox.socket.close()
        handlers = list(self._handlers.values())
        self._handlers.clear()
        self._touched.clear()
        for waiting in (self._greeting, self._loading):
            if waiting is not None and not waiting.done():
                waiting.set_exception(GuestDiedError(reason))
                waiting.exception()
        for handler in handlers:
            self._loop.call_soon(handler.on_death, reason)


class _HandlerFailure(Exception):
    pass


def _hand_on(handler: GuestHandler, message: ActivationMessage, payload: bytes) -> None:
    try:
        handler.on_message(message, payload)
    except Exception as error:
        raise _HandlerFailure from error


def _end_batch(handler: GuestHandler) -> None:
    try:
        handler.on_batch_end()
    except Exception as error:
        raise _HandlerFailure from error


def _resolve(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)

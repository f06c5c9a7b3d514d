"""The guest's side of the conversation: frames to instances, and what instances say to frames."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import traceback
from json import JSONDecoder
from typing import Any, Final

from stepwell import frames
from stepwell.bindings import WorkflowBinding
from stepwell.environment import ENV
from stepwell.guest import bundle, determinism, failures, restrictions
from stepwell.guest.bodies import Bodies
from stepwell.guest.calls import Calls
from stepwell.guest.connection import Connection, TurnSelector
from stepwell.guest.instance import Instance
from stepwell.guest.limits import Limits
from stepwell.guest.logs import Logs, LogStream
from stepwell.guest.loop import GuestLoop
from stepwell.guest.replaying import ReplayedInstance

RUNTIME: Final = "stepwell 0.1.0"
"""Recorded with each activation."""

_GC_THRESHOLD: Final = (20_000, 10, 10)
"""Objects between collections: drains put them off, so that they come in larger lumps anyway."""

_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed leaves it out
"""The host writes envelopes without white space, for which `decode` would look twice."""


class Guest:
    """Everything in this process. Implements `InstanceHost`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, selector: TurnSelector, fd: int) -> None:
        self.loop = loop
        self._connection = Connection(fd, loop, selector, self._on_frame, self._before_write, frames.TOLD_BYTES_MAX)
        self.send = self._connection.send
        self._logs = Logs(self._connection.send_log, self._connection.send)
        self.flush_logs = self._logs.flush
        self._calls = Calls(loop, self._connection.send)
        self._bodies = Bodies(loop, self._connection.soon, self._logs.flush)
        self.start = self._bodies.start
        self._limits = Limits()
        self._classes: dict[str, Any] = {}
        self._instances: dict[int, Instance] = {}
        self._touched: dict[int, Instance] = {}
        sys.stdout = LogStream(self._logs, 1)
        sys.stderr = LogStream(self._logs, 2)

    def hello(self) -> None:
        """Say that a bundle may come."""
        python = ".".join(map(str, sys.version_info[:3]))
        self.send(f'["hello",{frames.PROTOCOL},"{RUNTIME}","{python}"]'.encode())

    def touch(self, instance: Instance) -> None:
        self._touched[instance.act] = instance
        self._connection.soon()

    def _before_write(self) -> None:
        self._bodies.tell()
        if self._touched:
            touched, self._touched = self._touched, {}
            for instance in touched.values():
                instance.settle()
                if instance.gone and self._instances.get(instance.act) is instance:
                    del self._instances[instance.act]
        if self._bodies.abandoned >= self._limits.abandonedThreads:
            self._end("too many steps written as plain functions ran out of time and still run")

    def _end(self, why: str) -> None:
        self.send(b'["log",0,"",0,0,2]', f"The sandbox is started afresh: {why}\n".encode())
        self._limits = self._limits._replace(abandonedThreads=sys.maxsize)
        self._connection.flush_now()
        os._exit(frames.EXIT_THREADS_STUCK)

    def _on_frame(self, envelope: bytes, payload: bytes) -> None:
        try:
            message, _ = _scan(envelope.decode(), 0)
            if message[0] == "completion":
                _, act, kind, name, count, at, outcome, detail = message
                instance = self._instances.get(act)
                if instance is not None:
                    instance.complete((kind, name, count), at, outcome, detail, payload)
            else:
                self._on_message(message, payload)
        except Exception:
            os.write(2, f"the guest failed at {envelope[:200]!r}\n{traceback.format_exc()}".encode("utf-8", "replace"))
            os._exit(70)

    def _on_message(self, message: list[Any], payload: bytes) -> None:
        if message[0] == "start" or message[0] == "replay":
            self._start_instance(message, payload)
        elif message[0] == "answer":
            _, _, number, error = message
            self._calls.answer(number, error, payload)
        elif message[0] == "ping":
            self.send(b'["pong"]')
        elif message[0] == "load":
            _, path, entrypoints, variables, limits, bindings = message
            self._calls.workflows = bindings
            ENV.fill(variables, {name: WorkflowBinding(self._calls, name) for name in bindings})
            self._load(path, entrypoints, limits)
        else:
            kind, act, *rest = message
            instance = self._instances.get(act)
            if instance is not None:
                self._on_order(kind, instance, rest)
            elif kind == "stop":
                self.send(f'["closed",{act}]'.encode())

    def _on_order(self, kind: str, instance: Instance, rest: list[Any]) -> None:
        if kind == "go":
            instance.go(*rest)
        elif kind == "hold":
            instance.hold(*rest)
        elif kind == "release":
            instance.release()
        elif kind == "stop":
            instance.stop()
        else:
            raise frames.FrameError(f"unknown message {kind!r}")

    def _load(self, path: str, entrypoints: list[str], limits: dict[str, int]) -> None:
        self._limits = Limits.of(limits)
        self._bodies.limit(self._limits.payloadBytes, self._limits.threads)
        self._calls.payload_bytes_max = self._limits.payloadBytes
        self._logs.write_length_max = self._limits.logBytes
        try:
            self._classes = bundle.load(path, entrypoints)
        except BaseException as error:
            place = failures.place_of(error)
            self.send(f'["unloadable",{failures.described(_placed(error, place))}]'.encode())
        else:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLD)
            self.send(b'["loaded"]')

    def _start_instance(self, message: list[Any], payload: bytes) -> None:
        kind, act, entrypoint, info, recorded, opened, *ended = message
        chosen = self._classes[entrypoint]
        of = (self, act, lambda: chosen(bundle.ExecutionContext(), ENV), info, recorded, opened, payload, self._limits)
        instance = ReplayedInstance(*of, ended=ended[0]) if kind == "replay" else Instance(*of)
        self._instances[act] = instance
        instance.begin()


def _placed(error: BaseException, place: str) -> BaseException:
    """The error with its place in its text; of the same class by name."""
    text = error.msg if isinstance(error, SyntaxError) else failures.message_of(error)
    if not place:
        return error
    kind = type(error)
    members = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    placed: BaseException = type(kind.__name__, (Exception,), members)(f"{place}{text}")
    placed.__cause__, placed.__suppress_context__ = error.__cause__, True
    return placed.with_traceback(error.__traceback__)


def _reap_children_without_threads(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio's default watcher of 3.11 adds a thread a child; where the kernel has pidfds, it need not."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return
    watcher = asyncio.PidfdChildWatcher()
    watcher.attach_loop(loop)
    asyncio.set_child_watcher(watcher)


def main(fd: int) -> None:
    """Serve the host at this socket until it closes it."""
    selector = TurnSelector()
    loop = GuestLoop(selector)
    asyncio.set_event_loop(loop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _reap_children_without_threads(loop)
    determinism.install()
    restrictions.install()
    guest = Guest(loop, selector, fd)
    guest.hello()
    while True:
        loop.call_soon(determinism.hold_generators, loop)
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            traceback.print_exc()

"""Sandboxes of a simulated node: the guest's real runtime in a process of its own, which may die, hang or lag.

What is left out of it is what belongs to a real process: reading modules from a bundle's folder, threads, and the end
of the process, which is the end of the simulated one here.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from loader.bundles.runtime import GuestRuntime
from loader.sandbox.sandbox import Isolation, Sandbox, SandboxError
from stepwell.bindings import WorkflowBinding
from stepwell.entrypoint import WorkflowEntrypoint
from stepwell.frames import FrameReader, frame
from stepwell.guest import runtime
from stepwell.guest.bodies import Bodies
from stepwell.guest.calls import Calls
from stepwell.guest.instance import Instance
from stepwell.guest.limits import Limits
from stepwell.guest.logs import Logs
from stepwell.guest.replaying import ReplayedInstance
from tests.replay.fake_host import guest_loop
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.wire import WireEnd, wire

Classes = Mapping[str, type[WorkflowEntrypoint]]
"""What all bundles hold, by entrypoint: each version has names of its own."""


@dataclass(frozen=True, slots=True)
class SandboxFaults:
    """Chances of what may go wrong with a sandbox."""

    start_fails: float = 0.0
    dies_a_second: float = 0.0
    hangs_a_second: float = 0.0
    """For longer than a loop may stand still."""
    lags_a_second: float = 0.0
    """For less."""


CALM = SandboxFaults()
HOSTILE = SandboxFaults(start_fails=0.05, dies_a_second=0.02, hangs_a_second=0.01, lags_a_second=0.05)


class ProcessEnded(BaseException):
    """What `os._exit` is in a simulated process; its argument is the status."""


def end_process(status: int) -> None:
    raise ProcessEnded(status)


class GuestConnection:
    """`stepwell.guest.connection.Connection` over a wire."""

    def __init__(
        self,
        end: WireEnd,
        loop: SimulatedLoop,
        on_frame: Callable[[bytes, bytes], None],
        before_write: Callable[[], None],
        exit: Callable[[int], None],
    ) -> None:
        self._exit = exit
        self._end = end
        self._loop = loop
        self._on_frame = on_frame
        self._before_write = before_write
        self._reader = FrameReader()
        self._ready: list[bytes] = []
        self._scheduled = False
        end.listen(self._on_readable)

    def send(self, envelope: bytes, payload: bytes = b"") -> None:
        self._ready.append(frame(envelope, payload))
        self.soon()

    def send_log(self, envelope: bytes, payload: bytes) -> bool:
        self.send(envelope, payload)
        return True

    def soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush, context=self._end.process.context)

    def flush(self) -> None:
        self._scheduled = True
        self._before_write()
        self._scheduled = False
        if self._ready:
            data = b"".join(self._ready)
            self._ready.clear()
            try:
                self._end.send(data)
            except OSError:
                self._end.process.kill()

    def _on_readable(self) -> None:
        data = self._end.recv(1 << 20)
        if not data:
            self._end.process.kill()
            return
        try:
            for envelope, payload in self._reader.feed(data):
                self._on_frame(envelope, payload)
        except ProcessEnded as ended:
            self._exit(ended.args[0])
        else:
            self.soon()


class SimulatedThreads:
    """`stepwell.guest.threads.Threads`: there is one thread, and a plain function takes a moment of its time."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.running_max = 0
        self._loop = loop

    def run(self, function: Callable[[], None]) -> None:
        self._loop.call_later(0.001, function)


class SimulatedGuest(runtime.Guest):
    """The guest's side of the conversation, as it is, over a wire; `exit` ends its process."""

    def __init__(
        self,
        loop: SimulatedLoop,
        end: WireEnd,
        classes: Classes,
        exit: Callable[[int], None],
    ) -> None:
        self.loop = guest_loop()
        connection = GuestConnection(end, loop, self._on_frame, self._before_write, exit)
        self._connection = cast(Any, connection)
        self.send = connection.send
        self._logs = Logs(connection.send_log, connection.send)
        self.flush_logs = self._logs.flush
        self._calls = Calls(cast(Any, loop), connection.send)
        self._bodies = Bodies(loop, connection.soon, self._logs.flush)
        self._bodies._threads = cast(Any, SimulatedThreads(loop))
        self.start = self._bodies.start
        self._limits = Limits()
        self._classes = {}
        self._instances = {}
        self._touched = {}
        self._known_classes = classes
        self._exit = exit

    def _end(self, why: str) -> None:
        self._exit(1)

    def die(self) -> None:
        """Its process is gone: nobody is to hear of the tasks that were at work in it."""
        for instance in self._instances.values():
            for task in instance._asking.loop.live_tasks():
                task._log_destroy_pending = False  # type: ignore[attr-defined]

    def _load(self, path: str, entrypoints: list[str], limits: dict[str, int]) -> None:
        self._limits = Limits.of(limits)
        self._bodies.limit(self._limits.payloadBytes, self._limits.threads)
        self._calls.payload_bytes_max = self._limits.payloadBytes
        self._classes = {entrypoint: self._known_classes[entrypoint] for entrypoint in entrypoints}
        self.send(b'["loaded"]')

    def _start_instance(self, message: list[Any], payload: bytes) -> None:
        kind, act, entrypoint, info, recorded, opened, *ended = message
        chosen = self._classes[entrypoint]
        env = SimpleNamespace(**{name: WorkflowBinding(self._calls, name) for name in self._calls.workflows})
        of = (self, act, lambda: chosen(info["uid"], env), info, recorded, opened, payload, self._limits)
        instance = ReplayedInstance(*of, ended=ended[0]) if kind == "replay" else Instance(*of)
        self._instances[act] = instance
        instance.begin()


class SimulatedSandbox:
    """`loader.sandbox.sandbox.Sandbox`."""

    def __init__(self, launcher: SimulatedLauncher, id: str) -> None:
        loop, host = launcher.loop, launcher.host
        self.id = id
        self.pid = 0
        self.process = Process(loop, f"{host.name} {id}", rate=host.rate, skew_s=host.skew_s)
        self.process.end = partial(self._exit, loop, -9)
        self.process.end_machine = host.end_machine
        end, guest_end = wire(loop, launcher.random, host, self.process)
        self.socket = cast(socket.socket, end)
        self.output = os.open(os.devnull, os.O_RDONLY)
        self.bundle_source = launcher.folder
        self.bundle_path = id
        self.exited: asyncio.Future[int] = loop.create_future()
        self.cause = ""
        self._launcher = launcher
        self._guest_end = guest_end
        boot_s = 0.01 + 0.1 * launcher.random.random()
        loop.call_later(boot_s, self._boot, context=self.process.context)
        loop.call_later(1.0, self._fate, context=loop.world.context)

    def _boot(self) -> None:
        guest = SimulatedGuest(
            self._launcher.loop, self._guest_end, self._launcher.classes, partial(self._exit, self._launcher.loop)
        )
        self.process.farewells[guest.die] = None
        guest.hello()

    def _fate(self) -> None:
        """Once a second it is drawn whether something happens to it."""
        launcher, loop = self._launcher, self._launcher.loop
        if not (self.process.alive and launcher.host.alive):
            return
        faults, chance = launcher.faults, launcher.random.random()
        if chance < faults.dies_a_second:
            launcher.seen["sandbox died"] += 1
            self._exit(loop, -9)
            return
        chance -= faults.dies_a_second
        if chance < faults.hangs_a_second + faults.lags_a_second:
            hangs = chance < faults.hangs_a_second
            launcher.seen["sandbox hung" if hangs else "sandbox lagged"] += 1
            self.process.pause()
            loop.call_later(60.0 if hangs else 4 * launcher.random.random(), self.process.resume)
        loop.call_later(1.0, self._fate)

    def _exit(self, loop: SimulatedLoop, status: int) -> None:
        """Its process is gone; the node's host hears of it a moment later."""
        if self.process.alive:
            self.process.kill()
            self._guest_end.close()
            loop.call_later(0.001, self._tell, status, context=self._launcher.host.context)

    def _tell(self, status: int) -> None:
        if not self.exited.done():
            self.exited.set_result(status)

    async def wait(self) -> int:
        return await asyncio.shield(self.exited)

    def memory_bytes(self) -> int:
        return 0

    def cpu_usage_us(self) -> int:
        return 0

    def schedule(self, parts: int, *, is_background: bool) -> None:
        """CPUs are without end here."""

    def kill(self) -> None:
        self._exit(self._launcher.loop, -9)


class SimulatedLauncher:
    """`SandboxLauncher` of one node: `host` is its process. Sandboxes die with it."""

    name = "simulated"

    def __init__(
        self,
        loop: SimulatedLoop,
        random: Random,
        host: Process,
        folder: Path,
        classes: Classes,
        faults: SandboxFaults,
        seen: Counter[str],
    ) -> None:
        self.loop = loop
        self.random = random
        self.host = host
        self.folder = folder
        self.faults = faults
        self.seen = seen
        self.sandboxes: dict[str, SimulatedSandbox] = {}
        self.classes = classes
        self._count = 0

    async def launch(self) -> Sandbox:
        await asyncio.sleep(0.005)
        if self.random.random() < self.faults.start_fails:
            self.seen["sandbox did not start"] += 1
            raise SandboxError("it does not start, by chance")
        self._count += 1
        sandbox = SimulatedSandbox(self, f"sandbox-{self._count}")
        self.sandboxes[sandbox.id] = sandbox
        return sandbox

    def host_died(self) -> None:
        """No sandbox outlives its node."""
        for sandbox in self.sandboxes.values():
            sandbox.process.kill()
            if not sandbox.exited.done():  # otherwise the loader has closed it
                os.close(sandbox.output)

    def probe(self) -> list[str]:
        return []

    def excess_bytes(self) -> int:
        return 0

    async def isolation(self) -> Isolation:
        return Isolation("none", ())

    async def runtime(self) -> GuestRuntime:
        return GuestRuntime("3.11.2", "cpython", "x86_64", "glibc", "2.36")

    async def close(self) -> None:
        for sandbox in self.sandboxes.values():
            sandbox.kill()

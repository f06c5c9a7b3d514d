"""Bundles whose code looks around in its sandbox, and what the contract's tests need to run them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from loader import messages
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.guest import Guest
from loader.logs import LogLine
from loader.messages import ActivationMessage, Raised
from loader.sandbox.sandbox import SandboxLauncher
from stepwell.names import WorkflowId

MANIFEST = Manifest((WorkflowEntry(WorkflowId("order"), "main:Order"),), {})

WORKFLOW = """
from stepwell import WorkflowEntrypoint
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return None
"""

TRY = """
def tried(work):
    try:
        return work()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
"""


def looking(expression: str) -> str:
    """Code of a main.py that writes the expression's value as JSON to raw fd 1, on one line."""
    write = f"import json, os, sys\n{TRY}\nos.write(1, (json.dumps({expression}) + '\\n').encode())\n"
    return write + WORKFLOW


async def booted(launcher: SandboxLauncher, *, loop_stall_ms: int = 60_000) -> Guest:
    """A guest that has said hello."""
    guest = Guest(await launcher.launch(), loop_stall_ms=loop_stall_ms)
    await guest.greet(60_000)
    return guest


async def seen(launcher: SandboxLauncher, expression: str) -> Any:
    """What the expression is worth inside a sandbox of this launcher."""
    guest, lines = await loaded(launcher, looking(expression))
    [text] = await lines.raw(1)
    guest.kill("it has been seen")
    return json.loads(text)


async def loaded(
    launcher: SandboxLauncher, code: str, *, loop_stall_ms: int = 60_000, **limits: int
) -> tuple[Guest, Lines]:
    """A guest with this main.py, and the lines it prints; `limits` are those of `stepwell.guest.limits`."""
    lines = Lines()
    guest = await booted(launcher, loop_stall_ms=loop_stall_ms)
    (guest.sandbox.bundle_source / "main.py").write_text(code)
    await guest.load(guest.sandbox.bundle_path, MANIFEST, limits, log_sink=lines.put)
    return guest, lines


class Lines:
    """What a sandbox printed; raw lines can be waited for."""

    def __init__(self) -> None:
        self.all: list[LogLine] = []
        self._more = asyncio.Event()

    def put(self, line: LogLine) -> None:
        self.all.append(line)
        self._more.set()

    def of(self, stream: int) -> list[bytes]:
        return [line.text for line in self.all if line.stream == stream and line.text is not None]

    async def raw(self, count: int) -> list[bytes]:
        """The first raw lines, once there are so many."""
        while len(self.of(0)) < count:
            self._more.clear()
            await self._more.wait()
        return self.of(0)[:count]


def processes_naming(text: str) -> set[int]:
    """The processes whose command line has this text: a folder of a test's own."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes() + os.readlink(entry / "cwd").encode()
            except OSError:
                continue
            if text.encode() in command:
                found.add(int(entry.name))
    return found


async def end_of(pid: int) -> None:
    """Wait until the process is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


class Ear:
    """One activation's: what its guest said, and the death of its sandbox."""

    def __init__(self) -> None:
        self.said: list[tuple[ActivationMessage, bytes]] = []
        self.death: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._more = asyncio.Event()

    def on_message(self, message: ActivationMessage, payload: bytes) -> None:
        self.said.append((message, payload))
        self._more.set()

    def on_batch_end(self) -> None:
        pass

    def on_death(self, reason: str) -> None:
        self.death.set_result(reason)

    async def until(self, kind: type[ActivationMessage]) -> bytes:
        """The payload of the first message of that kind, once it has come; `run` must not raise before."""
        while True:
            for message, payload in self.said:
                if isinstance(message, kind):
                    return payload
                assert not isinstance(message, Raised), message
            self._more.clear()
            await self._more.wait()


def started(guest: Guest) -> Ear:
    """A new instance of `main:Order`, whose first activation has begun."""
    ear = Ear()
    act = guest.open(ear)
    about: dict[str, object] = {
        "id": f"i-{act}", "uid": f"u-{act}", "workflow": "order", "created": 1, "started": 1, "now": 1
    }  # fmt: skip
    guest.send(messages.start(act, "main:Order", about, 0, [], b"null"))
    return ear

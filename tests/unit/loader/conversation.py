"""The test's end of a conversation with a guest: what an activation hears, and the first frames."""

from __future__ import annotations

import asyncio

from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.guest import Guest
from loader.logs import LogLine
from loader.messages import ActivationMessage
from stepwell.frames import frame
from stepwell.names import WorkflowId
from tests.unit.loader.fake_sandbox import HELLO, FakeSandbox

MANIFEST = Manifest((WorkflowEntry(WorkflowId("order"), "main:Order"),), {"a": "b"})
LOADED = frame(b'["loaded"]')


class Ear:
    """Keeps what an activation is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[ActivationMessage, bytes]] = []
        self.batches = 0
        self.deaths: list[str] = []
        self.something = asyncio.Event()

    def on_message(self, message: ActivationMessage, payload: bytes) -> None:
        self.heard.append((message, payload))

    def on_batch_end(self) -> None:
        self.batches += 1
        self.something.set()

    def on_death(self, reason: str) -> None:
        self.deaths.append(reason)
        self.something.set()


async def loaded(guest: Guest, sandbox: FakeSandbox, lines: list[LogLine] | None = None) -> None:
    sandbox.say(HELLO)
    await guest.greet(5_000)
    loading = asyncio.ensure_future(
        guest.load("/bundle", MANIFEST, {}, log_sink=(lines if lines is not None else []).append)
    )
    await sandbox.heard()
    sandbox.say(LOADED)
    await loading


def result(act: int, payload: bytes = b"1") -> bytes:
    return frame(f'["result",{act},"a",1,1,5]'.encode(), payload)

"""A host that is told rubbish: it goes on, or that guest dies with a reason; it never raises, hangs or grows."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.guest import Guest
from loader.logs import LogLine
from loader.messages import ActivationMessage
from loader.turns import FrameTurns
from stepwell.frames import ENVELOPE_BYTES_MAX, HEADER, PAYLOAD_BYTES_MAX, frame
from stepwell.names import TenantUid, WorkflowId
from tests.fuzz.budget import tries
from tests.fuzz.guest_messages import ENVELOPES, PAYLOADS, encoded
from tests.fuzz.rubbish import in_pieces, spoilt
from tests.unit.loader.fake_sandbox import HELLO, FakeSandbox

MANIFEST = Manifest((WorkflowEntry(WorkflowId("order"), "main:Order"),), {})
FRAMES = st.builds(frame, ENVELOPES.map(encoded), PAYLOADS)
SAID = st.lists(FRAMES | spoilt(FRAMES) | st.binary(max_size=40), max_size=8).map(b"".join)
OUTPUT = st.lists(st.binary(max_size=40) | st.sampled_from([b"\n" * 500, b"x" * 9_000, b"\x1b[2J\xff"]), max_size=3)

TURNS_MAX = 10_000
"""Of the loop, for a few frames: more is a host that hangs."""


class Ear:
    """An activation that keeps count."""

    def __init__(self) -> None:
        self.heard = 0
        self.deaths: list[str] = []

    def on_message(self, message: ActivationMessage, payload: bytes) -> None:
        self.heard += 1

    def on_batch_end(self) -> None:
        assert self.heard

    def on_death(self, reason: str) -> None:
        self.deaths.append(reason)


@tries(300)
@given(in_pieces(SAID), OUTPUT.map(b"".join), st.booleans())
def test_rubbish_ends_that_guest_or_nothing(pieces: list[bytes], output: bytes, loaded: bool) -> None:
    faults: list[dict[str, Any]] = []

    async def converse() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        sandbox, lines = FakeSandbox(), list[LogLine]()
        guest = Guest(sandbox)
        if loaded:
            await load(guest, sandbox, lines, FrameTurns(loop, 64 * 1024 * 1024))
        ears = [Ear(), Ear()]
        for ear in ears:
            guest.open(ear)
        sandbox.guest.setblocking(False)
        os.write(sandbox.guest_output, output)
        for piece in pieces:
            try:
                sandbox.guest.send(piece)
            except OSError:
                break
            await settled(guest, sandbox)
        assert len(guest._reader._buffer) <= HEADER.size + ENVELOPE_BYTES_MAX + PAYLOAD_BYTES_MAX
        assert sum(len(line.text or b"") for line in lines) <= len(output) + sum(map(len, pieces))
        if not guest.alive:
            assert guest.death.result()
            assert sandbox.kills
        guest.kill("the test is over")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [ear.deaths for ear in ears] == [[guest.death.result()]] * 2
        sandbox.close()
        await asyncio.sleep(0)

    asyncio.run(converse())
    assert faults == []


async def load(guest: Guest, sandbox: FakeSandbox, lines: list[LogLine], turns: FrameTurns) -> None:
    sandbox.say(HELLO)
    await guest.greet(5_000)
    loading = asyncio.ensure_future(
        guest.load("/bundle", MANIFEST, {}, share=turns.share(TenantUid("t")), log_sink=lines.append)
    )
    await asyncio.sleep(0)
    sandbox.say(frame(b'["loaded"]'))
    await loading


async def settled(guest: Guest, sandbox: FakeSandbox) -> None:
    """Until all that was said has been read and handled, or the guest is dead."""
    for _ in range(TURNS_MAX):
        await asyncio.sleep(0)
        if not guest.alive or not (unread(sandbox) or guest._holders):
            return
    raise AssertionError("what was said is not handled")


def unread(sandbox: FakeSandbox) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sandbox.socket, termios.FIONREAD, b"\0" * 4))[0])

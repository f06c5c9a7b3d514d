"""What a guest prints, by frames and around them: tagged, cut, bounded, and read when it is its tenant's turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, cast

import pytest

from loader.guest import Guest
from loader.limits import LOG_BURST_SECONDS_MAX, LOG_LINE_BYTES_MAX
from loader.logs import LogLine
from loader.settings import LoaderSettings
from stepwell.frames import frame
from tests.unit.loader.conversation import Ear, loaded, result
from tests.unit.loader.fake_sandbox import FakeSandbox


async def test_log_lines_are_tagged_and_raw_output_is_not(guest: Guest, sandbox: FakeSandbox) -> None:
    lines: list[LogLine] = []
    await loaded(guest, sandbox, lines)
    ear = Ear()
    act = guest.open(ear)
    sandbox.say(frame(f'["log",{act},"a",1,2,1]'.encode(), b"hi\nho\n"), result(act))
    await ear.something.wait()
    assert lines == [LogLine(ear, "a", 1, 2, 1, b"hi"), LogLine(ear, "a", 1, 2, 1, b"ho")]
    os.write(sandbox.guest_output, b"one\ntwo")
    sandbox.kill()
    await guest.death
    assert [(line.source, line.stream, line.text) for line in lines[2:]] == [(None, 0, b"one"), (None, 0, b"two")]


class Busy:
    """A tenant's share that is used up; whoever waits for it is kept."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[int], int]] = []

    def pause_s(self, size: int) -> float:
        return 0.0

    def handle(self, handle: Callable[[int], int]) -> bool:
        self.waiting.append(handle)
        return False


async def test_raw_output_is_read_when_it_is_its_tenants_turn(guest: Guest, sandbox: FakeSandbox) -> None:
    lines: list[LogLine] = []
    await loaded(guest, sandbox, lines)
    busy = guest._share = cast("Any", Busy())
    for text in (b"one", b"two"):
        os.write(sandbox.guest_output, text + b"\n")
        await asyncio.sleep(0.05)
        assert len(busy.waiting) == 1, "it is asked for once, not at every turn of the loop"
        assert text not in [line.text for line in lines]
        busy.waiting.pop()(1)
        assert lines[-1].text == text
    os.write(sandbox.guest_output, b"last words\n")
    await asyncio.sleep(0.05)
    sandbox.kill()
    await guest.death
    await asyncio.sleep(0)
    assert lines[-1].text == b"last words"
    busy.waiting.pop()(1)


async def test_raw_lines_are_cut_and_a_flood_is_dropped_and_counted(guest: Guest, sandbox: FakeSandbox) -> None:
    lines: list[LogLine] = []
    await loaded(guest, sandbox, lines)
    os.write(sandbox.guest_output, b"x" * (LOG_LINE_BYTES_MAX + 5) + b"\n" + b"\n" * 40_000)
    sandbox.kill()
    await guest.death
    assert [len(line.text or b"") for line in lines[:2]] == [LOG_LINE_BYTES_MAX, 5]
    kept = sum(line.text is not None for line in lines)
    assert kept + sum(line.dropped for line in lines) == 40_002
    assert kept <= (LOG_BURST_SECONDS_MAX + 2) * LoaderSettings().log_lines_a_second_max


async def test_what_an_ended_activation_prints_is_nobodys(guest: Guest, sandbox: FakeSandbox) -> None:
    lines: list[LogLine] = []
    await loaded(guest, sandbox, lines)
    ear = Ear()
    ended, act = guest.open(Ear()), guest.open(ear)
    guest.close(ended)
    sandbox.say(frame(f'["log",{ended},"a",1,2,1]'.encode(), b"late\n"), result(act))
    await ear.something.wait()
    assert [(line.source, line.text) for line in lines] == [(None, b"late")]


@pytest.mark.parametrize(
    "head", ['"a",1,100001,1', '"a",1000001,1,1', '"a",1,1,0', f'"{"x" * 257}",1,1,1', '"\\ud800",1,1,1']
)
async def test_a_log_frame_that_no_guest_of_ours_sends_ends_it(guest: Guest, sandbox: FakeSandbox, head: str) -> None:
    await loaded(guest, sandbox)
    sandbox.say(frame(f'["log",1,{head}]'.encode(), b"x"))
    assert "illegal frame" in await guest.death

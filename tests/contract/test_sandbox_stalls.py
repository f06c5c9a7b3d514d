"""A guest whose event loop stands still is found and ended; one that works hard, or waits, is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loader.messages import Result
from loader.sandbox.sandbox import SandboxLauncher
from tests.contract.sandbox_guests import booted, loaded, started
from tests.contract.sandbox_launchers import make

STALL_MS = 1_500

STUCK = {
    "run spins": "while True: pass",
    "run blocks": "import threading; threading.Event().wait()",
    "an async step spins": "await step.do('spin')(spin)()",
    "an async step blocks": "await step.do('block')(block)()",
    "a thread holds the interpreter": "await step.do('hold')(hold)()",
    "the process is stopped": "await step.do('halt')(halt)()",
}

HARD = """
import asyncio, time
from stepwell import WorkflowEntrypoint
async def spin():
    while True: pass
async def block():
    time.sleep(1000)
def hold():
    import re
    re.match('(a+)+b', 'a' * 64)
def halt():
    import os, signal
    os.kill(os.getpid(), signal.SIGSTOP)
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        RUN
"""


@pytest.fixture(params=["gvisor", "process"])
async def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SandboxLauncher]:
    launcher = make(request.param, tmp_path / "sandboxes")
    yield launcher
    await launcher.close()


@pytest.mark.parametrize("run", STUCK.values(), ids=STUCK)
async def test_a_loop_that_stands_still_ends_its_sandbox_and_says_why(launcher: SandboxLauncher, run: str) -> None:
    neighbour = await booted(launcher, loop_stall_ms=STALL_MS)
    guest, _ = await loaded(launcher, HARD.replace("RUN", run), loop_stall_ms=STALL_MS)
    reason = await started(guest).death
    assert reason.startswith("its event loop stood still for over 1.5 s: ")
    assert "a plain def" in reason
    assert neighbour.alive


async def test_a_guest_that_is_busy_in_threads_and_steps_lives(launcher: SandboxLauncher) -> None:
    work = """
        @step.do()
        def slow():
            end = time.monotonic() + 4
            while time.monotonic() < end: sum(range(1000))
        await slow()
"""
    guest, _ = await loaded(launcher, HARD.replace("        RUN\n", work), loop_stall_ms=STALL_MS)
    ear = started(guest)
    await ear.until(Result)
    assert guest.alive


async def test_threads_that_can_not_be_ended_end_their_sandbox(launcher: SandboxLauncher) -> None:
    work = """
        once = {"timeout": 200, "retries": {"limit": 0, "delay": 0}}
        steps = [step.do(f"stuck {n}", config=once)(lambda: threading.Event().wait()) for n in range(3)]
        await asyncio.gather(*(each() for each in steps), return_exceptions=True)
"""
    code = "import threading\n" + HARD.replace("        RUN\n", work)
    guest, _ = await loaded(launcher, code, loop_stall_ms=STALL_MS, abandonedThreads=3)
    assert "plain functions ran out of time and still run" in await started(guest).death


async def test_a_guest_in_which_nothing_runs_is_asked_nothing(launcher: SandboxLauncher) -> None:
    stop = "import os, signal, threading\nthreading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()\n"
    guest, _ = await loaded(launcher, stop + HARD.replace("RUN", "pass"), loop_stall_ms=200)
    await asyncio.sleep(1)
    assert guest.alive

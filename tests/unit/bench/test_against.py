"""How two programs that were measured by turns are compared."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.against import by_turns, compared
from bench.by_turns import Load


def test_a_machine_that_drifts_changes_neither_ratio_nor_error() -> None:
    """Each turn is held against the one beside it."""
    line = compared("step_us", then=[100.0, 200.0, 50.0], now=[110.0, 220.0, 55.0])
    assert line == {"figure": "step_us", "then": 100.0, "now": 110.0, "ratio": 1.1, "error": 0.0, "turns": 3}


def test_turns_that_differ_say_how_little_they_tell() -> None:
    line = compared("step_us", then=[100.0] * 4, now=[50.0, 200.0, 50.0, 200.0])
    assert (line["ratio"], line["error"]) == (1.0, pytest.approx(0.4, abs=0.001))


async def test_who_goes_first_alternates_and_first_turns_do_not_count() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def opened(path: str) -> AsyncIterator[Callable[[], Awaitable[dict[str, float]]]]:
        async def turn() -> dict[str, float]:
            order.append(path or "now")
            return {"ms": len(order)}

        yield turn

    assert await by_turns(Load(2, opened), "then") == {"ms": ([3, 6], [4, 5])}
    assert order == ["now", "then", "then", "now", "now", "then"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: commit"),
        (["HEAD", "speed"], "no load speed; there are "),
        (["no-such-commit", "help"], "no-such-commit can't be had: "),
        (["--fast", "HEAD"], "unrecognized arguments: --fast"),
    ],
)
def test_what_is_not_there_is_said(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.against", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr

"""How long `stepwell --help` takes, as a whole process."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from typing import Final

from bench.figure import Figure
from bench.server import COMMAND

REPEATS: Final = 15


async def figures() -> AsyncIterator[Figure]:
    yield Figure("help_ms", statistics.median([await measure() for _ in range(REPEATS)]), "ms")


async def measure(path: str = "") -> float:
    """In ms; `path` is a PYTHONPATH that makes the command another commit's."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        str(COMMAND),
        "--help",
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ | ({"PYTHONPATH": path} if path else {}),
    )
    await process.wait()
    return (time.perf_counter() - began) * 1e3

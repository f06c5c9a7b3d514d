"""How long `stepwell --help` takes, as a whole process."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from typing import Final

from bench.figure import Figure
from bench.server import COMMAND

REPEATS: Final = 15


async def figures() -> AsyncIterator[Figure]:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(str(COMMAND), "--help", stdout=asyncio.subprocess.DEVNULL)
        await process.wait()
        times.append((time.perf_counter() - began) * 1e3)
    yield Figure("help_ms", statistics.median(times), "ms")

"""A benchmark that is ended ends what it started, whoever ends it."""

from __future__ import annotations

import subprocess
import sys

BENCHMARK = """
import asyncio, runpy, sys
from bench import alone

async def figures():
    try:
        print("begun", flush=True)
        await asyncio.sleep(60)
    finally:
        print("ended", flush=True)
    yield

alone.figures = figures
sys.argv = ["bench", "alone"]
runpy.run_module("bench", run_name="__main__")
"""


def test_a_benchmark_that_is_ended_ends_what_it_started() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BENCHMARK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "begun\n"
        bench.terminate()
        out, _ = bench.communicate(timeout=60)
    assert out == "ended\n"
    assert bench.returncode != 0

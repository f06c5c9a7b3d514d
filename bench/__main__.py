"""`python -m bench [NAME ...]`: one JSON line a figure, each beside the floor of the same run.

A line has `figure`, `value`, `unit`, `floor` and `ratio` (value / floor); floor and ratio are null where a figure
stands for itself. Floor and ours are interleaved and their medians compared, since machines drift by tens of percent.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable

from bench import alone, cluster, compaction, first_step, growth, help_time, long, telemetry, tenants, throughput
from bench.figure import Figure

BENCHMARKS: dict[str, Callable[[], AsyncIterator[Figure]]] = {
    "throughput": throughput.figures,
    "alone": alone.figures,
    "growth": growth.figures,
    "long": long.figures,
    "first-step": first_step.figures,
    "help": help_time.figures,
    "telemetry": telemetry.figures,
    "cluster": cluster.figures,
    "tenants": tenants.figures,
    "compaction": compaction.figures,
}


async def main(names: list[str]) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that what was started is ended
    for name in names or BENCHMARKS:
        async for figure in BENCHMARKS[name]():
            print(json.dumps(figure.line()), flush=True)


if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    asyncio.run(main(sys.argv[1:]))

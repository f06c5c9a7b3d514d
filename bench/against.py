"""`python -m bench.against COMMIT [LOAD ...]`: whether this program takes longer for anything than that commit's did.

Both are up at once and take each load by turns, for a second or a few, so that both see the same machine: between two
runs one after the other it may differ by a fifth. One JSON line a figure, all of them the less the better: `then` and
`now` are medians, `ratio` is how much longer a turn of this program takes than the other's turn beside it (their
geometric mean), and `error` is that mean's standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.by_turns import LOADS, Load
from scripts.other_commit import NoSuchCommitError, unpacked


def compared(figure: str, then: Sequence[float], now: Sequence[float]) -> dict[str, object]:
    """What is printed of a figure; `then[i]` and `now[i]` were measured side by side. There are two pairs at least."""
    logs = [math.log(after / before) for before, after in zip(then, now, strict=True)]
    ratio, error = math.exp(statistics.mean(logs)), statistics.stdev(logs) / math.sqrt(len(logs))
    return {
        "figure": figure,
        "then": float(f"{statistics.median(then):.4g}"),
        "now": float(f"{statistics.median(now):.4g}"),
        "ratio": round(ratio, 3),
        "error": round(ratio * error, 3),
        "turns": len(logs),
    }


async def by_turns(load: Load, path: str) -> dict[str, tuple[list[float], list[float]]]:
    """Each figure of the program at `path`, and of this one. Who goes first alternates; the first turns don't count."""
    measured: dict[str, tuple[list[float], list[float]]] = {}
    async with load.opened(path) as then, load.opened("") as now:
        for number in range(load.turns + 1):
            turns = [(0, then), (1, now)] if number % 2 else [(1, now), (0, then)]
            for which, turn in turns:
                for figure, value in (await turn()).items():
                    if number:
                        measured.setdefault(figure, ([], []))[which].append(value)
    return measured


async def main(commit: str, names: Sequence[str]) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that what was started is ended
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # both have bytecode from their first turn on
        path = await asyncio.to_thread(unpacked, commit, Path(folder, "then"))
        for name in names or LOADS:
            for figure, (then, now) in (await by_turns(LOADS[name], path)).items():
                print(json.dumps(compared(figure, then, now)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.against")
    parser.add_argument("commit", help="whose program is measured beside this one")
    parser.add_argument("loads", nargs="*", metavar="load", help=f"all, or some of {', '.join(LOADS)}")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.loads if name not in LOADS]
    if unknown:
        parser.error(f"no load {', '.join(unknown)}; there are {', '.join(LOADS)}")
    try:
        asyncio.run(main(arguments.commit, arguments.loads))
    except NoSuchCommitError as error:
        sys.exit(str(error))

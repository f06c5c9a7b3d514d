"""Runs seeds and reports: `python -m tests.simulation 1-1000`. It exits 1 when anything was violated.

A seed that shows a violation is told with its story, and can be run again alone: the same seed is the same run.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.simulation.seeds import Outcome, run_seed

STORIES_MAX = 5
"""Violations that are told in full; of further ones, the seed and the first sentence."""

SEEDS_A_PROCESS = 200
"""A process keeps a MB or two of some seeds: not all coroutines that are dropped while they wait can be collected."""


@dataclass
class Report:
    """All outcomes together."""

    seeds: int = 0
    violations: int = 0
    seen: Counter[str] | None = None
    counted: Counter[str] | None = None

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.seen = (self.seen or Counter()) + outcome.seen
        self.counted = (self.counted or Counter()) + outcome.counted
        if outcome.violations:
            self.violations += 1
            print(f"\nseed {outcome.seed}, commit {commit()}: {outcome.violations[0]}", flush=True)
            if self.violations <= STORIES_MAX:
                print("\n".join(f"  {line}" for line in outcome.story))

    def close(self, seconds: float, processes: int) -> None:
        for title, counter in (("what was seen", self.counted), ("what went wrong", self.seen)):
            print(f"\n{title}:")
            for name, count in sorted((counter or Counter()).items()):
                print(f"  {count:9,} {name}")
        lives = (self.counted or Counter())["instance lifetimes"]
        rate = lives / seconds / processes
        print(
            f"\n{self.seeds:,} seeds, {self.violations:,} violations, {seconds:.0f} s on {processes} cores, "
            f"{rate:.0f} instance lifetimes a second a core"
        )


def commit() -> str:
    """The one that is checked out."""
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def seeds_in(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 1-1000") from None
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} has no seed in it")
    return seeds


def _leave_interrupts_to_others() -> None:
    """Ctrl-C comes to all processes of a terminal; one of them reports."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def outcomes(seeds: range, processes: int) -> Iterator[Outcome]:
    """In their order, as soon as each is known."""
    chunk = min(4, 1 + len(seeds) // processes)
    for first in range(0, len(seeds), SEEDS_A_PROCESS * processes):
        with ProcessPoolExecutor(processes, initializer=_leave_interrupts_to_others) as pool:
            try:
                yield from pool.map(run_seed, seeds[first : first + SEEDS_A_PROCESS * processes], chunksize=chunk)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate SEEDS=")
    parser.add_argument("seeds", type=seeds_in, help="from and to, such as 1-1000, or one alone")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    arguments = parser.parse_args()
    processes = min(os.cpu_count() or 1, len(arguments.seeds))
    report, began = Report(), time.monotonic()
    try:
        for outcome in outcomes(arguments.seeds, processes):
            if arguments.trace:
                print("\n".join(outcome.trace))
            report.add(outcome)
    except KeyboardInterrupt:
        print("\ninterrupted: this is what was run until then")
    report.close(time.monotonic() - began, processes)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())

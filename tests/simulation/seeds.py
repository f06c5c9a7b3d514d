"""One seed, run and summed up: what a process of a large run, a test and a person at a terminal have in common."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from tests.replay.fake_host import install
from tests.simulation.world import World

STORY_LINES_MAX: Final = 60
LINE_LENGTH_MAX: Final = 240


@dataclass(frozen=True, slots=True)
class Outcome:
    """Plain values, so that they can be sent between processes."""

    seed: int
    violations: list[str]
    story: list[str]
    """Of what was violated first: the lines of the trace that tell of it."""
    trace: list[str]
    fingerprint: str
    seen: Counter[str]
    """Faults, by kind."""
    counted: Counter[str]
    """What clients and workflows did."""


def run_seed(seed: int) -> Outcome:
    """Run it to its end."""
    install()
    quieten()
    with tempfile.TemporaryDirectory(prefix="stepwell-simulation-") as folder:
        world = World(seed, Path(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that died before they began
            violations = world.run()
    seen: Counter[str] = Counter({str(kind): count for kind, count in world.seen.items() if count})
    story = story_of(violations[0], world.trace) if violations else []
    return Outcome(seed, violations, story, world.trace, world.fingerprint(), seen, world.oracle.counted)


def quieten() -> None:
    """Nobody reads the logs of machines that crash all the time."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def story_of(violation: str, trace: list[str]) -> list[str]:
    """The lines about the instance that the violation names, and about machines, the last ones first to be kept."""
    names = set(re.findall(r"tenants/\S+?/instances/\w+", violation)) | set(re.findall(r"\b[0-9a-f]{22}\b", violation))
    lines = [
        line[:LINE_LENGTH_MAX]
        for line in trace
        if any(name in line for name in names) or re.search(r"^ *[\d.]+ (machine|clock|mended|VIOLATION)", line)
    ]
    return lines[-STORY_LINES_MAX:]

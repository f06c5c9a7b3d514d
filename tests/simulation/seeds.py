"""One seed, run and summed up: what a process of a large run, a test and a person at a terminal have in common."""

from __future__ import annotations

import gc
import logging
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
    with (
        tempfile.TemporaryDirectory(prefix="stepwell-simulation-") as folder,
        nobody_reads_logs(),
        coroutines_may_die(),
        garbage_stays(),
    ):
        return _run(seed, Path(folder))


def _run(seed: int, folder: Path) -> Outcome:
    """The world ends with this, so that what is left of it can be collected."""
    world = World(seed, folder)
    violations = world.run()
    seen: Counter[str] = Counter({str(kind): count for kind, count in world.seen.items() if count})
    story = story_of(violations[0], world.trace) if violations else []
    return Outcome(seed, violations, story, world.trace, world.fingerprint(), seen, world.oracle.counted)


@contextmanager
def nobody_reads_logs() -> Iterator[None]:
    """Machines crash all the time, and say so."""
    disabled, configured = logging.root.manager.disable, structlog.get_config()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        logging.disable(disabled)
        structlog.configure(**configured)


@contextmanager
def coroutines_may_die() -> Iterator[None]:
    """Before they began."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@contextmanager
def garbage_stays() -> Iterator[None]:
    """When cycles are collected depends on what else the process has done, and weak references go with them."""
    gc.disable()
    gc.freeze()
    try:
        yield
        while gc.collect():  # coroutines that are closed may leave more
            pass
    finally:
        gc.enable()
        gc.unfreeze()


def story_of(violation: str, trace: list[str]) -> list[str]:
    """The lines about the instance that the violation names, and about machines, the last ones first to be kept."""
    names = set(re.findall(r"tenants/\S+?/instances/[\w-]+", violation)) | set(
        re.findall(r"\b[0-9a-f]{22}\b", violation)
    )
    lines = [
        line[:LINE_LENGTH_MAX]
        for line in trace
        if any(name in line for name in names) or re.search(r"^ *[\d.]+ (machine|clock|mended|VIOLATION)", line)
    ]
    return lines[-STORY_LINES_MAX:]

"""`python -m tests.replay.random_programs COUNT [FIRST]`: run random programs live, replay every prefix of each
journal.

Live runs happen in one process, replays in another with another hash seed and other addresses; both make the program
from its seed. Prints each difference, and one line at the end; exits 1 when anything differed.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from typing import Any

from tests.replay.fake_host import Completion, Recording, Said, install, recorded_live, replayed
from tests.replay.programs import source


def program(seed: int) -> Any:
    """The `run` of this seed."""
    namespace: dict[str, Any] = {}
    exec(compile(source(seed), f"program{seed}.py", "exec"), namespace)
    return namespace["run"]


def _quiet() -> None:
    """Programs leave coroutines unawaited and errors unretrieved, on purpose."""
    install()
    warnings.simplefilter("ignore")
    sys.stderr = io.StringIO()


def write_live_runs(first: int, count: int) -> None:
    """Pickle (seed, recording) of each program to stdout."""
    _quiet()
    for seed in range(first, first + count):
        recording = recorded_live(program(seed), seed)
        pickle.dump((seed, _plain(recording)), sys.stdout.buffer)


def _plain(recording: Recording) -> Any:
    return tuple(recording)


def differences(seed: int, recording: Recording) -> list[str]:
    """Replay every prefix; how each differs."""
    chance = random.Random(seed)
    run = program(seed)
    found = [replayed(run, recording, count, chance) for count in range(len(recording.completions) + 1)]
    return [each for each in found if each is not None]


def compare(first: int, count: int) -> int:
    """Run that many programs in another process and replay them in this one; returns how many differ."""
    _quiet()
    perturbed = [bytearray(random.randint(1, 5000)) for _ in range(1000)]
    command = [sys.executable, "-W", "ignore", "-m", "tests.replay.random_programs", "--live", str(first), str(count)]
    environment = {**os.environ, "PYTHONHASHSEED": str(random.randint(1, 2**32 - 1))}
    live = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert live.stdout is not None
    began, differing, prefixes, outcomes = time.monotonic(), 0, 0, Counter[str]()
    for _ in range(count):
        seed, plain = pickle.load(live.stdout)
        recording = Recording(*plain)
        found = differences(seed, recording)
        differing += bool(found)
        prefixes += len(recording.completions) + 1
        outcomes[_outcome(recording)] += 1
        for each in found[:1]:
            print(f"program {seed} differs: {each}")
    live.stdout.close()
    if live.wait() != 0:
        raise RuntimeError("the process of the live runs failed")
    took = time.monotonic() - began
    print(
        f"{differing} of {count} programs differ; {prefixes} prefixes replayed in {took:.0f} s; "
        + ", ".join(f"{name} {number}" for name, number in outcomes.most_common())
    )
    del perturbed
    return differing


def _outcome(recording: Recording) -> str:
    if recording.outcome is None:
        return "unfinished"
    how, what = recording.outcome
    return how if how == "returned" else f"{how} {what[1]}"


__all__ = ["Completion", "Said", "compare", "differences", "program"]


if __name__ == "__main__":
    if sys.argv[1] == "--live":
        write_live_runs(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(1 if compare(int(sys.argv[2]) if len(sys.argv) > 2 else 0, int(sys.argv[1])) else 0)

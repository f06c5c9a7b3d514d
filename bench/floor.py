"""The floor: what sandboxed durable steps cost on this machine with no engine, no API and no retries.

The same work that nobody can avoid: a guest in gVisor sends a frame a step and waits until the host has made it durable
in SQLite (WAL, synchronous=FULL, group commit) and answered. A figure of ours is printed as its share of this one,
taken in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from bench import floor_guest


class Shape(NamedTuple):
    """How the load is spread: sandboxes at once, instances in each, steps of each."""

    sandboxes: int
    instances: int
    steps: int

    def __str__(self) -> str:
        return f"{self.sandboxes}x{self.instances}x{self.steps}"


class Floor(NamedTuple):
    steps_per_s: float
    instance_p50_ms: float


def oci_config(script: str) -> dict[str, Any]:
    """A read-only view of this machine, no network, nobody's rights."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 65534, "gid": 65534},
            "args": ["/usr/bin/python3", script],
            "cwd": "/",
            "env": ["PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"],
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": "/", "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }


class Journal:
    """What arrives while one commit runs goes into the next."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE journal (run, instance, step, result, PRIMARY KEY (run, instance, step)) WITHOUT ROWID"
        )
        self._waiting: list[tuple[tuple[object, ...], asyncio.StreamWriter, int]] = []
        self._some = asyncio.Event()

    def append(self, row: tuple[object, ...], writer: asyncio.StreamWriter, number: int) -> None:
        self._waiting.append((row, writer, number))
        self._some.set()

    def _commit(self, rows: list[tuple[object, ...]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO journal VALUES (?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while await self._some.wait():
            self._some.clear()
            batch, self._waiting = self._waiting, []
            await loop.run_in_executor(None, self._commit, [row for row, _, _ in batch])
            answers: dict[asyncio.StreamWriter, list[bytes]] = defaultdict(list)
            for _, writer, number in batch:
                answers[writer].append(floor_guest.pack(["ok", number]))
            for writer, frames in answers.items():
                writer.write(b"".join(frames))


async def _boot(folder: Path, number: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig=KILL", "runsc", f"--root={folder / 'state'}", "--platform=ptrace", "--network=none",
        "--ignore-cgroups", "run", f"-bundle={folder}", f"floor-{os.getpid()}-{number}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    await process.stdout.readexactly(1)
    return process


async def _drive(run: str, process: asyncio.subprocess.Process, journal: Journal, shape: Shape) -> list[float]:
    assert process.stdin is not None
    assert process.stdout is not None
    began, received, times = time.perf_counter(), bytearray(), list[float]()
    process.stdin.write(b"".join(floor_guest.pack(["run", n, shape.steps]) for n in range(shape.instances)))
    while len(times) < shape.instances:
        received += await process.stdout.read(65536)
        for number, instance, step, result in floor_guest.unpack(received):
            journal.append((run, instance, step, json.dumps(result)), process.stdin, number)
            if step == "end":
                times.append((time.perf_counter() - began) * 1e3)
    return times


async def measure(shape: Shape, rounds: int = 3) -> Floor:
    """The median of some rounds; boots are not counted."""
    folder = Path(tempfile.mkdtemp(prefix="stepwell-floor-"))
    try:
        folder.chmod(0o755)  # before anything is timed
        script = folder / "guest.py"
        shutil.copyfile(floor_guest.__file__, script)
        (folder / "config.json").write_text(json.dumps(oci_config(str(script))))
        journal = Journal(folder / "journal.db")
        async with asyncio.TaskGroup() as tasks:
            commits = tasks.create_task(journal.run())
            fleet = [await _boot(folder, number) for number in range(shape.sandboxes)]
            rates, latencies = list[float](), list[float]()
            for _ in range(rounds):
                began = time.perf_counter()
                times = await asyncio.gather(
                    *(
                        _drive(f"t{n} {time.perf_counter_ns()}", process, journal, shape)
                        for n, process in enumerate(fleet)
                    )
                )
                rates.append(shape.sandboxes * shape.instances * shape.steps / (time.perf_counter() - began))
                latencies += [ms for each in times for ms in each]
            for process in fleet:
                process.kill()
            for process in fleet:
                await process.wait()
            commits.cancel()
        return Floor(statistics.median(rates), statistics.median(latencies))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for text in sys.argv[1:] or ["1x1x10", "10x10x100", "40x5x20"]:
        shape = Shape(*map(int, text.split("x")))
        floor = asyncio.run(measure(shape, 30 if shape.sandboxes * shape.instances == 1 else 3))
        print(json.dumps({"shape": text, **floor._asdict()}), flush=True)

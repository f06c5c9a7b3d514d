"""What many sleeping instances cost: `.venv/bin/python -m tests.e2e.sleepers 100000` measures it and checks it.

Every instance is created through the API, runs in its sandbox up to its sleep, and hibernates. The server is the
shipped command on gVisor. Each figure is printed as a line of JSON; the exit status is 1 when a limit is passed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.server import Server, until

WORKFLOW = "tenants/acme/workflows/sleepers"
CREATES_AT_ONCE = 200
DUE_SOON = 300
DUE_OVER_MS = 5_000
DAY_MS = 24 * 60 * 60 * 1000
IDLE_TIMEOUT_MS = 2_000
WARM_SANDBOXES = 2
SETTLE_S = 5.0
"""After a start or a burst, before the memory is read."""

CONFIG = f"""
[loader]
idle_timeout_ms = {IDLE_TIMEOUT_MS}
warm_sandboxes = {WARM_SANDBOXES}
[tenants]
creates_a_second_max = 10000
"""


@dataclass(frozen=True, slots=True)
class Figures:
    sleepers: int
    creates_a_second: float
    sandboxes_with_tenants: int
    """Left once all sleep and the idle timeout has passed; the warm ones have no tenant's code."""
    rss_mb_with_none: float
    rss_mb_after_creating: float
    rss_mb_after_restart: float
    start_s_after_kill: float
    listed: int
    wakes: int
    wake_late_ms_median: int
    wake_late_ms_worst: int

    def faults(self) -> list[str]:
        """Where a promise is broken."""
        limits = {
            "a sandbox is held": self.sandboxes_with_tenants > 0,
            "memory after creating": self.rss_mb_after_creating > self.rss_mb_with_none + 150,
            "memory after a restart": self.rss_mb_after_restart > self.rss_mb_with_none + 150,
            "start-up": self.start_s_after_kill >= 5,
            "lost": self.listed != self.sleepers,
            "not woken": self.wakes != DUE_SOON,
            "late": self.wake_late_ms_worst > 2_000,
        }
        return [what for what, broken in limits.items() if broken]


async def measure(server: Server, sleepers: int, say: Callable[[str], None]) -> Figures:
    """`server` has CONFIG and was not started."""
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "sleepers")
        await api.ended((await api.create(WORKFLOW, {"until": 0, "number": -1}, id="first")).name)
        await server.stop()
        await server.start()
        await asyncio.sleep(SETTLE_S)
        none = megabytes(server)
        say(f"{none:.0f} MB with no sleeper; creating {sleepers}")
        began = time.monotonic()
        await create(api, sleepers - DUE_SOON, lambda number: now() + 30 * DAY_MS)
        await everybody_sleeps(api)
        rate = (sleepers - DUE_SOON) / (time.monotonic() - began)
        await until("no sandbox has a tenant's code", lambda: len(server.sandboxes()) <= WARM_SANDBOXES, 30)
        await asyncio.sleep(SETTLE_S)
        held = max(0, len(server.sandboxes()) - WARM_SANDBOXES)
        created = megabytes(server)
        say(f"{rate:.0f} a second, {created:.0f} MB; {DUE_SOON} more that are due soon, then SIGKILL")
        first_due = now() + 15_000
        due = [first_due + number * DUE_OVER_MS // DUE_SOON for number in range(DUE_SOON)]
        await create(api, DUE_SOON, lambda number: due[number], prefix="soon-")
        await everybody_sleeps(api)
        await server.kill()
        start_s = await server.start()
        assert now() < first_due, "the start took so long that wakes were due before it: the lateness is no figure"
        late = await lateness(api, due)
        await asyncio.sleep(SETTLE_S)
        restarted = megabytes(server)
        listed = await api.listed(WORKFLOW)
    kinds = Counter(instance.status for instance in listed)
    say(f"statuses: {dict(kinds)}")
    assert len({instance.name for instance in listed}) == len(listed)
    assert kinds[pb.INSTANCE_STATUS_COMPLETE] == DUE_SOON + 1
    assert kinds[pb.INSTANCE_STATUS_WAITING] == sleepers - DUE_SOON
    return Figures(
        sleepers, round(rate, 1), held, none, created, restarted, round(start_s, 2), len(listed) - 1,
        len(late), late[len(late) // 2], late[-1],
    )  # fmt: skip


async def create(api: Api, count: int, due: Callable[[int], int], prefix: str = "") -> None:
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            request_id = f"{prefix}{number}"
            id = f"{prefix}{number}" if prefix else ""
            await api.create(WORKFLOW, {"until": due(number), "number": number}, id=id, request_id=request_id)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CREATES_AT_ONCE):
            tasks.create_task(some())


async def everybody_sleeps(api: Api) -> None:
    """Return once all are hibernated, or have ended."""
    busy = (pb.INSTANCE_STATUS_QUEUED, pb.INSTANCE_STATUS_RUNNING)
    while await api.listed(WORKFLOW, busy):  # the server is another process
        await asyncio.sleep(0.5)


async def lateness(api: Api, due: list[int]) -> list[int]:
    """How many ms after its time each ended, sorted."""
    late = []
    for number, at in enumerate(due):
        ended = await api.ended(f"{WORKFLOW}/instances/soon-{number}")
        assert json.loads(ended.output) == number
        late.append(ended.end_time.ToMilliseconds() - at)
    assert min(late) >= 0, f"one woke {-min(late)} ms too early"
    return sorted(late)


def now() -> int:
    return time.time_ns() // 1_000_000


def megabytes(server: Server) -> float:
    return round(server.rss_bytes() / 1e6, 1)


def main(count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="stepwell-sleepers-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), config=CONFIG)
        try:
            figures = asyncio.run(measure(server, count, lambda text: print(text, file=sys.stderr, flush=True)))
        finally:
            server.end()
    for name, value in asdict(figures).items():
        print(json.dumps({"figure": name, "value": value}))
    for fault in figures.faults():
        print(f"limit passed: {fault}", file=sys.stderr)
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

"""What bounds a gVisor sandbox on its host: memory, CPU time and processes, by control group, each its own only."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loader.guest import Guest
from loader.sandbox.cgroup_files import counted
from loader.sandbox.cgroup_mounts import find_hierarchy
from loader.sandbox.cgroups import Cgroups
from loader.sandbox.sandbox_gvisor import GVisorLauncher
from tests.contract.sandbox_guests import WORKFLOW, booted, end_of, loaded, processes_naming
from tests.contract.sandbox_launchers import MEBIBYTE, gvisor

MEMORY_BYTES = 96 * MEBIBYTE

LATER = """
import threading
threading.Timer(0.2, work).start()
"""


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[GVisorLauncher]:
    launcher = gvisor(
        tmp_path / "sandboxes", memory_bytes_max=MEMORY_BYTES, tmp_bytes_max=256 * MEBIBYTE, cpu_millis_max=200
    )
    yield launcher
    await launcher.close()


def groups() -> set[Path]:
    """The control groups that servers made below this process's own."""
    return {group for folder in find_hierarchy().own.values() for group in folder.glob("stepwell-*")}


def folders_of(guest: Guest) -> list[Path]:
    return [path for group in groups() for path in group.glob(guest.sandbox.id)]


@pytest.mark.parametrize(
    "work",
    [
        "def work(): held = [bytearray(8 << 20) for _ in range(100)]\n",
        "def work():\n    with open('/tmp/all', 'wb') as file:\n        while True: file.write(b'x' * (1 << 20))\n",
    ],
    ids=["allocating", "filling /tmp"],
)
async def test_too_much_memory_ends_that_sandbox_only_and_says_so(launcher: GVisorLauncher, work: str) -> None:
    neighbour = await booted(launcher)
    guest, _ = await loaded(launcher, work + LATER + WORKFLOW)
    assert await guest.death == "it used more than its 96 MiB of memory"
    assert neighbour.alive


async def test_all_processes_of_a_sandbox_are_in_its_group(launcher: GVisorLauncher) -> None:
    guest = await booted(launcher)
    processes = processes_naming(str(guest.sandbox.bundle_source.parent))
    assert len(processes) >= 2
    for folder in folders_of(guest):
        assert processes <= {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
    assert guest.sandbox.memory_bytes() > MEBIBYTE


async def test_a_sandbox_that_spins_gets_its_share_of_the_cpu_and_no_more(launcher: GVisorLauncher) -> None:
    guest, lines = await loaded(
        launcher, "import os, threading\nfor _ in range(2):\n    if os.fork() == 0:\n"
        "        os.write(1, b'spins\\n')\n        while True: pass\n" + WORKFLOW
    )  # fmt: skip
    await lines.raw(2)
    [folder] = [path for path in folders_of(guest) if (path / "cpu.stat").exists()]
    while counted(folder / "cpu.stat", "nr_throttled") < 5:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert guest.alive


async def test_a_fork_bomb_is_stopped_within_its_sandbox(launcher: GVisorLauncher) -> None:
    bomb = (
        "import os, threading, time\n"
        "def work():\n"
        "    count = 0\n"
        "    try:\n"
        "        while count < 2000:\n"
        "            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "            count += 1\n"
        "    except RuntimeError as error:\n"
        "        os.write(1, f'{count} {error}\\n'.encode())\n"
    )
    guest, lines = await loaded(launcher, bomb + LATER + WORKFLOW)
    [told] = await lines.raw(1)
    assert int(told.split()[0]) <= 256
    assert b"can't start new thread" in told
    assert guest.alive


async def test_a_limit_that_the_kernel_refuses_is_found_at_the_start(tmp_path: Path) -> None:
    launcher = gvisor(tmp_path / "sandboxes", cpu_millis_max=1)
    assert [problem.partition(": ")[0] for problem in launcher.probe()] == ["A limit of [gvisor] can't be set"]
    assert "cpu." in launcher.probe()[0]
    await launcher.close()


async def test_a_sandboxs_group_goes_with_it_and_the_servers_with_the_server(tmp_path: Path) -> None:
    launcher = gvisor(tmp_path / "sandboxes")
    guest = await booted(launcher)
    folders = folders_of(guest)
    assert len(folders) == len({*find_hierarchy().own.values()})
    guest.kill("the test says so")
    await guest.sandbox.wait()
    await launcher.close()
    assert [group for group in groups() if group in folders or group in {path.parent for path in folders}] == []


HOST = """
import asyncio, sys
from pathlib import Path
from tests.contract.sandbox_guests import booted
from tests.contract.sandbox_launchers import gvisor
async def main():
    guest = await booted(gvisor(Path(sys.argv[1])))
    print(guest.sandbox.id, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_groups_of_a_killed_server_go_at_the_next_start_and_those_of_a_live_one_stay(tmp_path: Path) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, str(tmp_path), stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert host.stdout is not None
    id = (await host.stdout.readline()).decode().strip()
    theirs = {group for group in groups() if (group / id).exists()}
    assert theirs
    running = processes_naming(str(tmp_path)) - {host.pid}
    Cgroups.open(find_hierarchy(), below="", memory_percent_max=1).close()
    assert theirs <= groups()
    host.kill()
    await host.wait()
    for pid in running:
        await end_of(pid)
    Cgroups.open(find_hierarchy(), below="", memory_percent_max=1).close()
    assert not theirs & groups()

"""One process at a time owns a data directory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_plane.ownership_solo import LOCK_FILE, SHARD, DataInUseError, DataLock, SoloOwner
from data_plane.shard import Shard

HOLDER = """
import sys, time
from pathlib import Path
from data_plane.ownership_solo import DataLock
lock = DataLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_server_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    lock = DataLock.acquire(tmp_path)
    with pytest.raises(DataInUseError, match=f"in use by process {os.getpid()}: stop that server"):
        DataLock.acquire(tmp_path)
    lock.release()


def test_the_refusal_names_nobody_when_the_lock_file_does_not(tmp_path: Path) -> None:
    lock = DataLock.acquire(tmp_path)
    (tmp_path / LOCK_FILE).write_text("")
    with pytest.raises(DataInUseError, match="is in use: stop"):
        DataLock.acquire(tmp_path)
    lock.release()


def test_a_released_directory_can_be_had_again(tmp_path: Path) -> None:
    lock = DataLock.acquire(tmp_path)
    lock.release()
    lock.release()
    assert not lock.held
    DataLock.acquire(tmp_path).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataInUseError, match=str(holder.pid)):
            DataLock.acquire(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    DataLock.acquire(tmp_path).release()


def test_the_lock_file_is_the_owners_alone_and_no_link_is_followed(tmp_path: Path) -> None:
    DataLock.acquire(tmp_path).release()
    assert (tmp_path / LOCK_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / LOCK_FILE).unlink()
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        DataLock.acquire(tmp_path)


class Host:
    """`ShardHost` that keeps what it was lent."""

    def __init__(self) -> None:
        self.shards: list[Shard] = []
        self.released: list[tuple[int, float, bool]] = []

    async def serve(self, shard: Shard) -> None:
        self.shards.append(shard)

    async def release(self, number: int, within_s: float) -> None:
        self.released.append((number, within_s, self.shards[0].owned()))

    def drop(self, number: int) -> None:
        raise AssertionError("a lock is not lost")


async def test_the_solo_owner_owns_its_shard_until_it_stops(tmp_path: Path) -> None:
    lock, host = DataLock.acquire(tmp_path), Host()
    owner = SoloOwner(lock, 7)
    async with asyncio.TaskGroup() as tasks:
        await owner.start(host, tasks)
    shard = host.shards[0]
    assert shard.owned()
    assert shard.stamp().epoch == 7
    await owner.stop(1.5)
    assert host.released == [(SHARD, 1.5, True)]
    assert not shard.owned()
    lock.release()


async def test_nothing_is_owned_without_the_lock(tmp_path: Path) -> None:
    lock, host = DataLock.acquire(tmp_path), Host()
    async with asyncio.TaskGroup() as tasks:
        await SoloOwner(lock, 1).start(host, tasks)
    lock.release()
    assert not host.shards[0].owned()

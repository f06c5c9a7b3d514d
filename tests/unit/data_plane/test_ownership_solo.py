"""One process at a time owns a data directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_plane.ownership import LOCK_FILE, DataInUseError, DataLock, SoloOwner

HOLDER = """
import sys, time
from pathlib import Path
from data_plane.ownership import DataLock
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


def test_the_solo_owner_owns_its_shard_until_released(tmp_path: Path) -> None:
    lock = DataLock.acquire(tmp_path)
    owner = SoloOwner(lock, 7)
    assert owner.shard.owned()
    assert owner.shard.stamp().epoch == 7
    owner.release()
    assert not owner.shard.owned()
    lock.release()


def test_nothing_is_owned_without_the_lock(tmp_path: Path) -> None:
    lock = DataLock.acquire(tmp_path)
    owner = SoloOwner(lock, 1)
    lock.release()
    assert not owner.shard.owned()

"""`stepwell export` on a data directory: what it takes, and what it leaves alone."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from cluster.store_sqlite import open_sqlite_store
from control_plane.tenants import Tenants
from data_plane.journal.store_sqlite import SqliteJournalStore
from data_plane.ownership_solo import DataLock
from stepwell.names import TenantId
from stepwell_server.export import export_data
from stepwell_server.moving.folder import ExportFolder
from stepwell_server.moving.refusals import MoveRefusedError


def _raise(error: BaseException) -> None:
    raise error


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A server was here, and has stopped."""
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=_raise) as control:
        tenants = Tenants(control, clock_ms=lambda: 1, random_bytes=secrets.token_bytes)
        await tenants.create(TenantId("acme"))
    journal, _ = await SqliteJournalStore.open(tmp_path / "journal.db", on_fatal=_raise)
    await journal.close()
    return tmp_path


async def test_a_stopped_server_is_exported_and_can_be_again(data: Path, tmp_path: Path) -> None:
    one = await export_data(data, tmp_path / "one")
    other = await export_data(data, tmp_path / "other")
    assert one == other
    assert one.counts.tenants == 1
    assert ExportFolder(tmp_path / "one").checksum == one.checksum


async def test_a_server_that_runs_is_not_exported(data: Path, tmp_path: Path) -> None:
    lock = DataLock.acquire(data)
    with pytest.raises(MoveRefusedError, match="is in use: stop the server that has it, then export"):
        await export_data(data, tmp_path / "out")
    lock.release()
    await export_data(data, tmp_path / "out")


@pytest.mark.parametrize("missing", ["control.db", "journal.db"])
async def test_what_is_no_data_directory_is_refused_and_left_alone(data: Path, tmp_path: Path, missing: str) -> None:
    (data / missing).unlink()
    with pytest.raises(MoveRefusedError, match=f"there is no {missing} in it"):
        await export_data(data, tmp_path / "out")
    assert not (data / missing).exists()
    assert not (tmp_path / "out").exists()


async def test_a_file_that_is_something_else_is_refused(data: Path, tmp_path: Path) -> None:
    (data / "control.db").write_bytes(b"not a database" * 100)
    with pytest.raises(MoveRefusedError, match=r"control\.db is not a Stepwell control store"):
        await export_data(data, tmp_path / "out")

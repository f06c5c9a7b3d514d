"""`stepwell export`: what `stepwell dev` keeps in a data directory, as a folder that a cluster can import.

The composition root of the embedded stores on their way out.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

from cluster.codec import RecordFormatError
from cluster.sqlite_file import SqliteFileError
from cluster.store_sqlite import open_sqlite_store
from data_plane.journal.store import StoredFormatError
from data_plane.journal.store_sqlite import SqliteJournalStore
from data_plane.ownership_solo import DataInUseError, DataLock
from loader.bundles.store_files import FileBundleStore
from stepwell_server.moving.exporting import Exported, Source, export
from stepwell_server.moving.refusals import MoveRefusedError


def run(data: Path, folder: Path) -> dict[str, str | int]:
    """Export, and say what is there now. Raises MoveRefusedError, OSError."""
    exported = asyncio.run(export_data(data, folder))
    return {"folder": str(folder), "checksum": exported.checksum, **asdict(exported.counts)}


async def export_data(data: Path, folder: Path) -> Exported:
    """Export what that data directory has; no server may have it open, and none can until this returns.

    It stays as it was, but for the epoch, which every opening raises.
    """
    for name in ("control.db", "journal.db"):
        if not (data / name).is_file():
            raise MoveRefusedError(f"{data} is no data directory of `stepwell dev`: there is no {name} in it")
    async with AsyncExitStack() as stack:
        try:
            stack.callback(DataLock.acquire(data).release)
            control = await stack.enter_async_context(open_sqlite_store(data / "control.db", on_fatal=_die))
            journal, _ = await SqliteJournalStore.open(data / "journal.db", on_fatal=_die)
            stack.push_async_callback(journal.close)
            return await export(Source(control, journal, FileBundleStore(data / "bundles")), folder)
        except DataInUseError:
            raise MoveRefusedError(f"{data} is in use: stop the server that has it, then export") from None
        except (SqliteFileError, StoredFormatError, RecordFormatError) as error:
            raise MoveRefusedError(str(error)) from None


def _die(error: BaseException) -> None:
    """A commit failed, which nothing of an export asks for once the stores are open."""
    print(f"stepwell: the data directory can't be written, the export ends: {error}", file=sys.stderr, flush=True)
    os._exit(1)

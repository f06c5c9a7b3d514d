"""An export is whole or none, the same each time, and leaves out nothing that it does not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.codec import decode_value, encode
from cluster.records import Version
from cluster.store import Put
from data_plane.journal.store import InstanceKey, Position, PutRow, Row, Stamp
from stepwell.engine.records import BlobRef, Created
from stepwell.names import Digest, InstanceId, InstanceUid, TenantUid
from stepwell_server.moving.control import RECORDS_AT_ONCE
from stepwell_server.moving.exporting import export
from stepwell_server.moving.folder import ExportFolder, ExportWriter
from stepwell_server.moving.journals import WholeInstance, journal_parts
from stepwell_server.moving.manifest import NAME, Counts, Manifest, sealed
from stepwell_server.moving.refusals import DamagedExportError, MoveRefusedError
from tests.unit.stepwell_server.moving.installation import FLOW, NOW, Installation, installation, moved_records

SMALL = 256
"""Bytes after which another file begins: some entries each."""


@pytest.fixture
async def made(tmp_path: Path) -> Installation:
    return await installation(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


async def test_an_export_has_what_is_tenants_and_counts_it(made: Installation, tmp_path: Path) -> None:
    exported = await export(made.source, tmp_path / "out")
    assert exported.counts == Counts(
        tenants=2, versions=3, routes=2, tokens=2, bundles=3, instances=11, unfinished=8, deleted=1, rows=21, blobs=1
    )
    found = ExportFolder(tmp_path / "out")
    assert (found.checksum, found.manifest.counts, found.manifest.epoch) == (exported.checksum, exported.counts, 3)
    records = {getattr(head, "key", ""): body for head, body in found.entries("control")}
    assert records == moved_records(made.control)
    order = [key.partition("/")[0] for key in records]
    assert list(dict.fromkeys(order)) == ["tenant", "version", "version-of", "route", "token-of", "token"]


async def test_a_journal_moves_as_its_chain_alone(made: Installation, tmp_path: Path) -> None:
    await export(made.source, tmp_path / "out")
    found = {
        part.key: [record for row in part.rows for record in row.records]
        for part in journal_parts(ExportFolder(tmp_path / "out"))
        if isinstance(part, WholeInstance)
    }
    assert found == made.records


async def test_the_same_data_is_the_same_export(made: Installation, tmp_path: Path) -> None:
    one = await export(made.source, tmp_path / "one", file_bytes=SMALL)
    other = await export(made.source, tmp_path / "other", file_bytes=SMALL)
    assert one == other
    assert files(tmp_path / "one") == files(tmp_path / "other")
    assert len(files(tmp_path / "one")) > 10


async def test_an_export_that_was_interrupted_anywhere_is_none_and_begins_anew(
    made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await export(made.source, tmp_path / "whole", file_bytes=SMALL)
    folder, add = tmp_path / "out", ExportWriter.add
    entries = sum(file.entries for file in ExportFolder(tmp_path / "whole").manifest.files)
    for stop_at in range(entries):
        left = stop_at

        def stopping(self: ExportWriter, *entry: object) -> None:
            nonlocal left
            if not left:
                raise InterruptedError
            left -= 1
            add(self, *entry)  # type: ignore[arg-type]

        monkeypatch.setattr(ExportWriter, "add", stopping)
        with pytest.raises(InterruptedError):
            await export(made.source, folder, file_bytes=SMALL)
        with pytest.raises(DamagedExportError, match=r"no finished export.*manifest\.json"):
            ExportFolder(folder)
    monkeypatch.undo()
    assert await export(made.source, folder, file_bytes=SMALL) == whole
    assert files(folder) == files(tmp_path / "whole")


async def test_an_export_is_its_owners_alone(made: Installation, tmp_path: Path) -> None:
    await export(made.source, tmp_path / "out")
    found = [tmp_path / "out", *(tmp_path / "out").iterdir()]
    assert {path.stat().st_mode & 0o077 for path in found} == {0}


async def test_a_finished_export_is_not_written_over(made: Installation, tmp_path: Path) -> None:
    await export(made.source, tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(MoveRefusedError, match="holds a finished export already"):
        await export(made.source, tmp_path / "out")
    assert files(tmp_path / "out") == before


async def test_a_folder_with_something_else_is_left_alone(made: Installation, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(MoveRefusedError, match=r"holds 'thesis\.tex'"):
        await export(made.source, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


async def test_all_pages_of_records_move(made: Installation, tmp_path: Path) -> None:
    uid = made.tenants["acme"].uid
    keys = [f"route/{uid}/flow-{number:04d}" for number in range(RECORDS_AT_ONCE + 1)]
    for key in keys:
        await made.control.txn((), (Put(key, b"x"),))
    exported = await export(made.source, tmp_path / "out")
    assert exported.counts.routes == len(keys) + 2


async def test_a_record_of_an_unknown_kind_is_refused(made: Installation, tmp_path: Path) -> None:
    await made.control.txn((), (Put("budget/acme", b"10"),))
    with pytest.raises(MoveRefusedError, match="'budget/acme' is of a kind that this release can't move"):
        await export(made.source, tmp_path / "out")


async def test_a_version_whose_files_are_gone_is_refused(made: Installation, tmp_path: Path) -> None:
    uid = made.tenants["globex"].uid
    digest = Digest(next(key for key in moved_records(made.control) if key.startswith(f"version/{uid}/"))[-71:])
    await made.bundles.delete(uid, digest)
    with pytest.raises(MoveRefusedError, match=rf"files of version {digest} of tenant 'globex' can't be read"):
        await export(made.source, tmp_path / "out")


async def test_a_version_whose_retirement_was_interrupted_is_retired_before_it_moves(
    made: Installation, tmp_path: Path
) -> None:
    uid = made.tenants["globex"].uid
    (key,) = (key for key in moved_records(made.control) if key.startswith(f"version/{uid}/"))
    stored = await made.control.get(key)
    assert stored is not None
    version = decode_value(Version, stored)
    await made.control.txn((), (Put(key, encode(replace(version, retiring=True))),))
    await export(made.source, tmp_path / "whole")
    await made.bundles.delete(uid, version.digest)
    with pytest.raises(MoveRefusedError, match="retire it again, and stop it"):
        await export(made.source, tmp_path / "half")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            Row(Position(4, 7), [], first=True, predecessor=Position(2, 6)),
            "'odd' of workflow 'flow' of tenant 'acme' can",
        ),
        (
            Row(
                Position(4, 0),
                [Created(NOW, InstanceUid("u"), Digest("d"), "main:Flow", BlobRef("4-1", 9), "")],
                first=True,
            ),
            "tenant 'acme' lacks its payload 4-1",
        ),
    ],
)
async def test_an_instance_that_is_not_whole_is_refused(
    made: Installation, tmp_path: Path, row: Row, says: str
) -> None:
    key = InstanceKey(made.tenants["acme"].uid, FLOW, InstanceId("odd"))
    made.journal.apply(PutRow(key, row, Stamp(4, 1)))
    with pytest.raises(MoveRefusedError, match=says):
        await export(made.source, tmp_path / "out")


async def test_an_instance_of_nobody_is_refused(made: Installation, tmp_path: Path) -> None:
    key = InstanceKey(TenantUid("nobody"), FLOW, InstanceId("one"))
    made.journal.apply(PutRow(key, Row(Position(4, 0), [], first=True), Stamp(4, 1)))
    with pytest.raises(MoveRefusedError, match=r"uid nobody, which control\.db does not know"):
        await export(made.source, tmp_path / "out")


async def test_every_flipped_byte_is_noticed(made: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    await export(made.source, folder, file_bytes=SMALL)
    for name, data in files(folder).items():
        for place in {0, 3, 7, 8, 9, len(data) // 3, len(data) // 2, len(data) - 2}:
            (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(DamagedExportError, match=name):
                read_whole(folder)
        (folder / name).write_bytes(data)
    read_whole(folder)


async def test_a_file_that_is_cut_or_missing_is_noticed(made: Installation, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    await export(made.source, folder, file_bytes=SMALL)
    path = folder / "journals-00002"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedExportError, match=r"journals-00002 is not what was exported: it has not the \d+ bytes"):
        read_whole(folder)
    path.unlink()
    with pytest.raises(DamagedExportError, match="journals-00002 is missing"):
        read_whole(folder)


async def test_an_export_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(sealed(Manifest(2, 1, Counts()))[0])
    with pytest.raises(DamagedExportError, match="format 2, this program knows 1"):
        ExportFolder(tmp_path)


def read_whole(folder: Path) -> None:
    export = ExportFolder(folder)
    for section in ("control", "bundles", "journals"):
        assert list(export.entries(section))

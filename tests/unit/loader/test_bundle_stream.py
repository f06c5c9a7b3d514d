"""A bundle as one stream: what is packed comes back, however it is cut, and what is damaged is found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loader.bundles.digest import FileEntry, bundle_digest
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.stream import DamagedStreamError, Packing, Unpacking
from stepwell.names import WorkflowId

MANIFEST = Manifest((WorkflowEntry(WorkflowId("order"), "main:Order"),), {})
CONTENT = {
    "b.py": (False, b"x = 1\n"),
    "ä/run.sh": (True, b""),
    "data.bin": (False, bytes(range(256))),
    "z": (True, b"z"),
}


def packed(folder: Path, of_bytes: int) -> tuple[list[bytes], Unpacking]:
    files = []
    for path, (executable, data) in CONTENT.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
        files.append(FileEntry(path, executable, len(data), hashlib.sha256(data).hexdigest()))
    packing = Packing(folder, files, of_bytes)
    parts = list(packing)
    assert packing.size_bytes == sum(map(len, parts))
    return parts, Unpacking(bundle_digest(files, MANIFEST), MANIFEST)


def unpacked(parts: list[bytes], unpacking: Unpacking) -> dict[str, tuple[bool, bytes]]:
    found: dict[str, tuple[bool, bytes]] = {}
    path = ""
    for part in parts:
        for piece in unpacking.take(part):
            if isinstance(piece, bytes):
                executable, before = found[path]
                found[path] = (executable, before + piece)
            else:
                path, executable = piece
                found[path] = (executable, b"")
    unpacking.end()
    return found


@pytest.mark.parametrize("of_bytes", [1, 7, 8, 9, 64, 300, 10_000])
def test_a_stream_comes_back_however_it_is_cut(tmp_path: Path, of_bytes: int) -> None:
    parts, unpacking = packed(tmp_path, of_bytes)
    assert [len(part) for part in parts[:-1]] == [of_bytes] * (len(parts) - 1)
    assert unpacked(parts, unpacking) == CONTENT


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1])
def test_a_stream_that_was_cut_short_is_damaged(tmp_path: Path, kept: int) -> None:
    parts, unpacking = packed(tmp_path, 10_000)
    with pytest.raises(DamagedStreamError, match="too soon"):
        unpacked([parts[0][:kept]], unpacking)


def test_a_stream_that_goes_on_is_damaged(tmp_path: Path) -> None:
    parts, unpacking = packed(tmp_path, 10_000)
    with pytest.raises(DamagedStreamError, match="goes on"):
        unpacked([*parts, b"x"], unpacking)


@pytest.mark.parametrize("listed", [b"[]", b"[[]]", b"{", b"[[1,2,3,4]]", b"\xff", b"3"])
def test_a_list_of_files_that_is_another_bundles_is_damaged_before_anything_of_it_is_used(
    tmp_path: Path, listed: bytes
) -> None:
    _, unpacking = packed(tmp_path, 10_000)
    with pytest.raises(DamagedStreamError):
        unpacking.take(len(listed).to_bytes(8, "big") + listed + b"x" * 100)

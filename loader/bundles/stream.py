"""A bundle as one stream of bytes: the list of its files, then what is in them, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from loader.bundles.digest import FileEntry, bundle_digest
from loader.bundles.manifest import Manifest
from loader.bundles.staging import Piece
from stepwell.names import Digest

_SIZE_BYTES: Final = 8
"""Of the number before the list, which says how long that is."""


class DamagedStreamError(Exception):
    """It is not of the bundle that it is said to be of."""


class Packing:
    """The stream of files that lie in a folder, `of_bytes` at a time. `size_bytes` is that of the whole stream."""

    def __init__(self, folder: Path, files: Sequence[FileEntry], of_bytes: int) -> None:
        rows = [[file.path, file.executable, file.size_bytes, file.sha256] for file in files]
        listed = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
        self._head = len(listed).to_bytes(_SIZE_BYTES, "big") + listed
        self._folder = folder
        self._files = files
        self._of_bytes = of_bytes
        self.size_bytes = len(self._head) + sum(file.size_bytes for file in files)

    def __iter__(self) -> Iterator[bytes]:
        """Blocks. All but the last are of that size; there is at least one."""
        kept = bytearray()
        for some in self._some():
            kept += some
            while len(kept) >= self._of_bytes:
                yield bytes(kept[: self._of_bytes])
                del kept[: self._of_bytes]
        if kept:
            yield bytes(kept)

    def _some(self) -> Iterator[bytes]:
        yield self._head
        for file in self._files:
            with (self._folder / file.path).open("rb") as opened:
                yield from _read(opened, self._of_bytes)


def _read(file: BinaryIO, of_bytes: int) -> Iterator[bytes]:
    while some := file.read(of_bytes):
        yield some


class Unpacking:
    """Takes the stream of the bundle of that digest, and gives what to write into which file.

    It holds the list against the digest before it gives anything. What the files hold is for others to verify.
    """

    def __init__(self, digest: Digest, manifest: Manifest) -> None:
        self._digest = digest
        self._manifest = manifest
        self._head = bytearray()
        self._files: Iterator[FileEntry] | None = None
        self._left = 0
        """Bytes of the file that came last."""

    def take(self, data: bytes) -> Iterable[Piece]:
        """Raises DamagedStreamError."""
        if self._files is not None:
            return self._cut(data, self._files)
        self._head += data
        end = _SIZE_BYTES + int.from_bytes(self._head[:_SIZE_BYTES], "big")
        if len(self._head) < max(end, _SIZE_BYTES + 1):
            return []
        self._files = iter(self._listed(bytes(self._head[_SIZE_BYTES:end])))
        rest = bytes(self._head[end:])
        self._head.clear()
        return self._cut(rest, self._files)

    def end(self) -> None:
        """There is no more. Raises DamagedStreamError when there has to be."""
        if self._files is None or self._left or next(self._files, None) is not None:
            raise DamagedStreamError("it ends too soon")

    def _listed(self, text: bytes) -> Sequence[FileEntry]:
        try:
            files = [FileEntry(*file) for file in json.loads(text)]
            found = bundle_digest(files, self._manifest)
        except (ValueError, TypeError) as error:
            raise DamagedStreamError(str(error)) from error
        if found != self._digest:
            raise DamagedStreamError(f"its list of files is that of {found}")
        return files

    def _cut(self, data: bytes, files: Iterator[FileEntry]) -> list[Piece]:
        pieces: list[Piece] = []
        at = 0
        while True:
            if self._left:
                if at == len(data):
                    return pieces
                some = data[at : at + self._left]
                pieces.append(some)
                at += len(some)
                self._left -= len(some)
            elif (file := next(files, None)) is not None:
                pieces.append((file.path, file.executable))
                self._left = file.size_bytes
            elif at < len(data):
                raise DamagedStreamError("it goes on after its last file")
            else:
                return pieces

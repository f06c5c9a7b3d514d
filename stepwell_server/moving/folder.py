"""An export as a folder of files: written so that it is whole or none, and read with every byte checked.

All of it blocks: a move has nothing else to do meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from stepwell_server.moving.entries import Entry, EntryError, Head, encoded, read
from stepwell_server.moving.manifest import (
    FORMAT,
    MANIFEST_BYTES_MAX,
    NAME,
    Counts,
    ExportedFile,
    Manifest,
    ManifestError,
    Section,
    opened,
    sealed,
)
from stepwell_server.moving.refusals import DamagedExportError, MoveRefusedError

FILE_BYTES: Final = 64 * 1024 * 1024
"""After which the next entry begins another file: what is copied in parts can be copied again in parts."""

_UNSEALED: Final = f"{NAME}.new"
_OURS: Final = re.compile(rf"(control|bundles|journals)-\d{{5,}}|{re.escape(_UNSEALED)}")


class ExportWriter:
    """One export on its way into a folder. `seal` at the end makes it one; until then the folder holds none.

    A context manager. What an interrupted one has left is removed at the beginning. Raises MoveRefusedError when the
    folder holds a whole export or anything else; OSError.
    """

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear(folder)
        self._folder = folder
        self._file_bytes = file_bytes
        self._files: list[ExportedFile] = []
        self._open: _OpenFile | None = None

    def __enter__(self) -> ExportWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.discard()

    def add(self, section: Section, head: Head, body: bytes = b"") -> None:
        """The next entry. Sections come one after the other."""
        file = self._open
        if file is None or file.section != section or file.bytes >= self._file_bytes:
            self._end_file()
            number = 1 + sum(each.section == section for each in self._files)
            file = self._open = _OpenFile(self._folder / f"{section}-{number:05d}", section)
        file.add(encoded(head, body))

    def seal(self, epoch: int, counts: Counts) -> str:
        """Everything is durable, and from here on an export; its checksum."""
        self._end_file()
        data, checksum = sealed(Manifest(FORMAT, epoch, counts, tuple(self._files)))
        unsealed = self._folder / _UNSEALED
        with _created(unsealed) as file:
            file.write(data)
            _sync(file)
        _sync_folder(self._folder)
        unsealed.rename(self._folder / NAME)
        _sync_folder(self._folder)
        _sync_folder(self._folder.absolute().parent)
        return checksum

    def _end_file(self) -> None:
        if self._open is not None:
            self._files.append(self._open.ended())
            self._open = None


class _OpenFile:
    def __init__(self, path: Path, section: Section) -> None:
        self.section = section
        self.bytes = 0
        self._path = path
        self._file = _created(path)
        self._hash = hashlib.sha256()
        self._entries = 0

    def add(self, entry: bytes) -> None:
        self._file.write(entry)
        self._hash.update(entry)
        self.bytes += len(entry)
        self._entries += 1

    def ended(self) -> ExportedFile:
        with self._file:
            _sync(self._file)
        return ExportedFile(self._path.name, self.section, self.bytes, self._entries, self._hash.hexdigest())

    def discard(self) -> None:
        self._file.close()


class ExportFolder:
    """A finished export. Raises DamagedExportError when there is none, or its manifest is not what was written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / NAME
        try:
            with path.open("rb") as file:
                data = file.read(MANIFEST_BYTES_MAX + 1)
        except FileNotFoundError:
            raise DamagedExportError(
                f"{folder} holds no finished export, since there is no {NAME} in it: run `stepwell export` to its end,"
                " and copy the whole folder"
            ) from None
        if len(data) > MANIFEST_BYTES_MAX:
            raise DamagedExportError(f"{path} is larger than {MANIFEST_BYTES_MAX} bytes: it is none of an export")
        try:
            self.manifest, self.checksum = opened(data)
        except ManifestError as error:
            raise DamagedExportError(f"{path}: {error}") from None

    def verify(self) -> None:
        """Read every file. Raises DamagedExportError for the first that is not byte for byte what was written."""
        for file in self.manifest.files:
            with self._reading(file) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                    raise EntryError("its checksum differs")

    def entries(self, section: Section) -> Iterator[Entry]:
        """A section's entries, in order. Raises DamagedExportError, at a file's end at the latest, when it is not byte
        for byte what was written."""
        for file in self.manifest.files:
            if file.section == section:
                yield from self._entries(file)

    def _entries(self, file: ExportedFile) -> Iterator[Entry]:
        hashed, entries = hashlib.sha256(), 0
        with self._reading(file) as stream:
            while True:
                entry, data = read(stream)
                hashed.update(data)
                if entry is None:
                    break
                entries += 1
                yield entry
            if (hashed.hexdigest(), entries) != (file.sha256, file.entries):
                raise EntryError("its checksum differs")

    @contextmanager
    def _reading(self, file: ExportedFile) -> Iterator[BufferedReader]:
        """Says of what goes wrong within in which file it did."""
        path = self._folder / file.name
        try:
            with path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size != file.bytes:
                    raise EntryError(f"it has not the {file.bytes} bytes that it was written with")
                yield stream
        except FileNotFoundError:
            raise DamagedExportError(f"{path} is missing: copy the whole folder again") from None
        except EntryError as error:
            raise DamagedExportError(f"{path} is not what was exported: {error}; copy it again") from None


def _clear(folder: Path) -> None:
    found = sorted(folder.iterdir())
    if any(path.name == NAME for path in found):
        raise MoveRefusedError(f"{folder} holds a finished export already: name another folder, or remove this one")
    for path in found:
        if not _OURS.fullmatch(path.name):
            raise MoveRefusedError(
                f"{folder} holds {path.name!r}, which is none of an export's files: name a folder that is empty, or new"
            )
    for path in found:
        path.unlink()


def _created(path: Path) -> BinaryIO:
    """The operator's alone: it holds what tenants have."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

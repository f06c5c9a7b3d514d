"""A bundle's files on their way in: written to a folder of their own, hashed, and held to the limits.

All blocking work runs in threads, so that a large bundle does not hold up the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from loader.bundles.digest import FileEntry, bundle_digest
from loader.bundles.folder import FILES, MANIFEST, let_all_enter
from loader.bundles.manifest import Manifest, check_manifest
from loader.bundles.paths import PathSet
from loader.bundles.store import Bundle
from loader.limits import BUNDLE_BYTES_MAX, BUNDLE_FILES_MAX
from stepwell.errors import BundleRefusedError, LimitExceededError

Piece = tuple[str, bool] | bytes
"""The next file's path and whether it is executable; or bytes of the file before."""

Keep = Callable[[Path, Bundle], None]
"""Takes a staged folder over, and blocks."""


class StagedFiles:
    """Used by one task. `make_folder` is called in a thread, when the first file comes.

    A call that is cancelled leaves its thread at work: `_turn` lets whoever discards the files wait for that, and
    `_discarded` keeps what comes after it from beginning anew.
    """

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder = make_folder
        self._folder: Path | None = None
        self._paths = PathSet()
        self._files: list[FileEntry] = []
        self._open: tuple[str, bool, BinaryIO] | None = None
        self._hash = hashlib.sha256()
        self._file_bytes = 0
        self._bytes = 0
        self._turn = threading.Lock()
        self._discarded = False

    @property
    def folder(self) -> Path:
        """Where they are, once there are some."""
        assert self._folder is not None
        return self._folder

    @property
    def files(self) -> Sequence[FileEntry]:
        """Those that are complete, in the order in which they came."""
        return self._files

    @property
    def file_count(self) -> int:
        """Of all that came, also of the one that is still open."""
        return len(self._paths)

    @property
    def size_bytes(self) -> int:
        """Of all that came."""
        return self._bytes

    async def put(self, pieces: Iterable[Piece]) -> None:
        """Take these, in order. Raises BundleRefusedError (a path; bytes before the first file) and LimitExceededError
        (too many files or bytes): then `discard` is all that may be called."""
        await asyncio.to_thread(self._put, pieces)

    async def finish(self, manifest: Manifest, keep: Keep | None = None) -> Bundle:
        """What the files and this manifest are. `keep` gets the folder, in good order but not synced.

        Raises BundleRefusedError and LimitExceededError when there is no file, or the manifest can't be used.
        """
        check_manifest(manifest)
        if not self._files and self._open is None:
            raise BundleRefusedError("The bundle has no file: deploy the folder that has the workflows' code.")
        return await asyncio.to_thread(self._finish, manifest, keep)

    async def discard(self, then: Callable[[], None] | None = None) -> None:
        """Remove what was not kept, once no thread works on it; `then`, in the same thread. Idempotent."""
        await asyncio.to_thread(self._discard, then)

    def _put(self, pieces: Iterable[Piece]) -> None:
        with self._turn:
            for piece in pieces:
                if self._discarded:
                    return
                if isinstance(piece, bytes):
                    self._add(piece)
                else:
                    self._begin(*piece)

    def _begin(self, path: str, executable: bool) -> None:
        if len(self._paths) >= BUNDLE_FILES_MAX:
            raise LimitExceededError(
                f"The bundle has over {BUNDLE_FILES_MAX:,} files: leave out what the workflows don't need.",
                limit="bundle_files_max", value=str(BUNDLE_FILES_MAX), seen=str(len(self._paths) + 1),
            )  # fmt: skip
        self._paths.add(path)
        self._end()
        if self._folder is None:
            self._folder = self._make_folder()
        target = self._folder / FILES / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._open = (path, executable, target.open("xb"))
        self._hash = hashlib.sha256()
        self._file_bytes = 0

    def _add(self, chunk: bytes) -> None:
        if self._open is None:
            raise BundleRefusedError("Bytes came before the first file of the bundle was named.")
        self._bytes += len(chunk)
        if self._bytes > BUNDLE_BYTES_MAX:
            raise LimitExceededError(
                f"The bundle is over {BUNDLE_BYTES_MAX:,} bytes: leave out what the workflows don't need.",
                limit="bundle_bytes_max", value=str(BUNDLE_BYTES_MAX), seen=str(self._bytes),
            )  # fmt: skip
        self._file_bytes += len(chunk)
        self._hash.update(chunk)
        self._open[2].write(chunk)

    def _end(self) -> None:
        if self._open is None:
            return
        path, executable, file = self._open
        self._open = None
        entry = FileEntry(path, executable, self._file_bytes, self._hash.hexdigest())
        with file:
            os.fchmod(file.fileno(), entry.mode)
        self._files.append(entry)

    def _finish(self, manifest: Manifest, keep: Keep | None) -> Bundle:
        with self._turn:
            self._end()
            folder = self.folder
            (folder / MANIFEST).write_bytes(manifest.canonical())
            folder.chmod(0o755)
            let_all_enter(folder)
            bundle = Bundle(bundle_digest(self._files, manifest), manifest, len(self._files), self._bytes)
            if keep is not None:
                keep(folder, bundle)
                self._folder = None
            return bundle

    def _discard(self, then: Callable[[], None] | None) -> None:
        with self._turn:
            self._discarded = True
            if self._open is not None:
                self._open[2].close()
                self._open = None
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
            if then is not None:
                then()

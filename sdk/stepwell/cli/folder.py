"""A folder as the files of a bundle: what stays out, and what can't go in.

Links are refused and never followed: what a link points at is rarely what its author wants to upload.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from stepwell.errors import BundleRefusedError

LEFT_OUT = (
    ".git", ".venv", ".env*", ".dev.vars*", ".wrangler", "__pycache__", "*.pyc", ".mypy_cache", ".ruff_cache",
    ".pytest_cache",
)  # fmt: skip
"""By name, at any depth: secrets, and what tools leave behind."""

CHUNK_SIZE = 256 * 1024


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A plain file, named as the bundle names it."""

    path: str
    executable: bool
    location: Path

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, CHUNK_SIZE at a time."""
        file = os.open(self.location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(file, "rb", buffering=0) as opened:
            while chunk := opened.read(CHUNK_SIZE):
                yield chunk


def files_of(folder: Path, below: str = "") -> list[FolderFile]:
    """The folder's files by path, each named as if it lay in `below` ("" or "name/"). Raises BundleRefusedError, naming
    the file, for what can't be in a bundle."""
    found = sorted(_walk(folder, below), key=lambda file: file.path)
    if not found:
        raise BundleRefusedError(f"{folder} has no files", path=str(folder))
    return found


def _walk(folder: Path, prefix: str) -> Iterator[FolderFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if any(fnmatchcase(entry.name, pattern) for pattern in LEFT_OUT):
                continue
            path = prefix + _name(entry.name, prefix)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise _refused(path, "is a symbolic link, and links can't be uploaded: put a copy of the file there")
            if stat.S_ISDIR(mode):
                yield from _walk(Path(entry.path), f"{path}/")
            elif stat.S_ISREG(mode):
                yield FolderFile(path, bool(mode & stat.S_IXUSR), Path(entry.path))
            else:
                raise _refused(path, "is neither a file nor a folder: move it away")


def _name(name: str, prefix: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = prefix + name.encode(errors="surrogateescape").decode(errors="replace")
        raise _refused(shown, "has a name that is not UTF-8: rename it") from None
    return unicodedata.normalize("NFC", name)


def _refused(path: str, why: str) -> BundleRefusedError:
    return BundleRefusedError(f"{path} {why}", path=path)

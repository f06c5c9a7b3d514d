"""A bundle as a folder: `manifest.json`, and its files in `files/`. What is in it now, and how it gets to the disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from loader.bundles.digest import FileEntry, bundle_digest
from loader.bundles.manifest import Manifest
from stepwell.names import Digest

FILES: Final = "files"
MANIFEST: Final = "manifest.json"


def stored_digest(folder: Path) -> Digest | None:
    """The digest of what is in the folder now; None when there is no bundle."""
    try:
        manifest = Manifest.from_canonical((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return Digest("")
    return bundle_digest(file_entries(folder / FILES), manifest)


def file_entries(root: Path) -> list[FileEntry]:
    """What the folder of a bundle's files has now, each file read to its end."""
    entries: list[FileEntry] = []
    for base, folders, files in os.walk(root):
        for name in files + [each for each in folders if os.path.islink(os.path.join(base, each))]:
            entries.append(_stored_file(Path(base, name), root))
    return entries


def _stored_file(path: Path, root: Path) -> FileEntry:
    if path.is_symlink() or not path.is_file():
        return FileEntry(path.relative_to(root).as_posix(), False, 0, "not a file")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(path.relative_to(root).as_posix(), bool(status.st_mode & 0o100), status.st_size, content)


def let_all_enter(folder: Path) -> None:
    """Folders within it may be listed and entered by the sandbox's user, whatever the server's own umask."""
    for base, folders, _ in os.walk(folder):
        for name in folders:
            os.chmod(os.path.join(base, name), 0o755)


def sync_tree(folder: Path) -> None:
    for base, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync(os.path.join(base, name), os.O_RDONLY)
        sync_folder(Path(base))


def sync_folder(folder: Path) -> None:
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str | Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

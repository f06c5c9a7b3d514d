"""The folders in which sandboxes live, below the data directory: one root a server start, one folder a sandbox.

A server that was killed leaves its root behind, but not the lock on it: the next start removes every root that nobody
holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class SandboxFolders:
    """Numbered folders below a root of this start's own."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._root: Path | None = None
        self._lock = -1
        self._last = 0

    def new(self) -> tuple[str, Path]:
        """A sandbox's id and folder, with an empty `bundle` in it. The first call opens the root. Blocks briefly."""
        if self._root is None:
            self._open()
        assert self._root is not None
        self._last += 1
        id = f"{self._root.name}-{self._last}"
        folder = self._root / str(self._last)
        for each in (folder, folder / "bundle"):
            each.mkdir()
            each.chmod(0o755)
        return id, folder

    def close(self) -> None:
        """Remove the root and all in it. Idempotent; blocks."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            os.close(self._lock)
            self._root = None

    def _open(self) -> None:
        self._parent.mkdir(parents=True, exist_ok=True)
        for entry in sorted(self._parent.iterdir()):
            _remove_unheld(entry)
        self._root = Path(tempfile.mkdtemp(prefix="start-", dir=self._parent))
        self._root.chmod(0o755)
        self._lock = _take_lock(self._root)


def _take_lock(root: Path) -> int:
    """Raises BlockingIOError while another process holds it."""
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_unheld(root: Path) -> None:
    try:
        descriptor = _take_lock(root)
    except OSError:
        return
    shutil.rmtree(root, ignore_errors=True)
    os.close(descriptor)

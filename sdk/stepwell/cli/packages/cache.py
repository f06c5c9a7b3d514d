"""Sets of packages that were resolved before, each in a folder of its own, named by what it was made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stepwell.cli.packages.requirements import Requirements
from stepwell.cli.packages.target import Target

LAYOUT = 1
"""Raise it when what is made of the same wheels changes, so that an older folder is not used."""

SETS_MAX = 16
"""Folders that are kept; the one that was used longest ago goes first."""


class PackageCache:
    """In `folder`, which is made when it is needed. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()  # pip runs in another folder than this process

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> PackageCache:
        """`$XDG_CACHE_HOME/stepwell/packages`, below `~/.cache` by default."""
        base = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return cls(Path(base, "stepwell", "packages"))

    @contextmanager
    def filled(self, requirements: Requirements, target: Target, fill: Callable[[Path], None]) -> Iterator[Path]:
        """A folder with these packages, for as long as the block runs: what was kept, or else what `fill` puts into an
        empty one. It is kept where the requirements are fixed; any others may mean something else tomorrow."""
        kept = self._folder / _key(requirements, target)
        if requirements.is_fixed and kept.is_dir():
            os.utime(kept)
            yield kept
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".new-", dir=self._folder))
        try:
            found = stage / "packages"
            found.mkdir()
            fill(found)
            if requirements.is_fixed:
                found = self._keep(found, kept)
            yield found
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def _keep(self, found: Path, kept: Path) -> Path:
        try:
            found.rename(kept)
        except OSError:
            if not kept.is_dir():
                raise
            return kept  # another process was as quick
        others = [each for each in self._folder.iterdir() if not each.name.startswith(".") and each != kept]
        others.sort(key=lambda each: each.stat().st_mtime, reverse=True)
        for old in others[SETS_MAX - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
        return kept


def _key(requirements: Requirements, target: Target) -> str:
    made_of = f"{LAYOUT}\n{target!r}\n{requirements.text}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:32]

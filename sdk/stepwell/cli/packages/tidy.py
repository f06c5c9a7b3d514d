"""Makes what pip installed into what is uploaded: the same bytes for the same wheels, on whatever machine.

What pip itself notes there (who installed it, from which path) differs between machines and is removed; so is what
does not lie on `sys.path` (scripts, headers, manuals), since nobody can call it in a sandbox. `.dist-info` stays, and
what it lists is what is there.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath

_NOTES = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
_NEVER_READ = (".pth", ".pyc")
"""`site`, which reads .pth files, does not run in a sandbox."""


def tidy(folder: Path) -> None:
    """`folder` is where `pip install --target` put everything."""
    for record in sorted(folder.glob("*.dist-info/RECORD")):
        kept = []
        with record.open(encoding="utf-8", newline="") as opened:
            rows = [row for row in csv.reader(opened) if row]
        for row in rows:
            path = PurePosixPath(row[0])
            if path.is_absolute() or ".." in path.parts:
                _remove(folder, PurePosixPath(*(part for part in path.parts if part not in ("/", ".."))))
            elif path.suffix in _NEVER_READ or (path.parent.name.endswith(".dist-info") and path.name in _NOTES):
                _remove(folder, path)
            elif (folder / path).is_file():
                kept.append(row)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(sorted(kept))
        record.write_bytes(text.getvalue().encode())


def _remove(folder: Path, path: PurePosixPath) -> None:
    """The file, and the folders that it leaves empty. It lies within `folder`: there is no '..' in its path."""
    target = folder / path
    if not target.is_file():
        return
    target.unlink()
    for parent in target.parents:
        if parent == folder or any(parent.iterdir()):
            break
        parent.rmdir()

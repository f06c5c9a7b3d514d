"""Puts a bundle's files into the folder that a running sandbox sees."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def fill(source: Path, target: Path) -> None:
    """Hard links where the file system allows, else copies: the sandbox can't write through either. Blocks."""
    linked = True
    for base, folders, files in os.walk(source):
        here = target / os.path.relpath(base, source)
        for name in folders:
            (here / name).mkdir()
            (here / name).chmod(0o755)
        for name in files:
            if linked:
                try:
                    os.link(os.path.join(base, name), here / name)
                    continue
                except OSError:
                    linked = False
            shutil.copy2(os.path.join(base, name), here / name)

"""The program as it was one commit before: what runs beside this one while an installation is upgraded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

COMMIT: Final = os.environ.get("UPGRADE_FROM", "HEAD~1")
"""UPGRADE_FROM names another."""


def unpacked(folder: Path) -> str:
    """Put that commit's files there; what PYTHONPATH must be for the installed command to be that program."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
    path = f"{folder / 'sdk'}:{folder}"
    ask = [sys.executable, "-P", "-c", "import data_plane, stepwell; print(data_plane.__file__, stepwell.__file__)"]
    found = subprocess.run(ask, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert [Path(each).is_relative_to(folder) for each in found.stdout.split()] == [True, True], found.stdout
    return path

"""The program as it was at another commit, to run beside this one, which is upgraded to or measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


class NoSuchCommitError(Exception):
    """The message names it, and says what git says of it."""


def unpacked(commit: str, folder: Path) -> str:
    """Put that commit's files there; what PYTHONPATH must be for the installed command to be that program.

    The folder must not exist. What is installed beside the command stays what this commit needs. Raises
    NoSuchCommitError.
    """
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        raise NoSuchCommitError(f"{commit} can't be had: {archive.stderr.decode(errors='replace').strip()}")
    folder.mkdir()
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
    path = f"{folder / 'sdk'}:{folder}"
    ask = [sys.executable, "-P", "-c", "import data_plane, stepwell; print(data_plane.__file__, stepwell.__file__)"]
    found = subprocess.run(ask, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert [Path(each).is_relative_to(folder) for each in found.stdout.split()] == [True, True], found.stdout
    return path

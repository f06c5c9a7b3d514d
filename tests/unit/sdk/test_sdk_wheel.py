"""What the wheel has besides modules: what type checkers look for, and what `stepwell init` writes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import stepwell
from stepwell.cli.init import WRITTEN

SDK = Path(stepwell.__file__).parents[1]


def test_the_wheel_is_typed_and_brings_the_new_project(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={tmp_path}"],
        cwd=SDK, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"stepwell/py.typed", "workers/py.typed"} <= names
    brought = {name for name in names if name.startswith("stepwell/cli/new_project/")}
    assert brought == {f"stepwell/cli/new_project/{name}" for name in WRITTEN.values()}

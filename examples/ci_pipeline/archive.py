"""Builds the program as one executable archive, the same bytes for the same source, and tries it."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from stepwell import NonRetryableError

PACKAGE = "tally"
NAME = "tally.pyz"
# The oldest time that a zip can hold: archives of one source must not differ by when they were built.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\n\nfrom tally.__main__ import main\n\nsys.exit(main())\n"


def build(folder: Path) -> dict[str, Any]:
    """Writes the archive into the workspace; what is returned names it wherever it is built again."""
    target = folder / NAME
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), _MAIN)
            for path in sorted((folder / PACKAGE).rglob("*.py")):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
                archive.writestr(entry, path.read_bytes())
    content = target.read_bytes()
    return {"name": NAME, "digest": hashlib.sha256(content).hexdigest(), "size": len(content)}


def smoke_test(folder: Path) -> str:
    """Runs the archive as its users would, and returns what it printed."""
    ran = subprocess.run(
        [sys.executable, "-B", str(folder / NAME), "--top", "2"],
        input="the sea, the sky and the sea again",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.returncode != 0:
        raise NonRetryableError(f"the deployed archive failed:\n{ran.stderr[-3000:]}")
    return ran.stdout.strip()

"""Writes requirements.lock: everything that a checkout installs, pinned, with the hash of every published file.

The two pyproject.toml hold ranges and are the only lists of dependencies; this resolves them together, so that one
environment serves both wheels and the tools. What is locked already stays as it is unless a range moved (`--upgrade`
moves all of it). pip-tools does the work from a scratch environment: it is no dependency of the project.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
OWN_WHEELS = ("stepwell", "stepwell-server")
HEADER = "# Written by `make lock` from pyproject.toml and sdk/pyproject.toml: change those.\n"


def declared(pyproject: Path) -> list[str]:
    """All that this file asks for: dependencies, extras and groups, without our own wheels."""
    document = tomllib.loads(pyproject.read_text())
    project = document["project"]
    asked = list(project.get("dependencies", []))
    for extra in project.get("optional-dependencies", {}).values():
        asked += extra
    for group in document.get("dependency-groups", {}).values():
        asked += group
    return [line for line in asked if line.split("[")[0].split("=")[0].strip() not in OWN_WHEELS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that the ranges allow")
    upgrade = parser.parse_args().upgrade
    with tempfile.TemporaryDirectory(prefix="stepwell-lock-") as scratch:
        asked = sorted({*declared(ROOT / "pyproject.toml"), *declared(ROOT / "sdk" / "pyproject.toml")})
        wanted = Path(scratch, "requirements.in")
        wanted.write_text("\n".join(asked) + "\n")
        resolved = Path(scratch, "requirements.lock")
        if LOCK.exists() and not upgrade:
            resolved.write_bytes(LOCK.read_bytes())
        venv.create(Path(scratch, "venv"), with_pip=True)
        tools = Path(scratch, "venv", "bin")
        subprocess.run([tools / "pip", "install", "--quiet", "pip-tools>=7.5,<8"], check=True)
        compiled = subprocess.run(
            [
                tools / "pip-compile",
                "--quiet",
                "--generate-hashes",
                "--allow-unsafe",
                "--strip-extras",
                "--no-annotate",
                "--no-header",
                "--no-emit-index-url",
                "--no-emit-find-links",
                "--no-emit-options",
                *(["--upgrade"] if upgrade else []),
                f"--output-file={resolved}",
                str(wanted),
            ],
            check=False,
        )
        if compiled.returncode != 0:
            return compiled.returncode
        LOCK.write_text(HEADER + resolved.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())

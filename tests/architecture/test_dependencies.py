"""The lock file has what the two wheels ask for, and the wheels agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.update_lock import LOCK, declared
from tests.architecture.sources import ROOT

PYPROJECTS = (ROOT / "pyproject.toml", ROOT / "sdk" / "pyproject.toml")


def locked() -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def test_the_lock_has_a_version_within_every_range() -> None:
    versions = locked()
    for line in [line for pyproject in PYPROJECTS for line in declared(pyproject)]:
        asked = Requirement(line)
        assert asked.specifier, f"{line} has no range"
        assert asked.specifier.contains(versions[canonicalize_name(asked.name)]), f"the lock breaks {line}: `make lock`"


def test_everything_locked_has_hashes() -> None:
    for entry in re.split(r"\n(?=[\w])", LOCK.read_text(encoding="utf-8")):
        if "==" in entry:
            assert "--hash=sha256:" in entry


def test_the_server_asks_for_the_sdk_of_its_own_version() -> None:
    server, sdk = (tomllib.loads(Path(path).read_text(encoding="utf-8"))["project"] for path in PYPROJECTS)
    assert server["version"] == sdk["version"]
    assert f"stepwell[cli]=={sdk['version']}" in server["dependencies"]

"""Has pip find and unpack what a folder asks for, for the guest's Python and not for this one. Nothing is built.

pip runs in a process of its own, with the author's own settings of it: indexes, proxies, certificates.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from stepwell.cli.clean import clean, shortened
from stepwell.cli.packages import pip_run
from stepwell.cli.packages.requirements import Requirements
from stepwell.cli.packages.target import Target
from stepwell.cli.packages.tidy import tidy
from stepwell.errors import BundleRefusedError
from stepwell.names import PACKAGES_FOLDER

Tell = Callable[[str], None]
"""Hears a line about what goes on."""

TOLD_MAX = 20
"""Lines of pip's own words in an error."""

_STEPS = re.compile(r"\s*(Collecting|Processing|Downloading)\b")
_TAKEN_UP = re.compile(r"\s*(?:Collecting|Processing|Obtaining) (\S+)")
_NO_MATCH = re.compile(r"No matching distribution found for (.+)")
_VERSIONS = re.compile(r"\(from versions: (.*?)\)")
_STARTED = re.compile(re.escape(pip_run.REFUSED) + "'(.*?)'")
_BUILDS = re.compile(r"(python|pypy|git|hg|svn|bzr).*|os\..*")
"""What pip builds with, or fetches what has to be built."""

_UNREACHED = re.compile(r"WARNING: Retrying .*")

_OPTIONS = (
    "install", "--no-input", "--no-user", "--no-compile", "--no-warn-script-location", "--disable-pip-version-check",
    "--progress-bar=off", "--only-binary=:all:",
)  # fmt: skip
_OF_OTHER_INSTALLS = ("PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT", "PIP_TARGET", "PIP_USER")
"""Settings that say where this Python's own packages go."""


def resolve(requirements: Requirements, target: Target, folder: Path, tell: Tell) -> None:
    """Put the packages into the empty `folder`. Raises BundleRefusedError, saying which package, for what, and what to
    do."""
    if importlib.util.find_spec("pip") is None:
        raise _refused(
            requirements,
            f"its packages are found with pip, which {sys.executable} has not. Install it there "
            "(`python -m ensurepip`, or `uv pip install pip`); or put the packages into a folder "
            f"{PACKAGES_FOLDER} yourself, made for {target}, and remove {requirements.path.name}",
        )
    command = [
        sys.executable, "-P", os.path.abspath(pip_run.__file__), json.dumps(target.markers()), *_OPTIONS,
        *target.pip_options(),
        f"--target={folder}", "--requirement", requirements.path.name,
    ]  # fmt: skip
    environ = {name: value for name, value in os.environ.items() if name not in _OF_OTHER_INSTALLS}
    taken_up = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        with subprocess.Popen(
            command, cwd=requirements.path.parent, env=environ | {"PYTHONIOENCODING": "utf-8:replace"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", errors="replace",
        ) as pip:  # fmt: skip
            assert pip.stdout is not None
            for line in pip.stdout:
                if (match := _TAKEN_UP.match(line)) is not None:
                    taken_up = match[1]
                if _STEPS.match(line):
                    tell(shortened(line.strip(), 120))
        if pip.returncode != 0:
            errors.seek(0)
            raise failure(requirements, target, taken_up, errors.read())
    tidy(folder)


def failure(requirements: Requirements, target: Target, taken_up: str, errors: str) -> BundleRefusedError:
    """What pip said on stderr, in our words where it is something that authors meet. `taken_up` is what it was at."""
    if (match := _STARTED.search(errors)) is not None:
        if not _BUILDS.fullmatch(match[1]):
            return _refused(
                requirements, f"pip wants to start {_shown(match[1])}, and may start nothing here but {pip_run.KEYRING}"
            )
        return _refused(
            requirements,
            f"{_shown(taken_up)} has no wheel and would have to be built here. Nothing is: building runs the code of "
            f"whoever wrote it. Build a wheel of it for {target} where you trust it to run (`pip wheel --no-deps "
            "--wheel-dir wheels …`) and name the file here (./wheels/….whl)",
        )
    if (unreached := _UNREACHED.findall(errors)) and "from versions: none" in errors:
        return _refused(requirements, f"pip could not reach where it looks for packages: {_shown(unreached[-1], 300)}")
    if (match := _NO_MATCH.search(errors)) is not None:
        wanted = _shown(match[1])
        versions = [each[1] for each in _VERSIONS.finditer(errors) if each[1] != "none"]
        others = f" Versions that have one: {_shown(versions[-1], 300)}." if versions else " Is the name right?"
        return _refused(
            requirements,
            f"there is no wheel of {wanted} for {target}.{others} Packages are taken as wheels alone, since nothing is "
            "built here. Choose a version that has such a wheel; or build one where you trust it to run (`pip wheel "
            "--no-deps --wheel-dir wheels …`) and name the file here (./wheels/….whl); or, if it is pure Python, put "
            "its source beside your code",
        )
    lines = [line.removeprefix("ERROR: ") for line in errors.splitlines() if not line.startswith("WARNING:")]
    told = "\n".join(shortened(clean(line), 300) for line in lines[:TOLD_MAX])
    return _refused(requirements, f"pip can't find its packages for {target}:\n{told}")


def _shown(text: str, length_max: int = 100) -> str:
    return shortened(clean(text.strip()), length_max)


def _refused(requirements: Requirements, why: str) -> BundleRefusedError:
    name = requirements.path.name
    return BundleRefusedError(f"{name}: {why}", path=name)

"""Runs pip for another Python than its own, in a process of its own: `python -P pip_run.py MARKERS ARGUMENTS…`.

Two things pip can't be asked for by an option. It holds environment markers (`; python_version < "3.12"`) against the
Python that runs it, whatever `--python-version` says: here it is told the guest's. And `--only-binary` does not keep it
from building what is named by a path or an address, which runs the code of whoever wrote it: here it may start no
program at all, but for the `keyring` that its user may have told it to ask for passwords.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

REFUSED = "stepwell lets pip start no program, "
KEYRING = "keyring"

_STARTS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
     "pty.spawn"}
)  # fmt: skip


def refuse_programs(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (`sys.addaudithook`); there is no way to remove one."""
    if event in _STARTS:
        program = os.path.basename(os.fsdecode(arguments[0])) if arguments else event
        if event != "subprocess.Popen" or program != KEYRING:
            raise PermissionError(f"{REFUSED}{program!r}")


def main(arguments: list[str]) -> int:
    """pip's exit status."""
    told = json.loads(arguments[0])
    markers = import_module("pip._vendor.packaging.markers")
    if not hasattr(markers, "default_environment"):
        version = import_module("pip").__version__
        sys.stderr.write(f"ERROR: pip {version} can't be told of another Python than its own: take another pip\n")
        return 1
    setattr(markers, "default_environment", lambda: dict(told))  # noqa: B010 - a module's, of which nothing is known
    sys.addaudithook(refuse_programs)
    status: int = import_module("pip._internal.cli.main").main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Removes control groups, with the processes that are left in them: a group that has some can't be removed."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from loader.sandbox.cgroup_files import Folders

_log = logging.getLogger(__name__)

_GONE_S_MAX: Final = 10.0
_GONE_POLL_S: Final = 0.01


def remove(folders: Folders) -> None:
    """Whatever is in them: the folders of groups in it first, then they themselves."""
    for folder in distinct(folders):
        below = [Path(base) for base, _, _ in os.walk(folder, topdown=False)]
        for each in below or [folder]:
            _until_gone(each)


def _until_gone(folder: Path) -> None:
    waited = threading.Event()
    for _ in range(round(_GONE_S_MAX / _GONE_POLL_S)):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            _kill_all(folder)
        waited.wait(_GONE_POLL_S)
    _log.error("the control group %s can't be removed: it still has processes; the next start tries again", folder)


def _kill_all(folder: Path) -> None:
    with suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def distinct(folders: Folders) -> list[Path]:
    """Each folder once."""
    return list(dict.fromkeys(folders.values()))

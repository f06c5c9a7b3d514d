"""Finds where this process's control groups are, and of which version: from the kernel's own tables, without a guess.

Version 2 is used where it has all the controllers that are needed, else version 1 where that has them all. A machine
may have some of each; limits are never split between the two.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loader.sandbox.cgroup_files import VERSION_1, VERSION_2, CgroupFiles, Controller, Folders

UNLIMITED: Final = (
    "Where all code that will run is to be trusted with the machine's memory and CPU, say cgroups = false in [gvisor] "
    "of config.toml."
)


class CgroupError(Exception):
    """What keeps control groups from being used, and what to do. For the operator."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """`own` are the folders of the group that a process is in, `tops` the highest that it can see."""

    files: CgroupFiles
    own: Folders
    tops: Folders


def find_hierarchy(proc: Path = Path("/proc/self")) -> Hierarchy:
    """The hierarchy of the process whose folder in /proc this is. Raises CgroupError."""
    mounts = _mounts((proc / "mountinfo").read_text())
    groups = _groups((proc / "cgroup").read_text())
    if "" in mounts and "" in groups:
        top, own = _folders(*mounts[""], groups[""])
        names = VERSION_2.controllers
        if set(names) <= set(_words(own / "cgroup.controllers")):
            return Hierarchy(VERSION_2, dict.fromkeys(names, own), dict.fromkeys(names, top))
    missing = [name for name in VERSION_1.controllers if name not in mounts or name not in groups]
    if missing:
        raise CgroupError(
            f"this machine offers the server no control groups for {' and '.join(missing)}, of version 1 or 2: mount "
            f"them, and with systemd say Delegate=yes in the server's unit. {UNLIMITED}"
        )
    found = {name: _folders(*mounts[name], groups[name]) for name in VERSION_1.controllers}
    return Hierarchy(
        VERSION_1,
        {name: own for name, (_, own) in found.items()},
        {name: top for name, (top, _) in found.items()},
    )


def _mounts(mountinfo: str) -> dict[Controller | str, tuple[str, Path]]:
    """By controller, "" for version 2: the group that is mounted, and where."""
    found: dict[Controller | str, tuple[str, Path]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(" "), right.split(" ", 2)
        place = (_unescaped(fields[3]), Path(_unescaped(fields[4])))
        if kind == "cgroup2":
            found[""] = place
        elif kind == "cgroup":
            found |= dict.fromkeys(options.split(","), place)
    return found


def _groups(table: str) -> dict[str, str]:
    """By controller, "" for version 2: the group that the process is in."""
    found: dict[str, str] = {}
    for line in table.splitlines():
        _, controllers, group = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), group)
    return found


def _folders(root: str, mount: Path, group: str) -> tuple[Path, Path]:
    """A container may see only a part of the tree: its mount shows `root` and what is below."""
    relative = os.path.relpath(group, root)
    return mount, mount if relative.startswith("..") else mount / relative


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")

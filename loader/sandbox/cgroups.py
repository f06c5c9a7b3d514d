"""Control groups: the memory, CPU time and processes that a sandbox may have, and that all of them may have together.

A server makes one group for its sandboxes, below its own, and in it one for each: so whatever limits the server limits
them too. A sandbox's first process enters before it becomes `runsc`, and all that it starts is in it. A group can't be
removed before its last process is gone. What a killed server left is removed by the next start: a live server holds a
lock on its group.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loader.sandbox.cgroup_files import CONTROLLERS, CgroupFiles, Folders, counted
from loader.sandbox.cgroup_mounts import UNLIMITED, CgroupError, Hierarchy

_log = logging.getLogger(__name__)

CPU_WEIGHT_PERCENT: Final = 10
"""Of the server's, which answers for all tenants and must not wait for guests that spin. At half of the server's weight
it waited up to 50 ms beside two of them on two CPUs. It is not less, so that guests get enough to answer a ping on a
machine that is busy with other things.
"""

EVICTION_PERCENT: Final = 80
"""Of what all sandboxes may use: above it idle ones go, before the kernel has to end busy ones."""

_WEIGHT_MIN: Final = 2
"""The least that both versions take."""

SHARED: Final = "/stepwell"
"""Where a server's group is made whose own group can't have groups in it."""

_PREFIX: Final = "stepwell-"
_SERVER: Final = "stepwell-server"
_GONE_S_MAX: Final = 10.0
_GONE_POLL_S: Final = 0.01
_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """Of one sandbox, all that runs for it on the host included."""

    memory_bytes_max: int
    cpu_millis_max: int
    """Thousandths of one CPU."""
    tasks_max: int
    """Processes and threads of the host."""


class SandboxCgroup:
    """One sandbox's group."""

    def __init__(self, files: CgroupFiles, folders: Folders, limits: CgroupLimits) -> None:
        self._files = files
        self._folders = folders
        self._limits = limits

    @property
    def entrances(self) -> list[Path]:
        """The files to which a process writes 0 to enter."""
        return [folder / "cgroup.procs" for folder in _distinct(self._folders)]

    def memory_bytes(self) -> int:
        """What the sandbox uses now; 0 when it is gone."""
        try:
            return self._files.memory_in_use(self._folders["memory"])
        except OSError:
            return 0

    def share_cpu(self, sandboxes: int) -> None:
        """Count as one in so many, beside other groups; without effect when the sandbox is gone."""
        weight = max(_WEIGHT_MIN, self._files.cpu_weight_default // sandboxes)
        with suppress(OSError):
            _write(self._folders["cpu"] / self._files.cpu_weight, str(weight))

    def cause(self) -> str:
        """Which limit ended the sandbox, for its tenant; empty when none did. Read it before `remove`.

        At its limit of memory a sandbox may also end without the kernel's doing: gVisor is refused memory, or comes to
        a standstill while the kernel looks for some.
        """
        folder, limit = self._folders["memory"], self._limits.memory_bytes_max
        try:
            killed = counted(folder / self._files.memory_events, "oom_kill")
            peak = _number(folder / self._files.memory_peak, default=limit if killed else 0)
            if peak >= limit - _MEBIBYTE:
                return f"it used more than its {limit // _MEBIBYTE} MiB of memory"
            if killed:
                return f"memory for sandboxes ran out while it used {peak // _MEBIBYTE} MiB"
            if counted(self._folders["pids"] / "pids.events", "max"):
                return f"it started more than {self._limits.tasks_max} processes and threads on its host"
        except OSError as error:
            _log.error("a control group can't be read: %s", error)
        return ""

    def remove(self) -> None:
        """End what is left in it, and remove it. Blocks until that is done."""
        _remove(self._folders)


class Cgroups:
    """The group of one server's sandboxes. Every method blocks, briefly."""

    def __init__(self, files: CgroupFiles, folders: Folders, locks: list[int], memory_bytes_max: int) -> None:
        self._files = files
        self._folders = folders
        self._locks = locks
        self.memory_bytes_max = memory_bytes_max
        """What all sandboxes may use together."""

    @classmethod
    def open(cls, hierarchy: Hierarchy, *, below: str, memory_percent_max: int) -> Cgroups:
        """Make the group, and remove what killed servers left.

        `below` names the group to put it into, from the top of the hierarchy, such as "/stepwell". With an empty one it
        is the server's own; or SHARED, where version 2 forbids that, as in a login shell's, which has other processes.
        `memory_percent_max` is of what the server may use. Raises CgroupError.
        """
        if not 1 <= memory_percent_max <= 100:
            raise CgroupError(f"memory_percent_max is 1 to 100, not {memory_percent_max}")
        files = hierarchy.files
        try:
            if files.version == 2 and not below and _has_others(hierarchy.own["memory"]):
                below = SHARED
            parents = _parents(hierarchy, below)
            if files.version == 2:
                if below:
                    _enable(hierarchy.tops["memory"])
                _delegate(parents["memory"], move=not below)
            for parent in _distinct(parents):
                for left in sorted(parent.glob(f"{_PREFIX}*")):
                    if left.name != _SERVER:
                        _remove_unheld(left)
            folders, locks = _make_locked(parents)
            memory_bytes_max = (
                _usable_bytes(files, parents["memory"], hierarchy.tops["memory"]) * memory_percent_max // 100
            )
            _write(folders["memory"] / files.memory_max, str(memory_bytes_max))
            weight = files.cpu_weight_default * CPU_WEIGHT_PERCENT // 100
            _write(folders["cpu"] / files.cpu_weight, str(weight))
            if files.version == 2:
                _enable(folders["memory"])
        except OSError as error:
            raise CgroupError(_refused(error, files)) from None
        return cls(files, folders, locks, memory_bytes_max)

    @property
    def version(self) -> int:
        """1 or 2."""
        return self._files.version

    def new(self, name: str, limits: CgroupLimits) -> SandboxCgroup:
        """A sandbox's group; the host made the name. Raises OSError."""
        folders = {controller: folder / name for controller, folder in self._folders.items()}
        try:
            for folder in _distinct(folders):
                folder.mkdir()
            self._limit(folders, limits)
        except OSError:
            _remove(folders)
            raise
        return SandboxCgroup(self._files, folders, limits)

    def _limit(self, folders: Folders, limits: CgroupLimits) -> None:
        files, memory = self._files, folders["memory"]
        _write(memory / files.memory_max, str(limits.memory_bytes_max))
        if (memory / files.memory_swap_max).exists():
            _write(memory / files.memory_swap_max, files.swap_max(limits.memory_bytes_max))
        if files.version == 2:
            _write(memory / "memory.oom.group", "1")
        for path, text in files.cpu_max(folders["cpu"], limits.cpu_millis_max):
            _write(path, text)
        _write(folders["pids"] / "pids.max", str(limits.tasks_max))

    def excess_bytes(self) -> int:
        """How much idle sandboxes should give back now; 0 when there is no need."""
        eviction_bytes = self.memory_bytes_max * EVICTION_PERCENT // 100
        try:
            return max(0, self._files.memory_in_use(self._folders["memory"]) - eviction_bytes)
        except OSError:
            return 0

    def close(self) -> None:
        """Remove the group: every sandbox is gone. Idempotent."""
        locks, self._locks = self._locks, []
        if locks:
            _remove(self._folders)
        for lock in locks:
            os.close(lock)


def _parents(hierarchy: Hierarchy, below: str) -> Folders:
    if below:
        parents = {name: top / below.lstrip("/") for name, top in hierarchy.tops.items()}
        for parent in _distinct(parents):
            parent.mkdir(exist_ok=True)
        return parents
    return {name: own.parent if own.name == _SERVER else own for name, own in hierarchy.own.items()}


def _has_others(group: Path) -> bool:
    """Whether a group that is not the root has processes besides this one."""
    try:
        processes = (group / "cgroup.procs").read_text().split()
    except OSError:
        return False
    return (group / "cgroup.type").exists() and any(pid != str(os.getpid()) for pid in processes)


def _delegate(parent: Path, *, move: bool) -> None:
    """With version 2, only a group without processes (but for the root) may pass controllers on to groups in it."""
    if move and (parent / "cgroup.type").exists():
        (parent / _SERVER).mkdir(exist_ok=True)
        _write(parent / _SERVER / "cgroup.procs", str(os.getpid()))
    _enable(parent)


def _enable(folder: Path) -> None:
    _write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in CONTROLLERS))


def _make_locked(parents: Folders) -> tuple[Folders, list[int]]:
    """A new group, and locks on all its folders, by which other servers know that it is in use."""
    while True:
        first = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parents["memory"]))
        folders = {name: parent / first.name for name, parent in parents.items()}
        for folder in _distinct(folders):
            folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            locks = [_opened(folder) for folder in _distinct(folders)]
            for lock in locks:
                fcntl.flock(lock, fcntl.LOCK_EX)
            if all(folder.exists() for folder in _distinct(folders)):
                return folders, locks
        _remove(folders)  # another server took it for a killed one's before it was locked


def _remove_unheld(folder: Path) -> None:
    with suppress(FileNotFoundError):
        lock = _opened(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove({"memory": folder})
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _remove(folders: Folders) -> None:
    """Whatever is in them: the folders of groups in it first, then they themselves."""
    for folder in _distinct(folders):
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


def _usable_bytes(files: CgroupFiles, folder: Path, top: Path) -> int:
    """The machine's memory, or the smallest limit that this group or one above it has."""
    found = counted(Path("/proc/meminfo"), "MemTotal:") * 1024
    while True:
        found = min(found, _number(folder / files.memory_max, default=found))
        if folder == top:
            return found
        folder = folder.parent


def _write(path: Path, text: str) -> None:
    """Raises OSError with the path in it, whatever refused."""
    try:
        path.write_text(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _number(path: Path, *, default: int) -> int:
    """The number in the file; the default where there is none, such as for "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return default


def _distinct(folders: Folders) -> list[Path]:
    return list(dict.fromkeys(folders.values()))


def _refused(error: OSError, files: CgroupFiles) -> str:
    where = error.filename or "the group of this server"
    text = f"control groups of version {files.version} can't be used: {where}: {error.strerror}. "
    if files.version == 2:
        text += (
            "With systemd, give the server a group of its own: Delegate=yes in its unit, or `systemd-run --scope -p "
            "Delegate=yes stepwell dev`; or name an empty group with cgroup in [gvisor] of config.toml. "
        )
    else:
        text += "The server must be able to make groups: as root, and in a container with a writable /sys/fs/cgroup. "
    return text + UNLIMITED

"""Control groups: the memory, CPU time and processes that a sandbox may have, and that all of them may have together;
and which CPUs it runs on, behind whom.

A server makes one group for its sandboxes, below its own, and in it one for each: so whatever limits the server limits
them too. A sandbox's first process enters before it becomes `runsc`, and all that it starts is in it. A group can't be
removed before its last process is gone. What a killed server left is removed by the next start: a live server holds a
lock on its group.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loader.sandbox.cgroup_files import VERSION_2, CgroupFiles, Folders, counted
from loader.sandbox.cgroup_mounts import UNLIMITED, CgroupError, Hierarchy
from loader.sandbox.cgroup_removal import distinct, remove
from loader.sandbox.cgroup_usage import CpuUsage
from loader.sandbox.cpus import CpuLists, cpu_lists, numbers

_log = logging.getLogger(__name__)

CPU_WEIGHT_PERCENT: Final = 10
"""Of the server's, which answers for all tenants and must not wait for guests that spin. At half of the server's weight
it waited up to 50 ms beside two of them on two CPUs. It is not less, so that guests get enough to answer a ping on a
machine that is busy with other things.
"""

EVICTION_PERCENT: Final = 80
"""Of what all sandboxes may use: above it idle ones go, before the kernel has to end busy ones."""

BACKGROUND_MILLIS_MIN: Final = 20
"""Thousandths of one CPU: what a sandbox in the background may have in any case, to answer that it lives."""

CPU_IDLE: Final = "cpu.idle"

_WEIGHT_MIN: Final = 2
"""The least that both versions take."""

SHARED: Final = "/stepwell"
"""Where a server's group is made whose own group can't have groups in it."""

_PREFIX: Final = "stepwell-"
_SERVER: Final = "stepwell-server"
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

    def __init__(
        self, files: CgroupFiles, folders: Folders, limits: CgroupLimits, cpus: CpuLists, *, has_idle: bool
    ) -> None:
        self._files = files
        self._folders = folders
        self._limits = limits
        self._cpus = cpus
        self._has_idle = has_idle
        self._usage = CpuUsage(files, folders)

    @property
    def entrances(self) -> list[Path]:
        """The files to which a process writes 0 to enter."""
        return [folder / "cgroup.procs" for folder in distinct(self._folders)]

    def memory_bytes(self) -> int:
        """What the sandbox uses now; 0 when it is gone."""
        try:
            return self._files.memory_in_use(self._folders["memory"])
        except OSError:
            return 0

    def cpu_usage_us(self) -> int:
        """CPU time that it had, all that runs for it on the host included."""
        return self._usage.read_us()

    def schedule(self, parts: int, *, is_background: bool) -> None:
        """As `Sandbox.schedule`. Raises OSError.

        What is idle to the kernel makes way for others at once, and a CPU that runs nothing else counts as free. It has
        no weight of its own: there the limit keeps tenants from taking more than their part. A kernel that knows no
        such thing has the least weight instead.
        """
        cpu, files, millis = self._folders["cpu"], self._files, self._limits.cpu_millis_max
        weight = max(_WEIGHT_MIN, files.cpu_weight_default // parts)
        if is_background:
            millis = min(millis, max(BACKGROUND_MILLIS_MIN, self._cpus.background_millis // parts))
        for path, text in files.cpu_max(cpu, millis):
            _write(path, text)
        if self._has_idle:
            _write(cpu / CPU_IDLE, str(int(is_background)))
        if not (is_background and self._has_idle):
            _write(cpu / files.cpu_weight, str(_WEIGHT_MIN if is_background else weight))
        cpus = self._cpus.background if is_background else self._cpus.foreground
        _write(self._folders["cpuset"] / "cpuset.cpus", cpus)

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

    def close(self) -> None:
        """Measure no more."""
        self._usage.close()

    def remove(self) -> None:
        """End what is left in it, and remove it. Blocks until that is done."""
        remove(self._folders)


class Cgroups:
    """The group of one server's sandboxes. Every method blocks, briefly."""

    def __init__(
        self, files: CgroupFiles, folders: Folders, locks: list[int], memory_bytes_max: int, cpus: CpuLists
    ) -> None:
        self._files = files
        self._folders = folders
        self._locks = locks
        self._cpus = cpus
        self.has_idle = _has_idle(folders["cpu"])
        """Whether the kernel can put groups behind all others: Linux 5.15 and newer."""
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
            for parent in distinct(parents):
                for left in sorted(parent.glob(f"{_PREFIX}*")):
                    if left.name != _SERVER:
                        _remove_unheld(left)
            folders, locks = _make_locked(parents)
            memory_bytes_max = (
                _usable_bytes(files, parents["memory"], hierarchy.tops["memory"]) * memory_percent_max // 100
            )
            _write(folders["memory"] / files.memory_max, str(memory_bytes_max))
            cpus = _usable_cpus(files, parents["cpuset"])
            if files.version == 1:
                _fill_cpuset(folders["cpuset"])
            weight = files.cpu_weight_default * CPU_WEIGHT_PERCENT // 100
            _write(folders["cpu"] / files.cpu_weight, str(weight))
            if files.version == 2:
                _enable(folders["memory"])
        except OSError as error:
            raise CgroupError(_refused(error, files)) from None
        return cls(files, folders, locks, memory_bytes_max, cpus)

    @property
    def version(self) -> int:
        """1 or 2."""
        return self._files.version

    def new(self, name: str, limits: CgroupLimits) -> SandboxCgroup:
        """A sandbox's group, in the background; the host made the name. Raises OSError."""
        folders = {controller: folder / name for controller, folder in self._folders.items()}
        try:
            for folder in distinct(folders):
                folder.mkdir()
            self._limit(folders, limits)
            made = SandboxCgroup(self._files, folders, limits, self._cpus, has_idle=self.has_idle)
            made.schedule(1, is_background=True)
        except OSError:
            remove(folders)
            raise
        return made

    def _limit(self, folders: Folders, limits: CgroupLimits) -> None:
        files, memory = self._files, folders["memory"]
        if files.version == 1:
            _fill_cpuset(folders["cpuset"])
        _write(memory / files.memory_max, str(limits.memory_bytes_max))
        if (memory / files.memory_swap_max).exists():
            _write(memory / files.memory_swap_max, files.swap_max(limits.memory_bytes_max))
        if files.version == 2:
            _write(memory / "memory.oom.group", "1")
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
            remove(self._folders)
        for lock in locks:
            os.close(lock)


def _parents(hierarchy: Hierarchy, below: str) -> Folders:
    if below:
        parents = {name: top / below.lstrip("/") for name, top in hierarchy.tops.items()}
        for parent in distinct(parents):
            parent.mkdir(exist_ok=True)
        if hierarchy.files.version == 1:
            top, parent = hierarchy.tops["cpuset"], parents["cpuset"]
            for folder in reversed([parent, *parent.parents][: len(parent.relative_to(top).parts)]):
                if not (folder / "cpuset.cpus").read_text().strip():
                    _fill_cpuset(folder)
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
    _write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in VERSION_2.controllers))


def _has_idle(group: Path) -> bool:
    return (group / CPU_IDLE).exists()


def _usable_cpus(files: CgroupFiles, parent: Path) -> CpuLists:
    """What the group's processes may run on; of that, what the server may, where somebody bound it to less."""
    usable = numbers((parent / files.cpus_usable).read_text())
    return cpu_lists(usable & os.sched_getaffinity(0) or usable)


def _fill_cpuset(folder: Path) -> None:
    """With version 1, a new group has no CPU and no memory node, and takes no process, before it is given some."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        _write(folder / name, (folder.parent / name).read_text().strip())


def _make_locked(parents: Folders) -> tuple[Folders, list[int]]:
    """A new group, and locks on all its folders, by which other servers know that it is in use."""
    while True:
        first = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parents["memory"]))
        folders = {name: parent / first.name for name, parent in parents.items()}
        for folder in distinct(folders):
            folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            locks = [_opened(folder) for folder in distinct(folders)]
            for lock in locks:
                fcntl.flock(lock, fcntl.LOCK_EX)
            if all(folder.exists() for folder in distinct(folders)):
                return folders, locks
        remove(folders)  # another server took it for a killed one's before it was locked


def _remove_unheld(folder: Path) -> None:
    with suppress(FileNotFoundError):
        lock = _opened(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove({"memory": folder})
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


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

"""The words of control groups, version 1 and version 2: which file takes which limit, and where use can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Controller = Literal["memory", "cpu", "pids", "cpuset", "cpuacct"]

CPU_PERIOD_US: Final = 100_000
"""The kernel's own default: a sandbox over its share waits for at most this long."""

Folders = Mapping[Controller, Path]
"""One control group: with version 1 a folder a controller, with version 2 the same folder for all."""


@dataclass(frozen=True, slots=True)
class CgroupFiles:
    """One version's names. `memory_swap_max` keeps what is over the limit from going to swap instead of ending."""

    version: Literal[1, 2]
    controllers: tuple[Controller, ...]
    """What a sandbox is limited and measured by; all of them, or none."""
    memory_max: str
    memory_swap_max: str
    memory_used: str
    memory_peak: str
    memory_inactive: str
    """The key in memory.stat of pages that the kernel takes back when they are wanted: file cache, not use."""
    memory_events: str
    """Its line `oom_kill` counts processes killed for want of memory."""
    cpu_weight: str
    cpu_weight_default: int
    cpus_usable: str
    """The CPUs that processes of a group may run on, whatever was asked for."""

    def cpu_max(self, folder: Path, millis: int) -> list[tuple[Path, str]]:
        """What to write where for so many thousandths of one CPU."""
        quota_us = CPU_PERIOD_US * millis // 1000
        if self.version == 2:
            return [(folder / "cpu.max", f"{quota_us} {CPU_PERIOD_US}")]
        return [(folder / "cpu.cfs_period_us", str(CPU_PERIOD_US)), (folder / "cpu.cfs_quota_us", str(quota_us))]

    def cpu_usage(self, folders: Folders) -> Path:
        """The file that tells how long the group's processes have run, for `cpu_usage_us`."""
        return folders["cpu"] / "cpu.stat" if self.version == 2 else folders["cpuacct"] / "cpuacct.usage"

    def cpu_usage_us(self, text: bytes) -> int:
        """Microseconds, out of what that file says."""
        if self.version == 2:
            key, used_us = text.split(maxsplit=2)[:2]
            if key != b"usage_usec":
                raise ValueError(f"cpu.stat begins with {key!r}")
            return int(used_us)
        return int(text) // 1000

    def swap_max(self, memory_bytes: int) -> str:
        """Version 1 limits memory and swap together, version 2 swap alone."""
        return "0" if self.version == 2 else str(memory_bytes)

    def memory_in_use(self, folder: Path) -> int:
        """Bytes that only an end of processes would free."""
        inactive = counted(folder / "memory.stat", self.memory_inactive)
        return max(0, int((folder / self.memory_used).read_text()) - inactive)


VERSION_1: Final = CgroupFiles(
    version=1,
    controllers=("memory", "cpu", "pids", "cpuset", "cpuacct"),
    memory_max="memory.limit_in_bytes",
    memory_swap_max="memory.memsw.limit_in_bytes",
    memory_used="memory.usage_in_bytes",
    memory_peak="memory.max_usage_in_bytes",
    memory_inactive="total_inactive_file",
    memory_events="memory.oom_control",
    cpu_weight="cpu.shares",
    cpu_weight_default=1024,
    cpus_usable="cpuset.effective_cpus",
)

VERSION_2: Final = CgroupFiles(
    version=2,
    controllers=("memory", "cpu", "pids", "cpuset"),
    memory_max="memory.max",
    memory_swap_max="memory.swap.max",
    memory_used="memory.current",
    memory_peak="memory.peak",
    memory_inactive="inactive_file",
    memory_events="memory.events",
    cpu_weight="cpu.weight",
    cpu_weight_default=100,
    cpus_usable="cpuset.cpus.effective",
)


def counted(path: Path, key: str) -> int:
    """The number behind this key on its line; 0 when there is no such line. Raises OSError."""
    for line in path.read_text().splitlines():
        name, *numbers = line.split()
        if name == key:
            return int(numbers[0])
    return 0

"""Lists of CPUs as the kernel writes them, and which of them sandboxes in the background stay off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RESERVED_ONE_IN: Final = 8
"""So many CPUs have one among them that is reserved for the server and for sandboxes in the foreground. A machine with
fewer reserves one, unless it has no other.
"""


@dataclass(frozen=True, slots=True)
class CpuLists:
    """What sandboxes may run on, as `cpuset.cpus` takes it."""

    foreground: str
    background: str

    @property
    def background_millis(self) -> int:
        """Thousandths of one CPU that there are in the background."""
        return 1000 * len(numbers(self.background))


def cpu_lists(cpus: set[int]) -> CpuLists:
    """The lists of a server that may use these, at least one."""
    every = sorted(cpus)
    reserved = max(1, len(every) // RESERVED_ONE_IN) if len(every) > 1 else 0
    return CpuLists(",".join(map(str, every)), ",".join(map(str, every[reserved:])))


def numbers(text: str) -> set[int]:
    """The CPUs of a list such as "0-3,8". Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found

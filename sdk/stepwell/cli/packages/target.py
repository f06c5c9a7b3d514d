"""The guest's Python as pip's options and as the values of environment markers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stepwell.v1.workflows_pb2 import GuestRuntime

_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Older names, by the minor version of glibc that they stand for (PEP 600)."""

_OLDEST_MINOR = {"x86_64": 5, "i686": 5}
_OLDEST_MINOR_ELSEWHERE = 17
"""Of the glibc that any manylinux wheel is made for (PEP 513, PEP 599)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What packages are made for."""

    python_version: str
    implementation: str
    machine: str
    libc: str
    libc_version: str

    @classmethod
    def of(cls, runtime: GuestRuntime) -> Target:
        """As the server tells it."""
        return cls(runtime.python_version, runtime.implementation, runtime.machine, runtime.libc, runtime.libc_version)

    def __str__(self) -> str:
        libc = f", {self.libc} {self.libc_version}" if self.libc else ""
        implementation = "CPython" if self.implementation == "cpython" else self.implementation
        return f"{implementation} {self._short} on Linux {self.machine}{libc}"

    @property
    def _short(self) -> str:
        return ".".join(self.python_version.split(".")[:2])

    def pip_options(self) -> list[str]:
        """Which wheels pip may take: of any platform on the list, the first being the best."""
        short = self._short
        return [
            f"--python-version={self.python_version}", "--implementation=cp", f"--abi=cp{short.replace('.', '')}",
            *(f"--platform={platform}" for platform in self._platforms()),
        ]  # fmt: skip

    def _platforms(self) -> Iterator[str]:
        if self.libc != "glibc":
            yield "any"
            return
        major, minor, *_ = map(int, self.libc_version.split("."))
        for each in range(minor, _OLDEST_MINOR.get(self.machine, _OLDEST_MINOR_ELSEWHERE) - 1, -1):
            yield f"manylinux_{major}_{each}_{self.machine}"
            if each in _LEGACY:
                yield f"{_LEGACY[each]}_{self.machine}"
        yield f"linux_{self.machine}"

    def markers(self) -> Mapping[str, str]:
        """What `; python_version < "3.12"` and its like are held against, in requirements and in packages."""
        return {
            "implementation_name": self.implementation,
            "implementation_version": self.python_version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python_version,
            "python_version": self._short,
            "sys_platform": "linux",
        }

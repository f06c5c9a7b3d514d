"""Reads how long a control group's processes have run."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from loader.sandbox.cgroup_files import CgroupFiles, Folders

_USAGE_BYTES: Final = 256
"""Of a file on CPU time: what is wanted comes first."""


class CpuUsage:
    """How long a group's processes have run. Its file stays open, since it is read many times a second."""

    def __init__(self, files: CgroupFiles, folders: Folders) -> None:
        self._files = files
        self._path = files.cpu_usage(folders)
        self._descriptor: int | None = None
        self._last_us = 0
        self._closed = False

    def read_us(self) -> int:
        """In microseconds; what was last read, when the group is gone."""
        if not self._closed:
            with suppress(OSError):
                if self._descriptor is None:
                    self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                self._last_us = self._files.cpu_usage_us(os.pread(self._descriptor, _USAGE_BYTES, 0))
        return self._last_us

    def close(self) -> None:
        """Idempotent."""
        self._closed = True
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

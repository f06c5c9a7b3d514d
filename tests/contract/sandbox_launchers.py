"""The launchers that the contract's tests run over.

gVisor is the machine's own runsc with ptrace, unless STEPWELL_TEST_RUNSC and STEPWELL_TEST_PLATFORM name another one:
`make platforms` runs these tests over a newer runsc's platforms too.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from loader.sandbox.cgroup_mounts import find_hierarchy
from loader.sandbox.cgroups import Cgroups
from loader.sandbox.rootfs import ensure_rootfs
from loader.sandbox.sandbox import SandboxLauncher
from loader.sandbox.sandbox_gvisor import GVisorLauncher, GVisorSettings, Platform
from loader.sandbox.sandbox_process import ProcessLauncher

MEBIBYTE = 1024 * 1024
TMP_BYTES = 4 * MEBIBYTE


def settings(**limits: Any) -> GVisorSettings:
    """What gVisor's sandboxes are made with in this run."""
    runsc = os.environ.get("STEPWELL_TEST_RUNSC", "runsc")
    platform = os.environ.get("STEPWELL_TEST_PLATFORM", "ptrace")
    assert platform in get_args(Platform)
    return replace(GVisorSettings(tmp_bytes_max=TMP_BYTES), **({"runsc": runsc, "platform": platform} | limits))


def gvisor(folder: Path, *, memory_percent_max: int = 50, **limits: Any) -> GVisorLauncher:
    """A launcher of real sandboxes, limited by control groups of its own."""
    cgroups = Cgroups.open(find_hierarchy(), below="", memory_percent_max=memory_percent_max)
    return GVisorLauncher(folder, ensure_rootfs(), cgroups, settings(**limits))


def make(kind: str, folder: Path) -> SandboxLauncher:
    return gvisor(folder) if kind == "gvisor" else ProcessLauncher(folder)

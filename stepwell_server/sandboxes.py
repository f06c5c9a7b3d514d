"""Which sandboxes a server starts, and that they can be started here."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

from loader.sandbox.cgroup_mounts import CgroupError, find_hierarchy
from loader.sandbox.cgroups import Cgroups
from loader.sandbox.rootfs import ensure_rootfs
from loader.sandbox.sandbox import SandboxLauncher
from loader.sandbox.sandbox_gvisor import GVisorLauncher, GVisorSettings
from loader.sandbox.sandbox_process import ProcessLauncher
from stepwell_server.process import StartError


def sandbox_launcher(
    kind: Literal["gvisor", "process"], folder: Path, settings: GVisorSettings, stack: AsyncExitStack
) -> SandboxLauncher:
    """Sandboxes of that kind, with what they need below the folder. Raises StartError."""
    launcher: SandboxLauncher
    if kind == "process":
        launcher = ProcessLauncher(folder)
    else:
        missing = GVisorLauncher(folder, Path("/"), None, settings).probe()
        if missing:
            raise StartError("gVisor can't be used here: " + " ".join(missing))
        launcher = GVisorLauncher(folder, ensure_rootfs(), _cgroups(settings, stack), settings)
    problems = launcher.probe()
    if problems:
        raise StartError("no sandbox can be started here: " + " ".join(problems))
    return launcher


def _cgroups(settings: GVisorSettings, stack: AsyncExitStack) -> Cgroups | None:
    if not settings.cgroups:
        return None
    try:
        cgroups = Cgroups.open(find_hierarchy(), below=settings.cgroup, memory_percent_max=settings.memory_percent_max)
    except CgroupError as error:
        raise StartError(f"sandboxes can't be limited here: {error}") from None
    stack.callback(cgroups.close)
    return cgroups

"""Sandboxes in gVisor: `runsc` started once a sandbox, with a state folder of the sandbox's own.

A sandbox ends by SIGKILL to the runsc that was started for it; `runsc delete` is never asked, since it waits. fd 2 of
runsc has its own errors, host paths included: it goes to the operator's log alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from loader.bundles.runtime import GuestRuntime
from loader.sandbox.cgroups import CgroupLimits, Cgroups, SandboxCgroup
from loader.sandbox.fleet import Fleet
from loader.sandbox.oci import BUNDLE_PATH, oci_spec
from loader.sandbox.processes import SandboxProcess
from loader.sandbox.rootfs import PYTHON
from loader.sandbox.runtime import runtime_of
from loader.sandbox.sandbox import Isolation, Sandbox, SandboxError

Platform = Literal["ptrace", "systrap"]

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GVisorSettings:
    """How gVisor sandboxes are made."""

    runsc: str = "runsc"
    """The command, looked up in PATH."""

    platform: Platform = "ptrace"
    """`systrap` boots faster and needs a runsc of 2023 or newer; Debian's has `ptrace`."""

    tmp_bytes_max: int = 64 * MEBIBYTE
    """Size of the in-memory /tmp; it counts as the sandbox's memory and ends with it."""

    files_max: int = 1024
    """Open files a process (RLIMIT_NOFILE)."""

    processes_max: int = 256
    """Processes and threads a sandbox (RLIMIT_NPROC)."""

    memory_bytes_max: int = 512 * MEBIBYTE
    """Of one sandbox: its code, its /tmp and some 20 MiB of gVisor's own. One that needs more is ended."""

    cpu_millis_max: int = 1000
    """Thousandths of a CPU that one sandbox gets: one CPU, since one interpreter runs one thread at a time."""

    memory_percent_max: int = 75
    """Memory of all sandboxes together, in percent of what the server may use. Above four fifths of it, idle sandboxes
    are ended; when it is used up, the kernel ends the largest.
    """

    cgroups: bool = True
    """Whether control groups limit memory and CPU. false leaves both unlimited: for code that you trust."""

    cgroup: str = ""
    """The control group to put all of this server's into, from the top of the hierarchy, such as "/stepwell"; with an
    empty one it is the server's own.
    """


OLDEST_RELEASE: Final = "20230601"
"""The day from which on releases have systrap as their usual platform."""

_RELEASED: Final = re.compile(r"20\d{6}")
"""The day of a release in a version's name; what was built by hand has none."""

HOST_TASKS_A_TASK: Final = 4
"""Threads of the host a process or thread of the guest: a goroutine's and its stub's, and as many in passing."""

HOST_TASKS_OWN: Final = 256
"""Threads of the host that gVisor itself may need. Its Go runtime ends when it gets no further one."""


class GVisorLauncher:
    """`SandboxLauncher` for gVisor: `folder` below the data directory, `rootfs` as `loader.sandbox.rootfs` made it.

    Without `cgroups`, nothing bounds what sandboxes take of the machine's memory and CPU.
    """

    name = "gvisor"

    def __init__(
        self, folder: Path, rootfs: Path, cgroups: Cgroups | None, settings: GVisorSettings | None = None
    ) -> None:
        self._settings = settings or GVisorSettings()
        self._rootfs = rootfs
        self._cgroups = cgroups
        self._fleet = Fleet(folder)

    async def launch(self) -> Sandbox:
        id, folder = self._fleet.new_folder()
        sandbox = SandboxProcess(id, folder, BUNDLE_PATH, self._cgroup(id))
        limits = self._settings
        spec = oci_spec(
            self._rootfs, sandbox.bundle_source,
            tmp_bytes=limits.tmp_bytes_max, files_max=limits.files_max, processes_max=limits.processes_max,
        )  # fmt: skip
        (folder / "config.json").write_text(json.dumps(spec))
        (folder / "state").mkdir(mode=0o700)
        await self._fleet.start(sandbox, self._argv(id, folder), {"PATH": os.defpath}, folder)
        return sandbox

    def probe(self) -> list[str]:
        problems = []
        if os.geteuid() != 0:
            problems.append("gVisor sandboxes need root: start the server as root, or in its container image.")
        if shutil.which(self._settings.runsc) is None:
            problems.append(
                f"{self._settings.runsc} is not installed: `apt-get install runsc`, or gVisor's own release."
            )
        if shutil.which("setpriv") is None:
            problems.append("setpriv is not installed: `apt-get install util-linux`.")
        if not (self._rootfs / "usr/bin/python3").exists():
            problems.append("The sandboxes' root file system is not built: `python -m loader.sandbox.rootfs`.")
        if self._cgroups is not None:
            try:
                self._cgroups.new("probe", self._limits()).remove()
            except OSError as error:
                problems.append(f"A limit of [gvisor] can't be set: {error.filename}: {error.strerror}.")
        return problems

    def _limits(self) -> CgroupLimits:
        settings = self._settings
        tasks_max = settings.processes_max * HOST_TASKS_A_TASK + HOST_TASKS_OWN
        return CgroupLimits(settings.memory_bytes_max, settings.cpu_millis_max, tasks_max)

    async def isolation(self) -> Isolation:
        version = await self._version()
        warnings = []
        if (released := _RELEASED.search(version)) is not None and released[0] < OLDEST_RELEASE:
            warnings.append(
                f"{version} is old: it has no systrap and gets no security fixes; take one of gVisor's own releases, "
                "and name it with runsc in [gvisor] of config.toml"
            )
        if self._cgroups is None:
            warnings.append("cgroups = false: sandboxes may take all of the machine's memory and CPU")
            limits = "no control groups"
        else:
            limits = f"control groups of version {self._cgroups.version}"
            if not self._cgroups.has_idle:
                warnings.append(
                    "this kernel has no cpu.idle: beside code that keeps a CPU busy, other tenants' steps take longer "
                    "than they need to; take Linux 5.15 or newer"
                )
        return Isolation(f"gVisor with {self._settings.platform}, {version}, {limits}", tuple(warnings))

    async def _version(self) -> str:
        """What `runsc --version` says first. Raises SandboxError."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._settings.runsc, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
            )
        except OSError as error:
            raise SandboxError(f"{self._settings.runsc}: {error}") from error
        output, _ = await process.communicate()
        return output.decode(errors="replace").partition("\n")[0].strip()

    def excess_bytes(self) -> int:
        return self._cgroups.excess_bytes() if self._cgroups is not None else 0

    async def runtime(self) -> GuestRuntime:
        return await runtime_of(str(PYTHON))

    async def close(self) -> None:
        await self._fleet.close()
        if self._cgroups is not None:
            await asyncio.to_thread(self._cgroups.close)

    def _cgroup(self, id: str) -> SandboxCgroup | None:
        if self._cgroups is None:
            return None
        try:
            return self._cgroups.new(id, self._limits())
        except OSError as error:
            raise SandboxError(f"no control group for a sandbox: {error}") from error

    def _argv(self, id: str, folder: Path) -> list[str]:
        runsc = shutil.which(self._settings.runsc)
        if runsc is None:
            raise SandboxError(f"{self._settings.runsc} is not installed")
        return [
            runsc, f"--root={folder / 'state'}", f"--platform={self._settings.platform}", "--network=none",
            "--ignore-cgroups", "run", "-bundle", str(folder), id,
        ]  # fmt: skip

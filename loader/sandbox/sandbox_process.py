"""Plain processes in place of sandboxes, for machines without gVisor. They isolate nothing.

The same contract otherwise: descriptors, environment, bundle folder, death with the host. A server uses it on loopback
only, when it was told to, with a warning.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from loader.bundles.runtime import GuestRuntime
from loader.sandbox.fleet import Fleet
from loader.sandbox.oci import GUEST_ENV, PYTHON_FLAGS
from loader.sandbox.processes import SandboxProcess
from loader.sandbox.rootfs import sdk_folder
from loader.sandbox.runtime import runtime_of
from loader.sandbox.sandbox import Isolation, Sandbox


class ProcessLauncher:
    """`SandboxLauncher` for plain processes of this machine's `python`."""

    name = "process"

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self._python = python
        self._fleet = Fleet(folder)

    async def launch(self) -> Sandbox:
        id, folder = self._fleet.new_folder()
        sandbox = SandboxProcess(id, folder, str(folder / "bundle"))
        scratch = folder / "tmp"
        scratch.mkdir(mode=0o700)
        env = GUEST_ENV | {"PYTHONPATH": str(sdk_folder()), "HOME": str(scratch), "TMPDIR": str(scratch)}
        await self._fleet.start(sandbox, [self._python, *PYTHON_FLAGS, "-m", "stepwell.guest"], env, scratch)
        return sandbox

    def probe(self) -> list[str]:
        if shutil.which("setpriv") is None:
            return ["setpriv is not installed: `apt-get install util-linux`."]
        return []

    def excess_bytes(self) -> int:
        return 0

    async def isolation(self) -> Isolation:
        return Isolation("plain processes", ("--sandbox=process isolates nothing: deploy only code that you trust",))

    async def runtime(self) -> GuestRuntime:
        return await runtime_of(self._python)

    async def close(self) -> None:
        await self._fleet.close()

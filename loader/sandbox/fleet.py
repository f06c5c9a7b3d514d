"""The sandboxes that one launcher has running: their start, the end of what they leave, the end of all at close."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from loader.sandbox.folders import SandboxFolders
from loader.sandbox.processes import SandboxProcess
from loader.sandbox.sandbox import SandboxError


class Fleet:
    """What both adapters share."""

    def __init__(self, folder: Path) -> None:
        self._folders = SandboxFolders(folder)
        self._running: set[SandboxProcess] = set()
        self._removals: set[asyncio.Future[None]] = set()
        self._closed = False

    def new_folder(self) -> tuple[str, Path]:
        """A sandbox's id and its folder. Raises SandboxError."""
        if self._closed:
            raise SandboxError("the launcher is closed")
        try:
            return self._folders.new()
        except OSError as error:
            raise SandboxError(f"no folder for a sandbox: {error}") from error

    async def start(self, sandbox: SandboxProcess, argv: list[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start the sandbox's process. Raises SandboxError."""
        self._running.add(sandbox)
        try:
            await sandbox.start(argv, env, cwd, self._gone)
        except BaseException:
            self._gone(sandbox)
            raise
        if self._closed:
            sandbox.kill()
            raise SandboxError("the launcher is closed")

    async def close(self) -> None:
        self._closed = True
        while self._running:
            for sandbox in self._running:
                sandbox.kill()
            await asyncio.wait([sandbox.exited for sandbox in self._running])
            await asyncio.sleep(0)
        if self._removals:
            await asyncio.wait(self._removals)
        await asyncio.to_thread(self._folders.close)

    def _gone(self, sandbox: SandboxProcess) -> None:
        self._running.discard(sandbox)
        if not sandbox.exited.done():
            sandbox.exited.set_result(-1)
        removal = asyncio.get_running_loop().run_in_executor(None, sandbox.remove_leavings)
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

"""The port that boots sandboxes. Its adapters are siblings: gVisor, and a plain process that isolates nothing.

In a sandbox runs the package `stepwell.guest`, with one duplex socket as fd 0 and a pipe for raw output as fd 1.
Nothing of a tenant is in it until the host fills the bundle folder and says so over the socket.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loader.bundles.runtime import GuestRuntime


class SandboxError(Exception):
    """A sandbox could not be started. The text is for the operator's log: it may have paths of the host."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What keeps sandboxes apart here, in words for the operator."""

    detail: str
    """What is in use."""

    warnings: tuple[str, ...]
    """What should be better, each with its remedy."""


class Sandbox(Protocol):
    """One running sandbox, and the host's ends of its socket and its output."""

    id: str
    """Made by the host, never from a tenant's text."""

    pid: int
    """The process that was started for it, and whose end is the sandbox's end."""

    socket: socket.socket
    """The conversation, non-blocking."""

    output: int
    """The read end of the raw output's pipe, non-blocking."""

    bundle_source: Path
    """An empty folder of the host; what is put into it appears at `bundle_path`, where the guest can't write."""

    bundle_path: str
    """The folder as the guest knows it."""

    exited: asyncio.Future[int]
    """Set once, to the exit status (negative: the signal's number), when the process is gone."""

    cause: str
    """The limit of the sandbox's that ended it, in words for its tenant; set before `exited`. Empty when none did."""

    def memory_bytes(self) -> int:
        """What it uses now, all that runs for it on the host included; 0 where that isn't measured."""

    def cpu_usage_us(self) -> int:
        """CPU time that it had so far, all that runs for it on the host included; 0 where that isn't measured."""

    def schedule(self, parts: int, *, is_background: bool) -> None:
        """Take the CPU in the foreground, where it counts as one in so many parts of a tenant; or in the background,
        where it has at most one in so many parts of the CPUs, only what the foreground leaves, and none of the CPUs
        that are reserved for the foreground.

        It starts in the background, with one part of one. Without effect when it is gone, and where that isn't limited.
        """

    async def wait(self) -> int:
        """`exited`, shielded from the caller's cancellation."""

    def kill(self) -> None:
        """End everything in the sandbox with SIGKILL, now. Idempotent; `exited` follows, then its folders go."""


class SandboxLauncher(Protocol):
    """Boots sandboxes. `close` ends all that it booted."""

    name: str
    """The setting's value that chooses this adapter: `gvisor` or `process`."""

    async def launch(self) -> Sandbox:
        """Start a sandbox; its guest says hello when it is up. Raises SandboxError."""

    def probe(self) -> list[str]:
        """What keeps this adapter from working on this machine, each with its remedy; empty when it should work."""

    def excess_bytes(self) -> int:
        """How much memory its idle sandboxes should give back now; 0 when there is no need, or no measure."""

    async def isolation(self) -> Isolation:
        """What it isolates with. Raises SandboxError."""

    async def runtime(self) -> GuestRuntime:
        """What its guests run on; it starts none. Raises SandboxError."""

    async def close(self) -> None:
        """Kill every sandbox, wait until each is gone, and remove all folders. Idempotent."""

"""Starts the one process that a sandbox is to the host, and learns of its end without a thread or a task.

The process leads its own session, and has a parent-death signal from `setpriv`, so that a host that dies by SIGKILL
takes its sandboxes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from loader.limits import LOG_LINE_BYTES_MAX
from loader.logs import LineCutter
from loader.sandbox.cgroups import SandboxCgroup
from loader.sandbox.sandbox import SandboxError

_log = logging.getLogger(__name__)

_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 1; shift; done; shift; exec "$@"'
"""For `sh`: enter control groups, then become the command behind --. So no instruction of it runs outside of them."""

_ERROR_LINES_MAX = 200
"""Lines of a sandbox's own errors that reach the operator's log; a sandbox that works has none."""


class SandboxProcess:
    """`Sandbox` over one started process."""

    def __init__(self, id: str, folder: Path, bundle_path: str, cgroup: SandboxCgroup | None = None) -> None:
        self.id = id
        self.pid = 0
        self.folder = folder
        self.bundle_source = folder / "bundle"
        self.bundle_path = bundle_path
        self.socket: socket.socket
        self.output = -1
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.cause = ""
        self._cgroup = cgroup
        self._transport: asyncio.SubprocessTransport | None = None

    async def start(
        self, argv: list[str], env: Mapping[str, str], cwd: Path, on_exit: Callable[[SandboxProcess], None]
    ) -> None:
        """Start argv with the socket as fd 0, the output's pipe as fd 1, and fd 2 for the operator's log.

        `on_exit` is called when the process is gone. Raises SandboxError when it can't be started.
        """
        watch_children_without_threads()
        loop = asyncio.get_running_loop()
        host, guest = socket.socketpair()
        output, output_end = os.pipe()
        errors, errors_end = os.pipe()
        host.setblocking(False)
        os.set_blocking(output, False)
        os.set_blocking(errors, False)
        self.socket, self.output = host, output
        if self._cgroup is not None:
            argv = ["/bin/sh", "-c", _ENTER, "enter", *map(str, self._cgroup.entrances), "--", *argv]
        try:
            self._transport, _ = await loop.subprocess_exec(
                lambda: _Exit(self, on_exit), "setpriv", "--pdeathsig=KILL", *argv,
                stdin=guest.fileno(), stdout=output_end, stderr=errors_end, env=dict(env), cwd=cwd,
                start_new_session=True, )  # fmt: skip
        except OSError as error:
            host.close()
            os.close(output)
            os.close(errors)
            raise SandboxError(f"setpriv: {error}") from error
        finally:
            guest.close()
            os.close(output_end)
            os.close(errors_end)
        self.pid = self._transport.get_pid()
        _ErrorReader(self.id, errors, loop)

    async def wait(self) -> int:
        return await asyncio.shield(self.exited)

    def kill(self) -> None:
        if self._transport is None or self._transport.get_returncode() is not None or self.exited.done():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def memory_bytes(self) -> int:
        return self._cgroup.memory_bytes() if self._cgroup is not None else 0

    def cpu_usage_us(self) -> int:
        return self._cgroup.cpu_usage_us() if self._cgroup is not None else 0

    def schedule(self, parts: int, *, is_background: bool) -> None:
        if self._cgroup is not None:
            with contextlib.suppress(OSError):  # its group goes with it, maybe now
                self._cgroup.schedule(parts, is_background=is_background)

    def find_cause(self) -> None:
        """Its process is gone: say whether a limit ended it."""
        if self._cgroup is not None:
            self.cause = self._cgroup.cause()
            self._cgroup.close()

    def remove_leavings(self) -> None:
        """Remove what the host kept for this sandbox; blocks."""
        if self._cgroup is not None:
            self._cgroup.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Exit(asyncio.SubprocessProtocol):
    def __init__(self, sandbox: SandboxProcess, on_exit: Callable[[SandboxProcess], None]) -> None:
        self._sandbox = sandbox
        self._on_exit = on_exit
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def process_exited(self) -> None:
        assert self._transport is not None
        status = self._transport.get_returncode()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)
        self._transport.close()
        self._sandbox.find_cause()
        if not self._sandbox.exited.done():
            self._sandbox.exited.set_result(-1 if status is None else status)
        self._on_exit(self._sandbox)


class _ErrorReader:
    """Passes what comes out of fd 2 to the operator's log, line by line, and stops after a bounded number."""

    def __init__(self, id: str, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        self._id = id
        self._descriptor = descriptor
        self._loop = loop
        self._cutter = LineCutter()
        self._left = _ERROR_LINES_MAX
        loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        text = self._cutter.feed(data) if data else self._cutter.end()
        lines = text.removesuffix(b"\n").split(b"\n")[: self._left] if text else []
        for line in lines:
            _log.warning("sandbox %s: %s", self._id, line[:LOG_LINE_BYTES_MAX].decode(errors="backslashreplace"))
        self._left -= len(lines)
        if not data or not self._left:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)


def watch_children_without_threads() -> None:
    """Let asyncio learn of children's ends through pidfds: Python 3.11's default starts a thread a child."""
    if sys.version_info < (3, 12):
        policy = asyncio.get_event_loop_policy()
        watcher = policy.get_child_watcher()
        if not isinstance(watcher, asyncio.PidfdChildWatcher):
            watcher = asyncio.PidfdChildWatcher()
            policy.set_child_watcher(watcher)
        if not watcher.is_active():
            watcher.attach_loop(asyncio.get_running_loop())

"""Disks of single processes, which may become full, or slow."""

from __future__ import annotations

import errno
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

STEP_BYTES: Final = 1 << 20
DETACH_S_MAX: Final = 10.0


class Disk:
    """A file system in memory, at that folder, with room for so many bytes; gone after the block."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self._size = size
        self._filler = folder / "filler"

    def __enter__(self) -> Disk:
        self.folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self._size},mode=0700", "stepwell-test", self.folder], check=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """There is room for nothing, until the block ends."""
        try:
            with self._filler.open("ab", buffering=0) as filler:
                for size in (STEP_BYTES, 4096, 1):
                    try:
                        while filler.write(bytes(size)) == size:
                            """More of it."""
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
            yield
        finally:
            self._filler.unlink(missing_ok=True)


@contextmanager
def slow_disk(pid: int, fsync_s: float) -> Iterator[None]:
    """Each fsync of that process takes so much longer."""
    syscalls = "fsync,fdatasync"
    inject = f"inject={syscalls}:delay_enter={round(fsync_s * 1e6)}"
    command = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={syscalls}", "-e", inject]
    with tempfile.TemporaryFile("w+") as told:
        tracing = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told)
        try:
            yield
            if tracing.poll() is not None and Path(f"/proc/{pid}").exists():
                told.seek(0)
                raise RuntimeError(f"strace: {told.read()}")
        finally:
            tracing.send_signal(signal.SIGINT)
            try:
                tracing.wait(DETACH_S_MAX)
            except subprocess.TimeoutExpired:
                tracing.kill()
                tracing.wait()

"""The guest's end of the socket: frames in, frames out, one read and one write for all that is ready together."""

from __future__ import annotations

import fcntl
import os
import selectors
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final

from stepwell.frames import FrameError, FrameReader, frame

READ_BYTES: Final = 64 * 1024
"""Under malloc's threshold for a mapping of its own: that would be three system calls more a read, dear in gVisor."""
HIGH_FD: Final = 100
PRINTED_BYTES_MAX: Final = 256 * 1024
"""What is printed is written at this many bytes, even within a turn: a loop may print without end."""
UNSENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Above this the guest stops reading, so that nothing new begins, until half of it is gone."""
UNSENT_LOG_BYTES_MAX: Final = 1024 * 1024
"""Above this what is printed is dropped. A step that prints without end, faster than the host reads, would otherwise
keep the guest from reading for ever; and results wait behind what was printed before.
"""


def take_socket() -> int:
    """Move the host's socket from fd 0 to where no child will find it; stdin is empty, and stderr goes where stdout
    does.
    """
    high = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing != 0:
        os.close(nothing)
    os.dup2(1, 2)
    os.register_at_fork(after_in_child=lambda: os.close(high))
    os.set_blocking(high, False)
    return high


class TurnSelector(selectors.EpollSelector):
    """Leaves out the poll between reading completions and running what they made ready: a system call is dear in
    gVisor.
    """

    skip = False

    def select(self, timeout: float | None = None) -> list[Any]:
        if self.skip:
            self.skip = False
            if timeout == 0:
                return []
        return super().select(timeout)


class Connection:
    """Frames over one non-blocking stream socket.

    `on_frame` gets each (envelope, payload); `before_write` may add frames to those that are about to be written.
    When the host closes its end, or sends what is no frame, the process ends at once: nobody is left to tell.
    """

    def __init__(
        self,
        fd: int,
        loop: AbstractEventLoop,
        selector: TurnSelector,
        on_frame: Callable[[bytes, bytes], None],
        before_write: Callable[[], None],
        payload_bytes_max: int,
    ) -> None:
        self._fd = fd
        self._loop = loop
        self._selector = selector
        self._on_frame = on_frame
        self._before_write = before_write
        self._reader = FrameReader(payload_bytes_max)
        self._ready: list[bytes] = []
        self._unsent = b""
        self._printed = 0
        """Bytes of logs since the last writing, about: threads count without a lock."""
        self._left = 0
        """Bytes that were ready at a writing within a turn, and that the socket did not take."""
        self._scheduled = False
        self._reading = False
        self._throttled = False
        self._main_thread = threading.get_ident()
        self._context = copy_context()
        """Nobody's: neither a `run`'s nor a body's."""
        loop.add_reader(fd, self._on_readable)

    def send(self, envelope: bytes, payload: bytes = b"") -> None:
        """Queue a frame: it is written when this turn of the loop, and what it made ready, are done. Main thread
        only.
        """
        self._ready.append(frame(envelope, payload))
        if not self._scheduled:
            self.soon()

    def send_log(self, envelope: bytes, payload: bytes) -> bool:
        """As `send`, from any thread. False when it is dropped: the host does not read, or nothing can be written."""
        if len(self._unsent) + self._left + self._printed > UNSENT_LOG_BYTES_MAX:
            return False
        self._printed += len(envelope) + len(payload)
        if threading.get_ident() == self._main_thread:
            self.send(envelope, payload)
            if self._printed > PRINTED_BYTES_MAX and not self._unsent:
                self._write_within_turn()
        else:
            self._loop.call_soon_threadsafe(self.send, envelope, payload)
        return True

    def soon(self) -> None:
        """Write, even if nothing is queued yet, once what is ready now has run."""
        if not self._scheduled and not self._reading:
            self._scheduled = True
            self._loop.call_soon(self.flush, context=self._context)

    def flush(self) -> None:
        """Write what is queued, as far as the socket takes it."""
        self._scheduled = True
        self._before_write()
        self._scheduled = False
        self._printed = self._left = 0
        if self._ready:
            data = b"".join(self._ready) if len(self._ready) > 1 else self._ready[0]
            self._ready.clear()
            if self._unsent:
                self._unsent += data
                self._throttle()
            else:
                self._write(data)

    def flush_now(self) -> None:
        """Write everything and wait until it is gone: before the process ends itself."""
        self.flush()
        os.set_blocking(self._fd, True)
        while self._unsent:
            self._write(self._unsent)

    def _write_within_turn(self) -> None:
        """Write what is ready as far as the socket takes it; the event loop, which `run` may hold up, isn't asked."""
        data = b"".join(self._ready)
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            os._exit(0)
        self._ready[:] = [data[sent:]]
        self._printed, self._left = 0, len(data) - sent

    def _write(self, data: bytes) -> None:
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            os._exit(0)
        before, self._unsent = self._unsent, data[sent:]
        if self._unsent and not before:
            self._loop.add_writer(self._fd, self._on_writable)
        elif before and not self._unsent:
            self._loop.remove_writer(self._fd)
        self._throttle()

    def _throttle(self) -> None:
        unsent = len(self._unsent)
        if not self._throttled and unsent > UNSENT_BYTES_MAX:
            self._throttled = True
            self._loop.remove_reader(self._fd)
        elif self._throttled and unsent <= UNSENT_BYTES_MAX // 2:
            self._throttled = False
            self._loop.add_reader(self._fd, self._on_readable)

    def _on_writable(self) -> None:
        self._write(self._unsent)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            os._exit(0)
        if not data:
            os._exit(0)
        self._reading = True
        try:
            for envelope, payload in self._reader.feed(data):
                self._on_frame(envelope, payload)
        except FrameError:
            os._exit(70)
        finally:
            self._reading = False
            self._selector.skip = True
            self.soon()

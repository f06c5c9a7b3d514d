"""The guest's end of the socket while the host does not read, or reads slowly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from stepwell.frames import frame
from stepwell.guest.connection import UNSENT_BYTES_MAX, UNSENT_LOG_BYTES_MAX, Connection, TurnSelector

LINE = b"x" * 1000 + b"\n"
LOG = b'["log",1,"a",1,1,1]'


class Ends:
    """A connection and the host's end of it."""

    def __init__(self) -> None:
        self.host, self._guest = socket.socketpair()
        self.host.setblocking(False)
        self._guest.setblocking(False)
        selector = TurnSelector()
        self.loop = asyncio.SelectorEventLoop(selector)
        self.heard: list[bytes] = []
        self.connection = Connection(
            self._guest.fileno(),
            self.loop,
            selector,
            on_frame=lambda envelope, _: self.heard.append(envelope),
            before_write=lambda: None,
            payload_bytes_max=UNSENT_BYTES_MAX,
        )

    def turns(self, count: int, each: Callable[[], object] = lambda: None) -> None:
        async def several() -> None:
            for _ in range(count):
                each()
                await asyncio.sleep(0)

        self.loop.run_until_complete(several())

    def read(self, size: int) -> None:
        """As the host does."""
        try:
            self.host.recv(size)
        except BlockingIOError:
            return

    def close(self) -> None:
        self.loop.close()
        self.host.close()
        self._guest.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def print_until_refused(ends: Ends) -> int:
    lines = 0
    while ends.connection.send_log(LOG, LINE):
        lines += 1
    return lines


def test_what_is_printed_while_the_host_does_not_read_is_bounded_and_refused(ends: Ends) -> None:
    lines = 0

    def prints() -> None:
        nonlocal lines
        lines += print_until_refused(ends)

    ends.turns(20, prints)
    assert UNSENT_LOG_BYTES_MAX < lines * len(LINE) < 3 * UNSENT_LOG_BYTES_MAX


def test_a_guest_that_prints_faster_than_the_host_reads_still_hears_the_host(ends: Ends) -> None:
    ends.turns(20, lambda: print_until_refused(ends))
    ends.host.send(frame(b'["ping"]'))
    ends.turns(3, lambda: print_until_refused(ends))
    assert ends.heard == [b'["ping"]']


def test_a_guest_with_too_much_to_say_does_not_hear_the_host_until_half_of_it_is_gone(ends: Ends) -> None:
    def prints_and_host_reads() -> None:
        print_until_refused(ends)
        ends.read(64 * 1024)

    ends.connection.send(b'["result",1,"a",1,1,1]', b"1" * (UNSENT_BYTES_MAX + 1_000_000))
    ends.turns(3)
    ends.host.send(frame(b'["ping"]'))
    ends.turns(10, prints_and_host_reads)
    assert ends.heard == []
    ends.turns(UNSENT_BYTES_MAX // (64 * 1024), prints_and_host_reads)
    assert ends.heard == [b'["ping"]']

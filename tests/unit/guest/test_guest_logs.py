from __future__ import annotations

import json
import threading

import pytest

from stepwell.guest.logs import LINE_BYTES_MAX, SOURCE, Logs, LogStream


class Printer:
    def __init__(self, name: str, silent: bool = False) -> None:
        self.act = 7
        self.silent = silent
        self.partial: dict[int, str] = {}
        self.left_out = 0
        self.name = name

    def log_name(self) -> tuple[str, int, int]:
        return (self.name, 1, 2)


class Sent:
    def __init__(self) -> None:
        self.frames: list[tuple[list[object], bytes]] = []
        self.takes = True
        self.logs = Logs(self._offer, self._send)

    def _offer(self, envelope: bytes, payload: bytes) -> bool:
        if self.takes:
            self._send(envelope, payload)
        return self.takes

    def _send(self, envelope: bytes, payload: bytes) -> None:
        self.frames.append((json.loads(envelope), payload))


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_lines_are_sent_whole_with_who_printed_them(sent: Sent) -> None:
    printer = Printer("a step")
    token = SOURCE.set(printer)
    try:
        print("one", 2, file=LogStream(sent.logs, 1))
        print("half", end="", file=LogStream(sent.logs, 2))
        assert sent.frames == [(["log", 7, "a step", 1, 2, 1], b"one 2\n")]
        sent.logs.flush(printer)
    finally:
        SOURCE.reset(token)
    assert sent.frames[1:] == [(["log", 7, "a step", 1, 2, 2], b"half")]


def test_what_is_printed_outside_of_any_instance_has_act_0(sent: Sent) -> None:
    LogStream(sent.logs, 2).write("importing\nhalf")
    assert sent.frames == [(["log", 0, "", 0, 0, 2], b"importing\n")]


def test_a_silent_source_is_not_sent(sent: Sent) -> None:
    token = SOURCE.set(Printer("replaying", silent=True))
    try:
        LogStream(sent.logs, 1).write("again\n")
    finally:
        SOURCE.reset(token)
    assert sent.frames == []


def test_a_write_is_bounded_and_says_so(sent: Sent) -> None:
    sent.logs.write_length_max = 10
    LogStream(sent.logs, 1).write("begin" + "x" * 15 + "end.\n")
    assert sent.frames[0][1].decode() == "begin\n… (15 characters left out) …\nend.\n"


def test_a_line_that_does_not_end_is_sent_at_a_length(sent: Sent) -> None:
    stream = LogStream(sent.logs, 1)
    for _ in range(3):
        stream.write("x" * (LINE_BYTES_MAX // 2))
    assert [len(text) for _, text in sent.frames] == [LINE_BYTES_MAX // 2 * 3]


def test_bytes_and_characters_that_are_none_are_sent_readably(sent: Sent) -> None:
    stream = LogStream(sent.logs, 1)
    stream.buffer.write(b"\xff raw\n")
    stream.write("\ud800\n")
    assert [text for _, text in sent.frames] == [b"\\xff raw\n", b"\\ud800\n"]


def test_threads_may_print_at_once(sent: Sent) -> None:
    stream = LogStream(sent.logs, 1)
    threads = [threading.Thread(target=lambda: [stream.write("line\n") for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b"".join(text for _, text in sent.frames) == b"line\n" * 800


LEFT_OUT = "lines left out: printed faster than they could be sent"


def test_lines_that_can_not_be_sent_are_counted_where_they_are_missing(sent: Sent) -> None:
    stream = LogStream(sent.logs, 1)
    stream.write("one\n")
    sent.takes = False
    stream.write("two\nthree\n")
    stream.write("four\n")
    sent.takes = True
    stream.write("five\n")
    stream.write("six\n")
    texts = [text.decode() for _, text in sent.frames]
    assert texts == ["one\n", f"… (3 {LEFT_OUT}) …\nfive\n", "six\n"]


def test_lines_that_can_not_be_sent_are_counted_at_the_end_in_any_case(sent: Sent) -> None:
    printer = Printer("a step")
    sent.takes = False
    token = SOURCE.set(printer)
    try:
        print("one\ntwo", end="", file=LogStream(sent.logs, 1))
        sent.logs.flush(printer)
    finally:
        SOURCE.reset(token)
    assert sent.frames == [(["log", 7, "a step", 1, 2, 1], f"… (2 {LEFT_OUT}) …\n".encode())]

"""The gate that a sandbox's lines pass, and what cuts them."""

from __future__ import annotations

import pytest

from loader.limits import LOG_LINE_BYTES_MAX
from loader.logs import LineCutter, LogGate, LogLine


class Gate:
    """With a clock of its own; it has been quiet for a second, or for long enough to let a burst pass."""

    def __init__(self, lines: int = 100, size: int = 100_000, *, rested: bool = False) -> None:
        self.now = 7.5
        self.passed: list[LogLine] = []
        self.gate = LogGate(self.passed.append, lambda: self.now, lines_a_second=lines, bytes_a_second=size)
        if not rested:
            self.gate._lines, self.gate._bytes = lines, size

    def put(self, text: bytes, source: object = None) -> None:
        self.gate.put(source, "step", 1, 1, 1, text)

    @property
    def texts(self) -> list[bytes]:
        return [line.text for line in self.passed if line.text is not None]

    @property
    def dropped(self) -> list[int]:
        return [line.dropped for line in self.passed if line.text is None]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", [b""]),
        (b"\n", [b""]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\n\ntwo", [b"one", b"", b"two"]),
        (b"x" * LOG_LINE_BYTES_MAX + b"\n", [b"x" * LOG_LINE_BYTES_MAX]),
        (b"x" * (LOG_LINE_BYTES_MAX + 1), [b"x" * LOG_LINE_BYTES_MAX, b"x"]),
        (b"x" * 2 * LOG_LINE_BYTES_MAX + b"\ny", [b"x" * LOG_LINE_BYTES_MAX] * 2 + [b"y"]),
        (b"\xff\x00\x1b[2J", [b"\xff\x00\x1b[2J"]),
    ],
)
def test_what_was_printed_together_is_passed_on_line_by_line(text: bytes, lines: list[bytes]) -> None:
    gate = Gate()
    gate.put(text)
    assert gate.texts == lines
    assert gate.dropped == []


def test_a_long_line_is_cut_between_two_characters() -> None:
    gate = Gate()
    gate.put(b"x" + "€".encode() * LOG_LINE_BYTES_MAX)
    assert b"".join(gate.texts).decode() == "x" + "€" * LOG_LINE_BYTES_MAX
    assert all(text.decode() and len(text) <= LOG_LINE_BYTES_MAX for text in gate.texts)


def test_what_is_no_text_is_cut_all_the_same() -> None:
    gate = Gate()
    gate.put(b"\x80" * (LOG_LINE_BYTES_MAX + 1))
    assert [len(text) for text in gate.texts] == [LOG_LINE_BYTES_MAX, 1]


def test_lines_over_the_rate_are_counted_for_whoever_printed_them() -> None:
    gate = Gate(lines=3)
    gate.put(b"a\nb\n", "one")
    gate.put(b"c\nd\ne\n", "another")
    gate.put(b"f\n", "one")
    assert gate.texts == [b"a", b"b", b"c"]
    assert [(line.source, line.dropped) for line in gate.passed if line.text is None] == [("another", 2), ("one", 1)]


def test_whoever_printed_little_has_room_while_another_floods() -> None:
    gate = Gate(lines=100, size=1_000)
    loud, quiet = object(), object()
    gate.put(b"loud\n" * 1_000, loud)
    gate.put(b"quiet\n" * 5, quiet)
    gate.put(b"loud\n", loud)
    assert [gate.texts.count(text) for text in (b"loud", b"quiet")] == [100, 5]
    assert [line.source for line in gate.passed if line.text is None] == [loud, loud]


def test_all_together_do_not_pass_far_more_than_the_rate() -> None:
    gate = Gate(lines=100)
    sources = [object() for _ in range(50)]
    for source in sources:
        gate.put(b"x\n" * 1_000, source)
    assert len(gate.texts) < 100 * 5


def test_bytes_over_the_rate_are_dropped_in_whole_lines() -> None:
    gate = Gate(size=10)
    gate.put(b"12345\n123456\n1\n")
    assert (gate.texts, gate.dropped) == ([b"12345"], [2])


def test_the_next_second_has_room_again() -> None:
    gate = Gate(lines=1)
    gate.put(b"a\nb\n")
    gate.now += 1
    gate.put(b"c\n")
    assert (gate.texts, gate.dropped) == ([b"a", b"c"], [1])


def test_a_burst_passes_after_a_quiet_time_and_only_then() -> None:
    gate = Gate(lines=10, size=1_000, rested=True)
    for kept in (100, 10, 30, 100):
        gate.passed.clear()
        gate.put(b"x\n" * 200)
        assert len(gate.texts) == kept
        gate.now += {100: 1, 10: 3, 30: 1_000}[kept]


def test_a_flood_over_the_rate_costs_one_word_a_frame() -> None:
    gate = Gate(lines=10)
    gate.put(b"\n" * 1_000_000)
    gate.put(b"\n" * 1_000_000)
    assert len(gate.passed) == 12
    assert gate.dropped == [999_990, 1_000_000]


def test_raw_output_is_passed_on_once_its_lines_have_ended() -> None:
    cutter = LineCutter()
    fed = [cutter.feed(each) for each in (b"on", b"e\ntwo\nth", b"ree", b"\n", b"\n", b"rest")]
    assert fed == [b"", b"one\ntwo\n", b"", b"three\n", b"\n", b""]
    assert [cutter.end(), cutter.end()] == [b"rest", b""]


def test_raw_output_without_an_end_is_not_waited_for() -> None:
    cutter = LineCutter()
    assert cutter.feed(b"\n" + b"x" * LOG_LINE_BYTES_MAX) == b"\n" + b"x" * LOG_LINE_BYTES_MAX
    assert cutter.end() == b""

"""Lines in blocks: what is packed comes back, blocks are bounded, and what can't be read is refused."""

from __future__ import annotations

import pytest
import zstandard

from data_plane.logs.cassandra.blocks import BLOCK_BYTES, UNPACKED_BYTES_MAX, BlockCodec
from data_plane.logs.store import Line


def line(text: str, dropped: int = 0) -> Line:
    return Line(1_000, "charge", 2, 3, 2, text, dropped)


@pytest.mark.parametrize("text", ["", "\x00\x85\u202e", "🦀" * 2_000, "x" * 25_000])
def test_lines_come_back_with_numbers_that_count_what_is_missing(text: str) -> None:
    codec = BlockCodec()
    [block] = codec.blocks(10, [line(text), line("two", dropped=4)])
    assert block.number == 16
    assert block.size == line(text).size() + line("two").size()
    assert codec.decode(block.cell) == [
        (11, 1_000, "charge", 2, 3, 2, text),
        (16, 1_000, "charge", 2, 3, 2, "two"),
    ]


def test_a_block_is_closed_when_it_has_enough_and_takes_one_line_in_any_case() -> None:
    codec = BlockCodec()
    blocks = list(codec.blocks(0, [line("x" * 1_000)] * 200 + [line("y" * BLOCK_BYTES * 2), line("z")]))
    assert [block.number for block in blocks] == [60, 120, 180, 201, 202]
    assert [len(codec.decode(block.cell)) for block in blocks] == [60, 60, 60, 21, 1]
    assert max(block.size for block in blocks[:3]) < BLOCK_BYTES + line("x" * 1_000).size()


def test_lines_that_are_alike_take_less() -> None:
    [block] = BlockCodec().blocks(0, [line(f"request {number} took 12 ms") for number in range(20)])
    assert len(block.cell) < block.size / 5


def test_nothing_is_no_block_and_an_empty_cell_has_no_lines() -> None:
    assert list(BlockCodec().blocks(3, [])) == []
    assert BlockCodec().decode(b"") == []


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (b"\x02\x90", "codec 2"),
        (b"\x01not zstd", "block of log lines"),
        (b"\x01" + zstandard.compress(bytes(UNPACKED_BYTES_MAX + 1)), "unfolds to 1,048,577"),
        (b"\x00\x81", "object"),
        (b"\x00", "Input data was truncated"),
    ],
)
def test_what_is_damaged_or_of_a_newer_program_is_refused(cell: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        BlockCodec().decode(cell)

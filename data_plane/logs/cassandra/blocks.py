"""Lines ↔ the cells that they lie in: what an instance printed between two writes is one block, or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import zstandard

from data_plane.logs.store import Line, Stream

BLOCK_BYTES: Final = 64 * 1024
"""A block is closed when it has so many, as lines are counted: so a page of 16 is a megabyte, and what makes room goes
in steps of a sixteenth of an instance's."""

COMPRESS_OVER_BYTES: Final = 256
"""Lines are alike: even a few of them become half as long."""

UNPACKED_BYTES_MAX: Final = 1024 * 1024
"""Of a block: lines are up to 25 KiB, and packed they are shorter than they count."""

_PLAIN, _ZSTD = b"\x00", b"\x01"

Numbered = tuple[int, int, str, int, int, Stream, str]
"""A line: its number, and what it has, but for what is missing before it, which the numbers say."""


class Block(NamedTuple):
    number: int
    """Of its last line."""
    cell: bytes
    size: int
    """Of its lines, as they are counted."""


class BlockCodec:
    """Not safe to share between threads: each has its own."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._decompressor = zstandard.ZstdDecompressor()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[Numbered])

    def blocks(self, number: int, lines: Sequence[Line]) -> Iterator[Block]:
        """These lines behind the one of that number."""
        numbered: list[Numbered] = []
        size = 0
        for line in lines:
            number += line.dropped + 1
            numbered.append((number, line.at, line.step, line.count, line.attempt, line.stream, line.text))
            size += line.size()
            if size >= BLOCK_BYTES:
                yield Block(number, self._encode(numbered), size)
                numbered, size = [], 0
        if numbered:
            yield Block(number, self._encode(numbered), size)

    def decode(self, cell: bytes) -> Sequence[Numbered]:
        """Raises ValueError for what this program can't read. A cell without a byte has no lines."""
        if not cell:
            return []
        codec, packed = cell[:1], cell[1:]
        if codec == _ZSTD:
            try:
                size = zstandard.frame_content_size(packed)
                if not 0 <= size <= UNPACKED_BYTES_MAX:
                    raise ValueError(f"a block of log lines unfolds to {size:,} bytes")
                packed = self._decompressor.decompress(packed)
            except zstandard.ZstdError as error:
                raise ValueError(f"a block of log lines is damaged: {error}") from error
        elif codec != _PLAIN:
            raise ValueError(f"a block of log lines has the codec {codec[0]}, which this program does not know")
        return self._decoder.decode(packed)

    def _encode(self, numbered: Sequence[Numbered]) -> bytes:
        plain = self._encoder.encode(numbered)
        if len(plain) > COMPRESS_OVER_BYTES:
            packed = self._compressor.compress(plain)
            if len(packed) < len(plain):
                return _ZSTD + packed
        return _PLAIN + plain

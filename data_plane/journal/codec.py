"""Rows ↔ bytes at rest: one codec byte, then a stepwell.storage.v1.Append, compressed when it is worth it.

A row's position is its key in every store and therefore not in the bytes. What this program can't read it refuses, as
StoredFormatError: a guess at a record would be a wrong instance later.
"""

from __future__ import annotations

import zstandard
from google.protobuf.message import DecodeError

from data_plane.journal.record_messages import fill, read
from data_plane.journal.record_parts import UnknownRecordError
from data_plane.journal.store import Position, Row, StoredFormatError
from data_plane.journal.v1 import journal_pb2 as pb
from stepwell.engine.records import Created

FORMAT = 2
"""The newest of what is written; every format up to it can be read."""

COMPRESS_OVER_BYTES = 1024
"""Below it, zstd saves less than the pages and the network round anyway."""

ROW_BYTES_MAX = 64 * 1024 * 1024
"""What a row may unfold to: the inline bytes of a whole instance."""

_PLAIN, _ZSTD = b"\x00", b"\x01"


class RowCodec:
    """Not safe to share between threads: each has its own."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._decompressor = zstandard.ZstdDecompressor()

    def encode(self, row: Row) -> bytes:
        """Raises ValueError for what can't be stored: lone surrogates, numbers out of range."""
        message = pb.Append()
        message.format = 1
        if row.first:
            message.first = True
        if row.predecessor is not None:
            message.predecessor.epoch, message.predecessor.seq = row.predecessor
        add = message.records.add
        for record in row.records:
            fill(add(), record)
            if type(record) is Created and record.origin is not None:
                message.format = 2  # a program that drops the copy would take the fork for one that did nothing yet
        plain = message.SerializeToString()
        if len(plain) > COMPRESS_OVER_BYTES:
            packed = self._compressor.compress(plain)
            if len(packed) < len(plain):
                return _ZSTD + packed
        return _PLAIN + plain

    def decode(self, position: Position, data: bytes) -> Row:
        """Raises StoredFormatError."""
        message = pb.Append()
        try:
            message.ParseFromString(self._unpack(data))
            if message.format == 0 or message.format > FORMAT:
                raise StoredFormatError(
                    f"row {position} has format {message.format}, this program knows formats up to {FORMAT}: "
                    "run the version of Stepwell that wrote it, or a newer one"
                )
            records = [read(record) for record in message.records]
        except (DecodeError, zstandard.ZstdError, UnknownRecordError) as error:
            raise StoredFormatError(f"row {position} is damaged or from a newer program: {error}") from error
        predecessor = None
        if message.HasField("predecessor"):
            predecessor = Position(message.predecessor.epoch, message.predecessor.seq)
        return Row(position, records, message.first, predecessor)

    def _unpack(self, data: bytes) -> bytes:
        match data[:1]:
            case b"\x00":
                return data[1:]
            case b"\x01":
                if zstandard.frame_content_size(data[1:]) > ROW_BYTES_MAX:
                    raise UnknownRecordError(f"it unfolds to more than {ROW_BYTES_MAX} bytes")
                return self._decompressor.decompress(data[1:])
            case codec:
                raise UnknownRecordError(f"its codec {codec.hex() or 'byte is missing'} is unknown")

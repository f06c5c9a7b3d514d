"""The bytes of stored records: JSON, led by the number of the format that wrote them.

A record of a newer format is refused and never guessed at: the process that meets one is older than its neighbours.
Fields may be added with a default; any other change needs a new format and a reader for the old one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from cluster.records import Route
from cluster.store import KeyValue
from stepwell.errors import StepwellError

FORMAT = 1

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")
_envelope = msgspec.json.Decoder(tuple[int, msgspec.Raw])
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


class RecordFormatError(StepwellError):
    """A stored record can't be read: a newer release wrote it, or its bytes are damaged."""


def encode(record: object) -> bytes:
    """A record of `cluster.records` as bytes."""
    if isinstance(record, Route) and record.mod_revision:
        record = replace(record, mod_revision=0)
    return _encoder.encode((FORMAT, record))


def decode(kind: type[T], data: bytes, key: str = "") -> T:
    """The record in those bytes. Raises RecordFormatError, naming the key that it was told."""
    try:
        found, body = _envelope.decode(data)
        if found != FORMAT:
            raise RecordFormatError(
                f"the record {key!r} has format {found}, this program knows {FORMAT}: start a release as new as the one"
                " that wrote it"
            )
        decoder = _decoders.get(kind)
        if decoder is None:
            decoder = _decoders.setdefault(kind, msgspec.json.Decoder(kind))
        record: T = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordFormatError(f"the record {key!r} is damaged: {error}") from error
    return record


def decode_value(kind: type[T], stored: KeyValue) -> T:
    """Like `decode`, for what the store answered."""
    return decode(kind, stored.value, stored.key)


def decode_route(stored: KeyValue) -> Route:
    """A route with its etag."""
    return replace(decode_value(Route, stored), mod_revision=stored.mod_revision)

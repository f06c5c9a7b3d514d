"""The bytes of stored records: a JSON list of the format's number and of the record's fields, in their order.

The cluster's store holds all of it in memory, so a record says nothing twice: what its key says is left out, and so are
the last fields while they have their defaults. A record of a newer format is refused and never guessed at: the process
that meets one is older than its neighbours. Fields may be added at the end, with a default; any other change needs a
new format and a reader for the old one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from cluster import keys
from cluster.records import Route, Schedules, Tenant, Ticked, Token, Version
from cluster.store import KeyValue
from stepwell.errors import StepwellError

FORMAT: Final = 2
FORMAT_WITH_NAMES: Final = 1
"""Of before: an object with all fields."""

T = TypeVar("T")

_IN_KEY: Final[Mapping[type, Mapping[str, Callable[[str], str]]]] = {
    Tenant: {"id": keys.last_part},
    Token: {"id": keys.last_part},
    Version: {"tenant_uid": keys.owner, "digest": keys.last_part},
    Route: {"tenant_uid": keys.owner, "workflow": keys.last_part},
    Schedules: {"tenant_uid": keys.owner},
    Ticked: {"tenant_uid": keys.owner, "workflow": keys.last_part},
}
"""Fields that a record's key says."""

_encoder = msgspec.json.Encoder(order="deterministic")
_envelope = msgspec.json.Decoder(tuple[int, msgspec.Raw])
_list = msgspec.json.Decoder(list[Any])
_fields: dict[type, tuple[dataclasses.Field[Any], ...]] = {}


class RecordFormatError(StepwellError):
    """A stored record can't be read: a newer release wrote it, or its bytes are damaged."""


def encode(record: Any) -> bytes:
    """A record of `cluster.records` as bytes, to be stored under its key."""
    if isinstance(record, Route) and record.mod_revision:
        record = replace(record, mod_revision=0)
    fields = _stored_fields(type(record))
    values = [getattr(record, each.name) for each in fields]
    while values and values[-1] == fields[len(values) - 1].default:
        values.pop()
    return _encoder.encode((FORMAT, values))


def decode(kind: type[T], data: bytes, key: str) -> T:
    """The record in those bytes, which are stored under that key. Raises RecordFormatError."""
    try:
        found, body = _envelope.decode(data)
        if found == FORMAT:
            in_key = _IN_KEY.get(kind, {})
            told: dict[str, Any] = {name: of(key) for name, of in in_key.items()}
            # A newer release may have added some at the end.
            told |= zip((each.name for each in _stored_fields(kind)), _list.decode(body), strict=False)
            record: T = msgspec.convert(told, kind)
        elif found == FORMAT_WITH_NAMES:
            record = msgspec.json.decode(body, type=kind)
        else:
            raise RecordFormatError(
                f"the record {key!r} has format {found}, this program knows {FORMAT}: start a release as new as the one"
                " that wrote it"
            )
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordFormatError(f"the record {key!r} is damaged: {error}") from error
    return record


def decode_value(kind: type[T], stored: KeyValue) -> T:
    """Like `decode`, for what the store answered."""
    return decode(kind, stored.value, stored.key)


def decode_route(stored: KeyValue) -> Route:
    """A route with its etag."""
    return replace(decode_value(Route, stored), mod_revision=stored.mod_revision)


def _stored_fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    known = _fields.get(kind)
    if known is None:
        stored = (each for each in dataclasses.fields(kind) if each.name not in _IN_KEY.get(kind, ()))
        known = _fields.setdefault(kind, tuple(stored))
    return known

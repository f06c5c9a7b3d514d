"""What an export's files consist of: entries, each a head that says what it is and a body of bytes.

An entry is two lengths (head, body; 4 bytes each, most significant first), the head as a JSON array that begins with
its name, and the body as it is. What belongs to a bundle or an instance follows its entry, up to an `end`.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

import msgspec

from data_plane.journal.codec import ROW_BYTES_MAX
from stepwell.errors import StepwellError
from stepwell.names import Digest, InstanceId, InstanceUid, TenantUid, WorkflowId

HEAD_BYTES_MAX: Final = 8 * 1024
"""Of a head. The longest names a file of a bundle, by up to 1,024 bytes, each of which JSON may write as six."""

BODY_BYTES_MAX: Final = ROW_BYTES_MAX
"""Of a body: nothing that is moved is larger than a journal's row may be."""

PART_BYTES: Final = 1024 * 1024
"""Of a bundle's file, in one entry."""

_LENGTHS: Final = struct.Struct(">II")


class EntryError(StepwellError):
    """The bytes are no entry."""


class _Head(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag_field="entry"):
    """`tag` is the name that the array begins with."""


class ControlHead(_Head, frozen=True, tag="control"):
    """A control record; the body is its value."""

    key: str


class BundleHead(_Head, frozen=True, tag="bundle"):
    """A bundle begins; the body is its canonical manifest."""

    tenant: TenantUid
    digest: Digest


class FileHead(_Head, frozen=True, tag="file"):
    """A file of the bundle begins."""

    path: str
    executable: bool


class PartHead(_Head, frozen=True, tag="part"):
    """The body is what comes next in the file."""


class InstanceHead(_Head, frozen=True, tag="instance"):
    """An instance begins."""

    tenant: TenantUid
    workflow: WorkflowId
    instance: InstanceId


class BlobHead(_Head, frozen=True, tag="blob"):
    """A payload that a row behind it names; the body is its bytes."""

    uid: InstanceUid
    id: str


class RowHead(_Head, frozen=True, tag="row"):
    """The next row of the journal; the body is as `data_plane.journal.codec` writes it."""

    epoch: int
    seq: int


class EndHead(_Head, frozen=True, tag="end"):
    """The bundle or the instance is whole."""


Head = ControlHead | BundleHead | FileHead | PartHead | InstanceHead | BlobHead | RowHead | EndHead
Entry = tuple[Head, bytes]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Head)


def encoded(head: Head, body: bytes) -> bytes:
    """Raises EntryError for what is too large."""
    text = _encoder.encode(head)
    if len(text) > HEAD_BYTES_MAX or len(body) > BODY_BYTES_MAX:
        raise EntryError(f"an entry of {len(text)} and {len(body)} bytes is larger than any may be")
    return _LENGTHS.pack(len(text), len(body)) + text + body


def read(file: BinaryIO) -> tuple[Entry | None, bytes]:
    """The next entry, None at the end, and the bytes that it took. Raises EntryError."""
    lengths = file.read(_LENGTHS.size)
    if not lengths:
        return None, b""
    if len(lengths) < _LENGTHS.size:
        raise EntryError("it ends within an entry")
    head_bytes, body_bytes = _LENGTHS.unpack(lengths)
    if head_bytes > HEAD_BYTES_MAX or body_bytes > BODY_BYTES_MAX:
        raise EntryError("an entry is larger than any may be")
    rest = file.read(head_bytes + body_bytes)
    if len(rest) < head_bytes + body_bytes:
        raise EntryError("it ends within an entry")
    try:
        head = _decoder.decode(rest[:head_bytes])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EntryError(f"an entry's head can't be read: {error}") from error
    return (head, rest[head_bytes:]), lengths + rest

"""Instances within an export: their journals as the chain alone, their payloads, and what both say of them.

Positions stay as they were, so that a row is the same row in the cluster, and what a client holds of it stays good.
Listings and wakes are not in an export: they follow from the journals.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from data_plane.journal.chain import BrokenChainError, chain
from data_plane.journal.codec import RowCodec
from data_plane.journal.store import InstanceKey, JournalStore, Position, Row, StoredFormatError
from stepwell.engine import fold
from stepwell.engine.instance import Instance
from stepwell.engine.records import (
    BlobRef,
    Completed,
    Created,
    Deleting,
    EventReceived,
    Payload,
    Record,
    StepCompleted,
)
from stepwell.names import InstanceUid
from stepwell_server.moving.entries import BlobHead, EndHead, InstanceHead, RowHead
from stepwell_server.moving.folder import ExportFolder
from stepwell_server.moving.refusals import DamagedExportError

INSTANCES_AT_ONCE: Final = 1_000
"""Whose keys are read together."""


class WholeJournal(JournalStore, Protocol):
    """A journal store that knows of all that it holds, as one machine's does."""

    async def instances(self, *, after: InstanceKey | None = None, limit: int) -> Sequence[InstanceKey]:
        """Whatever has rows, in the order of their keys, past `after` only."""
        ...


@dataclass(frozen=True, slots=True)
class BlobPart:
    key: InstanceKey
    uid: InstanceUid
    id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RowPart:
    key: InstanceKey
    row: Row


@dataclass(frozen=True, slots=True)
class WholeInstance:
    """All of an instance has been given; `rows` are those that were."""

    key: InstanceKey
    rows: Sequence[Row]


async def instance_keys(journal: WholeJournal) -> AsyncIterator[InstanceKey]:
    """Of everything in the store, in order."""
    after: InstanceKey | None = None
    while True:
        page = await journal.instances(after=after, limit=INSTANCES_AT_ONCE)
        for key in page:
            yield key
        if len(page) < INSTANCES_AT_ONCE:
            return
        after = page[-1]


def is_deleted(rows: Sequence[Row]) -> bool:
    """Whether that journal says that its instance is gone."""
    return bool(rows and rows[-1].records) and isinstance(rows[-1].records[-1], Deleting)


def blobs_of(rows: Iterable[Row]) -> Iterator[tuple[InstanceUid, BlobRef]]:
    """The payloads that are kept apart from these rows, and under which instance's uid."""
    uid = InstanceUid("")
    for row in rows:
        for record in row.records:
            if isinstance(record, Created):
                uid = record.uid
            payload = _payload(record)
            if isinstance(payload, BlobRef):
                yield uid, payload


def state_of(rows: Iterable[Row]) -> Instance:
    return fold.replay(record for row in rows for record in row.records)


def journal_parts(export: ExportFolder) -> Iterator[BlobPart | RowPart | WholeInstance]:
    """What an export's journals hold, in order. Raises DamagedExportError."""
    codec = RowCodec()
    key: InstanceKey | None = None
    rows: list[Row] = []
    for head, body in export.entries("journals"):
        match head:
            case InstanceHead(tenant, workflow, instance) if key is None:
                key, rows = InstanceKey(tenant, workflow, instance), []
            case BlobHead(uid, id) if key is not None:
                yield BlobPart(key, uid, id, body)
            case RowHead(epoch, seq) if key is not None:
                rows.append(_decoded(codec, key, Position(epoch, seq), body))
                yield RowPart(key, rows[-1])
            case EndHead() if key is not None:
                _check(key, rows)
                yield WholeInstance(key, rows)
                key = None
            case _:
                raise DamagedExportError(f"the journals of the export are out of order at {head}")
    if key is not None:
        raise DamagedExportError(f"the export ends within {_named(key)}")


def _payload(record: Record) -> Payload | None:
    match record:
        case Created():
            return record.params
        case StepCompleted():
            return record.result
        case EventReceived():
            return record.payload
        case Completed():
            return record.output
        case _:
            return None


def _decoded(codec: RowCodec, key: InstanceKey, position: Position, data: bytes) -> Row:
    try:
        return codec.decode(position, data)
    except StoredFormatError as error:
        raise DamagedExportError(f"{_named(key)}: {error}") from None


def _check(key: InstanceKey, rows: list[Row]) -> None:
    try:
        whole = bool(rows) and chain(rows) == rows
    except BrokenChainError as error:
        raise DamagedExportError(f"{_named(key)} can't be imported: {error}") from None
    if not whole:
        raise DamagedExportError(f"{_named(key)} can't be imported: its rows are not one journal")


def _named(key: InstanceKey) -> str:
    return f"the instance {key.instance!r} of workflow {key.workflow!r} of the tenant with uid {key.tenant}"

"""Every record comes back from its bytes as it was, and what is not understood is refused."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.journal.codec import COMPRESS_OVER_BYTES, FORMAT, RowCodec
from data_plane.journal.store import Position, Row, StoredFormatError
from data_plane.journal.v1 import journal_pb2 as pb
from stepwell.engine.family import Parent
from stepwell.engine.records import (
    BlobRef,
    Completed,
    Created,
    Errored,
    EventReceived,
    Failure,
    Kind,
    Origin,
    Payload,
    Record,
    RolledBack,
    SleepStarted,
    StepCompleted,
    StepKey,
    Terminated,
)
from stepwell.engine.schedule import Schedule
from stepwell.names import Digest, InstanceId, InstanceUid
from stepwell.retention import Retention
from stepwell.workflow_limits import WorkflowLimits

RECORD_TYPES: tuple[type[Any], ...] = get_args(Record)
HERE = Position(3, 7)

texts = st.text(max_size=40)
counts = st.integers(0, 2**32 - 1)
times = st.integers(-(2**63), 2**63 - 1)
positions = st.builds(Position, counts, st.integers(0, 2**63 - 1))
payloads = st.one_of(st.binary(max_size=60), st.builds(BlobRef, texts, st.integers(0, 2**63 - 1)))
failures = st.recursive(
    st.builds(Failure, texts, texts, texts, texts, st.none()),
    lambda causes: st.builds(Failure, texts, texts, texts, texts, causes),
    max_leaves=4,
)
step_keys = st.builds(StepKey, st.sampled_from(get_args(Kind)), texts, counts)
parents = st.builds(Parent, texts, texts, texts)
FIELDS: dict[object, st.SearchStrategy[Any]] = {
    int: counts,
    int | None: st.one_of(st.none(), times),
    bool: st.booleans(),
    bytes: st.binary(max_size=24),
    Payload: payloads,
    Failure: failures,
    Failure | None: st.one_of(st.none(), failures),
    Parent | None: st.one_of(st.none(), parents),
    RolledBack | None: st.one_of(st.none(), st.builds(RolledBack, st.one_of(st.none(), failures))),
    StepKey | None: st.one_of(st.none(), step_keys),
    StepKey: step_keys,
    Origin | None: st.none(),
    Schedule | None: st.one_of(st.none(), st.builds(Schedule, texts, times)),
    WorkflowLimits: st.builds(WorkflowLimits, st.one_of(st.none(), counts), st.one_of(st.none(), counts)),
    Retention: st.builds(Retention, st.one_of(st.none(), times), st.one_of(st.none(), times)),
}
TIMES = {"at", "started_at", "created_at", "retry_at", "due", "paused_for"}


def records_of(type_: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(type_)
    fields = {
        field.name: times if field.name in TIMES and hints[field.name] is int else FIELDS.get(hints[field.name], texts)
        for field in dataclasses.fields(type_)
    }
    return st.builds(type_, **fields)


copied = st.one_of([records_of(type_) for type_ in (StepCompleted, SleepStarted, EventReceived)])
origins = st.builds(
    Origin, texts, texts, step_keys, texts, times, st.one_of(st.none(), times), st.lists(copied, max_size=4).map(tuple)
)
FIELDS[Origin | None] = st.one_of(st.none(), origins)
any_record = st.one_of([records_of(type_) for type_ in RECORD_TYPES])
any_row = st.builds(Row, positions, st.lists(any_record, max_size=5), st.booleans(), st.one_of(st.none(), positions))


def round_trip(row: Row) -> Row:
    codec = RowCodec()
    return codec.decode(row.position, codec.encode(row))


@pytest.mark.parametrize("type_", RECORD_TYPES, ids=lambda type_: type_.__name__)
def test_each_record_type_comes_back_as_it_was(type_: type[Any]) -> None:
    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(records_of(type_))
    def comes_back(record: Any) -> None:
        assert round_trip(Row(HERE, [record])) == Row(HERE, [record])

    comes_back()


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(any_row)
def test_rows_come_back_as_they_were(row: Row) -> None:
    assert round_trip(row) == row


def test_no_record_type_is_forgotten_in_the_stored_messages() -> None:
    types = [field.message_type for field in pb.Record.DESCRIPTOR.oneofs_by_name["record"].fields]
    assert {type_.name for type_ in types if type_ is not None} == {type_.__name__ for type_ in RECORD_TYPES}


@pytest.mark.parametrize("type_", [*RECORD_TYPES, Origin], ids=lambda type_: type_.__name__)
def test_no_field_of_a_record_is_forgotten_in_its_message(type_: type[Any]) -> None:
    stored = {field.name for field in pb.DESCRIPTOR.message_types_by_name[type_.__name__].fields}
    assert stored == {field.name for field in dataclasses.fields(type_)}


def test_a_long_chain_of_causes_can_be_read_back() -> None:
    failure = None
    for number in range(1000):
        failure = Failure("m", "T", str(number), cause=failure)
    assert failure is not None
    codec = RowCodec()
    row = codec.decode(HERE, codec.encode(Row(HERE, [Errored(1, failure)])))
    error = row.records[0]
    assert isinstance(error, Errored)
    cause, length = error.failure, 1
    while cause.cause is not None:
        cause, length = cause.cause, length + 1
    assert length == 1000


def test_small_rows_are_stored_plain_and_large_ones_compressed() -> None:
    codec = RowCodec()
    small = codec.encode(Row(HERE, [Completed(1, b"x" * 100)]))
    large = codec.encode(Row(HERE, [Completed(1, b"x" * 2 * COMPRESS_OVER_BYTES)]))
    assert small[:1] == b"\x00"
    assert large[:1] == b"\x01"
    assert len(large) < 100


def test_what_does_not_shrink_is_stored_plain() -> None:
    data = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(64))
    row = Row(HERE, [Completed(1, data)])
    assert RowCodec().encode(row)[:1] == b"\x00"
    assert round_trip(row) == row


def test_only_the_row_of_a_fork_is_refused_by_a_program_that_knows_none() -> None:
    plain = Created(1, InstanceUid("u"), Digest("d"), "main:Flow", b"null", "")
    origin = Origin(InstanceId("one"), InstanceUid("o"), StepKey("do", "charge", 1), "", 1, 2, ())
    for created, format in ((plain, 1), (dataclasses.replace(plain, origin=origin), 2)):
        row = RowCodec().encode(Row(HERE, [created]))
        assert pb.Append.FromString(row[1:]).format == format


def test_a_newer_format_is_refused() -> None:
    newer = pb.Append(format=FORMAT + 1).SerializeToString()
    with pytest.raises(StoredFormatError, match=f"has format {FORMAT + 1}"):
        RowCodec().decode(HERE, b"\x00" + newer)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x02anything",
        b"\x01not zstd",
        b"\x00\xff\xff\xff",
        b"\x00" + pb.Append(format=FORMAT, records=[pb.Record()]).SerializeToString(),
        b"\x00" + pb.Append(format=FORMAT, records=[pb.Record(completed=pb.Completed(at=1))]).SerializeToString(),
        b"\x00" + pb.Append(format=FORMAT, records=[pb.Record(sleep_fired=pb.SleepFired(at=1))]).SerializeToString(),
    ],
)
def test_damaged_or_unknown_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StoredFormatError):
        RowCodec().decode(HERE, data)


def test_bytes_that_unfold_too_far_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = RowCodec()
    data = codec.encode(Row(HERE, [Completed(1, b"x" * 5000)]))
    monkeypatch.setattr("data_plane.journal.codec.ROW_BYTES_MAX", 4000)
    with pytest.raises(StoredFormatError, match="4000"):
        codec.decode(HERE, data)


@pytest.mark.parametrize("record", [Terminated(1, "\ud800"), Terminated(2**63, "")], ids=["lone surrogate", "64 bits"])
def test_what_can_not_be_stored_is_a_value_error(record: Terminated) -> None:
    with pytest.raises(ValueError, match=r"."):
        RowCodec().encode(Row(HERE, [record]))


def test_what_the_first_release_wrote_can_be_read() -> None:
    data = bytes.fromhex("000801120408021006180122172a150801120708011201611801180220032a040a027b7d")
    row = Row(HERE, [StepCompleted(1, StepKey("do", "a", 1), 2, 3, b"{}")], True, Position(2, 6))
    assert RowCodec().decode(HERE, data) == row

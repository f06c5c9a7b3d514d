"""Journals that earlier versions wrote: they are read as they were, and their code still does what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from data_plane.journal.store import InstanceKey
from data_plane.journal_frames import completion_frame
from data_plane.replaying import Recorded
from loader import messages
from stepwell.engine import fold
from stepwell.engine.records import Created, Deleting, Record
from stepwell.names import InstanceId, TenantUid, WorkflowId
from stepwell.retention import NOT_SAID
from stepwell.workflow_limits import UNLIMITED
from tests.replay.guest_process import GuestProcess
from tests.replay.kept_journals import KeptJournal, told_of

KEPT = list(KeptJournal.all())
LEAVES_NOTHING = {Deleting}
"""Records of which no journal is left to be kept."""


@pytest.fixture(params=KEPT, ids=lambda kept: f"{kept.code.parent.name}-{kept.instance}")
def kept(request: pytest.FixtureRequest) -> KeptJournal:
    found: KeptJournal = request.param
    return found


@pytest.fixture
def guest() -> Iterator[GuestProcess]:
    with GuestProcess() as process:
        yield process


def test_it_is_read_as_it_was_told_when_it_was_written(kept: KeptJournal) -> None:
    assert told_of(fold.replay(kept.records())) == kept.told


def test_its_code_still_does_what_it_says(kept: KeptJournal, guest: GuestProcess) -> None:
    verdict = _replayed(kept, guest)
    assert isinstance(verdict, messages.Replayed), verdict


def test_a_difference_would_be_noticed(guest: GuestProcess) -> None:
    kept = next(kept for kept in KEPT if kept.instance == "steps")
    records = [record for record in kept.records() if getattr(record, "key", ("", ""))[1] != "large"]
    verdict = _replayed(kept, guest, records)
    assert isinstance(verdict, messages.Mismatch), verdict


def test_each_kind_of_record_is_kept() -> None:
    records = [record for kept in KEPT for record in kept.records()]
    kinds = {type(record) for record in records}
    created = [record for record in records if isinstance(record, Created)]
    assert any(record.origin is not None for record in created), "a fork too"
    assert any(record.schedule is not None for record in created), "one that a schedule created, too"
    assert any(record.retention != NOT_SAID for record in created), "one that is kept for a while, too"
    assert any(record.limits != UNLIMITED for record in created), "one of a version that limits it, too"
    assert set(get_args(Record)) - kinds == LEAVES_NOTHING, "record it: tests/replay/kept_journals.py says how"


def _replayed(
    kept: KeptJournal, guest: GuestProcess, records: list[Record] | None = None
) -> messages.Replayed | messages.Mismatch:
    """What a guest with that code says of the journal."""
    instance = fold.replay(kept.records() if records is None else records)
    key = InstanceKey(TenantUid("t"), WorkflowId("kept"), InstanceId(kept.instance))
    recorded = Recorded.of(key, instance, instance.created_at)
    loaded = guest.load(kept.code, instance.entrypoint, bindings={"CHILD": "kept"})
    assert isinstance(loaded, messages.Loaded), loaded
    opened = [(each.kind, each.name, each.count) for each in recorded.opened]
    params, count = kept.bytes_of(recorded.params), len(recorded.completions)
    guest.send(messages.replay(1, instance.entrypoint, recorded.about, count, opened, recorded.ended, params))
    for completion in recorded.completions:
        guest.send(completion_frame(1, completion, kept.bytes_of(completion.payload)))
    while not isinstance(said := guest.next()[0], messages.Replayed | messages.Mismatch):
        assert not isinstance(said, messages.Closed), "it was given up"
    return said

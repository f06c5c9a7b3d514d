"""The lane: append, then act; one append in flight; the identical row again when its outcome is unknown."""

from __future__ import annotations

from collections.abc import Callable

from data_plane.journal.store import InstanceKey, Position, PutBlob, PutRow, Row, WriteUnknownError
from data_plane.lane import APPEND_RECORDS_MAX, BEFORE_BYTES_MAX, QUEUED_MAX, Lane
from data_plane.sending import RESEND_DELAY_S
from data_plane.shard import Shard
from stepwell.engine.actions import Action, Append, TellHold, TellRelease, TellStop, WakeNow
from stepwell.engine.records import Record, SleepFired, StepKey
from stepwell.names import InstanceId, InstanceUid, TenantUid, WorkflowId
from tests.unit.data_plane.fakes import HeldStore, Later

KEY = InstanceKey(TenantUid("t"), WorkflowId("w"), InstanceId("i"))


def record(number: int) -> Record:
    return SleepFired(number, StepKey("sleep", "nap", number))


class Rig:
    """A lane with everything that it calls written down in `done`, in order."""

    def __init__(self, tip: Position | None = None, epoch: int = 7) -> None:
        self.owned = True
        self.store = HeldStore()
        self.later = Later()
        self.shard = Shard(0, epoch, lambda: self.owned)
        self.done: list[Action | Row | str] = []
        self.wakes: list[Callable[[], None]] = []
        self.lane = Lane(
            KEY,
            self.shard,
            self.store,  # type: ignore[arg-type]
            tip=tip,
            wake=self.wakes.append,
            perform=self.done.append,
            appended=self.done.append,
            idle=lambda: self.done.append("idle"),
            lost=lambda: self.done.append("lost"),
            later=self.later,
        )

    def add(self, *actions: Action) -> None:
        self.lane.add(list(actions))
        self.lane.flush()


def test_nothing_behind_a_record_is_done_before_the_record_is_durable() -> None:
    rig = Rig()
    rig.add(Append(record(1)), TellStop())
    assert rig.done == []
    rig.store.answer()
    (row,) = rig.store.rows()
    assert rig.done == [row, TellStop(), "idle"]


def test_what_waits_for_no_record_is_done_at_once() -> None:
    rig = Rig()
    rig.add(TellHold(1))
    assert rig.done == [TellHold(1), "idle"]
    assert rig.store.asked == []


def test_actions_keep_their_order_across_records() -> None:
    rig = Rig()
    rig.add(Append(record(1)), TellHold(1), Append(record(2)), TellRelease())
    rig.store.answer()
    assert rig.done[1:] == [TellHold(1), TellRelease(), "idle"]


def test_one_append_is_in_flight_and_the_next_takes_all_that_came_meanwhile() -> None:
    rig = Rig()
    rig.add(Append(record(1)))
    rig.add(Append(record(2)), TellHold(1))
    rig.add(Append(record(3)), TellRelease())
    assert rig.store.in_flight == 1
    rig.store.answer()
    assert rig.store.in_flight == 1
    assert [list(row.records) for row in rig.store.rows()] == [[record(1)], [record(2), record(3)]]
    rig.store.answer()
    assert rig.done[-3:] == [TellHold(1), TellRelease(), "idle"]


def test_a_row_holds_only_so_many_records_and_the_rest_follow_in_order() -> None:
    rig = Rig()
    numbers = range(2 * APPEND_RECORDS_MAX + 1)
    rig.add(*(Append(record(number)) for number in numbers), TellStop())
    while rig.store.in_flight:
        assert TellStop() not in rig.done
        rig.store.answer()
    rows = rig.store.rows()
    assert [len(row.records) for row in rows] == [APPEND_RECORDS_MAX, APPEND_RECORDS_MAX, 1]
    assert [each.at for row in rows for each in row.records] == list(numbers)
    assert rig.done[-2:] == [TellStop(), "idle"]


def test_sequence_numbers_go_on_within_an_epoch() -> None:
    rig = Rig(tip=Position(7, 4))
    rig.add(Append(record(1)))
    assert rig.store.rows() == [Row(Position(7, 5), [record(1)], first=False, predecessor=None)]


def test_an_epochs_first_row_names_the_row_that_was_read_as_the_newest() -> None:
    rig = Rig(tip=Position(6, 4))
    assert rig.lane.first
    rig.add(Append(record(1)))
    rig.store.answer()
    rig.add(Append(record(2)))
    first, second = rig.store.rows()
    assert first == Row(Position(7, 5), [record(1)], first=True, predecessor=Position(6, 4))
    assert second == Row(Position(7, 6), [record(2)], first=False, predecessor=None)


def test_a_new_instance_begins_without_a_predecessor() -> None:
    rig = Rig()
    rig.add(Append(record(1)))
    assert rig.store.rows() == [Row(Position(7, 0), [record(1)], first=True, predecessor=None)]


def test_a_mark_is_a_first_row_without_records_and_what_follows_waits_for_it() -> None:
    rig = Rig(tip=Position(6, 4))
    rig.lane.mark()
    rig.lane.then(lambda: rig.done.append("shown"))
    rig.lane.flush()
    assert rig.store.rows() == [Row(Position(7, 5), [], first=True, predecessor=Position(6, 4))]
    assert rig.done == []
    rig.store.answer()
    assert rig.done[1:] == ["shown", "idle"]
    rig.lane.mark()
    assert len(rig.store.asked) == 1, "an epoch marks once"


def test_a_mark_may_hold_what_the_rows_below_it_said() -> None:
    rig = Rig(tip=Position(6, 4))
    rig.lane.mark([record(1)])
    assert rig.store.rows() == [Row(Position(7, 5), [record(1)], first=True, predecessor=Position(6, 4))]


def test_a_wake_is_durable_before_the_record_that_relies_on_it() -> None:
    rig = Rig()
    rig.add(WakeNow(), Append(record(1)))
    assert rig.store.asked == []
    rig.wakes.pop()()
    assert len(rig.store.rows()) == 1


def test_a_blob_is_durable_before_the_row_that_names_it() -> None:
    rig = Rig()
    blob = PutBlob(KEY, InstanceUid("u"), "b", b"data", rig.shard.stamp())
    rig.lane.write_before(blob)
    rig.add(WakeNow(), Append(record(1)))
    assert rig.store.asked == [blob]
    rig.store.answer()
    assert rig.store.rows() == []
    rig.wakes.pop()()
    assert len(rig.store.rows()) == 1


def test_a_lane_with_much_behind_the_append_in_flight_is_crowded_until_that_is_sent() -> None:
    rig = Rig()
    rig.add(Append(record(0)))
    rig.add(*(Append(record(number)) for number in range(QUEUED_MAX + 1)))
    assert rig.lane.crowded
    rig.store.answer()
    assert not rig.lane.crowded
    uid = InstanceUid("u")
    rig.lane.write_before(PutBlob(KEY, uid, "b-1", bytes(BEFORE_BYTES_MAX + 1), rig.shard.stamp()))
    assert rig.lane.crowded
    rig.store.answer()
    assert not rig.lane.crowded


def test_a_write_whose_outcome_is_unknown_is_sent_again_the_same() -> None:
    rig = Rig()
    rig.add(Append(record(1)), TellStop())
    rig.add(Append(record(2)))
    rig.store.answer(WriteUnknownError("timed out"))
    assert rig.done == []
    ((delay_s, _, _),) = rig.later.calls
    assert delay_s == RESEND_DELAY_S
    rig.later.ring()
    first, again = rig.store.asked
    assert isinstance(first, PutRow)
    assert first == again, "the same key, bytes and stamp"
    rig.store.answer()
    assert TellStop() in rig.done


def test_the_stamp_of_each_row_is_newer_than_the_one_before() -> None:
    rig = Rig()
    for number in range(3):
        rig.add(Append(record(number)))
        rig.store.answer()
    stamps = [put.stamp for put in rig.store.asked if isinstance(put, PutRow)]
    assert stamps == sorted(set(stamps))


def test_a_lost_shard_drops_what_was_in_flight_and_what_was_queued() -> None:
    rig = Rig()
    rig.add(Append(record(1)), TellStop())
    rig.add(Append(record(2)), TellHold(1))
    rig.owned = False
    rig.store.answer()
    assert rig.done == ["lost"]
    rig.add(TellRelease())
    assert rig.done == ["lost"]
    assert len(rig.store.asked) == 1


def test_an_unknown_write_of_a_lost_shard_is_not_sent_again() -> None:
    rig = Rig()
    rig.add(Append(record(1)))
    rig.owned = False
    rig.store.answer(WriteUnknownError("timed out"))
    assert rig.done == ["lost"]
    assert rig.later.calls == []


def test_what_an_action_adds_is_sent_before_the_lane_is_idle() -> None:
    rig = Rig()
    rig.add(Append(record(1)))
    rig.lane.then(lambda: rig.add(Append(record(2)), TellStop()))
    rig.store.answer()
    rig.store.answer()
    assert rig.done[-2:] == [TellStop(), "idle"]
    assert rig.done.count("idle") == 1
    assert not rig.lane.busy

"""Calls of guests through bindings: carried out once, within what is granted; and the end of a child on its way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from data_plane.bindings import BINDING_CALLS_PER_TENANT_MAX
from data_plane.guest_calls import BINDING_CALLS_MAX
from data_plane.journal.store import InstanceKey, PutRow
from loader import messages as m
from stepwell.engine.family import Parent
from stepwell.engine.instance import Instance
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import (
    ChildAdded,
    Created,
    EventReceived,
    ParentTold,
    Restarted,
    RollbackBegun,
    StepKey,
    Terminated,
)
from stepwell.errors import WrongStateError
from stepwell.names import InstanceId
from stepwell.retention import Retention
from tests.unit.data_plane.fakes import FakeGuest, MemoryStore
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

CHILD = InstanceKey(TENANT, FLOW, InstanceId("child"))


def call(number: int, method: Any, id: str = "", **more: Any) -> m.Call:
    """Of the step `work`, the first time that it is called; `act` is 1."""
    ordinal, binding = more.get("ordinal", number), more.get("binding", "FLOW")
    return m.Call(
        more.get("act", 1),
        number,
        "work",
        1,
        ordinal,
        binding,
        method,
        id,
        more.get("type", ""),
        more.get("kind", "do"),
        more.get("options", m.CallOptions()),
    )


async def answered(guest: FakeGuest, number: int) -> tuple[Any, Any]:
    """The error and the answer of that call."""

    def found() -> list[tuple[Any, bytes]]:
        return [(frame[3], payload) for frame, payload in guest.frames if frame[0] == "answer" and frame[2] == number]

    await until(lambda: bool(found()))
    ((error, payload),) = found()
    return error, json.loads(payload) if payload else None


async def asked(guest: FakeGuest, message: m.Call, payload: bytes = b"null") -> Any:
    guest.say(message, payload=payload)
    error, answer = await answered(guest, message.number)
    assert error is None
    return answer


async def refused(guest: FakeGuest, message: m.Call, payload: bytes = b"null") -> str:
    guest.say(message, payload=payload)
    error, _ = await answered(guest, message.number)
    module, name, *_ = error
    assert module == "stepwell.errors"
    return str(name)


async def parent_of(house: House) -> tuple[InstanceKey, FakeGuest]:
    key = await house.create()
    return key, await house.guest(1)


@on_virtual_time
async def test_a_child_is_created_named_and_knows_its_parent() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        assert await asked(guest, call(1, "create", "child"), b'{"a":1}') == {"id": "child", "child": True}
        created = next(each for each in house.records(CHILD) if isinstance(each, Created))
        uid = next(each for each in house.records(key) if isinstance(each, Created)).uid
        assert (created.parent, created.depth, created.params) == (Parent(FLOW, key.instance, uid), 1, b'{"a":1}')
        assert [each.child for each in house.records(key) if isinstance(each, ChildAdded)] == ["flow/child"]


@on_virtual_time
async def test_the_same_call_of_another_attempt_creates_nothing_more() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        first = await asked(guest, call(1, "create"))
        assert await asked(guest, call(2, "create", ordinal=1)) == first
        assert (await asked(guest, call(3, "create", ordinal=2)))["id"] != first["id"]
        assert sum(isinstance(each, ChildAdded) for each in house.records(key)) == 2
        assert await refused(guest, call(4, "create", ordinal=1), b"7") == "InvalidArgumentError"
        await house.create("taken")
        assert await refused(guest, call(5, "create", "taken")) == "AlreadyExistsError"


@on_virtual_time
async def test_a_rollbacks_calls_are_not_its_steps() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        first = await asked(guest, call(1, "create"))
        second = await asked(guest, call(2, "create", ordinal=1, kind="rollback"))
        assert first != second
        assert len([each for each in house.records(key) if isinstance(each, ChildAdded)]) == 2


@on_virtual_time
async def test_the_parent_has_counted_it_before_it_is_created() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        house.store.holds = lambda write: isinstance(write, PutRow) and write.key == key
        guest.say(call(1, "create", "child"), payload=b"null")
        await until(lambda: bool(house.store.held))
        assert house.records(CHILD) == []
        house.store.let_go()
        assert (await answered(guest, 1))[0] is None


@on_virtual_time
async def test_what_is_not_granted_or_not_there_or_malformed_is_refused() -> None:
    async with serving() as house:
        _, guest = await parent_of(house)
        assert await refused(guest, call(1, "get", "one", binding="OTHER")) == "PermissionDeniedError"
        assert await refused(guest, call(2, "create", binding="GONE")) == "NotFoundError"
        assert await refused(guest, call(3, "status", "nobody")) == "NotFoundError"
        assert await refused(guest, call(4, "create", "a/b")) == "InvalidArgumentError"
        assert await refused(guest, call(5, "sendEvent", "one", type="flow/child")) == "InvalidArgumentError"
        assert await refused(guest, call(6, "status")) == "InvalidArgumentError"
        assert guest.killed == []


@on_virtual_time
async def test_another_one_is_steered_and_sees_events() -> None:
    async with serving() as house:
        _, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        assert (await asked(guest, call(2, "status", "child")))["status"] in ("queued", "running")
        await asked(guest, call(3, "pause", "child"))
        assert (await asked(guest, call(4, "status", "child")))["status"] in ("paused", "waitingForPause")
        await asked(guest, call(5, "resume", "child"))
        await asked(guest, call(6, "sendEvent", "child", type="go"), b"7")
        assert [each.payload for each in house.records(CHILD) if isinstance(each, EventReceived)] == [b"7"]
        await asked(guest, call(7, "terminate", "child"))
        assert await asked(guest, call(8, "status", "child")) == {"status": "terminated"}
        assert await refused(guest, call(9, "sendEvent", "child", type="go")) == "WrongStateError"
        assert await asked(guest, call(10, "get", "child")) == {"id": "child", "child": True}
        assert await asked(guest, call(11, "get", "one")) == {"id": "one", "child": False}


@on_virtual_time
async def test_a_call_deletes_what_goes_on_what_has_ended_and_what_is_gone() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        child = await house.guest(2)
        assert await asked(guest, call(2, "delete", "child")) is None
        child.say(m.Closed(1))
        await until(lambda: house.records(CHILD) == [])
        assert sum(isinstance(each, EventReceived) for each in house.records(key)) == 1
        assert await asked(guest, call(3, "delete", "child", ordinal=2)) is None
        await asked(guest, call(4, "create", "child"))
        await returning(await house.guest(3), b"1")
        assert await asked(guest, call(5, "delete", "child")) is None
        await until(lambda: house.records(CHILD) == [])


@on_virtual_time
async def test_who_deletes_itself_goes_no_further() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        guest.say(call(1, "delete", key.instance), payload=b"null")
        await until(lambda: guest.told("stop"))
        guest.say(m.Closed(1))
        await until(lambda: house.records(key) == [])
        assert not guest.told("answer")


@on_virtual_time
async def test_a_child_is_kept_for_as_long_as_its_create_says() -> None:
    async with serving() as house:
        _, guest = await parent_of(house)
        kept = m.CallOptions(success_ms=60_000, error_ms=90_000)
        await asked(guest, call(1, "create", "child", options=kept))
        created = next(each for each in house.records(CHILD) if isinstance(each, Created))
        assert created.retention == Retention(60_000, 90_000)
        assert await asked(guest, call(2, "create", "child", ordinal=1, options=kept)) == {"id": "child", "child": True}
        other = m.CallOptions(success_ms=70_000)
        assert await refused(guest, call(3, "create", "child", ordinal=1, options=other)) == "InvalidArgumentError"
        await returning(await house.guest(2), b"1")
        await until(lambda: any(isinstance(each, ParentTold) for each in house.records(CHILD)))
        await asyncio.sleep(59)
        assert (await asked(guest, call(4, "status", "child")))["status"] == "complete"
        await asyncio.sleep(2)
        assert await refused(guest, call(5, "status", "child")) == "NotFoundError"


@on_virtual_time
async def test_a_terminate_rolls_back_and_a_restart_is_from_a_step_where_the_call_says_so() -> None:
    async with serving() as house:
        _, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        child = await house.guest(2)
        child.say(m.Result(1, "first", 1, 1, 5), payload=b"1")
        step = StepKey("do", "first", 1)
        from_first = m.CallOptions(from_step=m.StepSaid("do", "first", 1))
        await until(lambda: step in running(house, CHILD).steps)
        await asked(guest, call(2, "restart", "child", options=from_first))
        assert [each.step for each in house.records(CHILD) if isinstance(each, Restarted)] == [step]
        from_nowhere = m.CallOptions(from_step=m.StepSaid("do", "never", 1))
        assert await refused(guest, call(3, "restart", "child", options=from_nowhere)) == "InvalidArgumentError"
        await asked(guest, call(4, "terminate", "child", options=m.CallOptions(rollback=True)))
        assert any(isinstance(each, RollbackBegun) for each in house.records(CHILD))
        assert not any(isinstance(each, Terminated) for each in house.records(CHILD))


def running(house: House, key: InstanceKey) -> Instance:
    resident = house.server.peek(key)
    assert resident is not None
    return resident.instance


@on_virtual_time
async def test_no_instance_and_no_tenant_has_more_than_so_many_under_way() -> None:
    async with serving() as house:
        _, guest = await parent_of(house)
        house.store.holds = lambda write: isinstance(write, PutRow)
        guest.say(*(call(number, "create", f"c{number}") for number in range(1, BINDING_CALLS_MAX + 2)))
        error, _ = await answered(guest, BINDING_CALLS_MAX + 1)
        assert error[1] == "RateLimitedError"
        house.store.let_go()
        assert (await answered(guest, BINDING_CALLS_MAX))[0] is None
        house.calls.bindings._under_way[TENANT] = BINDING_CALLS_PER_TENANT_MAX
        assert await refused(guest, call(99, "status", "c1")) == "RateLimitedError"


@on_virtual_time
async def test_children_and_their_depth_are_bounded() -> None:
    async with serving(limits=EngineLimits(children_max=2, depth_max=1)) as house:
        _, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        await asked(guest, call(2, "create", "second"))
        guest.say(call(3, "create", "third"), payload=b"null")
        error, _ = await answered(guest, 3)
        assert error[1] == "LimitExceededError"
        assert "as many as one may" in error[2]
        child = await house.guest(2)
        child.say(call(1, "create", "grandchild"), payload=b"null")
        error, _ = await answered(child, 1)
        assert error[1] == "LimitExceededError"
        assert "does a workflow create itself" in error[2]


# -------------------------------------------------------------------- ends
async def returning(guest: FakeGuest, output: bytes) -> None:
    guest.say(m.Returned(1), payload=output)
    guest.say(m.Closed(1))


@on_virtual_time
async def test_the_end_of_a_child_is_an_event_of_its_parent_and_is_told_once() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        guest.say(m.Wait(1, "FLOW child", 1, "flow/child", None))
        await returning(await house.guest(2), b'{"b":2}')
        await until(lambda: guest.told("completion"))
        (frame,) = guest.told("completion")
        assert frame[2:5] == ["waitForEvent", "FLOW child", 1]
        payload = next(payload for each, payload in guest.frames if each[0] == "completion")
        assert json.loads(payload) == {"status": "complete", "output": {"b": 2}}
        await until(lambda: any(isinstance(each, ParentTold) for each in house.records(CHILD)))
        assert sum(isinstance(each, EventReceived) for each in house.records(key)) == 1
        await house.calls.delete(CHILD, "")


@on_virtual_time
async def test_a_parent_that_hibernates_is_woken_by_it() -> None:
    async with serving() as house:
        _, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        guest.say(m.Wait(1, "FLOW child", 1, "flow/child", None), m.Idle(1, 0))
        await until(lambda: guest.told("stop"))
        guest.say(m.Closed(1))
        await returning(await house.guest(2), b"1")
        again = await house.guest(3)
        await until(lambda: again.told("completion"))


@on_virtual_time
async def test_whoever_takes_over_tells_what_was_not_told() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        guest.say(m.Wait(1, "FLOW child", 1, "flow/child", None))
        house.node.bindings = None  # nobody can be told
        await returning(await house.guest(2), b"1")
        await until(lambda: house.records(CHILD)[-1].__class__.__name__ == "Completed")
        with pytest.raises(WrongStateError, match="about to hear"):
            await house.calls.delete(CHILD, "")
        await asyncio.sleep(0.5)  # of virtual time, in which it is tried in vain
    async with serving(store, epoch=2) as house:
        await until(lambda: any(isinstance(each, ParentTold) for each in house.records(CHILD)))
        assert sum(isinstance(each, EventReceived) for each in house.records(key)) == 1


@on_virtual_time
async def test_a_parent_that_is_gone_or_another_by_its_name_hears_nothing() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        child = await house.guest(2)
        await house.calls.terminate(key, "")
        guest.say(m.Closed(1))
        await house.calls.delete(key, "")
        await house.create()
        await returning(child, b"1")
        await until(lambda: any(isinstance(each, ParentTold) for each in house.records(CHILD)))
        assert not any(isinstance(each, EventReceived) for each in house.records(key))


@on_virtual_time
async def test_a_parent_that_has_ended_keeps_the_word_for_a_restart() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        child = await house.guest(2)
        await house.calls.terminate(key, "")
        guest.say(m.Closed(1))
        await returning(child, b"1")
        await until(lambda: any(isinstance(each, ParentTold) for each in house.records(CHILD)))
        await house.calls.restart(key, None, "")
        again = await house.guest(3)
        assert await asked(again, call(1, "create", "child")) == {"id": "child", "child": True}
        again.say(m.Wait(1, "FLOW child", 1, "flow/child", None))
        await until(lambda: again.told("completion"))


@on_virtual_time
async def test_a_child_that_is_restarted_tells_of_its_new_end_too() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        await asked(guest, call(1, "create", "child"))
        await returning(await house.guest(2), b"1")
        await until(lambda: any(isinstance(each, ParentTold) for each in house.records(CHILD)))
        guest.say(m.Wait(1, "FLOW child", 1, "flow/child", None))
        await until(lambda: guest.told("completion"))
        await house.calls.restart(CHILD, None, "")
        await returning(await house.guest(3), b"2")
        await until(lambda: sum(isinstance(each, ParentTold) for each in house.records(CHILD)) == 2)
        assert sum(isinstance(each, EventReceived) for each in house.records(key)) == 2


@on_virtual_time
async def test_what_is_answered_after_its_activation_is_dropped() -> None:
    async with serving() as house:
        key, guest = await parent_of(house)
        house.store.holds = lambda write: isinstance(write, PutRow) and write.key == CHILD
        guest.say(call(1, "create", "child"), payload=b"null")
        await until(lambda: bool(house.store.held))
        await house.calls.terminate(key, "")
        guest.say(m.Closed(1))
        house.store.let_go()
        await house.guest(2)
        assert not guest.told("answer")

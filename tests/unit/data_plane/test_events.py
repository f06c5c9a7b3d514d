"""Events that callers send, on a node: which are the same, and what is kept of them."""

from __future__ import annotations

import asyncio

import pytest

from data_plane import payloads
from stepwell.engine.received import received_by
from stepwell.errors import InvalidArgumentError, WrongStateError
from tests.unit.data_plane.house import on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until


@on_virtual_time
async def test_an_event_that_is_repeated_or_refused_leaves_no_blob() -> None:
    large = b'"' + b"x" * 100_000 + b'"'
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        for _ in range(2):
            await house.calls.send_event(key, "approve", large, "call-1")
        with pytest.raises(InvalidArgumentError):
            await house.calls.send_event(key, "another", large, "call-1")
        await house.calls.send_event(key, "approve", b"1", "call-2")
        assert (await house.calls.get(key)).instance.events_received == 2
        assert list(house.store.blobs.values()) == [large]


@on_virtual_time
async def test_a_large_event_is_known_by_its_bytes_and_not_by_its_length() -> None:
    large, other = (b'"' + letter * 100_000 + b'"' for letter in (b"x", b"y"))
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        await house.calls.send_event(key, "approve", large, "call-1", "delivery-1")
        for request_id in ("call-1", "call-2"):
            await house.calls.send_event(key, "approve", large, request_id, "delivery-1")
            with pytest.raises(InvalidArgumentError):
                await house.calls.send_event(key, "approve", other, request_id, "delivery-1")
        with pytest.raises(InvalidArgumentError):
            await house.calls.send_event(key, "approve", other, "call-1")
        assert (await house.calls.get(key)).instance.events_received == 1
        assert list(house.store.blobs.values()) == [large]


@on_virtual_time
async def test_an_event_is_the_same_when_its_instance_has_no_room_inline_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        await house.calls.send_event(key, "approve", b'"small"', "call-1", "delivery-1")
        monkeypatch.setattr(payloads, "INLINE_TOTAL_BYTES_MAX", 1)
        await house.calls.send_event(key, "approve", b'"small"', "call-1", "delivery-1")
        await house.calls.send_event(key, "approve", b'"small"', "call-2", "delivery-1")
        assert (await house.calls.get(key)).instance.events_received == 1
        assert not house.store.blobs


@on_virtual_time
async def test_the_same_large_event_twice_at_once_is_one() -> None:
    large = b'"' + b"x" * 100_000 + b'"'
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        await asyncio.gather(
            *(house.calls.send_event(key, "approve", large, f"call-{n}", "delivery-1") for n in range(3))
        )
        assert (await house.calls.get(key)).instance.events_received == 1
        assert list(house.store.blobs.values()) == [large]


@on_virtual_time
async def test_events_are_told_by_the_journal_also_once_their_instance_left_memory() -> None:
    async with serving() as house:
        key = await house.create()
        sleeping(await house.guest(1), 60_000)
        await house.calls.send_event(key, "approve", b"1", "call-1", "delivery-1")
        await house.calls.send_event(key, "approve", b"2", "call-2")
        await house.calls.terminate(key, "")
        await until(lambda: house.server.peek(key) is None)
        instance = (await house.calls.get(key)).instance
        assert [(each.event.payload, each.state) for each in received_by(instance)] == [(b"1", "dead"), (b"2", "dead")]
        assert instance.dead_events == 2
        with pytest.raises(WrongStateError):
            await house.calls.send_event(key, "approve", b"3", "call-3")
        await house.calls.send_event(key, "approve", b"1", "call-4", "delivery-1")
        assert (await house.calls.get(key)).instance.events_received == 2


@on_virtual_time
async def test_a_dead_event_is_taken_by_the_same_instance_after_a_restart() -> None:
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        await house.calls.send_event(key, "approve", b"1", "call-1", "delivery-1")
        await house.calls.terminate(key, "")
        await house.calls.restart(key, None, "")
        dead = received_by((await house.calls.get(key)).instance)[0]
        assert dead.state == "dead"
        for request_id in ("call-2", "call-3"):
            await house.calls.send_event(key, "approve", b"1", request_id, "delivery-1")
        instance = (await house.calls.get(key)).instance
        assert [each.state for each in received_by(instance)] == ["dead", "buffered"]

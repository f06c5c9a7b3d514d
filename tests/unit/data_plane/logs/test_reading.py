"""What callers read of an instance's log, from print to API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from data_plane.journal.store import InstanceKey
from data_plane.logs.reading import READ_LINES, LogReading
from data_plane.logs.store import LogKey
from loader import messages as m
from loader.logs import LogLine
from stepwell.errors import InvalidArgumentError, NotFoundError
from stepwell.names import InstanceId
from tests.unit.data_plane.house import House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until


class Logs:
    """An instance that runs, and what is read of its log."""

    def __init__(self, house: House, key: InstanceKey, uid: Any) -> None:
        self.house = house
        self.key = key
        self.log_key = LogKey(key.tenant, uid)
        self.reading = LogReading(house.calls, house.node.watchers, house.log_store, house.recorder)

    def print(self, *texts: str, step: str = "") -> None:
        for text in texts:
            self.house.recorder.put(self.log_key, LogLine(None, step, 1, 1, 1, text.encode()))

    async def printed(self, cursor: str = "", step: str = "") -> list[tuple[str, str]]:
        return [(entry.cursor, entry.line.text) async for entry in self.reading.printed(self.key, cursor, step)]

    async def watched(self, cursor: str = "", step: str = "") -> list[str]:
        return [entry.line.text async for entry in self.reading.watch(self.key, cursor, step)]

    async def end(self) -> None:
        self.house.loader.guest.say(m.Returned(1), payload=b"null")
        self.house.loader.guest.say(m.Closed(1))
        await self.house.asleep()


@asynccontextmanager
async def running() -> AsyncIterator[Logs]:
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        yield Logs(house, key, (await house.calls.get(key)).instance.uid)


@on_virtual_time
async def test_a_log_is_read_from_the_oldest_or_after_a_cursor() -> None:
    async with running() as logs:
        logs.print(*(f"{number}" for number in range(READ_LINES + 50)))
        logs.print("of a step", step="charge")
        await logs.house.recorder.flushed(logs.log_key)
        printed = await logs.printed()
        assert [text for _, text in printed] == [*map(str, range(READ_LINES + 50)), "of a step"]
        assert await logs.printed(cursor=printed[-2][0]) == printed[-1:]
        assert await logs.printed(step="charge") == printed[-1:]


@on_virtual_time
async def test_cursors_of_others_and_what_is_not_there_are_refused() -> None:
    async with running() as logs:
        for cursor in ("nonsense", "another-uid.1", f"{logs.log_key.instance}.x"):
            with pytest.raises(InvalidArgumentError):
                await logs.printed(cursor)
            with pytest.raises(InvalidArgumentError):
                await logs.watched(cursor)
        logs.key = logs.key._replace(instance=InstanceId("nobody"))
        with pytest.raises(NotFoundError):
            await logs.printed()
        with pytest.raises(NotFoundError):
            await logs.watched()


@on_virtual_time
async def test_following_gives_what_was_printed_then_what_is_printed_until_the_end() -> None:
    async with running() as logs:
        logs.print("before")
        await logs.house.recorder.flushed(logs.log_key)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(logs.watched())
            step_only = tasks.create_task(logs.watched(step="charge"))
            await asyncio.sleep(5)
            logs.print("meanwhile", step="charge")
            await asyncio.sleep(5)
            assert not watching.done()
            logs.print("last words")
            await logs.end()
        assert watching.result() == ["before", "meanwhile", "last words"]
        assert step_only.result() == ["meanwhile"]
        assert await logs.watched() == watching.result()
        assert logs.house.node.watchers._by_key == {}
        assert logs.house.recorder._followers == {}


@on_virtual_time
async def test_following_ends_when_the_instance_is_deleted_and_its_log_goes_with_it() -> None:
    async with running() as logs:
        logs.print("before")
        await logs.end()
        assert await logs.watched() == ["before"]
        await logs.house.calls.delete(logs.key, "")
        assert await logs.house.log_store.read(logs.log_key, after=0, step="", limit=10) == []
        with pytest.raises(NotFoundError):
            await logs.watched()


@on_virtual_time
async def test_an_id_that_is_used_again_begins_with_an_empty_log() -> None:
    async with running() as logs:
        logs.print("of the old one")
        await logs.end()
        [(cursor, _)] = await logs.printed()
        await logs.house.calls.delete(logs.key, "")
        await logs.house.create()
        await logs.house.guest(2)
        assert await logs.printed() == []
        with pytest.raises(InvalidArgumentError):
            await logs.printed(cursor)


@on_virtual_time
async def test_a_journal_goes_after_the_log_that_it_alone_knows_of() -> None:
    async with running() as logs:
        logs.print("x")
        await logs.end()
        still_there: list[bool] = []
        forget = logs.house.recorder.forget

        def seen(key: LogKey, then: Callable[[], None]) -> None:
            def gone_now() -> None:
                still_there.append(bool(logs.house.store.rows.get(logs.key)))
                then()

            forget(key, gone_now)

        logs.house.server._removals._forget_logs = seen
        await logs.house.calls.delete(logs.key, "")
        assert still_there == [True]
        await until(lambda: not logs.house.store.rows.get(logs.key))

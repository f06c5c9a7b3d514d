"""What tenants print: whose log it reaches, and how little of it the operator's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from data_plane.logs.store import LogKey
from loader.logs import LogLine
from stepwell.names import Digest, TenantUid
from stepwell_server.guest_log import HINT_LENGTH_MAX, HINTS_A_MINUTE_MAX, GuestLog
from tests.unit.data_plane.house import TENANT, House, on_virtual_time, serving

DIGEST = Digest("sha256-1")


@pytest.fixture(autouse=True)
def default_log() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def printed(text: bytes | None, source: object = None, dropped: int = 0) -> LogLine:
    return LogLine(source, "a\x1bstep" if source else "", 1, 1, 1, text, dropped)


async def kept(house: House, key: LogKey) -> list[str]:
    await house.recorder.flushed(key)
    return [line.text for _, line in await house.log_store.read(key, after=0, step="", limit=100)]


@on_virtual_time
async def test_an_instances_lines_reach_its_log_and_not_the_operators() -> None:
    async with serving() as house:
        key = await house.create()
        activation = (await house.guest(1)).handlers[1]
        log = GuestLog(house.recorder, lambda: 0.0, everything=False)
        with capture_logs() as operators:
            log.sink(TENANT, DIGEST)(printed(b"mine", activation))
        uid = (await house.calls.get(key)).instance.uid
        assert await kept(house, LogKey(TENANT, uid)) == ["mine"]
        assert operators == []


@on_virtual_time
async def test_what_belongs_to_no_instance_is_a_rationed_hint_to_the_operator() -> None:
    async with serving() as house:
        await house.create()
        now = 0.0
        log = GuestLog(house.recorder, lambda: now, everything=False)
        with capture_logs() as operators:
            for _ in range(HINTS_A_MINUTE_MAX * 10):
                log.sink(TENANT, DIGEST)(printed(b"x" * 10_000))
            log.sink(TenantUid("another"), DIGEST)(printed(b"quiet"))
            now = 60.0
            log.sink(TENANT, DIGEST)(printed(None, dropped=7))
        assert len(operators) == HINTS_A_MINUTE_MAX + 2
        assert len(operators[0]["text"]) == HINT_LENGTH_MAX + 1
        assert (operators[-2]["tenant"], operators[-2]["text"]) == ("another", "quiet")
        assert operators[-1]["dropped"] == 7


@on_virtual_time
async def test_an_operator_who_wants_everything_gets_it_as_fields_that_forge_nothing() -> None:
    async with serving() as house:
        await house.create()
        activation = (await house.guest(1)).handlers[1]
        log = GuestLog(house.recorder, lambda: 0.0, everything=True)
        with capture_logs() as operators:
            log.sink(TENANT, DIGEST)(printed(b"\x1b[2J\n2026-01-01 [error] forged \xff\xe2\x80\xae", activation))
        [line] = operators
        assert line["event"] == "a tenant's code printed"
        assert (line["workflow"], line["instance"], line["step"]) == ("flow", "one", "a\ufffdstep")
        assert line["text"] == "\ufffd[2J\ufffd2026-01-01 [error] forged \ufffd\ufffd"

"""A guest that speaks the protocol fluently and lies: its instance pays for it, and no other; no journal is spoilt."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from data_plane.history import History
from data_plane.journal.store import InstanceKey
from loader.messages import GuestMessage, Hello, Loaded, Log, Pong, Unloadable
from stepwell.engine import fold
from stepwell.engine.status import status_of
from stepwell.errors import LimitExceededError, NotFoundError, WrongStateError
from tests.fuzz.budget import tries
from tests.fuzz.guest_messages import ENVELOPES, PAYLOADS
from tests.unit.data_plane.house import House, serving
from tests.unit.data_plane.virtual_loop import run, until

REFUSALS = (NotFoundError, WrongStateError, LimitExceededError)
OWN = (Hello, Loaded, Unloadable, Pong, Log)
"""What the host's end of the conversation keeps to itself."""

SAID = st.lists(st.tuples(ENVELOPES, PAYLOADS), min_size=1, max_size=6)
CALLS = st.sampled_from(["pause", "resume", "event", "terminate", "delete", "list"])
DOINGS = st.lists(SAID | CALLS | st.sampled_from([0.0, 0.5, 5.0, 60.0]), max_size=12)


@tries(100)
@given(DOINGS)
def test_a_lying_guest_harms_its_own_instance_alone(doings: list[Any]) -> None:
    faults: list[dict[str, Any]] = []

    async def live() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with serving() as house:
            liar, honest = await house.create("liar"), await house.create("honest")
            quiet = await house.guest(2)
            for doing in doings:
                await do(house, liar, doing)
            await asyncio.sleep(0.1)
            assert quiet.killed == []
            assert await house.status(honest) in ("running", "queued")
            check_journal(house, liar)

    with capture_logs() as entries:
        run(live)
    assert faults == []
    assert [entry for entry in entries if entry["log_level"] in ("error", "critical")] == []


async def do(house: House, key: InstanceKey, doing: Any) -> None:
    """Let the liar say something, somebody call, or time pass."""
    match doing:
        case float():
            await asyncio.sleep(doing)
        case str():
            with suppress(*REFUSALS):
                await call(house, key, doing)
        case _:
            say(house, key, doing)


def say(house: House, key: InstanceKey, said: list[tuple[list[Any], bytes]]) -> None:
    """To the activation that the instance has now, whichever number the message has: a liar knows its own."""
    resident = house.server.peek(key)
    activation = resident.activation if resident is not None else None
    if activation is None or activation.dead:
        return
    batch = False
    for envelope, payload in said:
        message = msgspec.convert(envelope, GuestMessage)
        if not isinstance(message, OWN) and not activation.dead:
            activation.on_message(message, payload)
            batch = True
    if batch:
        activation.on_batch_end()


async def call(house: House, key: InstanceKey, name: str) -> None:
    calls = house.calls
    match name:
        case "pause" | "resume" | "terminate":
            await getattr(calls, name)(key, "")
        case "event":
            await calls.send_event(key, "go", b"1", "")
        case "delete":
            await calls.delete(key, "")
        case "list":
            await calls.list(key.tenant, key.workflow, limit=10, token="", statuses=frozenset())


def check_journal(house: House, key: InstanceKey) -> None:
    """What stands there can be read again, and tells the same to whoever reads it."""
    records = house.records(key)
    history = History()
    for record in records:
        history.add(record)
    folded = fold.replay(records)
    if records:
        assert status_of(folded) == status_of(history.instance)


def test_the_liar_of_these_tests_gets_through() -> None:
    """Legal words do something: so that the test above tries more than refusals."""

    async def live() -> None:
        async with serving() as house:
            key = await house.create("liar")
            await house.guest(1)
            say(house, key, [(["result", 1, "a", 1, 1, 5], b"1"), (["returned", 1], b"2")])
            await until(lambda: status_of(house.server.peek(key).instance) == "complete")  # type: ignore[union-attr]

    run(live)

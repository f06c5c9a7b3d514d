"""A guest killed after every record: another process goes on from the journal, over the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loader import messages
from tests.replay.guest_process import NOW_MS, GuestProcess

_PROGRAM = """
import asyncio
from stepwell import WorkflowEntrypoint

class Main(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do()
        async def shaky():
            raise KeyError("gone")

        @step.do("thread", config={"retries": {"limit": 0}})
        def thread():
            return {"when": 1}

        async def nap(name):
            await step.sleep(name, 1000)
            return name

        try:
            await shaky()
        except KeyError as error:
            told = str(error)
        first, second = await asyncio.gather(nap("a"), thread())
        news = await step.wait_for_event("news", "kind")
        return [told, first, second, news.payload, [await thread(), await nap("a")]]
"""


def _finished(guest: GuestProcess, journal: list[tuple[Any, ...]]) -> bytes:
    """Be the host until the instance returns; add each completion to the journal before the guest hears of it."""

    def record(kind: str, message: Any, outcome: str, detail: object, payload: bytes) -> None:
        journal.append((kind, message.name, message.count, outcome, detail, payload))
        live = "held" if outcome == "value" else outcome
        guest.send(messages.completion(1, kind, message.name, message.count, NOW_MS, live, detail, payload))  # type: ignore[arg-type]

    while True:
        message, payload = guest.next()
        match message:
            case messages.Result():
                record("do", message, "value", None, payload)
            case messages.Failed():
                error = message.error
                record("do", message, "error", [error.module, error.type, error.message, error.traceback, None], b"")
            case messages.Sleep():
                record("sleep", message, "fired", None, b"")
            case messages.Wait():
                record("waitForEvent", message, "event", ["kind", NOW_MS], b'"event"')
            case messages.Mismatch() | messages.Raised():
                raise AssertionError(message)
            case messages.Returned():
                return payload


def test_a_guest_that_is_killed_after_any_record_is_followed_by_one_that_ends_alike(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(_PROGRAM)
    journal: list[tuple[Any, ...]] = []
    with GuestProcess() as guest:
        guest.load(tmp_path, "main:Main")
        guest.start()
        output = _finished(guest, journal)
    assert len(journal) == 6
    for count in range(len(journal) + 1):
        with GuestProcess() as guest:
            guest.load(tmp_path, "main:Main")
            guest.start(recorded=count)
            for kind, name, number, outcome, detail, payload in journal[:count]:
                guest.send(messages.completion(1, kind, name, number, NOW_MS, outcome, detail, payload))
            again = list(journal[:count])
            assert _finished(guest, again) == output
            assert sorted(each[:3] for each in again) == sorted(each[:3] for each in journal)

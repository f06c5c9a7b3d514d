"""The whole examples of the documentation run, in a guest, and return what the page says they do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from loader import messages
from tests.replay.guest_process import NOW_MS, GuestProcess
from tests.unit.docs.pages import PAGES, blocks, unexpected


class Host(GuestProcess):
    """Grants everything at once; every event has the example's payload."""

    event = b"null"
    cancelled: str | None = None
    """What it is cancelled for, as soon as it waits for an event."""

    def complete(self, message: Any, outcome: Any, detail: object = None, payload: bytes = b"") -> None:
        if outcome == "event" and self.cancelled is not None:
            frame = messages.completion(message.act, "cancel", "", 1, NOW_MS, "cancelled", self.cancelled)
            self.cancelled = None
            self.send(frame)
        else:
            super().complete(message, outcome, detail, self.event if outcome == "event" else payload)


def examples() -> list[Any]:
    return [
        pytest.param(block.terms, block.source, id=f"{block.page}: {_class_in(block.source)}")
        for block in blocks("run")
    ]


def _class_in(source: str) -> str:
    found = re.search(r"^class (\w+)\(WorkflowEntrypoint\)", source, re.MULTILINE)
    assert found is not None, "an example has a workflow"
    return found[1]


@pytest.mark.parametrize(("terms", "source"), examples())
def test_an_example_returns_what_its_page_says(terms: dict[str, Any], source: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(source, encoding="utf-8")
    entrypoint = f"main:{_class_in(source)}"
    with Host() as host:
        host.event = json.dumps(terms.get("event")).encode()
        host.cancelled = terms.get("cancel")
        assert isinstance(host.load(tmp_path, entrypoint), messages.Loaded)
        host.start(entrypoint=entrypoint, params=json.dumps(terms.get("params")).encode())
        last, output = host.serve()
    if "errored" in terms:
        assert isinstance(last, messages.Raised), last
        assert (last.error.message, last.rolled_back, last.rollback_error) == (terms["errored"], True, None)
        return
    assert isinstance(last, messages.Returned), last
    assert json.loads(output) == terms["output"]


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_is_one_that_is_run(page: str) -> None:
    assert unexpected(page) == 0

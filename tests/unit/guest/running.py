"""Bundles of one workflow, run by a whole guest, and what it said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loader import messages
from tests.replay.guest_process import GuestProcess

_HEAD = "import asyncio, os, sys, threading, time\nfrom stepwell import *\nclass Main(WorkflowEntrypoint):\n"


def write(bundle: Path, *lines: str, name: str = "main.py") -> Path:
    """A module whose `Main.run` is these lines."""
    body = "\n".join(f"        {line}" for line in lines)
    (bundle / name).write_text(f"{_HEAD}    async def run(self, event, step):\n{body}\n")
    return bundle


def run(guest: GuestProcess, bundle: Path, *lines: str, **load: Any) -> tuple[Any, bytes]:
    """Load it, start it, grant it everything; its last word."""
    assert isinstance(guest.load(write(bundle, *lines), "main:Main", **load), messages.Loaded)
    guest.start()
    return guest.serve()


def of(guest: GuestProcess, kind: str) -> list[Any]:
    return [message for message, _ in guest.seen if type(message).__name__ == kind]


def logs(guest: GuestProcess) -> list[tuple[str, int, int, str]]:
    return [(m.name, m.attempt, m.stream, p.decode()) for m, p in guest.seen if type(m).__name__ == "Log"]

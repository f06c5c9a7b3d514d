"""The Python on the pages: workflows that are run in a guest, and programs that are run against a server.

A block stands behind a comment that says what to expect: `<!-- run: {"params": …, "event": …, "output": …} -->` for a
workflow, `event` being the payload of every event that it waits for, and `"errored": message` for one that fails and is
rolled back; `<!-- program: {"last line": …} -->` for a
program, by what it prints last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("README.md", "docs/authoring.md", "sdk/README.md")
_BLOCK = re.compile(r"^<!-- (run|program): (\{[^\n]*\}) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python$", re.MULTILINE)


class Block(NamedTuple):
    """One of them."""

    page: str
    terms: dict[str, Any]
    source: str


def blocks(kind: Literal["run", "program"]) -> Iterator[Block]:
    """All of that kind, in the order of their pages."""
    for page in PAGES:
        for found, terms, source in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
            if found == kind:
                yield Block(page, json.loads(terms), source)


def unexpected(page: str) -> int:
    """How many blocks of Python there have nothing that says what to expect."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return len(_PYTHON.findall(text)) - len(_BLOCK.findall(text))

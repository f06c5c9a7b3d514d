"""The tables of a Markdown page, as rows that a test can hold against the code."""

from __future__ import annotations

import re
from collections.abc import Iterator

Row = dict[str, str]
"""Cells by the head of their column."""


def rows(page: str, heading: str) -> list[Row]:
    """All rows below that heading, up to the next one of any level."""
    match = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert match is not None, f"there is no heading {heading!r}"
    return list(_rows(match[1]))


def _rows(text: str) -> Iterator[Row]:
    head: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            head = []
        elif not head:
            head = _cells(line)
        elif not set(line) <= set("|- :"):
            yield dict(zip(head, _cells(line), strict=True))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]

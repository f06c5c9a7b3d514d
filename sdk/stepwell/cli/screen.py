"""What people see: with colour and tables on a terminal, plain aligned text anywhere else.

Text reaches it as cells, cleaned here and never parsed as markup. rich is imported on a terminal only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from stepwell.cli.clean import clean, clean_block

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

ROOM_MIN = 10

Tone = Literal["plain", "bold", "dim", "good", "bad", "busy", "waiting"]

_STYLES: dict[Tone, str] = {
    "plain": "", "bold": "bold", "dim": "dim", "good": "green", "bad": "red", "busy": "cyan", "waiting": "yellow",
}  # fmt: skip
_TONES: dict[str, Tone] = {
    "complete": "good", "errored": "bad", "terminated": "bad", "cancelled": "dim", "running": "busy",
    "retrying": "waiting", "waiting": "waiting", "paused": "waiting", "waitingForPause": "waiting", "queued": "dim",
    "ok": "good", "warning": "waiting", "buffered": "waiting", "taken": "good", "dead": "bad",
}  # fmt: skip
_MARKS = {
    "complete": "✓", "errored": "✗", "terminated": "✗", "cancelled": "–", "running": "▶", "retrying": "↻",
    "waiting": "◷", "paused": "‖", "waitingForPause": "‖", "queued": "○", "ok": "✓", "warning": "!", "buffered": "◷",
    "taken": "✓", "dead": "✗",
}  # fmt: skip


class Cell(NamedTuple):
    """A piece of text and how it looks on a terminal."""

    text: str
    tone: Tone = "plain"


def status(text: str) -> Cell:
    """A status in its colour."""
    return Cell(text, _TONES.get(text, "plain"))


class Screen:
    """Standard output, for people."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        self._opened: Console | None = None

    def marked(self, text: str) -> Cell:
        """A status with its sign in front, where signs are read by people."""
        mark = _MARKS.get(text)
        return Cell(f"{mark} {text}" if self.terminal and mark else text, _TONES.get(text, "plain"))

    def line(self, *cells: Cell | str) -> None:
        """Cells beside each other."""
        if not self.terminal:
            click.echo("".join(clean(_cell(cell).text) for cell in cells).rstrip())
            return
        from rich.text import Text

        self._console().print(Text("").join(map(self._text, cells)), soft_wrap=True)

    def block(self, text: str, tone: Tone = "plain", margin: str = "  ") -> None:
        """Lines that belong together, such as a traceback."""
        for line in clean_block(text).rstrip("\n").split("\n"):
            self.line(Cell(margin + line.expandtabs(4), tone))

    def aside(self, text: str) -> None:
        """A line beside the data, on stderr."""
        click.echo(clean(text), err=True)

    def facts(self, facts: Sequence[tuple[str, Cell | str]]) -> None:
        """Named values below each other."""
        width = max(len(name) for name, _ in facts)
        for name, value in facts:
            self.line(Cell(f"  {name:<{width}}  ", "dim"), value)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Cell | str]], *, margin: str = "") -> None:
        """Rows in aligned columns. The last column is cut to a terminal's width; nowhere else is anything cut."""
        cells = [[Cell(header, "dim") for header in headers], *([_clean(cell) for cell in row] for row in rows)]
        widths = [max(_width(cell.text) for cell in column) for column in zip(*cells, strict=True)]
        room = self._console().width - len(margin) - sum(width + 2 for width in widths[:-1]) if self.terminal else None
        for row in cells:
            padded = [
                Cell(cell.text + " " * (width - _width(cell.text) + 2), cell.tone)
                for cell, width in zip(row[:-1], widths, strict=False)
            ]
            last = row[-1] if room is None else Cell(_fitted(row[-1].text, room), row[-1].tone)
            self.line(margin, *padded, last)

    @staticmethod
    def _text(cell: Cell | str) -> Text:
        from rich.text import Text

        text, tone = _cell(cell)
        return Text(clean(text), style=_STYLES[tone])

    def _console(self) -> Console:
        if self._opened is None:
            from rich.console import Console

            self._opened = Console(markup=False, highlight=False, emoji=False)
        return self._opened


def _cell(cell: Cell | str) -> Cell:
    return Cell(cell) if isinstance(cell, str) else cell


def _clean(cell: Cell | str) -> Cell:
    text, tone = _cell(cell)
    return Cell(clean(text), tone)


def _fitted(text: str, room: int) -> str:
    """At most so many columns; a terminal that is too narrow for the rest of the row gets the text whole, wrapped."""
    if room < ROOM_MIN or _width(text) <= room:
        return text
    kept, used = "", 1
    for character in text:
        used += _width(character)
        if used > room:
            break
        kept += character
    return kept + "…"


def _width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)

"""How every list looks to people."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.cli.screen import Cell, Screen


def show_page(
    screen: Screen, headers: Sequence[str], rows: Sequence[Sequence[Cell | str]], next_page_token: str, when_empty: str
) -> None:
    """The table on stdout; that there is nothing, or more, on stderr."""
    if rows:
        screen.table(headers, rows)
    else:
        screen.aside(when_empty)
    if next_page_token:
        screen.aside(f"There are more: --page-token {next_page_token}")

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
    show_more(screen, bool(rows), next_page_token, when_empty)


def show_more(screen: Screen, some: bool, next_page_token: str, when_empty: str) -> None:
    """On stderr: that there is nothing, or more."""
    if not some:
        screen.aside(when_empty)
    if next_page_token:
        screen.aside(f"There are more: --page-token {next_page_token}")

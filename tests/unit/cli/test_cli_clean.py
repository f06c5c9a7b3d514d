from __future__ import annotations

import pytest

from stepwell.cli.clean import clean, clean_block, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字 🎉", "plain é 漢字 🎉"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("a\x00b\x07c\x7fd\x9be\x80f", "abcdef"),
        ("one\ntwo\tthree\rfour\u2028five", "one two three four five"),
        ("\u202egnp.exe\u2066x\u2069\u200f\u061c", "gnp.exex"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_line_loses_what_a_terminal_would_act_upon(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_block_keeps_its_lines_and_tabs() -> None:
    assert clean_block("a\r\n\tb\x1b\nc\u202e") == "a\n\tb\nc"


def test_what_is_cut_shows_it() -> None:
    assert (shortened("abcdef", 4), shortened("abcd", 4)) == ("abc…", "abcd")

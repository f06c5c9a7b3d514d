"""Tenant text made safe to show: without what a terminal would act upon.

Names, errors, messages and outputs are written by tenants' code. A control character in them could move the cursor,
recolour the screen or answer for the user; a bidi control could make one name look like another.
"""

from __future__ import annotations

_KEPT_IN_LINES = {0x09, 0x0A}
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_CONTROLS = {*range(0x20), 0x7F, *range(0x80, 0xA0)}
_LINE_BREAKS = {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029}

_IN_LINE: dict[int, str | None] = {
    **dict.fromkeys(_CONTROLS | _BIDI),
    **dict.fromkeys(_LINE_BREAKS, " "),
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
}
_IN_BLOCK = {code: to for code, to in _IN_LINE.items() if code not in _KEPT_IN_LINES}


def clean(text: str) -> str:
    """The text on one line, without C0, C1 and bidi controls; lone surrogates, which can't be printed, are replaced."""
    return text.translate(_IN_LINE)


def clean_block(text: str) -> str:
    """The same, with its own lines and tabs kept."""
    return text.replace("\r\n", "\n").translate(_IN_BLOCK)


def shortened(text: str, length_max: int) -> str:
    """At most so many characters, and a sign where some are missing."""
    return text if len(text) <= length_max else text[: max(length_max - 1, 0)] + "…"

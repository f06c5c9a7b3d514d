"""What a bearer token looks like, `swk_<id>_<secret>`, and how its secret is kept out of sight.

Whatever is shown or logged goes through `hidden` in the end, so that a token which strayed into a message, a name or a
file's line is not given away by it. Standard library only.
"""

from __future__ import annotations

import re

ID_BYTES = 8
SECRET_BYTES = 32

TOKEN = re.compile(rf"swk_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
"""Its id, which is public, and its secret; to be matched in full."""

_WITHIN = re.compile(rf"(swk_([0-9a-f]{{{2 * ID_BYTES}}})_)[0-9a-f]{{8,}}")
"""A token within a text, or so much of one that its secret should not be seen."""


def hidden(text: str) -> str:
    """The text with `…` for each token's secret."""
    return _WITHIN.sub(r"\1…", text) if "swk_" in text else text


def id_within(text: str) -> str | None:
    """The id of the first token in the text, or None when there is none."""
    found = _WITHIN.search(text)
    return None if found is None else found[2]

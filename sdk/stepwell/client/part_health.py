"""What a server says of its parts to an operator, beside gRPC's health status: as metadata behind the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DETAIL: Final = "stepwell-detail-bin"
"""One text of UTF-8: what the part is, or why it does not serve."""

WARNING: Final = "stepwell-warning-bin"
"""Such a text for each thing that the operator should change."""


@dataclass(frozen=True, slots=True)
class PartHealth:
    """How a part of a server does. Without an operator's token there are no texts."""

    serves: bool
    detail: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, serves: bool, metadata: Iterable[tuple[str, str | bytes]]) -> PartHealth:
        """What came with an answer."""
        texts = [(key, value.decode(errors="replace")) for key, value in metadata if isinstance(value, bytes)]
        detail = next((text for key, text in texts if key == DETAIL), "")
        return cls(serves, detail, tuple(text for key, text in texts if key == WARNING))

"""One measured figure and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`figure` has the shape of the load in its name; `floor` is in the same unit."""

    figure: str
    value: float
    unit: str
    floor: float | None = None

    def line(self) -> dict[str, object]:
        ratio = self.value / self.floor if self.floor else None
        return {
            "figure": self.figure,
            "value": _short(self.value),
            "unit": self.unit,
            "floor": _short(self.floor),
            "ratio": _short(ratio),
        }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")

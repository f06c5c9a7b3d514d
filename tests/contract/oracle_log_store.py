"""The log store as a few lines of obvious code: the oracle that the adapters are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from data_plane.logs.limits import LogLimits
from data_plane.logs.store import Line, LogKey, NumberedLine


@dataclass
class Kept:
    number: int = 0
    lines: list[NumberedLine] = field(default_factory=list)
    newest_at: int = 0
    appends: dict[int, int] = field(default_factory=dict)
    """A line's number → that of the append that it came with."""

    def first_append(self) -> list[NumberedLine]:
        """The lines that came together with the oldest, itself included."""
        return [each for each in self.lines if self.appends[each.number] == self.appends[self.lines[0].number]]

    @property
    def size(self) -> int:
        return sum(line.size() for _, line in self.lines)


class OracleLogStore:
    """`LogStore` in this process's memory; `kept` outlives it, as a file would. With `by_append`, lines that came with
    one append go together."""

    def __init__(self, limits: LogLimits, kept: dict[LogKey, Kept], *, by_append: bool = False) -> None:
        self._limits = limits
        self._kept = kept
        self._by_append = by_append

    async def append(self, batch: Sequence[tuple[LogKey, Sequence[Line]]]) -> None:
        for key, lines in batch:
            kept = self._kept.setdefault(key, Kept())
            appended = len(kept.appends)
            for line in lines:
                kept.number += line.dropped + 1
                kept.appends[kept.number] = appended
                kept.lines.append(NumberedLine(kept.number, line))
                kept.newest_at = max(kept.newest_at, line.at)
            by_append = self._by_append
            _shrink(
                [kept],
                self._limits.instance_bytes_max,
                lambda kept, by_append=by_append: kept.first_append() if by_append else kept.lines[:1],
            )
        for tenant in {key.tenant for key, _ in batch}:
            of_tenant = [kept for key, kept in self._kept.items() if key.tenant == tenant]
            _shrink(of_tenant, self._limits.tenant_bytes_max, lambda kept: kept.lines)

    async def read(self, key: LogKey, *, after: int, step: str, limit: int) -> Sequence[NumberedLine]:
        found: list[NumberedLine] = []
        before = 0
        for number, line in self._kept.get(key, Kept()).lines:
            if number > after and step in ("", line.step):
                found.append(NumberedLine(number, replace(line, dropped=number - max(before, after) - 1)))
            before = number
        return found[:limit]

    async def delete(self, keys: Sequence[LogKey]) -> None:
        for key in keys:
            self._kept.pop(key, None)

    async def expire(self, before: int) -> bool:
        for key, kept in list(self._kept.items()):
            kept.lines = [each for each in kept.lines if each.line.at >= before]
            if not kept.lines and kept.newest_at < before:
                del self._kept[key]
        return False

    async def close(self) -> None:
        """Nothing is held."""


def _shrink(kept: list[Kept], bytes_max: int, go_together: object) -> None:
    assert callable(go_together)
    if sum(each.size for each in kept) <= bytes_max:
        return
    for each in sorted(kept, key=lambda each: each.newest_at):
        while each.lines and sum(one.size for one in kept) > bytes_max * 7 // 8:
            del each.lines[: len(go_together(each))]

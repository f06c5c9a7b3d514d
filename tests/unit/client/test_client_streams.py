from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import pytest

from stepwell.client.patience import Patience
from stepwell.client.streams import WORKED_S, resumed
from stepwell.errors import ApiError, NotFoundError, TokenRevokedError, UnavailableError


@dataclass(frozen=True)
class Item:
    cursor: str


class Broken:
    """A stream of five items. Each entry of `breaks` is how an opening of it ends: after that many items, that many
    seconds later, with that error."""

    def __init__(self, *breaks: tuple[int, float, ApiError]) -> None:
        self.breaks = list(breaks)
        self.opened: list[str] = []
        self.now = 0.0

    async def begin(self, cursor: str) -> AsyncGenerator[Item]:
        self.opened.append(cursor)
        count, later_s, error = self.breaks.pop(0) if self.breaks else (None, 0.0, None)
        for number in range(int(cursor or 0) + 1, 6):
            if count == 0:
                break
            yield Item(str(number))
            count = None if count is None else count - 1
        self.now += later_s
        if error is not None:
            raise error

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(
        self,
        *,
        resume_s: float = 60.0,
        tries_max: int = 20,
        begun: bool = False,
        over_once_gone: Callable[[Item | None], bool] = lambda _: False,
    ) -> AsyncGenerator[Item]:
        patience = Patience(None, tries_max, lambda: self.now, lambda: 0.0, self.sleep)
        return resumed(self.begin, "", patience, resume_s=resume_s, begun=begun, over_once_gone=over_once_gone)


async def seen(items: AsyncGenerator[Item]) -> list[str]:
    return [item.cursor async for item in items]


ALL = ["1", "2", "3", "4", "5"]
AWAY = UnavailableError("away")


async def test_a_stream_that_breaks_anywhere_is_whole_all_the_same() -> None:
    broken = Broken((0, 0, AWAY), (2, 0, AWAY), (0, 0, AWAY), (3, 0, AWAY))
    assert await seen(broken.read()) == ALL
    assert broken.opened == ["", "", "2", "2", "5"]


async def test_an_error_that_stays_ends_it() -> None:
    broken = Broken((2, 0, TokenRevokedError("revoked")))
    items = broken.read()
    assert [(await anext(items)).cursor, (await anext(items)).cursor] == ["1", "2"]
    with pytest.raises(TokenRevokedError):
        await anext(items)
    assert broken.opened == [""]


async def test_one_that_never_began_is_tried_as_a_call_is() -> None:
    broken = Broken(*[(0, 0.0, AWAY)] * 9)
    with pytest.raises(UnavailableError):
        await seen(broken.read(tries_max=3))
    assert broken.opened == [""] * 3


async def test_one_that_had_begun_is_tried_for_its_time_since_it_last_worked() -> None:
    broken = Broken((1, 0, AWAY), *[(0, 0.0, AWAY)] * 99)
    with pytest.raises(UnavailableError):
        await seen(broken.read(resume_s=60.0, tries_max=1))
    assert 50 < broken.now <= 60
    assert len(broken.opened) > 10


async def test_a_quiet_stream_that_breaks_once_an_hour_goes_on() -> None:
    broken = Broken((1, 0, AWAY), *[(0, 3600.0, AWAY)] * 20)
    assert await seen(broken.read(resume_s=WORKED_S)) == ALL


async def test_what_is_gone_once_it_had_ended_is_over() -> None:
    def broken() -> Broken:
        return Broken((2, 0, AWAY), (0, 0, NotFoundError("gone")))

    assert await seen(broken().read(over_once_gone=lambda last: last == Item("2"))) == ["1", "2"]
    with pytest.raises(NotFoundError):
        await seen(broken().read(over_once_gone=lambda last: last == Item("3")))

"""A workflow that goes: its route, its schedules, and when that is answered."""

from __future__ import annotations

import pytest

from cluster import keys
from cluster.codec import encode
from cluster.records import Schedule, TickDone, Ticked
from cluster.store import Put
from control_plane.workflow_removal import WorkflowRemoval
from stepwell.errors import NotFoundError
from tests.unit.control_plane.test_schedules import DAILY, HOURLY, ORDER, REPORT, Story


class Removing(Story):
    """The same, that removes workflows. `settled` has the revisions whose end was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[int] = []
        self.removal = WorkflowRemoval(self.setting.store, self._settle)

    async def _settle(self, revision: int) -> None:
        assert await self.setting.store.get(keys.route(self.tenant.uid, ORDER)) is None
        self.settled.append(revision)

    async def tick(self, schedule: Schedule) -> None:
        done = Ticked(self.tenant.uid, ORDER, (TickDone(schedule.cron, schedule.timezone, 5, 5),))
        await self.setting.store.txn((), (Put(keys.ticked(self.tenant.uid, ORDER), encode(done)),))


async def test_its_route_its_schedules_and_their_marks_go_and_others_stay() -> None:
    story = Removing()
    await story.begin()
    await story.deploy("1", order=[DAILY], report=[HOURLY])
    await story.tick(DAILY)
    await story.removal.remove(story.tenant, ORDER)
    assert [route.workflow for route in await story.setting.workflows.all(story.tenant.uid)] == [REPORT]
    assert set(await story.in_force()) == {REPORT}
    assert await story.setting.store.get(keys.ticked(story.tenant.uid, ORDER)) is None
    with pytest.raises(NotFoundError):
        await story.removal.remove(story.tenant, ORDER)


async def test_it_is_answered_once_nobody_follows_its_route() -> None:
    story = Removing()
    await story.begin()
    await story.deploy("1", order=[])
    before = await story.setting.store.revision()
    await story.removal.remove(story.tenant, ORDER)
    (settled,) = story.settled
    assert settled > before


async def test_a_pause_goes_with_it_and_a_deploy_brings_it_back_as_new() -> None:
    story = Removing()
    await story.begin()
    await story.deploy("1", order=[DAILY])
    await story.calls.pause(story.tenant, ORDER)
    await story.removal.remove(story.tenant, ORDER)
    assert await story.in_force() == {}
    await story.deploy("2", order=[HOURLY])
    assert [*(await story.in_force())[ORDER]] == [HOURLY.cron]
    (route,) = await story.setting.workflows.all(story.tenant.uid)
    assert route.before == ()

"""Which schedules are in force as routes change; paused, resumed and told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.records import CatchUp, Schedule, Schedules, Tenant, TickDone, Ticked, Version
from cluster.store import Put
from control_plane.limits import ControlLimits
from control_plane.retirement import Retirement
from control_plane.routes import Routes, Share
from control_plane.schedules import ScheduleCalls, Told
from loader.bundles.manifest import Manifest, WorkflowEntry
from stepwell.errors import BundleRefusedError, LimitExceededError, NotFoundError
from stepwell.names import TenantId, WorkflowId
from tests.unit.control_plane.settings import Pinned, Setting, files

ORDER, REPORT = WorkflowId("order"), WorkflowId("report")
DAILY, HOURLY = Schedule("0 9 * * *", "Europe/Berlin"), Schedule("0 * * * *", catch_up=CatchUp.NONE)


class Story:
    """A tenant that deploys workflows with schedules."""

    def __init__(self, limits: ControlLimits | None = None) -> None:
        self.setting = setting = Setting(limits)
        self.routes = Routes(setting.store, clock_ms=setting.clock_ms, limits=setting.limits)
        self.calls = ScheduleCalls(setting.store, clock_ms=setting.clock_ms)
        self.tenant: Tenant

    async def begin(self) -> Story:
        self.tenant = await self.setting.tenants.create(TenantId("acme"))
        return self

    async def deploy(self, code: str, *, no_route: bool = False, **schedules: Sequence[Schedule]) -> Version:
        entries = (WorkflowEntry(WorkflowId(name), "main:Flow", tuple(each)) for name, each in schedules.items())
        manifest = Manifest(tuple(entries), {})
        deployed = await self.setting.deploys.deploy(self.tenant, manifest, files(main=code), no_route=no_route)
        return deployed.version

    async def in_force(self) -> dict[str, dict[str, int]]:
        """Of each workflow, its expressions and since when; "paused" where it is."""
        stored = await self.setting.store.get(keys.schedules(self.tenant.uid))
        if stored is None:
            return {}
        return {
            workflow: {each.schedule.cron: each.since_ms for each in active} | ({"paused": 1} if paused else {})
            for workflow, paused, active in decode_value(Schedules, stored).workflows
        }


async def test_a_deploy_puts_its_schedules_in_force_and_the_next_one_keeps_those_that_stay() -> None:
    story = await Story().begin()
    version = await story.deploy("1", order=[DAILY, HOURLY], report=[])
    assert version.schedules == ((ORDER, (DAILY, HOURLY)),)
    first = await story.in_force()
    assert first.keys() == {"order"}
    assert first["order"].keys() == {DAILY.cron, HOURLY.cron}
    other = Schedule("5 5 * * *")
    await story.deploy("2", order=[DAILY._replace(catch_up=CatchUp.ALL), other])
    second = await story.in_force()
    assert second["order"].keys() == {DAILY.cron, other.cron}
    assert second["order"][DAILY.cron] == first["order"][DAILY.cron] < second["order"][other.cron]
    await story.deploy("3", order=[])
    assert await story.in_force() == {}


async def test_without_a_route_nothing_is_in_force() -> None:
    story = await Story().begin()
    await story.deploy("1", no_route=True, order=[DAILY])
    assert await story.in_force() == {}


async def test_the_version_with_the_most_weight_brings_its_schedules() -> None:
    story = await Story().begin()
    old = await story.deploy("1", no_route=True, order=[DAILY])
    new = await story.deploy("2", no_route=True, order=[HOURLY])
    for weight, expected in ((5, DAILY), (50, DAILY), (51, HOURLY), (10, DAILY)):
        await story.routes.set(story.tenant, ORDER, [Share(old.digest, 100 - weight), Share(new.digest, weight)])
        assert (await story.in_force())["order"].keys() == {expected.cron}
    await story.routes.promote(story.tenant, ORDER, None)
    assert (await story.in_force())["order"].keys() == {HOURLY.cron}
    await story.routes.set(story.tenant, ORDER, [Share(new.digest, 60), Share(old.digest, 40)])
    setting = story.setting

    async def settled(revision: int) -> None:
        pass

    retirement = Retirement(
        setting.store, setting.bundles, Pinned(), setting.turns, settled, clock_ms=setting.clock_ms,
        limits=setting.limits,
    )  # fmt: skip
    await retirement.drain(story.tenant, new.digest)
    assert (await story.in_force())["order"].keys() == {DAILY.cron}


async def test_a_pause_outlives_deploys_and_a_resume_makes_up_for_nothing() -> None:
    story = await Story().begin()
    await story.deploy("1", order=[DAILY])
    before = (await story.in_force())["order"][DAILY.cron]
    paused = await story.calls.pause(story.tenant, ORDER)
    assert paused.paused
    assert [each.next_ms for each in paused.schedules] == [None]
    assert await story.calls.pause(story.tenant, ORDER) == paused
    await story.deploy("2", order=[])
    assert await story.in_force() == {"order": {"paused": 1}}
    await story.deploy("3", order=[DAILY])
    assert (await story.in_force())["order"]["paused"]
    resumed = await story.calls.resume(story.tenant, ORDER)
    assert not resumed.paused
    assert resumed.schedules[0].next_ms is not None
    after = await story.in_force()
    assert "paused" not in after["order"]
    assert after["order"][DAILY.cron] > before
    assert await story.calls.resume(story.tenant, ORDER) == resumed
    assert await story.in_force() == after
    with pytest.raises(NotFoundError):
        await story.calls.pause(story.tenant, REPORT)


async def test_lists_tell_when_the_last_was_and_the_next_is() -> None:
    story = await Story().begin()
    await story.deploy("1", order=[DAILY], report=[HOURLY], zebra=[HOURLY])
    hour = 3_600_000
    done = Ticked(story.tenant.uid, ORDER, (TickDone(DAILY.cron, DAILY.timezone, 32 * hour, 8 * hour),))
    await story.setting.store.txn((), (Put(keys.ticked(story.tenant.uid, ORDER), encode(done)),))
    page = await story.calls.list(story.tenant, 2)
    assert [each.workflow for each in page.items] == ["order", "report"]
    assert page.items[0].schedules[0].last_ms == 8 * hour
    assert page.items[0].schedules[0].next_ms == (24 + 32) * hour  # 1970's Berlin has no summer time: 9:00 is 8:00 UTC
    assert page.items[1].schedules[0] == Told(HOURLY, hour, None)
    rest = await story.calls.list(story.tenant, 2, page.position)
    assert [each.workflow for each in rest.items] == ["zebra"]
    assert rest.position == ""


async def test_a_tenant_has_so_many_schedules_and_no_more() -> None:
    story = await Story(ControlLimits(schedules_max=2)).begin()
    await story.deploy("1", order=[DAILY], report=[HOURLY])
    with pytest.raises(LimitExceededError) as refused:
        await story.deploy("2", order=[DAILY, HOURLY])
    assert refused.value.metadata["limit"] == "schedules_max"
    assert (await story.in_force())["order"].keys() == {DAILY.cron}
    await story.deploy("3", report=[])
    await story.deploy("4", order=[DAILY, HOURLY])


async def test_what_can_not_be_followed_is_refused_with_its_workflow_and_expression() -> None:
    story = await Story().begin()
    for schedules, told in (
        ([Schedule("0 9 * * 1-5")], "'0 9 \\* \\* 1-5' of the workflow 'order'.*MON-FRI"),
        ([Schedule("0 9 * * *", "Mars/Olympus")], "'0 9 \\* \\* \\*' of the workflow 'order'.*no time zone"),
        ([DAILY, DAILY._replace(catch_up=CatchUp.ALL)], "there twice"),
    ):
        with pytest.raises(BundleRefusedError, match=told):
            await story.deploy("1", order=schedules)
    with pytest.raises(LimitExceededError) as refused:
        await story.deploy("1", order=[Schedule(f"{minute} * * * *") for minute in range(11)])
    assert refused.value.metadata["limit"] == "manifest_schedules_max"


def test_a_manifest_comes_back_from_its_bytes_and_without_schedules_they_are_what_they_were() -> None:
    plain = Manifest((WorkflowEntry(ORDER, "main:Flow"),), {})
    assert plain.canonical() == b'{"vars":{},"workflows":{"order":"main:Flow"}}'
    manifest = Manifest((WorkflowEntry(ORDER, "main:Flow", (HOURLY, DAILY)),), {})
    assert Manifest.from_canonical(manifest.canonical()).workflows[0].schedules == (HOURLY, DAILY)
    assert manifest.canonical() == Manifest((WorkflowEntry(ORDER, "main:Flow", (DAILY, HOURLY)),), {}).canonical()

"""How long what is runnable has waited to be started is known, whatever holds it up."""

from __future__ import annotations

from data_plane.journal.store import InstanceKey, PutRow
from data_plane.quotas import TenantLimits
from data_plane.unstarted import Unstarted
from data_plane.wakes import BUCKET_MS
from stepwell.errors import SandboxUnavailableError
from stepwell.workflow_limits import WorkflowLimits
from tests.unit.data_plane.fakes import KEY, MemoryStore
from tests.unit.data_plane.house import House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until

OTHER = KEY._replace(instance="two")  # type: ignore[arg-type]


def waited_ms(house: House) -> int:
    return house.node.unstarted_ms()[0]


async def pass_ms(house: House, ms: int) -> None:
    begin = house.node.clock()
    await until(lambda: house.node.clock() >= begin + ms)


def _nobody(key: InstanceKey) -> bool:
    return False


def test_the_oldest_counts_and_no_later_word_of_it_makes_it_younger() -> None:
    unstarted, nobody = Unstarted(), _nobody
    assert unstarted.oldest(nobody) is None
    unstarted.add(OTHER, 20)
    unstarted.add(KEY, 10)
    unstarted.add(KEY, 30)
    assert unstarted.oldest(nobody) == 10
    assert unstarted.oldest(lambda key: key == KEY) == 20
    unstarted.remove(KEY)
    unstarted.remove(KEY)
    assert unstarted.oldest(nobody) == 20


@on_virtual_time
async def test_an_instance_that_has_its_sandbox_waits_for_nothing() -> None:
    async with serving() as house:
        await house.create()
        await house.guest(1)
        await pass_ms(house, 600_000)
        assert waited_ms(house) == 0


@on_virtual_time
async def test_one_that_gets_no_sandbox_waits_since_it_was_created() -> None:
    async with serving() as house:
        house.loader.refusals = [SandboxUnavailableError("none", correlation_id="c")] * 20
        await house.create()
        await pass_ms(house, 30_000)
        assert 29_000 <= waited_ms(house) <= 31_000
        house.loader.refusals = []
        await house.guest(1)
        assert waited_ms(house) == 0


@on_virtual_time
async def test_one_behind_its_tenants_limit_waits_though_another_runs() -> None:
    async with serving(tenant_limits=TenantLimits(activations_max=1)) as house:
        await house.create("one")
        await house.guest(1)
        await house.create("two")
        await pass_ms(house, 20_000)
        assert 19_000 <= waited_ms(house) <= 21_000
        assert (house.node.activations, house.node.queued) == (1, 1)


@on_virtual_time
async def test_one_behind_its_workflows_own_limit_does_not_count() -> None:
    async with serving() as house:
        house.routes.limits = WorkflowLimits(concurrency=1)
        await house.create("one")
        await house.guest(1)
        await house.create("two")
        await pass_ms(house, 20_000)
        assert (waited_ms(house), house.node.queued) == (0, 1)


@on_virtual_time
async def test_a_sleeper_waits_from_when_it_is_due_and_not_from_when_it_fell_asleep() -> None:
    async with serving() as house:
        await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
        await pass_ms(house, 60_000)
        assert waited_ms(house) == 0
        house.store.reads_fail_next = 10_000
        await pass_ms(house, 60_000)
        assert 20_000 <= waited_ms(house) <= 31_000


@on_virtual_time
async def test_after_a_takeover_what_nobody_served_waits_since_it_was_due() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
        await pass_ms(house, 80_000)
        house.owned = False
        due = house.node.clock() + 10_000
        await pass_ms(house, 600_000)
        async with serving(store, epoch=2) as next_owner:
            next_owner.loader.refusals = [SandboxUnavailableError("none", correlation_id="c")] * 20
            await until(lambda: next_owner.node.queued + next_owner.node.activations == 1)
            assert abs(next_owner.node.clock() - waited_ms(next_owner) - due) < 1_000


@on_virtual_time
async def test_while_wakes_cant_be_read_something_may_wait() -> None:
    async with serving() as house:
        await pass_ms(house, 1_000)
        assert waited_ms(house) == 0
        house.store.wake_reads_fail_next = 10_000
        await pass_ms(house, 4 * BUCKET_MS)
        assert waited_ms(house) > 2 * BUCKET_MS
        house.store.wake_reads_fail_next = 0
        await until(lambda: waited_ms(house) == 0)


@on_virtual_time
async def test_a_create_that_is_not_durable_makes_nothing_wait() -> None:
    async with serving() as house:
        house.store.holds = lambda mutation: isinstance(mutation, PutRow)
        creating = house.tasks.create_task(house.create())
        await pass_ms(house, 30_000)
        assert house.node.queued == 0
        house.store.let_go()
        await creating
        await house.guest(1)
        assert waited_ms(house) == 0

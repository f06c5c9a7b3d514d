"""A version is drained, and goes once nothing needs it; whatever interrupts that is taken up by the same call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster import keys
from cluster.records import Route, Tenant
from control_plane.retirement import Retirement
from control_plane.routes import Routes, Share
from stepwell.errors import ConflictError, NotFoundError, UnavailableError, WrongStateError
from stepwell.names import Digest, TenantId, WorkflowId
from tests.unit.control_plane.settings import Pinned, Setting

ACME = TenantId("acme")
ORDER, BILL = WorkflowId("order"), WorkflowId("bill")


class Story:
    """A tenant with the versions A, B and C, of which no route names any. `while_settling` happens in the wait."""

    def __init__(self, *counts: int | Exception) -> None:
        self.setting = Setting()
        self.pinned = Pinned(*counts)
        self.settled: list[int] = []
        self.while_settling: Callable[[], Awaitable[object]] | None = None
        self.routes = Routes(self.setting.store, clock_ms=self.setting.clock_ms, limits=self.setting.limits)
        self.retirement = Retirement(
            self.setting.store, self.setting.bundles, self.pinned, self.setting.turns, self._settle,
            clock_ms=self.setting.clock_ms, limits=self.setting.limits,
        )  # fmt: skip
        self.digests: dict[str, Digest] = {}
        self.tenant: Tenant

    async def _settle(self, revision: int) -> None:
        self.settled.append(revision)
        if self.while_settling is not None:
            await self.while_settling()

    async def begin(self) -> Story:
        self.tenant = await self.setting.tenants.create(ACME)
        for letter in "ABC":
            await self.deploy(letter)
        return self

    async def deploy(self, letter: str) -> None:
        deployed = await self.setting.deploy(ACME, letter, "order", "bill", no_route=True)
        self.digests[letter] = deployed.version.digest

    async def route(self, text: str, workflow: WorkflowId = ORDER) -> Route:
        shares = [Share(self.digests[each[0]], int(each[1:])) for each in text.split()]
        return await self.routes.set(self.tenant, workflow, shares)

    async def drain(self, letter: str) -> dict[str, str]:
        return {
            each.workflow: self.text(each) for each in await self.retirement.drain(self.tenant, self.digests[letter])
        }

    async def retire(self, letter: str) -> None:
        await self.retirement.retire(self.tenant, self.digests[letter])

    def text(self, route: Route) -> str:
        letters = {digest: letter for letter, digest in self.digests.items()}
        return " ".join(f"{letters[target.digest]}{target.weight}" for target in route.targets)

    async def state(self, letter: str) -> str:
        """gone, retiring or there; the files too."""
        found = await self.setting.versions.find(self.tenant.uid, self.digests[letter])
        has_files = (self.tenant.uid, self.digests[letter]) in self.setting.bundles.kept
        return f"{'gone' if found is None else 'retiring' if found.retiring else 'there'}{', files' * has_files}"


async def test_a_version_is_drained_out_of_all_routes_at_once() -> None:
    story = await Story().begin()
    await story.route("A60 B20 C20")
    await story.route("B100", BILL)
    await story.route("C100", BILL)
    assert await story.drain("A") == {"order": "B50 C50"}
    await story.route("A10 B30 C60")
    await story.route("A50 C50", BILL)
    before = await story.setting.store.revision()
    assert await story.drain("A") == {"bill": "C100", "order": "B34 C66"}
    assert await story.setting.store.revision() == before + 1
    written = await story.setting.written()
    assert await story.drain("A") == {}
    assert await story.setting.written() == written


async def test_a_routes_only_version_is_not_drained_and_no_other_route_changes() -> None:
    story = await Story().begin()
    await story.route("A100")
    await story.route("A50 B50", BILL)
    with pytest.raises(WrongStateError, match="only one of the route of 'order'"):
        await story.drain("A")
    assert [story.text(each) for each in await story.setting.workflows.all(story.tenant.uid)] == ["A50 B50", "A100"]


async def test_a_version_that_nothing_needs_goes_with_its_files() -> None:
    story = await Story().begin()
    await story.retire("A")
    assert await story.state("A") == "gone"
    listed = await story.setting.versions.list(story.tenant.uid, 10)
    assert story.digests["A"] not in {each.digest for each in listed.items}
    assert story.pinned.asked == [(story.digests["A"], (BILL, ORDER))] * 2
    with pytest.raises(NotFoundError):
        await story.retire("A")


async def test_a_version_that_is_routed_or_has_instances_stays_as_it_is() -> None:
    story = await Story(0, 3).begin()
    await story.route("A90 B10")
    with pytest.raises(WrongStateError, match="in the route of 'order'"):
        await story.retire("B")
    with pytest.raises(WrongStateError, match=r"3 instances of version .* have not ended") as refused:
        await story.retire("C")
    assert refused.value.metadata["pinned"] == "3"
    assert (await story.state("B"), await story.state("C")) == ("there, files", "there, files")
    assert story.settled == []


async def test_an_instance_that_was_created_by_an_older_route_is_found_and_the_version_stays() -> None:
    story = await Story(0, 1).begin()
    with pytest.raises(WrongStateError, match=r"1 instance of version .* has not ended"):
        await story.retire("A")
    assert await story.state("A") == "there, files"
    assert story.settled == [await story.setting.store.revision() - 1]
    await story.route("A100")


async def test_nothing_can_come_to_need_a_version_that_is_retiring() -> None:
    story = await Story().begin()
    await story.route("A100")
    await story.route("B100")
    refused = 0

    async def meanwhile() -> None:
        nonlocal refused
        for call in (
            story.route("A100"),
            story.route("B50 A50"),
            story.routes.roll_back(story.tenant, ORDER),
            story.deploy("A"),
            story.setting.deploy(ACME, "A", "order", "bill"),
        ):
            with pytest.raises(ConflictError, match="is being retired"):
                await call
            refused += 1

    story.while_settling = meanwhile
    await story.retire("A")
    assert refused == 5
    assert await story.state("A") == "gone"
    with pytest.raises(WrongStateError, match="which was retired"):
        await story.routes.roll_back(story.tenant, ORDER)


async def test_the_same_files_bring_a_retired_version_back() -> None:
    story = await Story().begin()
    await story.retire("A")
    await story.deploy("A")
    assert await story.state("A") == "there, files"
    await story.route("A100")


async def test_what_was_interrupted_is_taken_up_and_waits_again() -> None:
    story = await Story(0, UnavailableError("no owner")).begin()
    with pytest.raises(UnavailableError):
        await story.retire("A")
    assert await story.state("A") == "retiring, files"
    await story.retire("A")
    assert await story.state("A") == "gone"
    assert len(story.settled) == 2


async def test_files_that_are_gone_already_are_no_hindrance() -> None:
    story = await Story(0, UnavailableError("no owner")).begin()
    with pytest.raises(UnavailableError):
        await story.retire("A")
    await story.setting.bundles.delete(story.tenant.uid, story.digests["A"])
    await story.retire("A")
    assert await story.state("A") == "gone"


async def test_two_who_retire_the_same_version_do_not_harm_one_that_is_deployed_after() -> None:
    """The slower one finds it gone, or there again, and takes nothing of it away."""
    story = await Story().begin()
    at_once = iter((0, 1))
    begun, waiting = asyncio.Event(), asyncio.Event()

    async def meanwhile() -> None:
        if next(at_once) == 0:
            begun.set()
            await waiting.wait()

    story.while_settling = meanwhile
    slower = asyncio.ensure_future(story.retire("A"))
    await begun.wait()
    await story.retire("A")
    await story.deploy("A")
    waiting.set()
    with pytest.raises(ConflictError, match="was changed while"):
        await slower
    assert await story.state("A") == "there, files"


async def test_usage_tells_routes_and_instances() -> None:
    story = await Story(7).begin()
    await story.route("A50 B50")
    usage = await story.retirement.usage(story.tenant, story.digests["B"])
    assert (usage.routed, usage.pinned) == ((ORDER,), 7)
    with pytest.raises(NotFoundError):
        await story.retirement.usage(story.tenant, Digest("sha256-" + "0" * 64))


async def test_the_mark_is_made_where_no_route_can_slip_in() -> None:
    """A route that is set between the count and the mark is seen by the mark's transaction."""
    story = await Story().begin()
    count = story.pinned.count

    async def and_route(*of: object) -> int:
        await story.route("A100")
        return await count(*of)  # type: ignore[arg-type]

    story.pinned.count = and_route  # type: ignore[assignment,method-assign]
    with pytest.raises(WrongStateError, match="in the route of"):
        await story.retire("A")
    assert await story.state("A") == "there, files"
    assert await story.setting.store.get(keys.route(story.tenant.uid, ORDER)) is not None


async def test_who_was_overtaken_does_not_go_by_another_calls_mark() -> None:
    """It has waited for its own alone."""
    story = await Story().begin()
    rounds = iter(range(9))

    async def meanwhile() -> None:
        if next(rounds) == 0:
            story.pinned.counts[:] = [1]
            with pytest.raises(WrongStateError):
                await story.retire("A")
            story.pinned.counts[:] = [0, UnavailableError("no owner")]
            with pytest.raises(UnavailableError):
                await story.retire("A")

    story.while_settling = meanwhile
    with pytest.raises(ConflictError, match="was changed while"):
        await story.retire("A")
    assert await story.state("A") == "retiring, files"


async def test_a_tenants_counts_are_made_one_after_the_other() -> None:
    story = await Story().begin()
    counting, most, may_end = 0, 0, asyncio.Event()
    begun = asyncio.Event()

    async def count(*_: object) -> int:
        nonlocal counting, most
        counting += 1
        most = max(most, counting)
        begun.set()
        await may_end.wait()
        counting -= 1
        return 0

    story.pinned.count = count  # type: ignore[assignment,method-assign]
    async with asyncio.TaskGroup() as tasks:
        for letter in "ABC":
            tasks.create_task(story.retirement.usage(story.tenant, story.digests[letter]))
        await begun.wait()
        may_end.set()
    assert most == 1

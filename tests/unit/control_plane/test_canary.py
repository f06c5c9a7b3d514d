"""A route with several versions: by weight, promoted, rolled back, each told from what to what."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster import keys
from cluster.records import Route, Target, Tenant
from cluster.store import Delete
from control_plane.limits import ControlLimits
from control_plane.route_changes import HISTORY_MAX, TARGETS_MAX
from control_plane.routes import Routes, Share
from stepwell.errors import ConflictError, InvalidArgumentError, LimitExceededError, NotFoundError, WrongStateError
from stepwell.names import Digest, TenantId, WorkflowId
from tests.unit.control_plane.settings import Setting

ACME = TenantId("acme")
ORDER = WorkflowId("order")
WEIGHTS = (97, 1, 1, 1)


class Story:
    """A tenant whose versions are called by letters, deployed without routes."""

    def __init__(self) -> None:
        self.setting = Setting(ControlLimits())
        self.routes = Routes(self.setting.store, clock_ms=self.setting.clock_ms, limits=self.setting.limits)
        self.digests: dict[str, Digest] = {}
        self.tenant: Tenant

    async def begin(self, letters: str = "ABCDE") -> Story:
        self.tenant = await self.setting.tenants.create(ACME)
        for letter in letters:
            deployed = await self.setting.deploy(ACME, letter, "order", no_route=True)
            self.digests[letter] = deployed.version.digest
        return self

    def shares(self, text: str) -> list[Share]:
        """Of "A95 B5"."""
        return [Share(self.digests[each[0]], int(each[1:])) for each in text.split()]

    async def set(self, text: str, etag: str = "") -> Route:
        return await self.routes.set(self.tenant, ORDER, self.shares(text), etag)

    async def promote(self, letter: str = "", etag: str = "", request_id: str = "") -> str:
        digest = self.digests[letter] if letter else None
        changed = await self.routes.promote(self.tenant, ORDER, digest, etag, request_id)
        return f"{self.text(changed.replaced)} -> {self.text(changed.route.targets)}"

    async def roll_back(self, etag: str = "", request_id: str = "") -> str:
        changed = await self.routes.roll_back(self.tenant, ORDER, etag, request_id)
        return f"{self.text(changed.replaced)} -> {self.text(changed.route.targets)}"

    async def now(self) -> str:
        return self.text((await self.setting.workflows.get(self.tenant.uid, ORDER)).targets)

    def text(self, targets: Sequence[Target]) -> str:
        letters = {digest: letter for letter, digest in self.digests.items()}
        return " ".join(f"{letters[target.digest]}{target.weight}" for target in targets)


async def test_a_canary_is_promoted_and_one_roll_back_takes_it_away() -> None:
    story = await Story().begin()
    for text in ("A100", "A95 B5", "A80 B20"):
        await story.set(text)
        assert await story.now() == text
    assert await story.promote() == "A80 B20 -> B100"
    assert await story.roll_back() == "B100 -> A100"
    with pytest.raises(WrongStateError, match="no version came in"):
        await story.roll_back()


async def test_a_canary_is_rolled_back_before_it_was_promoted() -> None:
    story = await Story().begin()
    for text in ("A100", "A95 B5", "A50 B50"):
        await story.set(text)
    assert await story.roll_back() == "A50 B50 -> A100"


async def test_a_canary_that_was_taken_away_by_hand_needs_no_roll_back() -> None:
    story = await Story().begin()
    for text in ("A100", "B100", "B95 C5", "B100"):
        await story.set(text)
    assert await story.roll_back() == "B100 -> A100"


async def test_a_deploy_can_be_rolled_back_also_when_it_ended_a_canary() -> None:
    story = await Story().begin("AB")
    await story.set("A90 B10")
    deployed = await story.setting.deploy(ACME, "new", "order")
    story.digests["N"] = deployed.version.digest
    assert await story.roll_back() == "N100 -> A90 B10"


async def test_a_route_remembers_only_so_much() -> None:
    story = await Story().begin()
    for letter in "ABCDE":
        await story.set(f"{letter}100")
    for _ in range(HISTORY_MAX):
        await story.roll_back()
    assert await story.now() == "B100"
    with pytest.raises(WrongStateError, match="can't be rolled back"):
        await story.roll_back()


async def test_what_is_promoted_is_named_unless_there_is_one_canary() -> None:
    story = await Story().begin()
    await story.set("A100")
    with pytest.raises(WrongStateError, match="has 1 version, "):
        await story.promote()
    await story.set("A90 B5 C5")
    with pytest.raises(WrongStateError, match="has 3 versions, "):
        await story.promote()
    with pytest.raises(NotFoundError, match="has no version"):
        await story.promote("D")
    assert await story.promote("B") == "A90 B5 C5 -> B100"
    written = await story.setting.written()
    assert await story.promote("B") == "B100 -> B100"
    assert await story.setting.written() == written


async def test_a_version_that_is_gone_is_not_rolled_back_to() -> None:
    story = await Story().begin()
    await story.set("A100")
    await story.set("B100")
    await story.setting.store.txn((), (Delete(keys.version(story.tenant.uid, story.digests["A"])),))
    with pytest.raises(WrongStateError, match="which was retired"):
        await story.roll_back()
    assert await story.now() == "B100"


async def test_a_call_that_is_sent_again_is_the_same_call() -> None:
    story = await Story().begin()
    for text in ("A100", "B100", "B95 C5"):
        await story.set(text)
    etag = str((await story.setting.workflows.get(story.tenant.uid, ORDER)).mod_revision)
    for _ in range(2):
        assert await story.promote(etag=etag, request_id="r1") == "B95 C5 -> C100"
    for _ in range(2):
        assert await story.roll_back(request_id="r2") == "C100 -> B100"
    assert await story.roll_back(request_id="r3") == "B100 -> A100"
    with pytest.raises(InvalidArgumentError, match="used for another"):
        await story.promote("A", request_id="r3")


async def test_an_etag_lets_one_of_two_through() -> None:
    story = await Story().begin()
    await story.set("A100")
    etag = str((await story.set("A95 B5")).mod_revision)
    await story.set("A80 B20", etag)
    for call in (story.promote, story.roll_back):
        with pytest.raises(ConflictError, match="look at it again"):
            await call(etag=etag)


async def test_a_route_that_is_not_there_is_not_changed() -> None:
    story = await Story().begin("A")
    for call in (story.promote, story.roll_back):
        with pytest.raises(NotFoundError, match="no workflow"):
            await call()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("A95 B6", "targets"),
        ("A95", "targets"),
        ("A100 B0", "targets[1].weight"),
        ("A101 B-1", "targets[0].weight"),
        ("A50 A50", "targets[1].version"),
        ("", "targets"),
    ],
)
async def test_shares_that_are_no_whole_are_refused(text: str, field: str) -> None:
    story = await Story().begin()
    with pytest.raises(InvalidArgumentError) as refused:
        await story.set(text)
    assert refused.value.metadata["field"] == field


async def test_a_route_has_few_versions() -> None:
    story = await Story().begin()
    await story.set("A97 B1 C1 D1")
    with pytest.raises(LimitExceededError) as refused:
        await story.set("A96 B1 C1 D1 E1")
    assert refused.value.metadata["value"] == str(TARGETS_MAX)


async def test_every_version_of_a_route_has_its_workflow() -> None:
    story = await Story().begin("A")
    other = await story.setting.deploy(ACME, "other", "bill", no_route=True)
    story.digests["B"] = other.version.digest
    with pytest.raises(NotFoundError, match="has no workflow 'order'"):
        await story.set("A95 B5")
    story.digests["B"] = Digest("sha256-" + "0" * 64)
    with pytest.raises(NotFoundError, match="no version"):
        await story.set("A95 B5")


async def test_the_largest_deploy_with_the_longest_history_fits_one_transaction() -> None:
    """100 workflows with the longest names and entrypoints, each route as full as it may be."""
    setting = Setting(ControlLimits())
    tenant = await setting.tenants.create(ACME)
    routes = Routes(setting.store, clock_ms=setting.clock_ms, limits=setting.limits)
    workflows = [f"w{number:03d}{'x' * 60}" for number in range(100)]
    letters = [str(number) for number in range(HISTORY_MAX * TARGETS_MAX + TARGETS_MAX)]
    deployed = [await setting.deploy(ACME, code, *workflows, no_route=True) for code in letters]
    for start in range(0, len(deployed), TARGETS_MAX):
        batch = deployed[start : start + TARGETS_MAX]
        shares = [Share(each.version.digest, WEIGHTS[number]) for number, each in enumerate(batch)]
        for workflow in workflows:
            await routes.set(tenant, WorkflowId(workflow), shares)
    after = await setting.deploy(ACME, "last", *workflows)
    assert len(after.routes) == len(workflows)
    assert all(len(route.before) == HISTORY_MAX for route in after.routes)

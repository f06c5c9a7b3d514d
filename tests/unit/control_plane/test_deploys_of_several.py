"""Several control servers deploy for one tenant: each in its turn, whoever of them dies or stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from cluster import keys
from cluster.lease import TTL_S
from cluster.store import Compare, KeyValue, LeaseStore, Operation, TxnResult, WatchBatch
from control_plane.deploys import Deployed
from control_plane.limits import ControlLimits
from control_plane.turns import TurnLostError
from control_plane.turns_leased import LOOK_EVERY_S, WAIT_S, LeasedTurns
from stepwell.errors import BundleRefusedError, UnavailableError
from stepwell.names import Digest, TenantId, TenantUid
from tests.contract.memory_store import MemoryStore
from tests.unit.control_plane.settings import Check, Setting, files, manifest
from tests.unit.data_plane.house import on_virtual_time

ACME = TenantId("acme")


class Line:
    """A server's line to the store. From before a request of a key, or after it was read or written, nothing goes
    through until `goes_on` is set, where `stands_before`, `stands_read` or `stands_written` say so of the key.

    After `cut` was set, nobody tells what came of one transaction; after `lost`, it never comes, as nothing does that
    gives a turn up.
    """

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self.stands_before: Callable[[str], bool] = lambda key: False
        self.stands_read: Callable[[str], bool] = lambda key: False
        self.stands_written: Callable[[str], bool] = lambda key: False
        self.stands = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.cut = self.lost = False

    async def get(self, key: str) -> KeyValue | None:
        await self._pass(self.stands_before, key)
        found = await self._store.get(key)
        await self._pass(self.stands_read, key)
        return found

    async def range(self, prefix: str, *, after: str = "", limit: int) -> tuple[KeyValue, ...]:
        await self._pass()
        return await self._store.range(prefix, after=after, limit=limit)

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        written = [each.key for each in operations]
        await self._pass(self.stands_before, *written)
        if self.lost:
            self.lost = False
            raise UnavailableError("it never came")
        result = await self._store.txn(compares, operations)
        await self._pass(self.stands_written, *written)
        if self.cut:
            self.cut = False
            raise UnavailableError("nobody told")
        return result

    async def revision(self) -> int:
        return await self._store.revision()

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[WatchBatch, None]:
        return self._store.watch(prefix, after=after)

    async def grant_lease(self, ttl_s: int) -> int:
        await self._pass()
        return await self._store.grant_lease(ttl_s)

    async def keep_alive(self, lease: int) -> None:
        await self._pass()
        await self._store.keep_alive(lease)

    async def revoke_lease(self, lease: int) -> None:
        await self._pass()
        if self.lost:
            raise UnavailableError("it never came")
        await self._store.revoke_lease(lease)

    def stand(self) -> None:
        """From now on."""
        self.stands.set()
        self.goes_on.clear()

    async def _pass(self, stands: Callable[[str], bool] | None = None, *keys: str) -> None:
        if stands is not None and not self.stands.is_set() and any(map(stands, keys)):
            self.stand()
        await self.goes_on.wait()


class Server:
    """A control server. `check` of a bundle is as `Check` has it."""

    def __init__(self, setting: Setting, tasks: asyncio.TaskGroup, name: str) -> None:
        minted = iter(range(1_000))
        self._setting = setting
        self._tasks = tasks
        self.line = Line(setting.store)
        self.check = Check()
        turns = LeasedTurns(self.line, name, tasks, mint=lambda: f"{name}-{next(minted)}")
        self._deploys = setting.another(self.line, self.check, turns)

    def deploying(self, code: str = "code", tenant_id: TenantId = ACME) -> asyncio.Task[Deployed | Exception]:
        """Its outcome."""

        async def deploy() -> Deployed | Exception:
            tenant = await self._setting.tenants.get(tenant_id)
            try:
                return await self._deploys.deploy(tenant, manifest("order"), files(main=code))
            except Exception as error:
                return error

        return self._tasks.create_task(deploy())

    def checks(self, refuses: bool = False) -> tuple[asyncio.Event, asyncio.Event]:
        """Set when a check has begun, and to be set for it to end."""
        begun, ends = asyncio.Event(), asyncio.Event()

        async def check(tenant: TenantUid, digest: Digest) -> None:
            begun.set()
            await ends.wait()
            if refuses:
                raise BundleRefusedError("main.py, line 3: no")

        self.check.answer = check
        return begun, ends


class World:
    """Two control servers, `a` and `b`, and what they share."""

    def __init__(self, setting: Setting, tasks: asyncio.TaskGroup, uid: TenantUid) -> None:
        self.setting = setting
        self.store = setting.store
        self.a, self.b = (Server(setting, tasks, name) for name in ("a", "b"))
        self.turn = keys.deploying(uid)

    async def whole_versions(self) -> set[Digest]:
        """The tenant's; each has bytes, and no bytes are there without one."""
        found = {Digest(keys.last_part(each.key)) for each in await self.store.range("version/", limit=9)}
        assert {digest for _, digest in self.setting.bundles.kept} == found
        assert not self.setting.bundles.uploads
        return found


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    store = MemoryStore(loop.time)
    setting = Setting(ControlLimits(check_seconds_max=1_000), store)
    uid = (await setting.tenants.create(ACME)).uid

    async def expire() -> None:
        while True:
            await asyncio.sleep(0.1)
            store.end_leases()

    async with asyncio.timeout(1_000), asyncio.TaskGroup() as tasks:
        expiring = tasks.create_task(expire())
        w = World(setting, tasks, uid)
        try:
            yield w
        finally:
            expiring.cancel()
            for server in (w.a, w.b):
                server.line.goes_on.set()


def version_of(outcome: Deployed | Exception) -> Digest:
    assert isinstance(outcome, Deployed), repr(outcome)
    return outcome.version.digest


@pytest.mark.parametrize("refused_first", [True, False])
@on_virtual_time
async def test_one_that_is_refused_takes_no_bytes_from_the_version_that_another_makes_of_them(
    refused_first: bool,
) -> None:
    async with world() as w:
        begun, refused = w.a.checks(refuses=True)
        _, passed = w.b.checks()
        one = w.a.deploying()
        await begun.wait()
        other = w.b.deploying()
        for ends in (refused, passed) if refused_first else (passed, refused):
            await asyncio.sleep(5)
            ends.set()
        assert isinstance(await one, BundleRefusedError)
        made = version_of(await other)
        assert await w.whole_versions() == {made}


@on_virtual_time
async def test_one_that_waits_shares_what_became_a_version_meanwhile_unchecked() -> None:
    async with world() as w:
        begun, passes = w.a.checks()
        one = w.a.deploying()
        await begun.wait()
        other = w.b.deploying()
        await asyncio.sleep(3 * TTL_S)  # a turn lasts for longer than a lease that nobody keeps alive
        assert not w.b.check.asked
        passes.set()
        assert version_of(await one) == version_of(await other)
        assert not w.b.check.asked
        assert len(await w.whole_versions()) == 1
        assert await w.store.get(w.turn) is None


def written_with_a_version(key: str) -> bool:
    """And read by nothing in a deploy of so few."""
    return keys.kind(key) == "version-of"


@pytest.mark.parametrize("at", ["check", "transaction"])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("another", [True, False])
@on_virtual_time
async def test_one_that_stood_still_for_longer_than_its_lease_makes_no_version(
    at: str, another: bool, same: bool
) -> None:
    async with world() as w:
        begun, passes = w.a.checks()
        one = w.a.deploying()
        await begun.wait()
        if at == "check":
            w.a.line.stand()
        else:
            w.a.line.stands_before = written_with_a_version
            passes.set()
            await w.a.line.stands.wait()
        await asyncio.sleep(TTL_S + 1)
        assert await w.store.get(w.turn) is None
        made = {version_of(await w.b.deploying("code" if same else "other"))} if another else set()
        passes.set()
        w.a.line.goes_on.set()
        lost = await one
        assert isinstance(lost, TurnLostError)
        assert "deploy again" in lost.message
        assert (lost.reason, lost.retryable, lost.committed) == ("UNAVAILABLE", True, "no")
        assert await w.whole_versions() == made
        w.a.check.answer = w.b.check.answer
        made.add(version_of(await w.a.deploying()))
        assert await w.whole_versions() == made


@pytest.mark.parametrize("at", ["taken", "seen", "check"])
@pytest.mark.parametrize("another_is", ["at its check", "done"])
@on_virtual_time
async def test_one_that_wakes_after_its_lease_and_is_refused_harms_nobodys_bytes(at: str, another_is: str) -> None:
    async with world() as w:
        begun, refused = w.a.checks(refuses=True)
        if at == "taken":
            w.a.line.stands_read = lambda key: key == w.turn and held(w)
        elif at == "seen":
            w.a.line.stands_before = lambda key: keys.kind(key) == "version"
        one = w.a.deploying()
        if at == "check":
            await begun.wait()
            w.a.line.stand()
        await w.a.line.stands.wait()
        await asyncio.sleep(TTL_S + 1)
        checking, passes = w.b.checks()
        other = w.b.deploying()
        await checking.wait()
        if another_is == "done":
            passes.set()
            await other
        refused.set()
        w.a.line.goes_on.set()
        assert isinstance(await one, TurnLostError | BundleRefusedError)
        passes.set()
        made = version_of(await other)
        assert await w.whole_versions() == {made}


def held(w: World) -> bool:
    return w.turn in w.store._records


@on_virtual_time
async def test_the_turn_of_one_that_died_is_taken_once_its_lease_is_gone_and_what_it_left_is_not_shared() -> None:
    async with world() as w:
        begun, _ = w.a.checks()
        one = w.a.deploying()
        await begun.wait()
        w.a.line.stand()  # for good
        [left] = w.setting.bundles.kept.values()
        now_s = asyncio.get_running_loop().time
        died_s = now_s()
        digest = version_of(await w.b.deploying())
        assert TTL_S - 3 <= now_s() - died_s <= TTL_S + 1
        [kept] = w.setting.bundles.kept.values()
        assert kept.digest == left.digest == digest
        assert kept is not left
        assert w.b.check.asked == [digest]
        w.a.line.goes_on.set()
        one.cancel()


@on_virtual_time
async def test_a_turn_that_another_has_for_long_is_not_waited_for_without_end() -> None:
    async with world() as w:
        begun, passes = w.a.checks()
        one = w.a.deploying()
        await begun.wait()
        now_s = asyncio.get_running_loop().time
        came_s = now_s()
        refused = await w.b.deploying("other")
        assert WAIT_S <= now_s() - came_s <= WAIT_S + LOOK_EVERY_S
        assert isinstance(refused, UnavailableError)
        assert "deploy again when they have done so" in refused.message
        passes.set()
        made = version_of(await one)
        assert await w.whole_versions() == {made}


@pytest.mark.parametrize("outcome", ["cut", "lost"])
@on_virtual_time
async def test_a_turn_of_which_nobody_told_is_looked_for(outcome: str) -> None:
    async with world() as w:
        setattr(w.a.line, outcome, True)
        assert await w.whole_versions() == set()
        digest = version_of(await w.a.deploying())
        assert await w.whole_versions() == {digest}
        assert await w.store.get(w.turn) is None


@on_virtual_time
async def test_a_turn_that_could_not_be_given_up_ends_with_its_lease() -> None:
    async with world() as w:
        w.a.line.stands_written = written_with_a_version
        one = w.a.deploying()
        await w.a.line.stands.wait()
        w.a.line.lost = True
        w.a.line.goes_on.set()
        version_of(await one)
        assert await w.store.get(w.turn) is not None
        version_of(await w.b.deploying("other"))
        assert await w.store.get(w.turn) is None


@on_virtual_time
async def test_no_turn_is_to_be_had_while_the_store_is_away() -> None:
    async with world() as w:
        w.a.line.stand()
        one = w.a.deploying()
        await asyncio.sleep(1)
        await w.store.broken_now()
        w.a.line.goes_on.set()
        assert isinstance(await one, UnavailableError)
        w.store.broken = False
        assert await w.whole_versions() == set()
        version_of(await w.a.deploying())


@on_virtual_time
async def test_turns_of_two_tenants_are_two() -> None:
    async with world() as w:
        begun, passes = w.a.checks()
        one = w.a.deploying()
        await begun.wait()
        globex = TenantId("globex")
        await w.setting.tenants.create(globex)
        version_of(await w.b.deploying(tenant_id=globex))
        passes.set()
        version_of(await one)

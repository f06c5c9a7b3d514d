"""Giving residents their guests: each in its turn, on a lease that ends with the activation.

A sandbox that can't be had is asked for again for as long as the instance is to run: nothing is lost by waiting. Code
that doesn't load pauses its instance with the reason.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

import structlog

from data_plane.activation import Activation
from data_plane.journal.store import InstanceKey
from data_plane.observing import InstanceObserver
from data_plane.resident import Resident
from data_plane.workflow_turns import Workflow, WorkflowTurns
from loader.guest import GuestDiedError, GuestHandler
from loader.room import Room
from stepwell.engine.events import ActivationStarted, Suspended
from stepwell.engine.instance import Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Failure
from stepwell.errors import BundleRefusedError, NotFoundError, SandboxUnavailableError, UnavailableError
from stepwell.names import Digest, TenantUid, WorkflowId

log = structlog.get_logger(__name__)

RETRY_DELAY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Before a sandbox that could not be had is asked for again; the last one repeats."""


class LoadedGuest(Protocol):
    """What a node needs of `loader.guest.Guest`."""

    @property
    def runtime(self) -> str: ...
    @property
    def bindings(self) -> Mapping[str, WorkflowId]: ...
    def open(self, handler: GuestHandler) -> int: ...
    def send(self, frame: bytes) -> None: ...
    def close(self, act: int) -> None: ...
    def hold_reading(self, holder: object) -> None: ...
    def resume_reading(self, holder: object) -> None: ...
    async def drain(self) -> None: ...
    def kill(self, reason: str) -> None: ...


class GuestLease(Protocol):
    """A share in a guest, until it is released."""

    @property
    def guest(self) -> LoadedGuest: ...
    def release(self) -> None: ...


class GuestLoader(Protocol):
    """What a node needs of `loader.loader.Loader`."""

    async def acquire(
        self, tenant: TenantUid, digest: Digest, *, alone: bool = False, replays: bool = False
    ) -> GuestLease: ...


class Guests:
    """The guests of a node's instances, so many at once as the limits say, the workflow's own too; more wait, and
    tenants take turns.

    `entered` hears that an instance which waited for its turn has it.
    """

    def __init__(
        self,
        loader: GuestLoader,
        activations_max: int,
        activations_per_tenant_max: int,
        *,
        clock: Callable[[], int],
        limits: EngineLimits,
        later: Callable[[float, Callable[[], None]], object],
        spawn: Callable[[Awaitable[object]], None],
        observer: InstanceObserver | None,
        entered: Callable[[], None],
    ) -> None:
        self._loader = loader
        self._room = Room(activations_max, activations_per_tenant_max, sys.maxsize, _nothing_to_evict)
        self._turns = WorkflowTurns()
        self._clock = clock
        self._limits = limits
        self._later = later
        self._spawn = spawn
        self._observer = observer
        self._entered = entered

    def give(self, resident: Resident) -> None:
        """Have the instance activated, in its turn; nothing happens while one is under way."""
        if resident.server.serving() and not resident.activating and resident.instance.live is None:
            resident.activating = True
            resident.server.unstarted.add(resident.key, self._clock())
            self._spawn(self._activate(resident))

    @property
    def active(self) -> int:
        """Instances that have a place, those among them that wait for their sandbox."""
        return self._room.taken_in_all

    @property
    def queued(self) -> int:
        """Instances that wait for their turn."""
        return self._room.waiting_in_all + self._turns.waiting_in_all

    def waiting(self, tenant: TenantUid) -> int:
        """How many of the tenant's instances wait for their turn."""
        return self._room.waiting(tenant) + self._turns.waiting_of(tenant)

    def waiting_for_room(self, tenant: TenantUid) -> int:
        """Those of them that wait for the tenant to have room, and not for their workflow."""
        return self._room.waiting(tenant)

    def hold_back(self, tenant: TenantUid, workflow: WorkflowId) -> bool:
        """Whether further ones of the workflow that are due stay on the disk: as many wait for it to have room as run,
        so that waiting takes no more memory than running does, whatever the number of workflows."""
        return self._turns.is_long(Workflow(tenant, workflow))

    def are_many_of(self, key: InstanceKey) -> bool:
        """Whether as many of its workflow run as that wants, and some wait."""
        return self._turns.waiting(Workflow(key.tenant, key.workflow)) > 0

    def withdraw(self, key: InstanceKey) -> None:
        """It has nothing to run any more: should it wait for its workflow to have room, it waits no longer."""
        self._turns.withdraw(key)

    async def _activate(self, resident: Resident) -> None:
        has_turn = await self._turns.enter(resident.key, resident.instance.limits.concurrency)
        self._entered()
        if not has_turn:
            resident.activating = False
            resident.settle()
            resident.server.rest(resident)
            return
        await self._room.enter(resident.key.tenant)
        self._entered()
        lease = None
        try:
            if resident.lane.busy:
                # What a former activation was to be told may still be in line: it must not be told to this one.
                with suppress(UnavailableError):
                    await resident.server.written(resident)
            lease = await self._lease(resident)
            if lease is not None and (resident.lost or not resident.server.serving()):
                lease.release()
                lease = None
        finally:
            if lease is None:
                self._leave(resident)
                resident.activating = False
                resident.settle()
                resident.server.rest(resident)
        if lease is not None:
            self._begin(resident, lease)

    async def _lease(self, resident: Resident) -> GuestLease | None:
        attempt = 0
        while resident.instance.phase is Phase.LIVE and resident.server.serving() and not resident.lost:
            instance = resident.instance
            alone = (
                instance.sandbox_deaths >= self._limits.sandbox_deaths_alone
                or instance.node_deaths >= self._limits.node_deaths_alone
            )
            digest = instance.digest
            try:
                lease = await self._loader.acquire(resident.key.tenant, digest, alone=alone)
                if instance.digest == digest:
                    return lease
                lease.release()  # it was migrated meanwhile
                continue
            except (BundleRefusedError, NotFoundError) as refused:
                if instance.digest != digest:
                    continue
                failure = Failure("stepwell.errors", type(refused).__name__, refused.message)
                resident.step(Suspended(self._clock(), failure))
                return None
            except (SandboxUnavailableError, UnavailableError) as unavailable:
                log.warning("no sandbox", reason=unavailable.message, **unavailable.metadata)
            except Exception:
                log.exception("no sandbox, by a fault of ours")
            await asyncio.sleep(RETRY_DELAY_S[min(attempt, len(RETRY_DELAY_S) - 1)])
            attempt += 1
        return None

    def _begin(self, resident: Resident, lease: GuestLease) -> None:
        def ended() -> None:
            lease.release()
            self._leave(resident)
            if resident.activation is activation:
                resident.activation = None
            if resident.starting is activation:
                resident.starting = None
            if not resident.lane.busy:
                resident.server.rest(resident)

        guest = lease.guest
        activation = Activation(resident, guest, later=self._later, read=self._read, ended=ended)
        resident.activating = False
        try:
            activation.act = guest.open(activation)
        except GuestDiedError:
            ended()
            return
        resident.starting = activation
        at, trace = self._clock(), b""
        if self._observer is not None:
            trace = self._observer.activating(resident.key, resident.instance, at)
        resident.step(ActivationStarted(at, guest.runtime, trace))
        activation.live = resident.instance.live
        if activation.live is None:
            resident.starting = None
            activation.abandon()
        resident.settle()

    def _leave(self, resident: Resident) -> None:
        self._room.leave(resident.key.tenant)
        self._turns.leave(resident.key)

    def _read(self, work: Callable[[], Awaitable[None]]) -> None:
        self._spawn(work())


def _nothing_to_evict(tenant: TenantUid | None) -> bool:
    """An activation ends by itself: none is taken away for another."""
    return False

"""Gives out sandboxes that run a tenant's version: one for each (tenant, version), shared by its instances.

A sandbox that has had a tenant's code in it is never given to another. Those without a lease stay for a while, in case
of the next wake, and go when they were idle too long or when their place or memory is needed, the one idle longest
first.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from types import TracebackType

from loader import bundle_folder
from loader.background import Background
from loader.bundles.runtime import GuestRuntime
from loader.bundles.store import BundleStore
from loader.guest import Guest, GuestDiedError, ImportTimeoutError
from loader.logs import LogSink, ignore_log
from loader.observing import BootObserver
from loader.pace import StartPace
from loader.pool import BootFailedError, WarmPool
from loader.room import Room
from loader.sandbox.sandbox import Sandbox, SandboxError, SandboxLauncher
from loader.seat import Lease, Seat
from loader.settings import LoaderSettings
from loader.turns import FrameTurns
from stepwell.errors import BundleRefusedError, SandboxUnavailableError, UnavailableError
from stepwell.names import Digest, TenantUid

_log = logging.getLogger(__name__)

MEMORY_LOOK_S = 1.0
"""Between two looks at what sandboxes use."""

LogSinks = Callable[[TenantUid, Digest], LogSink]
"""Where a version's log lines go; asked once a sandbox."""


class Loader:
    """All sandboxes of a process. An async context manager: it owns its background tasks, and ends everything at its
    end.

    `on_starts` hears when sandboxes can't be started for some time, with the reason, and when they can again, with "".
    `make_correlation_id` names a failure, in the operator's log and in the tenant's error alike.
    """

    def __init__(
        self,
        store: BundleStore,
        launcher: SandboxLauncher,
        settings: LoaderSettings,
        *,
        make_correlation_id: Callable[[], str],
        log_sinks: LogSinks = lambda tenant, digest: ignore_log,
        on_starts: Callable[[str], None] = lambda failure: None,
        observer: BootObserver | None = None,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._settings = settings
        self._make_correlation_id = make_correlation_id
        self._log_sinks = log_sinks
        self._tasks = asyncio.TaskGroup()
        self._turns = FrameTurns(asyncio.get_running_loop(), settings.bytes_a_second_per_tenant_max)
        self._pool = WarmPool(launcher, settings, self._tasks, on_starts, observer)
        self._room = Room(settings.sandboxes_max, settings.sandboxes_per_tenant_max, settings.waiting_max, self._evict)
        self._loads = Room(
            settings.loads_parallel_max, settings.loads_per_tenant_max, settings.waiting_max, _nothing_to_evict
        )
        self._pace = StartPace(
            settings.sandboxes_per_tenant_max,
            settings.starts_a_minute_per_tenant_max,
            asyncio.get_running_loop().time,
        )
        self._seats: dict[tuple[TenantUid, Digest, bool], Seat] = {}
        """By whose they are, and whether they are for replays."""
        self._idle: dict[Seat, asyncio.TimerHandle] = {}
        self._loading: set[Seat] = set()
        self._taken: set[Seat] = set()
        self._background = Background(asyncio.get_running_loop())
        self._checks = Room(
            settings.checks_parallel_max, settings.checks_per_tenant_max, settings.waiting_max, _nothing_to_evict
        )
        self._runtime: GuestRuntime | None = None
        self._runtime_asked = asyncio.Lock()
        self._closed = False
        self._look: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Loader:
        await self._tasks.__aenter__()
        self._pool.fill()
        self._look_at_memory()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        finally:
            await self._tasks.__aexit__(kind, error, trace)

    @property
    def sandboxes(self) -> int:
        """How many run, or are about to run, tenants' code."""
        return len(self._taken)

    @property
    def warm_sandboxes(self) -> int:
        """How many wait for code."""
        return self._pool.ready

    async def acquire(self, tenant: TenantUid, digest: Digest, *, alone: bool = False, replays: bool = False) -> Lease:
        """A lease on a sandbox that runs this version; with `alone`, on one that nobody else gets, and with `replays`
        on one that is for replays alone, of which nothing that is printed is kept.

        Waits for its turn when there is no room. Raises NotFoundError (no such version), BundleRefusedError (it can't
        be imported any more), SandboxUnavailableError, UnavailableError (too many wait, or the server stops).
        """
        if self._closed:
            raise UnavailableError("The server stops; try again later.")
        seat = None if alone else self._seats.get((tenant, digest, replays))
        if seat is not None and seat.guest is not None and not seat.guest.usable:
            self._remove(seat)
            seat = None
        if seat is None:
            seat = Seat(tenant, digest, alone, replays, asyncio.get_running_loop().create_future())
            if not alone:
                self._seats[tenant, digest, replays] = seat
            seat.task = self._tasks.create_task(self._occupy(seat))
            self._loading.add(seat)
            seat.task.add_done_callback(lambda _: self._occupied(seat))
        seat.leases += 1
        if (timer := self._idle.pop(seat, None)) is not None:
            timer.cancel()
        try:
            guest = await asyncio.shield(seat.loading)
        except BaseException:
            self._release(seat)
            raise
        return Lease(guest, seat, self._release)

    async def check(self, tenant: TenantUid, digest: Digest) -> None:
        """Import the version in a sandbox of its own, which ends with the check.

        Raises BundleRefusedError (file, line, why, as Python tells it), NotFoundError, SandboxUnavailableError,
        UnavailableError.
        """
        await asyncio.sleep(self._pace.pause_s(tenant))  # before it takes a place, which others could have meanwhile
        await self._checks.enter(tenant)
        try:
            guest = await self._load(tenant, digest, ignore_log, is_checked=False)
            guest.kill("the check is over")
        finally:
            self._checks.leave(tenant)

    async def runtime(self) -> GuestRuntime:
        """What guests run on here; found out once. Raises SandboxUnavailableError."""
        async with self._runtime_asked:
            if self._runtime is None:
                try:
                    self._runtime = await self._launcher.runtime()
                except SandboxError as error:
                    raise self._unavailable("what guests run on is not known", error) from error
            return self._runtime

    async def close(self) -> None:
        """Give out no more, kill every sandbox, and remove what they leave. Idempotent; leased guests end too."""
        self._closed = True
        self._pool.close()
        self._background.close()
        if self._look is not None:
            self._look.cancel()
        for seat in [*self._loading, *self._taken]:
            if seat.guest is not None:
                seat.guest.kill("the server stops")
            elif seat.task is not None:
                seat.task.cancel()
        await self._launcher.close()

    async def _occupy(self, seat: Seat) -> None:
        try:
            await self._room.enter(seat.tenant)
            self._taken.add(seat)
            self._relieve()
            seat.guest = guest = await self._load_in_turn(seat)
        except Exception as error:
            self._remove(seat)
            seat.fail(error)
        else:
            guest.death.add_done_callback(lambda _: self._remove(seat))
            seat.loading.set_result(guest)
            if not seat.leases:
                self._became_idle(seat)

    async def _load_in_turn(self, seat: Seat) -> Guest:
        """Tenants take turns here too, since whoever is loaded waits for a boot in line."""
        await self._loads.enter(seat.tenant)
        try:
            await asyncio.sleep(self._pace.pause_s(seat.tenant))
            sink = ignore_log if seat.replays else self._log_sinks(seat.tenant, seat.digest)
            return await self._load(seat.tenant, seat.digest, sink, is_checked=True)
        finally:
            self._loads.leave(seat.tenant)

    def _occupied(self, seat: Seat) -> None:
        self._loading.discard(seat)
        if not seat.loading.done():
            self._remove(seat)
            seat.fail(UnavailableError("The server stops; try again later."))

    async def _load(self, tenant: TenantUid, digest: Digest, sink: LogSink, *, is_checked: bool) -> Guest:
        """A sandbox with the version in it. What ends or hangs while it is imported is tried twice, since chance may
        have had a part in it; a version that is being checked hangs but once.
        """
        manifest = await self._store.manifest(tenant, digest)
        async with self._store.pull(tenant, digest) as source:  # a sandbox has links or copies of its own
            for last in (False, True):
                guest = await self._take(tenant, digest)
                self._background.add(tenant, guest.sandbox)
                guest.death.add_done_callback(functools.partial(self._forget, tenant, guest.sandbox))
                try:
                    await asyncio.to_thread(bundle_folder.fill, source, guest.sandbox.bundle_source)
                    await guest.load(
                        guest.sandbox.bundle_path,
                        manifest,
                        self._settings.guest_limits,
                        share=self._turns.share(tenant),
                        timeout_ms=self._settings.import_timeout_ms,
                        log_sink=sink,
                    )
                    return guest
                except GuestDiedError as error:
                    _log.warning("sandbox %s of %s %s ended while loading: %s", guest.sandbox.id, tenant, digest, error)
                    if last:
                        raise BundleRefusedError(
                            f"The sandbox ended while it imported the bundle, twice ({error}): "
                            "does a module end the process, or use a lot of memory?"
                        ) from error
                except ImportTimeoutError as error:
                    _log.warning("sandbox %s of %s %s took too long to import", guest.sandbox.id, tenant, digest)
                    if last or not is_checked:
                        raise BundleRefusedError(error.message) from error
                except OSError as error:
                    guest.kill("its bundle could not be put into place")
                    why = f"no bundle for {guest.sandbox.id}"
                    raise self._unavailable(f"{why}, of {tenant} {digest}", error) from error
                except BaseException:
                    guest.kill("loading was given up")
                    raise
        raise AssertionError("unreachable")

    def _forget(self, tenant: TenantUid, sandbox: Sandbox, death: asyncio.Future[str]) -> None:
        self._background.remove(tenant, sandbox)

    async def _take(self, tenant: TenantUid, digest: Digest) -> Guest:
        try:
            return await self._pool.take(in_hurry=not self._background.is_suspect(tenant))
        except BootFailedError as error:
            if self._closed:
                raise UnavailableError("The server stops; try again later.") from None
            raise self._unavailable(f"no sandbox for {tenant} {digest}", error) from error

    def _unavailable(self, what: str, why: Exception) -> SandboxUnavailableError:
        correlation_id = self._make_correlation_id()
        _log.error("%s: %s: %s", correlation_id, what, why)
        return SandboxUnavailableError(
            f"No sandbox could be started; the operator finds the reason in the server's log under {correlation_id}.",
            correlation_id=correlation_id,
        )

    def _release(self, seat: Seat) -> None:
        seat.leases -= 1
        if seat.leases or seat.gone:
            return
        if seat.guest is None:
            self._remove(seat)
            if seat.task is not None:
                seat.task.cancel()
        elif seat.alone:
            seat.guest.kill("it is not needed any more")
        else:
            self._became_idle(seat)

    def _became_idle(self, seat: Seat) -> None:
        loop = asyncio.get_running_loop()
        self._idle[seat] = loop.call_later(self._settings.idle_timeout_ms / 1000, self._end, seat, "it was idle")
        self._room.serve()

    def _evict(self, tenant: TenantUid | None) -> bool:
        for seat in self._idle:
            if tenant is None or seat.tenant == tenant:
                self._end(seat, "its place was needed", serve=False)
                return True
        return False

    def _look_at_memory(self) -> None:
        self._look = asyncio.get_running_loop().call_later(MEMORY_LOOK_S, self._look_at_memory)
        self._relieve()

    def _relieve(self) -> None:
        """End idle sandboxes until what they use is what has to be given back."""
        excess_bytes = self._launcher.excess_bytes() if self._idle else 0
        for seat in list(self._idle):
            if excess_bytes <= 0:
                break
            if seat.guest is not None:
                excess_bytes -= seat.guest.sandbox.memory_bytes()
            self._end(seat, "its memory was needed")

    def _end(self, seat: Seat, reason: str, serve: bool = True) -> None:
        self._remove(seat, serve)
        if seat.guest is not None:
            seat.guest.kill(reason)

    def _remove(self, seat: Seat, serve: bool = True) -> None:
        """Forget the seat, once, whatever ended it."""
        seat.gone = True
        place = (seat.tenant, seat.digest, seat.replays)
        if self._seats.get(place) is seat:
            del self._seats[place]
        if (timer := self._idle.pop(seat, None)) is not None:
            timer.cancel()
        if seat in self._taken:
            self._taken.remove(seat)
            self._room.vacate(seat.tenant)
            if serve:
                self._room.serve()


def _nothing_to_evict(tenant: TenantUid | None) -> bool:
    """A load ends by itself: none is taken away for another."""
    return False

"""Faults that are put into the program on purpose, each one rule of the protocol broken: the simulation must notice.

Each is a change of a few lines, made while a block runs. Those of the journal are in `planted_journal.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from cluster.directory import Directory
from data_plane import forking, wakes
from data_plane.calls import InstanceCalls
from data_plane.journal.store import DeleteInstance, Wake
from data_plane.lane import Lane
from data_plane.node import Node
from data_plane.ownership_leased import LeasedOwnership, Term
from data_plane.resident import Resident
from data_plane.shard import Shard
from data_plane.shard_server import ShardServer
from data_plane.wakes import ShardWakes
from stepwell.engine import fold, machine
from stepwell.engine import forking as engine_forking
from stepwell.engine import instance as engine_instance
from stepwell.engine.actions import TellStart
from stepwell.engine.forking import Prefix
from stepwell.engine.instance import Phase
from stepwell.engine.records import EventReceived, Record, Restarted, SandboxDied, SleepStarted, StepKey
from stepwell.engine.transition import Turn
from stepwell.guest import instance, undoing
from stepwell.guest.instance import Instance
from stepwell.rollbacks import Rollback
from tests.simulation import cassandra_tables
from tests.simulation.circumstances import POISON
from tests.simulation.loop import PROCESS
from tests.simulation.planting import instead, planted


# ---------------------------------------------------------------- forks
@planted("a fork that copies nothing")
def a_fork_that_copies_nothing() -> Iterator[None]:
    real = Prefix.cut
    with instead(Prefix, "cut", lambda prefix, *of: replace(real(prefix, *of), records=(), started_at=None)):
        yield


@planted("a fork that has its origin's results")
def a_fork_that_has_its_origins_results() -> Iterator[None]:
    """All of them, and not those before its step alone."""

    def restart_from(instance: Any, step: Any, at: int) -> Restarted:
        return Restarted(at, StepKey("do", "no step", 1), instance.completed, instance.events_received, 0, "")

    with instead(engine_forking, "restart_from", restart_from):
        yield


@planted("a fork whose large results are its origin's", first=46)
def a_fork_whose_large_results_are_its_origins() -> Iterator[None]:
    with instead(forking, "_with", lambda record, apart: record):
        yield


# ---------------------------------------------------------------- rollbacks
@planted("what is undone from the front")
def what_is_undone_from_the_front() -> Iterator[None]:
    real = undoing.undo_all

    async def undo_all(asking: Any, error: str) -> str | None:
        asking.undos.reverse()
        return await real(asking, error)

    with instead(instance, "undo_all", undo_all):
        yield


@planted("a handler that is given no output")
def a_handler_that_is_given_no_output() -> Iterator[None]:
    real = Rollback.call

    with instead(Rollback, "call", lambda rollback, output, error: real(rollback, None, error)):
        yield


@planted("a rollback that is over too early")
def a_rollback_that_is_over_too_early() -> Iterator[None]:
    async def undo_all(asking: Any, error: str) -> str | None:
        await asking.roll_back(asking.undos.pop(), error)
        return None

    with instead(instance, "undo_all", undo_all):
        yield


# ---------------------------------------------------------------- wakes and the mark
@planted("a wake that is forgotten")
def a_wake_that_is_forgotten() -> Iterator[None]:
    with instead(ShardServer, "wake_now", lambda server, resident, then: then()):
        yield


@planted("a wake after its record")
def a_wake_after_its_record() -> Iterator[None]:
    real = ShardServer.wake_now

    def wake_now(server: ShardServer, resident: Any, then: Callable[[], None]) -> None:
        then()
        server.later(1.0, partial(real, server, resident, lambda: None))

    with instead(ShardServer, "wake_now", wake_now):
        yield


@planted("a wake that is not due now")
def a_wake_that_is_not_due_now() -> Iterator[None]:
    real = ShardWakes.put

    def put(wakes: Any, key: Any, due: int, *of: Any, **more: Any) -> None:
        real(wakes, key, due or wakes._clock() + 3_600_000, *of, **more)

    with instead(ShardWakes, "put", put):
        yield


@planted("no wake of one's own at load", POISON, first=251)
def no_wake_of_ones_own_at_load() -> Iterator[None]:
    async def covered_by(server: ShardServer, key: Any, due: int) -> Wake:
        return Wake(max(due, server.clock()) // wakes.BUCKET_MS, due, key)

    with instead(ShardServer, "_covered_by", covered_by):
        yield


@planted("a mark that does not wait for what is known")
def a_mark_that_does_not_wait() -> Iterator[None]:
    def lowest(of: Any) -> int:
        return int(min(of._read_to + 1, max(of._clock() // wakes.BUCKET_MS, of._mark)))

    with instead(ShardWakes, "_lowest", lowest):
        yield


# ---------------------------------------------------------------- ownership
@planted("a shard is released and its flag stays")
def a_shard_released_and_its_flag_stays() -> Iterator[None]:
    async def release(ownership: Any, term: Term) -> None:
        await ownership._delete(term.number, term.revision)
        await asyncio.sleep(5)
        await ownership._host.release(term.number, 5.0)
        ownership._drop(term)

    with instead(LeasedOwnership, "_release", release):
        yield


@planted("a lease is believed in for longer than it lives", first=177)
def a_lease_believed_in_for_longer() -> Iterator[None]:
    with mock.patch("cluster.lease.CLOCK_ERROR", -1.0):
        yield


@planted("a dropped shard is served")
def a_dropped_shard_is_served() -> Iterator[None]:
    def drop(ownership: Any, term: Term) -> None:
        ownership._terms.pop(term.number, None)

    def serve(node: Any, shard: Shard) -> Any:
        node._servers.pop(shard.number, None)
        return real(node, shard)

    real = Node.serve
    with (
        instead(LeasedOwnership, "_owned", lambda ownership, term: True),
        instead(LeasedOwnership, "_drop", drop),
        instead(Node, "serve", serve),
    ):
        yield


# ---------------------------------------------------------------- the engine
@planted("a deadline that is computed anew on replay")
def a_deadline_computed_anew() -> Iterator[None]:
    real = fold.replay

    def replay(records: Any) -> Any:
        now = PROCESS.get().wall_ms()
        return real(_moved(record, now) for record in records)

    with instead(fold, "replay", replay):
        yield


def _moved(record: Record, now: int) -> Record:
    if isinstance(record, SleepStarted):
        return SleepStarted(record.at, record.key, record.due - 2_500 if now > record.at + 3_000 else record.due)
    return record


@planted("a buffered event that a crash drops")
def a_buffered_event_that_a_crash_drops() -> Iterator[None]:
    real = fold.replay

    def replay(records: Any) -> Any:
        return real(record for record in records if not isinstance(record, EventReceived))

    with instead(fold, "replay", replay):
        yield


@planted("a cancelled wait that keeps its event", first=46)
def a_cancelled_wait_that_keeps_its_event() -> Iterator[None]:
    with instead(fold, "_put_back", lambda queue, event: None):
        yield


@planted("a result that is kept in no record")
def a_result_that_is_kept_in_no_record() -> Iterator[None]:
    real = Lane.add

    def add(lane: Lane, actions: Any) -> None:
        real(lane, [each for each in actions if not _is_result(each)])

    with instead(Lane, "add", add):
        yield


@planted("a sandbox's death that is not counted", POISON)
def a_death_that_is_not_counted() -> Iterator[None]:
    real = fold.apply

    def apply(instance: Any, record: Record) -> None:
        deaths = instance.sandbox_deaths
        real(instance, record)
        if isinstance(record, SandboxDied):
            instance.sandbox_deaths = deaths

    with instead(fold, "apply", apply):
        yield


@planted("an activation that is recorded once it has begun", POISON)
def an_activation_recorded_once_it_has_begun() -> Iterator[None]:
    def step(resident: Any, event: Any) -> bool:
        actions = machine.handle(resident.instance, event, resident.server.limits)
        starts = [each for each in actions if isinstance(each, TellStart)]
        if not starts:
            resident.lane.add(actions)
            return bool(actions)

        def record() -> None:
            resident.lane.add([each for each in actions if each not in starts])
            resident.settle()

        resident._perform(starts[0])
        resident.server.later(0.05, record)
        return True

    with instead(Resident, "step", step):
        yield


@planted("two completions that enter at once")
def two_completions_that_enter_at_once() -> Iterator[None]:
    def drain(instance: Any, first: Callable[..., object], *args: Any) -> None:
        if first == instance._enter and instance._entered < instance._recorded and instance not in held:
            held[instance] = partial(first, *args)
            return
        before = held.pop(instance, None)

        def both() -> None:
            if before is not None:
                before()
            first(*args)

        real(instance, both)

    real = Instance._drain
    held: dict[Any, Callable[[], object]] = {}
    with instead(Instance, "_drain", drain):
        yield


def _is_result(action: Any) -> bool:
    return type(getattr(action, "record", None)).__name__ == "StepCompleted"


@planted("an instance that expires as it ends")
def an_instance_that_expires_as_it_ends() -> Iterator[None]:
    with instead(Turn, "expiry", lambda turn, at, success=False: at if turn.instance.retention.error_ms else None):
        yield


@planted("an expiry that nothing wakes")
def an_expiry_that_nothing_wakes() -> Iterator[None]:
    real = engine_instance.Instance.next_due

    def next_due(instance: Any) -> int | None:
        return None if instance.phase is Phase.FINISHED else real(instance)

    with instead(engine_instance.Instance, "next_due", next_due):
        yield


@planted("a deletion that leaves the journal")
def a_deletion_that_leaves_the_journal() -> Iterator[None]:
    real = cassandra_tables.stages

    def stages(mutation: Any) -> Any:
        return real(mutation)[:-1] if isinstance(mutation, DeleteInstance) else real(mutation)

    with instead(cassandra_tables, "stages", stages):
        yield


# ---------------------------------------------------------------- calls and routes
@planted("a route that is remembered for ever")
def a_route_remembered_for_ever() -> Iterator[None]:
    def remembered(directory: Any, cache: Any, key: Any) -> Any:
        entry = cache.get(key)
        return entry[0] if entry is not None else None

    async def follow(directory: Any) -> None:
        await asyncio.sleep(3_600)

    with instead(Directory, "_remembered", remembered), instead(Directory, "_follow", follow):
        yield


@planted("a repeated create that makes another instance")
def a_repeated_create() -> Iterator[None]:
    with instead(InstanceCalls, "_generated_id", lambda calls, tenant, workflow, request_id: calls._mint()):
        yield

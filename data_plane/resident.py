"""An instance in its owner's memory: its state, its lane, and the activation that runs it, if one does.

It exists while something is to be done or somebody looks; hibernation is its end. All of its work is synchronous: an
event goes through the engine, actions go into the lane, and the lane performs them here once they may be performed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from data_plane import payloads
from data_plane.activation import Activation
from data_plane.journal.store import InstanceKey, PutBlob, Row, Wake
from data_plane.lane import Lane
from data_plane.listings import Listed
from stepwell.engine import fold, machine
from stepwell.engine.actions import Action, Activate, Append, TellStart, TellStop, WakeNow
from stepwell.engine.events import Event, Tick
from stepwell.engine.instance import IllegalTransition, Instance
from stepwell.engine.records import BlobRef, Payload
from stepwell.names import InstanceUid

if TYPE_CHECKING:
    from data_plane.shard_server import ShardServer


DURABLE_ROWS_MAX: Final = 16
"""Rows that stay in memory for those who look at a young instance: for older ones, and more, the journal is read."""


class Resident:
    """`uses` counts callers that look at it: it is not dropped under them."""

    def __init__(self, server: ShardServer, key: InstanceKey, rows: Sequence[Row]) -> None:
        self.server = server
        self.key = key
        self.shard = server.shard
        self.store = server.store
        self.now = server.clock
        self.durable: list[Row] | None = list(rows) if len(rows) <= DURABLE_ROWS_MAX else None
        """What a read of the journal would give; None once there is too much of it."""
        self.instance: Instance = fold.replay(record for row in rows for record in row.records)
        self.lane = Lane(
            key,
            server.shard,
            server.store,
            tip=rows[-1].position if rows else None,
            wake=lambda then: server.wake_now(self, then),
            perform=self._perform,
            appended=self._appended,
            idle=lambda: server.rest(self),
            lost=lambda: server.give_up(self),
            later=server.later,
        )
        self.activation: Activation | None = None
        self.starting: Activation | None = None
        self.activating = False
        self.uses = 0
        self.flushes: dict[asyncio.Future[None], None] = {}
        """Callers that wait for what they added to be durable, in order."""
        self.lost = False
        self.armed: int | None = None
        self.cover: Wake | None = None
        """The newest durable wake of this epoch."""
        self.resting = False
        self.listed = Listed()
        self.counted_bytes = self.instance.stored_bytes
        """What of it counts as its tenant's."""

    # ---------------------------------------------------------------- what happens to it
    def step(self, event: Event) -> bool:
        """Let the engine decide; return whether anything is to be done.

        Raises what `machine.handle` raises, having changed nothing.
        """
        actions = machine.handle(self.instance, event, self.server.limits)
        self.lane.add(actions)
        return bool(actions)

    def step_guest(self, event: Event, activation: Activation) -> None:
        """The same for a guest's message: what it may not do ends its sandbox, and nothing else."""
        try:
            self.lane.add(machine.handle(self.instance, event, self.server.limits))
        except IllegalTransition as illegal:
            activation.kill(f"the guest broke the protocol: {illegal}")

    def settle(self) -> None:
        """After one or more steps: send what is ready, and see that the clock calls when it should."""
        self.lane.flush()
        self.arm()

    def tick(self) -> None:
        """The timer rang."""
        self.armed = None
        self.step(Tick(self.now()))
        self.settle()

    def arm(self) -> None:
        """See that the clock calls; not once it was forgotten: a guest's late word must not make it write again."""
        if self.server.peek(self.key) is not self:
            return
        due = self.instance.next_tick()
        if due is not None and (self.armed is None or due < self.armed):
            self.armed = due
            self.server.timers.arm(self, due)

    def stage(self, data: bytes, uid: InstanceUid | None = None) -> Payload:
        """A payload as a record may hold it; `uid` where the instance is only being created."""
        payload = self.mint(data)
        self.write_blob(payload, data, uid)
        return payload

    def mint(self, data: bytes) -> Payload:
        """The same, for a record that may not come to be: once it does, `write_blob` before anything is flushed."""
        return payloads.mint(data, self.instance, self.shard)

    def write_blob(self, payload: Payload, data: bytes, uid: InstanceUid | None = None) -> None:
        """If the payload is a blob, write it before the next row."""
        if isinstance(payload, BlobRef):
            stamp = self.shard.stamp()
            self.lane.write_before(PutBlob(self.key, uid or self.instance.uid, payload.id, data, stamp))

    # ---------------------------------------------------------------- what the lane performs
    def _perform(self, action: Action) -> None:
        if isinstance(action, Activate):
            self.server.activate(self)
            return
        if isinstance(action, TellStart):
            self.activation, self.starting = self.starting, None
            self.server.unstarted.remove(self.key)
        activation = self.activation
        if activation is None or isinstance(action, Append | WakeNow):
            return
        activation.tell(action)
        if isinstance(action, TellStop):
            self.activation = None

    def _appended(self, row: Row) -> None:
        if self.durable is not None:
            self.durable.append(row)
            if len(self.durable) > DURABLE_ROWS_MAX:
                self.durable = None
        self.server.appended(self, row)
        if self.activation is not None and self.activation.holds_up:
            self.activation.on_append()

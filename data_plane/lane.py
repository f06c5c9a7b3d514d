"""An instance's appends, in order, at most one in flight.

Append, then act: what the engine wants done is queued behind the records before it and performed once they are durable
and the shard is still owned. What becomes ready while an append is in flight is the next one, so a busy instance
batches by itself. The lane outlives activations: `seq` goes on within an epoch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from data_plane.journal.store import InstanceKey, JournalStore, Mutation, Position, PutBlob, PutRow, Row
from data_plane.sending import Sending
from data_plane.shard import Shard
from stepwell.engine.actions import Action, Actions, Append, WakeNow
from stepwell.engine.records import Record

APPEND_RECORDS_MAX: Final = 64
"""Records in one row: with 16 KiB inline each, a row stays near 1 MiB."""

QUEUED_MAX: Final = 512
"""Actions that wait for their append, before whoever causes them is held up."""

BEFORE_BYTES_MAX: Final = 1024 * 1024
"""Blobs that wait to be written before the next row, likewise."""

Then = Callable[[], None]


class Lane:
    """`perform` does what is no append; `appended` hears of each durable row; `idle` that nothing is left to do;
    `lost` that the shard is no longer owned: what is queued is given up."""

    def __init__(
        self,
        key: InstanceKey,
        shard: Shard,
        store: JournalStore,
        *,
        tip: Position | None,
        wake: Callable[[Then], None],
        perform: Callable[[Action], None],
        appended: Callable[[Row], None],
        idle: Then,
        lost: Then,
        later: Callable[[float, Then], object],
    ) -> None:
        self._key = key
        self._shard = shard
        self._store = store
        self._predecessor = tip
        self._first = tip is None or tip.epoch != shard.epoch
        self._seq = tip.seq if tip is not None else -1
        self._wake = wake
        self._perform = perform
        self._appended = appended
        self._idle = idle
        self._lost = lost
        self._later = later
        self._queue: deque[Action | Then] = deque()
        self._before: list[Mutation] = []
        self._before_bytes = 0
        self._in_flight = False
        self._awaited = 0
        self._row: Row | None = None
        self._after: list[Action | Then] = []
        self._closed = False

    @property
    def first(self) -> bool:
        """Whether this epoch has written nothing to the instance yet."""
        return self._first

    @property
    def busy(self) -> bool:
        return self._in_flight or bool(self._queue)

    @property
    def crowded(self) -> bool:
        """Whether so much waits for the append in flight that no more should be caused for now."""
        return len(self._queue) > QUEUED_MAX or self._before_bytes > BEFORE_BYTES_MAX

    def add(self, actions: Actions) -> None:
        """Queue them; `flush` sets them going."""
        self._queue.extend(actions)

    def then(self, do: Then) -> None:
        """Call it once all that was added before is durable and done."""
        self._queue.append(do)

    def write_before(self, mutation: Mutation) -> None:
        """A blob that must be durable before the next row."""
        self._before.append(mutation)
        if isinstance(mutation, PutBlob):
            self._before_bytes += len(mutation.data)

    def mark(self, records: Sequence[Record] = ()) -> None:
        """Write this epoch's first row, if there is none yet: what was read may be shown after it.

        `records` are what the row must hold of what was read: none, but for a deletion.
        """
        if self._first and not self._in_flight:
            self._send(list(records))

    def close(self) -> None:
        """The instance leaves memory: send nothing more, and let go of whoever listened, so that no cycle is left."""
        self._closed = True
        self._queue.clear()
        self._after.clear()
        self._wake = self._perform = self._appended = self._idle = self._lost = _nobody_listens

    def flush(self) -> None:
        """Send the next append, or perform what waits for none."""
        if self._in_flight or self._closed:
            return
        queue, records, wake = self._queue, list[Record](), False
        after = self._after
        while queue:
            entry = queue[0]
            if type(entry) is Append:
                if len(records) == APPEND_RECORDS_MAX:
                    break
                records.append(entry.record)
            elif type(entry) is WakeNow:
                wake = True
            else:
                after.append(entry)
            queue.popleft()
        if records:
            self._send(records, wake=wake)
        elif after:
            self._act()

    def _send(self, records: list[Record], *, wake: bool = False) -> None:
        self._in_flight = True
        self._seq += 1
        position = Position(self._shard.epoch, self._seq)
        self._row = Row(position, records, self._first, self._predecessor if self._first else None)
        before, self._before, self._before_bytes = self._before, [], 0
        self._awaited = len(before) + wake
        if self._awaited == 0:
            self._write_row()
            return
        for mutation in before:
            self._write(mutation, self._one_less)
        if wake:
            self._wake(self._one_less)

    def _one_less(self) -> None:
        self._awaited -= 1
        if self._awaited == 0:
            self._write_row()

    def _write_row(self) -> None:
        assert self._row is not None
        self._write(PutRow(self._key, self._row, self._shard.stamp()), self._durable)

    def _write(self, mutation: Mutation, then: Then) -> None:
        Sending(mutation, self._store, self._shard, self._later, then, self._lost).start()

    def _durable(self) -> None:
        row, self._row = self._row, None
        assert row is not None
        self._in_flight, self._first = False, False
        self._appended(row)
        self._act()
        if not self._in_flight:
            self.flush()

    def _act(self) -> None:
        after, self._after = self._after, []
        for entry in after:
            if callable(entry):
                entry()
            else:
                self._perform(entry)
        if not self.busy:
            self._idle()


def _nobody_listens(*of: object) -> None:
    """The instance is not in memory any more."""

"""The watches of the modelled etcd: a stream of what happened, told by one member to one reader, a little late.

- Events come in the order of their revisions, each once, and a revision is never split.
- A watch with nothing to tell says so after a while: a **progress notification** (WatchProgressRequest).
- A watch whose member is cut off, or has no leader, **stalls**: it says nothing at all, and its reader can't know why.
  Once its member hears of a leader again, it tells all that it missed in one batch. So whatever a watch tells is
  complete up to `watch_hop_s` before. A member of etcd promises nothing like this: it tells what it knows of, however
  old. Its client must see to it by linearizable reads.
- It may **break** at any moment, and ends with CompactedError when what it would tell next was compacted.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.store import WATCH_PROGRESS_SECONDS, CompactedError, Event, WatchBatch
from stepwell.errors import UnavailableError
from tests.simulation.etcd_faults import Fault

if TYPE_CHECKING:
    from tests.simulation.etcd_client import EtcdStore


class Watches:
    """Those that are open, in the order in which they were opened."""

    def __init__(self) -> None:
        self._open: dict[Watch, None] = {}

    def open(self, store: EtcdStore, prefix: str, after: int) -> Watch:
        watch = Watch(store, prefix, after, self._open.pop)
        self._open[watch] = None
        return watch

    def published(self, events: tuple[Event, ...]) -> None:
        for watch in self._open:
            watch.publish(events)

    def resume(self) -> None:
        """Some members hear of the leader again."""
        for watch in self._open:
            watch.resume()


class Watch:
    """One of them. The reader takes from it with `next` until it raises, and closes it."""

    def __init__(self, store: EtcdStore, prefix: str, after: int, closed: Callable[[Watch, None], object]) -> None:
        self._etcd = store.etcd
        self._time = store.etcd.time
        self._store = store
        self._member = store.member
        self._prefix = prefix
        self._told = after
        self._closed = closed
        self._begun = False
        self._stalled = False
        self._on_its_way: deque[tuple[float, int]] = deque()
        """When the reader will be told of everything up to a revision, which follows on the one before."""
        self._last_due = 0.0
        self._ready: deque[WatchBatch] = deque()
        self._error: Exception | None = None
        self._reader: Future[None] | None = None
        self._time.at(self._time.now() + self._etcd.hop(), self._begin)

    # ---------------------------------------------------------------- the reader's end
    async def next(self) -> WatchBatch:
        """The next batch. Raises UnavailableError and CompactedError; does not return for a process that is dead."""
        while not self._ready:
            if self._error is not None:
                raise self._error
            self._reader = self._time.future()
            await self._reader
        return self._ready.popleft()

    def close(self) -> None:
        """The reader goes away."""
        self._closed(self, None)
        self._error = self._error or UnavailableError("the watch is closed")

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # ---------------------------------------------------------------- the member's end
    def publish(self, events: tuple[Event, ...]) -> None:
        """These happened at the newest revision."""
        if self._begun and not self._stalled and any(event.key.startswith(self._prefix) for event in events):
            self._send()

    def resume(self) -> None:
        """Tell what was held back, if that can be told now."""
        if self._stalled and self._is_heard():
            self._stalled = False
            self._on_its_way.clear()
            self._send()

    def end(self, error: Exception) -> None:
        self.close()
        self._error = error
        self._wake()

    def _begin(self) -> None:
        if self._error is None:
            self._begun = True
            self._send()
            self._time.at(self._time.now() + WATCH_PROGRESS_SECONDS, self._progress)

    def _send(self) -> None:
        """Have everything up to now be told in a moment."""
        now = self._time.now()
        self._last_due = max(self._last_due, now + self._etcd.watch_hop())
        self._on_its_way.append((self._last_due, self._etcd.state.revision))
        if len(self._on_its_way) == 1:
            self._time.at(self._last_due, self._tell)

    def _progress(self) -> None:
        """Say that there is nothing, when nothing was said for long."""
        now = self._time.now()
        if self._error is not None:
            return
        self.resume()
        quiet_since = now if self._on_its_way or self._stalled else self._last_due
        if quiet_since + WATCH_PROGRESS_SECONDS <= now:
            self._send()
            quiet_since = now
        self._time.at(quiet_since + WATCH_PROGRESS_SECONDS, self._progress)

    def _tell(self) -> None:
        """What is due reaches the reader, or doesn't."""
        state, on_its_way = self._etcd.state, self._on_its_way
        if self._error is not None or not on_its_way or not self._survives():
            return
        now = self._time.now()
        _, revision = on_its_way.popleft()
        while on_its_way and on_its_way[0][0] <= now:
            _, revision = on_its_way.popleft()
        until = max(self._told, revision)
        self._ready.append(WatchBatch(until, state.changes(self._told, until, self._prefix)))
        self._told = until
        self._wake()
        if on_its_way:
            self._time.at(on_its_way[0][0], self._tell)

    def _is_heard(self) -> bool:
        return self._etcd.hears_leader(self._member) and self._store.connected()

    def _survives(self) -> bool:
        """Whether it goes on telling: not when it stalls, breaks, has no reader any more or was compacted."""
        etcd = self._etcd
        if not self._store.alive():
            etcd.seen[Fault.ANSWER_DROPPED] += 1
            self.close()
            return False
        if not self._is_heard():
            etcd.seen[Fault.WATCH_STALLED] += 1
            self._stalled = True
            return False
        if etcd.watch_breaks():
            etcd.seen[Fault.WATCH_BROKEN] += 1
            self.end(UnavailableError("the watch broke: the connection was lost"))
            return False
        if self._told < etcd.state.compacted:
            etcd.seen[Fault.WATCH_COMPACTED] += 1
            self.end(CompactedError(f"required revision has been compacted: {etcd.state.compacted}"))
            return False
        return True

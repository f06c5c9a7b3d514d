"""What callers may read of an instance's log, after their rights were checked: the API without gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

from data_plane.calls import InstanceCalls, parse_cursor
from data_plane.journal.store import InstanceKey
from data_plane.logs.recorder import Recorder
from data_plane.logs.store import Line, LogKey, LogStore, NumberedLine
from data_plane.watchers import StatusListener, Watchers
from stepwell.errors import InvalidArgumentError, NotFoundError
from stepwell.names import InstanceUid

READ_LINES: Final = 100
"""At a time: with 8 KiB each, which grow to three times that where they are no UTF-8, 2.4 MiB in memory."""


class LogEntry(NamedTuple):
    """A line with the cursor that goes on after it."""

    cursor: str
    line: Line


class LogReading:
    """Lines of instances that exist. Raises NotFoundError for others."""

    def __init__(self, calls: InstanceCalls, watchers: Watchers, store: LogStore, recorder: Recorder) -> None:
        self._calls = calls
        self._watchers = watchers
        self._store = store
        self._recorder = recorder

    async def printed(
        self, key: InstanceKey, cursor: str, step: str, *, field: str = "cursor"
    ) -> AsyncGenerator[LogEntry]:
        """What was printed after the cursor, oldest first, as far as it is kept; read as it is asked for.

        Raises InvalidArgumentError for a cursor that is not of this instance, naming the field that it came in.
        """
        uid = (await self._calls.get(key)).instance.uid
        after = _after(cursor, uid, field)
        await self._recorder.flushed(LogKey(key.tenant, uid))
        while lines := await self._read(key, uid, after, step):
            for number, line in lines:
                yield LogEntry(f"{uid}.{number}", line)
            after = lines[-1].number

    async def watch(self, key: InstanceKey, cursor: str, step: str) -> AsyncGenerator[LogEntry]:
        """The same, then what is printed, until the instance has ended or is deleted."""
        uid = (await self._calls.get(key)).instance.uid
        after = _after(cursor, uid, "cursor")
        log_key = LogKey(key.tenant, uid)
        with self._recorder.following(log_key) as changed:
            listener = StatusListener(changed)
            self._watchers.listen(key, listener)
            try:
                while True:
                    changed.clear()
                    ended = await self._ended(key, uid)
                    if ended:
                        await self._recorder.flushed(log_key)
                    while lines := await self._read(key, uid, after, step):
                        for number, line in lines:
                            yield LogEntry(f"{uid}.{number}", line)
                        after = lines[-1].number
                    if ended:
                        return
                    await changed.wait()
            finally:
                self._watchers.remove(key, listener)

    async def _ended(self, key: InstanceKey, uid: InstanceUid) -> bool:
        try:
            instance = (await self._calls.get(key)).instance
        except NotFoundError:
            return True
        return instance.uid != uid or instance.outcome is not None

    async def _read(self, key: InstanceKey, uid: InstanceUid, after: int, step: str) -> Sequence[NumberedLine]:
        return await self._store.read(LogKey(key.tenant, uid), after=after, step=step, limit=READ_LINES)


def _after(cursor: str, uid: InstanceUid, field: str) -> int:
    """The number to go on after."""
    parsed = parse_cursor(cursor)
    if parsed is None:
        return 0
    if parsed[0] != uid:
        raise InvalidArgumentError(f"{field} is not one of this instance", field=field)
    return parsed[1]

"""The thread that commits: whatever was written while one fsync ran goes into the next transaction.

A commit that failed leaves the outcome of everything in it unknown, and after a failed fsync even what is read back
proves nothing: the thread stops, tells the event loop once, and acknowledges nothing any more. Only a new process may
look.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import apsw

from data_plane.journal.sqlite.checkpoints import Checkpointer
from data_plane.journal.sqlite.mutations import Bound, commit
from data_plane.journal.sqlite.turns import CommitTurns, Entry
from data_plane.journal.store import Done


class GroupCommit:
    """`put` from the event loop; callbacks come back on it once durable, for each tenant in the order of its puts."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._connection = connection
        self._checkpointer = Checkpointer(connection, path)
        self._loop = loop
        self._on_fatal = on_fatal
        self._queue: SimpleQueue[tuple[list[Entry], int] | None] = SimpleQueue()
        self._turn: list[Entry] = []
        self._turn_bytes = 0
        self._turns = CommitTurns()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="journal-commit", daemon=True)
        self._thread.start()

    def put(self, bound: Bound, done: Done) -> None:
        """What one turn of the event loop puts goes to the thread together: a commit for each guest's first row would
        cost more than the turn."""
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._turn.append((bound, done))
        self._turn_bytes += bound[3]

    def _hand_over(self) -> None:
        turn, size, self._turn, self._turn_bytes = self._turn, self._turn_bytes, [], 0
        if turn:
            self._queue.put((turn, size))

    async def close(self) -> None:
        """Commit what was put, then end the thread; returns at once when it has ended."""
        self._hand_over()
        self._queue.put(None)
        await self._ended.wait()

    def _run(self) -> None:
        try:
            self._commit_until_closed()
        except BaseException as error:
            self._tell(self._on_fatal, error)
        self._checkpointer.close()
        self._tell(self._ended.set)

    def _commit_until_closed(self) -> None:
        closing = False
        while not closing or self._turns.waiting:
            came, size = list[Entry](), 0
            if not closing:
                came, size, closing = self._came()
            batch = self._turns.next(came, size)
            if batch:
                unfinished = commit(self._connection, [bound for bound, _ in batch])
                if unfinished:
                    self._turns.wait([entry for entry in batch if entry[0] in unfinished])
                    batch = [entry for entry in batch if entry[0] not in unfinished]
                self._tell(_acknowledge, [done for _, done in batch], self._loop)
                self._checkpointer.after_commit()

    def _came(self) -> tuple[list[Entry], int, bool]:
        """Everything that was put since, waiting for it while there is nothing else; its bytes; and whether the end was
        among it."""
        came, size = list[Entry](), 0
        try:
            turn = self._queue.get(block=not self._turns.waiting)
            while turn is not None:
                came += turn[0]
                size += turn[1]
                turn = self._queue.get_nowait()
        except Empty:
            return came, size, False
        return came, size, True

    def _tell(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            """The loop is closed: nobody is left to be told."""


def _acknowledge(callbacks: Sequence[Done], loop: asyncio.AbstractEventLoop) -> None:
    for done in callbacks:
        try:
            done(None)
        except Exception as error:
            loop.call_exception_handler({"message": "a journal write's callback failed", "exception": error})

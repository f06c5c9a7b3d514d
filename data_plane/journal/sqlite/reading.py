"""Threads that read beside the committing one, each on a connection of its own.

What one turn of the event loop asks for goes to one thread together and comes back together: under load, waking threads
and waiting for the GIL cost more than the reads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from data_plane.journal.sqlite.queries import Reader

READS_AT_ONCE = 32
"""By one thread before it answers: more wait for another thread, or for the next turn of this one."""

T = TypeVar("T")

_Asked = tuple[Callable[[Reader], Any], "asyncio.Future[Any]"]


class ReadThreads:
    """`read` from the event loop; `close` waits for what was asked, and ends the threads."""

    def __init__(self, readers: Sequence[Reader], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: SimpleQueue[list[_Asked] | None] = SimpleQueue()
        self._turn: list[_Asked] = []
        self._threads = [
            threading.Thread(target=self._run, args=(reader,), name=f"journal-read-{number}", daemon=True)
            for number, reader in enumerate(readers)
        ]
        for thread in self._threads:
            thread.start()

    async def read(self, query: Callable[[Reader], T]) -> T:
        """What the query returns or raises; it runs in a thread, and sees all that was committed before."""
        answer: asyncio.Future[T] = self._loop.create_future()
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._turn.append((query, answer))
        return await answer

    async def close(self) -> None:
        self._hand_over()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _hand_over(self) -> None:
        turn, self._turn = self._turn, []
        for start in range(0, len(turn), READS_AT_ONCE):
            self._queue.put(turn[start : start + READS_AT_ONCE])

    def _run(self, reader: Reader) -> None:
        while (asked := self._queue.get()) is not None:
            answers = [(answer, *_outcome(query, reader)) for query, answer in asked]
            try:
                self._loop.call_soon_threadsafe(_answer, answers)
            except RuntimeError:
                """The loop is closed: nobody waits any more."""
        reader.close()


def _outcome(query: Callable[[Reader], Any], reader: Reader) -> tuple[Any, Exception | None]:
    try:
        return query(reader), None
    except Exception as error:
        return None, error


def _answer(answers: Sequence[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    for answer, value, error in answers:
        if answer.done():  # whoever asked was cancelled
            continue
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)

"""An event loop in a thread of its own, by which programs without one use what is asynchronous.

Each call waits in the thread that makes it, so Ctrl-C reaches it there: what it waited for is cancelled, and the loop
goes on. Nothing of a method is written again: its twin has its signature and its types.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import wraps
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_END: Final = object()


class LoopThread:
    """Safe for many threads. It ends by `close`, when it is collected, and with the process."""

    def __init__(self) -> None:
        made: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=_serve, args=(made,), name="stepwell-client", daemon=True)
        self._thread.start()
        self._loop, stop = made.result()
        self._open = threading.Lock()  # whoever submits is heard before the stop
        self._closed = False
        self._end = weakref.finalize(self, _end, self._loop, stop, self._thread)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives or raises. Raises RuntimeError once this is closed, or in a child that was forked."""
        with self._open:
            if self._closed or not self._thread.is_alive():
                work.close()
                raise RuntimeError("the client is closed, or this process was forked from its own: connect again")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the client was closed meanwhile") from None
        finally:
            future.cancel()  # whatever ended the waiting, such as Ctrl-C, ends the work

    def call(self, method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
        """The twin of a method, which waits."""

        @wraps(method)
        def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.run(method(*args, **kwargs))

        return waiting

    def stream(self, method: Callable[P, AsyncGenerator[T]]) -> Callable[P, Stream[T]]:
        """The twin of a method that gives one item after the other."""

        @wraps(method)
        def streaming(*args: P.args, **kwargs: P.kwargs) -> Stream[T]:
            return Stream(self, method(*args, **kwargs))

        return streaming

    def close(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Do the last work, cancel what is in flight and end the thread. Idempotent."""
        with self._open:
            first, self._closed = not self._closed and self._thread.is_alive(), True
            future = asyncio.run_coroutine_threadsafe(last(), self._loop) if first and last is not None else None
        try:
            if future is not None:
                future.result()
        finally:
            self._end()


class Stream(Generic[T]):
    """Items to iterate over, each when it comes. Close it, use it in `with`, or read it to its end."""

    def __init__(self, thread: LoopThread, items: AsyncGenerator[T]) -> None:
        self._thread = thread
        self._items = items
        self._turn = asyncio.Lock()
        """What was cancelled has to end before the next begins."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        item = self._thread.run(self._next())
        if item is _END:
            raise StopIteration
        return item  # type: ignore[return-value]  # the only other value

    def close(self) -> None:
        """Give up what is still to come. Idempotent."""
        self._thread.run(self._close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _next(self) -> T | object:
        async with self._turn:
            return await anext(self._items, _END)

    async def _close(self) -> None:
        async with self._turn:
            await self._items.aclose()


def _serve(made: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    async def until_stopped() -> None:
        stop = asyncio.Event()
        made.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    asyncio.run(until_stopped())


def _end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    if thread.is_alive():
        loop.call_soon_threadsafe(stop.set)
        if thread is not threading.current_thread():  # it may be the one that collects
            thread.join()

"""Random asyncio programs: the source of a `run` for a seed, the same in every process.

Each leaves a trace of what it saw, in order: results, errors, the order in which sets of tasks iterate, names, times. A
replay that differs anywhere leaves another trace.
"""

from __future__ import annotations

import random
from typing import Final

DEPTH_MAX: Final = 3
_HEAD: Final = """
import asyncio
from contextlib import aclosing

async def run(step, log):
    loop = asyncio.get_running_loop()
    queue, lock, event, semaphore = asyncio.Queue(), asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2)
    condition = asyncio.Condition()

    async def ok(name):
        async def body(ctx):
            return [name, ctx.step.count]
        value = await step.do(name)(body)()
        log("ok", value)
        return value

    async def bad(name):
        async def body():
            raise ValueError(name)
        try:
            await step.do(name, config={"retries": {"limit": 0}})(body)()
        except ValueError as error:
            log("bad", str(error))
            raise

    async def nap(name, ms):
        await step.sleep(name, ms)
        log("nap", name, loop.time())

    async def news(name, timeout):
        try:
            value = (await step.wait_for_event(name, "type", timeout=timeout)).payload
        except TimeoutError as error:
            value = type(error).__name__
        log("news", name, value)
        return value

    async def numbers(count):
        try:
            for number in range(count):
                await ok(f"n{number}") if number % 2 else await asyncio.sleep(0)
                yield number
        finally:
            log("numbers end")

    def seen(futures):
        return [each.get_name() if isinstance(each, asyncio.Task) else "future" for each in futures]

    def outcome(task):
        if task.cancelled():
            return "cancelled"
        return repr(task.exception()) if task.exception() else task.result()

"""


class Writer:
    """Writes one program."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lines: list[str] = []
        self._functions = 0

    def program(self) -> str:
        """The whole module."""
        self._block("    ", DEPTH_MAX, self._random.randint(2, 5))
        return _HEAD + "\n".join(self._lines) + "\n    return log('end')\n"

    def _put(self, indent: str, text: str) -> None:
        self._lines.append(indent + text)

    def _name(self) -> str:
        return repr(self._random.choice("abc"))

    def _leaf(self) -> str:
        """An awaitable expression, as a coroutine."""
        pick = self._random.random()
        if pick < 0.45:
            return f"ok({self._name()})"
        if pick < 0.58:
            return f"bad({self._name()})"
        if pick < 0.68:
            return f"nap({self._name()}, {self._random.choice([0, 5, 1000, 60000])})"
        if pick < 0.78:
            return f"news({self._name()}, {self._random.choice([0, 10, 5000, None])})"
        return f"asyncio.sleep({self._random.choice([0, 0, 0.01, 1, 5])})"

    def _function(self, indent: str, depth: int) -> str:
        """Define a nested coroutine function; returns its call."""
        self._functions += 1
        name = f"f{self._functions}"
        self._put(indent, f"async def {name}():")
        inner = indent + "    "
        if self._random.random() < 0.4:
            self._put(inner, "try:")
            self._block(inner + "    ", depth - 1, self._random.randint(1, 2))
            self._put(inner, "finally:")
            self._put(inner + "    ", f"log('finally {name}')")
            if self._random.random() < 0.5:
                self._block(inner + "    ", depth - 1, 1)
        else:
            self._block(inner, depth - 1, self._random.randint(1, 3))
        self._put(inner, f"return log({name!r}, loop.time())")
        return f"{name}()"

    def _work(self, indent: str, depth: int) -> str:
        if depth > 0 and self._random.random() < 0.5:
            return self._function(indent, depth)
        return self._leaf()

    def _works(self, indent: str, depth: int, least: int = 2) -> list[str]:
        return [self._work(indent, depth) for _ in range(self._random.randint(least, 4))]

    def _block(self, indent: str, depth: int, statements: int) -> None:
        for _ in range(statements):
            if self._random.random() < 0.3:
                self._put(indent, "try:")
                self._statement(indent + "    ", depth)
                caught = self._random.choice(
                    [
                        "Exception",
                        "Exception",
                        "(ValueError, TimeoutError)",
                        "BaseExceptionGroup",
                        "asyncio.CancelledError",
                    ]
                )
                self._put(indent, f"except {caught} as error:")
                self._put(indent + "    ", "log('caught', repr(error))")
            else:
                self._statement(indent, depth)

    def _statement(self, indent: str, depth: int) -> None:
        kinds = [self._plain, self._gather, self._wait, self._as_completed, self._group, self._timeout, self._wait_for]
        kinds += [self._shield, self._cancel, self._queue, self._lock, self._event, self._generator, self._condition]
        kinds += [self._background, self._race, self._sets, self._cycle]
        self._random.choice(kinds if depth > 0 else [self._plain])(indent, depth)

    def _plain(self, indent: str, depth: int) -> None:
        self._put(indent, f"log('plain', await {self._leaf()})")

    def _gather(self, indent: str, depth: int) -> None:
        works = ", ".join(self._works(indent, depth))
        flag = self._random.choice([True, False])
        wrap = self._random.choice(["", "tuple"])
        self._put(
            indent,
            f"log('gather', {wrap}(repr(each) for each in await asyncio.gather({works}, return_exceptions={flag})))"
            if wrap
            else f"log('gather', [repr(each) for each in await asyncio.gather({works}, return_exceptions={flag})])",
        )

    def _tasks(self, indent: str, depth: int, least: int = 2) -> None:
        works = ", ".join(f"asyncio.create_task({work})" for work in self._works(indent, depth, least))
        self._put(indent, f"tasks = {{{works}}}")

    def _wait(self, indent: str, depth: int) -> None:
        self._tasks(indent, depth)
        when = self._random.choice(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
        timeout = self._random.choice(["None", "None", "0.01", "2"])
        self._put(indent, f"done, pending = await asyncio.wait(tasks, return_when=asyncio.{when}, timeout={timeout})")
        self._put(indent, "log('wait', seen(done), seen(pending), [outcome(each) for each in done])")
        if self._random.random() < 0.7:
            self._put(indent, "for each in pending:")
            self._put(indent, "    each.cancel()")
        if self._random.random() < 0.5:
            self._put(indent, "if pending:")
            self._put(
                indent, "    log('rest', await asyncio.gather(*pending, return_exceptions=True) and seen(pending))"
            )

    def _as_completed(self, indent: str, depth: int) -> None:
        works = ", ".join(self._works(indent, depth))
        timeout = self._random.choice(["None", "None", "0.01", "2"])
        self._put(indent, f"for each in asyncio.as_completed([{works}], timeout={timeout}):")
        self._put(indent, "    try:")
        self._put(indent, "        log('as_completed', await each)")
        self._put(indent, "    except Exception as error:")
        self._put(indent, "        log('as_completed error', repr(error))")

    def _group(self, indent: str, depth: int) -> None:
        works = self._works(indent, depth)
        self._put(indent, "async with asyncio.TaskGroup() as group:")
        for work in works:
            self._put(indent, f"    group.create_task({work})")
        if self._random.random() < 0.4:
            self._put(indent, f"    log('in group', await {self._leaf()})")

    def _timeout(self, indent: str, depth: int) -> None:
        self._put(indent, "try:")
        self._put(indent, f"    async with asyncio.timeout({self._random.choice([0, 0.01, 1, 60])}):")
        self._block(indent + "        ", depth - 1, self._random.randint(1, 2))
        self._put(indent, "except TimeoutError:")
        self._put(indent, "    log('timeout', loop.time())")

    def _wait_for(self, indent: str, depth: int) -> None:
        work = self._work(indent, depth)
        self._put(indent, "try:")
        self._put(
            indent, f"    log('wait_for', await asyncio.wait_for({work}, {self._random.choice([0, 0.01, 1, 60])}))"
        )
        self._put(indent, "except TimeoutError:")
        self._put(indent, "    log('wait_for timeout', loop.time())")

    def _shield(self, indent: str, depth: int) -> None:
        work = self._work(indent, depth)
        self._put(indent, f"inner = asyncio.ensure_future({work})")
        self._put(indent, "try:")
        self._put(
            indent,
            f"    log('shield', await asyncio.wait_for(asyncio.shield(inner), {self._random.choice([0.01, 1, None])}))",
        )
        self._put(indent, "except TimeoutError:")
        self._put(indent, "    log('shield timeout')")
        if self._random.random() < 0.5:
            self._put(indent, "    log('shielded', repr((await asyncio.gather(inner, return_exceptions=True))[0]))")

    def _cancel(self, indent: str, depth: int) -> None:
        work = self._work(indent, depth)
        self._put(indent, f"task = asyncio.create_task({work})")
        self._put(indent, f"await {self._random.choice(['asyncio.sleep(0)', self._leaf()])}")
        self._put(indent, "log('cancel', task.cancel(), task.get_name())")
        if self._random.random() < 0.7:
            self._put(indent, "log('cancelled', repr((await asyncio.gather(task, return_exceptions=True))[0]))")

    def _queue(self, indent: str, depth: int) -> None:
        works = self._works(indent, depth)
        self._put(indent, "async def produce(work):")
        self._put(indent, "    try:")
        self._put(indent, "        await queue.put(repr(await work))")
        self._put(indent, "    except Exception as error:")
        self._put(indent, "        queue.put_nowait(repr(error))")
        self._put(indent, f"makers = [asyncio.create_task(produce(work)) for work in [{', '.join(works)}]]")
        self._put(indent, f"for _ in range({self._random.randint(1, len(works))}):")
        self._put(indent, "    log('queue', await queue.get())")
        if self._random.random() < 0.5:
            self._put(indent, "log('makers', seen(asyncio.all_tasks()))")

    def _lock(self, indent: str, depth: int) -> None:
        guard = self._random.choice(["lock", "semaphore"])
        works = ", ".join(f"guarded({self._leaf()})" for _ in range(self._random.randint(2, 4)))
        self._put(indent, "async def guarded(work):")
        self._put(indent, f"    async with {guard}:")
        self._put(indent, "        return repr(await work)")
        self._put(indent, f"log('lock', repr(await asyncio.gather({works}, return_exceptions=True)))")

    def _condition(self, indent: str, depth: int) -> None:
        self._put(indent, "async def waiting(number):")
        self._put(indent, "    async with condition:")
        self._put(indent, "        await condition.wait()")
        self._put(indent, "        log('condition', number)")
        self._put(indent, "waiters = [asyncio.create_task(waiting(number)) for number in range(3)]")
        self._put(indent, f"await {self._leaf()}")
        self._put(indent, "async with condition:")
        self._put(indent, f"    condition.notify({self._random.choice([1, 2, 3])})")

    def _event(self, indent: str, depth: int) -> None:
        self._put(indent, "async def late():")
        self._put(indent, f"    log('late', await {self._leaf()})")
        self._put(indent, "    event.set()")
        self._put(indent, "setter = asyncio.create_task(late())")
        self._put(indent, "log('event', await event.wait())")
        if self._random.random() < 0.5:
            self._put(indent, "event.clear()")

    def _generator(self, indent: str, depth: int) -> None:
        count = self._random.randint(1, 3)
        if self._random.random() < 0.5:
            self._put(indent, f"async with aclosing(numbers({count})) as several:")
            self._put(indent, "    async for number in several:")
            indent += "    "
        else:
            self._put(indent, f"async for number in numbers({count}):")
        self._put(indent, f"    log('number', number, repr(await {self._leaf()}))")
        if self._random.random() < 0.5:
            self._put(indent, "    break")

    def _background(self, indent: str, depth: int) -> None:
        work = self._work(indent, depth)
        self._put(indent, f"asyncio.create_task({work})")
        if self._random.random() < 0.3:
            self._put(indent, f"loop.call_later({self._random.choice([0, 0.5, 3])}, log, 'called later')")

    def _sets(self, indent: str, depth: int) -> None:
        gathers = ", ".join(
            f"asyncio.gather({self._leaf()}, {self._leaf()})" for _ in range(self._random.randint(2, 4))
        )
        self._put(indent, f"several = [{gathers}, loop.create_future()]")
        self._put(indent, "several[-1].set_result('set')")
        self._put(indent, "done, pending = await asyncio.wait(set(several), return_when=asyncio.FIRST_COMPLETED)")
        self._put(
            indent, "log('sets', [several.index(each) for each in done], [several.index(each) for each in pending])"
        )
        self._put(indent, "for each in pending:")
        self._put(indent, "    each.cancel()")
        self._put(indent, "log('all', [repr(each) for each in await asyncio.gather(*pending, return_exceptions=True)])")

    def _cycle(self, indent: str, depth: int) -> None:
        self._put(indent, "dropped = numbers(3)")
        self._put(indent, "log('dropped', await anext(dropped))")
        self._put(indent, "circle = [dropped]")
        self._put(indent, "circle.append(circle)")
        self._put(indent, "del dropped, circle")

    def _race(self, indent: str, depth: int) -> None:
        self._tasks(indent, depth)
        self._put(indent, "while tasks:")
        self._put(indent, "    done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)")
        self._put(indent, "    log('race', seen(done), [outcome(each) for each in done])")


def source(seed: int) -> str:
    """The program of this seed."""
    return Writer(seed).program()

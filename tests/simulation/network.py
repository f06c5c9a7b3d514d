"""What carries calls: from clients to machines, and between machines. Messages take their time, are lost, come twice.

A call that is lost is not answered, and its caller gives up in time; one that comes twice is served twice, as when a
client's library repeats it. A machine that dies breaks the calls that it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

from rpc.auth import Principal
from stepwell.errors import UnavailableError
from stepwell.v1 import instances_pb2 as pb
from tests.simulation.loop import PROCESS

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.world import World

Result = Message | BaseException


@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """Chances for one message; `delay_s` is what it takes on the average."""

    delay_s: float = 0.001
    lost: float = 0.0
    twice: float = 0.0
    slow: float = 0.0
    """It takes up to SLOW_S."""


SLOW_S: Final = 5.0

DEADLINE_S: Final = 12.0
"""How long a call may take, as its client tells those who serve it: then they give it up, as gRPC does."""

STRAY_S: Final = 20.0
"""A call that nobody waits for any more has come and gone after so long."""

DEADLINE: ContextVar[float] = ContextVar("deadline_of_the_call_that_is_served")
"""When its client gives up; what is asked of other nodes for it ends then too."""

CALM: Final = NetworkFaults()
HOSTILE: Final = NetworkFaults(delay_s=0.01, lost=0.02, twice=0.02, slow=0.03)


class _Calling:
    """One call, wherever it is served by now."""

    def __init__(self) -> None:
        self.served_by: list[asyncio.Task[Message]] = []

    def cancel(self) -> None:
        for task in self.served_by:
            task.cancel()


class Network:
    def __init__(self, world: World) -> None:
        self.faults = CALM
        self._world = world
        self._strays: dict[str, float] = {}
        """By name of an instance: until when a call of it that nobody waits for may still come, or be at work."""

    async def without_strays(self, name: str) -> None:
        """Return once no call of that instance is on its way any more: names are all that calls know it by."""
        await asyncio.sleep(self._strays.get(name, 0.0) - self._world.loop.now_s)

    async def call(
        self, source: Machine | None, address: str, method: str, request: Message, caller: Principal
    ) -> Message:
        """The answer, or what serving it raised; it may never return. `source` is None for a client's."""
        world, loop = self._world, self._world.loop
        answer: asyncio.Future[Message] = loop.create_future()
        context = PROCESS.get().context

        def respond(result: Result) -> None:
            loop.call_soon(_settle, answer, result, context=context)

        name, process = _name_in(request), PROCESS.get()

        def left_behind() -> None:
            self._strays[name] = loop.now_s + STRAY_S

        until_s = DEADLINE.get(loop.now_s + DEADLINE_S)
        calling = _Calling()
        if source is None or source.connected:
            arrive = partial(
                self._arrive,
                source,
                address,
                method,
                request.SerializeToString(),
                request,
                caller,
                until_s,
                respond,
                calling,
            )
            self._post(arrive)
            if world.random.random() < self.faults.twice:
                world.seen["call came twice"] += 1
                left_behind()
                self._post(arrive)
        process.farewells[left_behind] = None  # what a machine passes on as it dies may arrive
        try:
            return await answer
        except asyncio.CancelledError:
            left_behind()
            self._post(calling.cancel)
            raise
        finally:
            process.farewells.pop(left_behind, None)

    def _arrive(
        self,
        source: Machine | None,
        address: str,
        method: str,
        sent: bytes,
        request: Message,
        caller: Principal,
        until_s: float,
        respond: Callable[[Result], None],
        calling: _Calling,
    ) -> None:
        machine = self._world.machines[address]
        process = machine.process
        if not (machine.alive and machine.connected):
            self._post(partial(respond, UnavailableError("not reachable")))
            return
        try:
            task = machine.serve(method, type(request).FromString(sent), caller, until_s, forwarded=source is not None)
        except UnavailableError as error:
            self._post(partial(respond, error))
            return

        def broken() -> None:
            self._post(partial(respond, UnavailableError("the connection broke")))

        def served(task: asyncio.Task[Message]) -> None:
            process.farewells.pop(broken, None)
            if task.cancelled():
                return
            error = task.exception()
            if machine.connected and process.alive:
                self._post(partial(respond, error if error is not None else task.result()))

        calling.served_by.append(task)
        process.farewells[broken] = None
        task.add_done_callback(served)

    def _post(self, deliver: Callable[[], None]) -> None:
        """Have it arrive, some time, or not."""
        world, faults = self._world, self.faults
        fate = world.random.random()
        if fate < faults.lost:
            world.seen["message lost"] += 1
            return
        delay_s = faults.delay_s * 2 * world.random.random()
        if fate < faults.lost + faults.slow:
            world.seen["message slow"] += 1
            delay_s = SLOW_S * world.random.random()
        world.loop.call_later(delay_s, deliver, context=world.loop.world.context)


def _settle(answer: asyncio.Future[Message], result: Result) -> None:
    if answer.done():
        return
    if isinstance(result, BaseException):
        answer.set_exception(result)
    else:
        answer.set_result(type(result).FromString(result.SerializeToString()))


def _name_in(request: Message) -> str:
    """Which instance the call is about."""
    if isinstance(request, pb.CreateInstanceRequest):
        return f"{request.parent}/instances/{request.instance_id}"
    name: str = getattr(request, "name", "")
    return name

"""Calls through bindings, as a guest makes them: from a step's body one frame and its answer, from `run` a step.

In `run` nothing may happen but what is recorded, so a call there is a step of its own, named like the binding and the
method. The end of a child is a wait for an event that only the host sends; it comes once, so whoever waits for the same
child shares it.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from stepwell.call_options import PLAIN, CallOptions
from stepwell.calls import Call
from stepwell.config import step_config
from stepwell.errors import InvalidArgumentError, RunRestrictionError, StepValueError
from stepwell.guest.asking import Asking
from stepwell.guest.bodies import Attempt
from stepwell.guest.failures import rebuilt
from stepwell.guest.logs import SOURCE
from stepwell.guest.scheduler import drained
from stepwell.names import event_type, instance_id
from stepwell.values import decode

if TYPE_CHECKING:
    from stepwell.guest.instance import Instance

BINDING_CALLS_MAX: Final = 16
"""Of one instance; more wait. The host refuses more."""


class Calls:
    """Implements `BindingHost`. `send` queues a frame."""

    def __init__(self, loop: AbstractEventLoop, send: Callable[[bytes, bytes], None]) -> None:
        self.workflows: dict[str, str] = {}
        """By the names of the bindings."""
        self.payload_bytes_max = 0
        self._loop = loop
        self._send = send
        self._numbers = 0
        self._answers: dict[int, Future[bytes]] = {}
        self._rooms: WeakKeyDictionary[Instance, asyncio.Semaphore] = WeakKeyDictionary()
        self._ends: WeakKeyDictionary[Asking, dict[str, Future[bytes | None]]] = WeakKeyDictionary()

    async def call(
        self, binding: str, method: str, id: str, type: str, payload: bytes, options: CallOptions = PLAIN
    ) -> bytes:
        asking = _asking()
        if asking is None:
            return await self._from_a_body(binding, method, id, type, payload, options)

        async def body() -> Any:
            return decode(await self._from_a_body(binding, method, id, type, payload, options))

        name = f"{binding}.{method}"
        return await asking.do(name, asking.next_count("do", name), Call(body), step_config(None), None)

    async def _from_a_body(
        self, binding: str, method: str, id: str, type: str, payload: bytes, options: CallOptions
    ) -> bytes:
        attempt = SOURCE.get(None)
        if not isinstance(attempt, Attempt) or attempt.over or asyncio.get_running_loop() is not self._loop:
            raise RunRestrictionError(
                f"{binding}.{method} was called from outside of a step: await it in run, or in a step that is an async "
                "def, while that runs"
            )
        if len(payload) > self.payload_bytes_max:
            raise StepValueError(
                f"{binding}.{method} was given {len(payload)} bytes of JSON, over the limit of {self.payload_bytes_max}"
            )
        _refuse_unsayable(id, type)
        attempt.calls += 1
        ordinal = attempt.calls
        room = self._rooms.get(attempt.instance)
        if room is None:
            room = self._rooms[attempt.instance] = asyncio.Semaphore(BINDING_CALLS_MAX)
        async with room:
            return await self._answered(attempt, ordinal, (binding, method, id, type), payload, options)

    async def _answered(
        self, attempt: Attempt, ordinal: int, what: tuple[str, ...], payload: bytes, options: CallOptions
    ) -> bytes:
        self._numbers += 1
        number = self._numbers
        ask = attempt.ask
        call = f"{attempt.act},{number},{ask.quoted},{ask.key[2]},{ordinal}"
        texts = ",".join(map(quoted, what))
        last = ask.kind if options == PLAIN else f",{quoted(ask.key[0])},{_said(options)}"
        answer = self._answers[number] = self._loop.create_future()
        try:
            self._send(f'["call",{call},{texts}{last}]'.encode(), payload)
            answered: bytes = await answer
            return answered
        finally:
            del self._answers[number]

    def answer(self, number: int, error: list[Any] | None, payload: bytes) -> None:
        """The host has carried a call out; nobody may wait for it any more."""
        waiting = self._answers.get(number)
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(payload)
        else:
            waiting.set_exception(rebuilt(error))

    async def end(self, binding: str, id: str) -> bytes:
        asking = _asking()
        if asking is None:
            raise RunRestrictionError(f"the result of {binding} {id!r} was asked for in a step: await it in run")
        ends = self._ends.setdefault(asking, {})
        child = f"{self.workflows[binding]}/{id}"
        while (known := ends.get(child)) is not None:
            ended: bytes | None = await asyncio.shield(known)
            if ended is not None:
                return ended
        first = ends[child] = asking.loop.create_future()
        name = f"{binding} {id}"
        try:
            payload, _, _ = await asking.wait(name, asking.next_count("waitForEvent", name), child, None)
        except BaseException:
            del ends[child]
            first.set_result(None)  # whoever else waits has to wait itself
            raise
        first.set_result(payload)
        return payload


def _refuse_unsayable(id: str, type: str) -> None:
    """What no frame may have would end the sandbox."""
    try:
        if id:
            instance_id(id)
        if type:
            event_type(type)
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None


def _said(options: CallOptions) -> str:
    return json.dumps([*options.retention, options.rollback, options.from_step])


def _asking() -> Asking | None:
    """Of the instance whose `run` is at work; None outside of all."""
    loop = drained()
    if loop is None:
        return None
    assert isinstance(loop.timers, Asking)
    return loop.timers

"""Calls that an activation's guest makes through its bindings: each is answered once, and there are never many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from data_plane.binding_calls import Caller, CallOptions
from loader import messages
from loader.messages import Call, GuestError
from stepwell.engine.records import StepKey
from stepwell.errors import ApiError, InternalError, PermissionDeniedError, RateLimitedError, UnavailableError
from stepwell.names import WorkflowId
from stepwell.retention import Retention

if TYPE_CHECKING:
    from data_plane.activation import Activation, GuestEnd
    from data_plane.resident import Resident

log = structlog.get_logger(__name__)

BINDING_CALLS_MAX: Final = 16
"""Of one instance. Guests let further ones wait."""


class GuestCalls:
    """One per activation, which it does not hold: what leaves memory must not wait for a garbage collection."""

    def __init__(
        self,
        resident: Resident,
        *,
        guest: GuestEnd,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._resident = resident
        self._guest = guest
        self._spawn = spawn
        self._under_way = 0

    def on_call(self, activation: Activation, call: Call, payload: bytes) -> None:
        """Carry it out, within what the version is granted."""
        workflow = self._guest.bindings.get(call.binding)
        if workflow is None:
            text = f"the version has no binding {call.binding!r}: declare it in stepwell.toml"
            self._refuse(activation, call, PermissionDeniedError(text))
        elif self._under_way >= BINDING_CALLS_MAX:
            self._refuse(activation, call, _too_many())
        else:
            self._under_way += 1
            self._spawn(lambda: self._carry_out(activation, call, workflow, payload))

    async def _carry_out(self, activation: Activation, call: Call, workflow: WorkflowId, payload: bytes) -> None:
        resident, bindings = self._resident, self._resident.server.bindings()
        caller = Caller(resident.key, resident.instance, call.kind, call.name, call.count, call.ordinal)
        try:
            if bindings is None:
                raise UnavailableError("the server starts; try again in a moment")
            options = _options(call.options)
            answer = await bindings.call(caller, workflow, call.method, call.id, call.type, payload, options)
        except ApiError as refused:
            self._refuse(activation, call, refused)
        except Exception:
            log.exception("a call through a binding failed")
            self._refuse(activation, call, InternalError("the call failed by a fault of the server's"))
        else:
            self._say(activation, messages.answer(activation.act, call.number, None, answer))
        finally:
            self._under_way -= 1

    def _refuse(self, activation: Activation, call: Call, error: ApiError) -> None:
        described = GuestError("stepwell.errors", type(error).__name__, error.message[:4096])
        self._say(activation, messages.answer(activation.act, call.number, described))

    def _say(self, activation: Activation, frame: bytes) -> None:
        if not activation.dead and activation.live is not None and self._resident.instance.live is activation.live:
            self._guest.send(frame)


def _options(said: messages.CallOptions) -> CallOptions:
    step = said.from_step
    from_step = None if step is None else StepKey(step.kind, step.name, step.count)
    return CallOptions(Retention(said.success_ms, said.error_ms), said.rollback, from_step)


def _too_many() -> RateLimitedError:
    return RateLimitedError(
        f"{BINDING_CALLS_MAX} calls of the instance are under way",
        limit="binding_calls_max",
        value=str(BINDING_CALLS_MAX),
        seen=str(BINDING_CALLS_MAX + 1),
    )

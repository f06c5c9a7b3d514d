"""The calls that are being served: how many each tenant has, and with which tokens, so that a revoked one ends them.

A call costs a look-up when it begins and when it ends, and nothing for each message of its streams: what is revoked is
found by looking at the tokens in use every `RECHECK_S`, and ends the tasks that serve them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NoReturn

from rpc.auth import Principal, Tokens
from rpc.limits import RpcLimits
from stepwell.errors import LimitExceededError, StepwellError
from stepwell.names import TenantId

RECHECK_S: Final = 1.0
"""Between looks at the tokens in use. Open calls of a revoked one are to end within 5 s."""

_LOOKS_IN_A_ROW: Final = 100
"""Tokens looked at before others get a turn: what is remembered is found without waiting."""

Serving = asyncio.Task[Any]


class _Tenant:
    """The calls of one tenant, or of the operator."""

    __slots__ = ("calls", "streams")

    def __init__(self) -> None:
        self.calls: dict[Serving, str] = {}
        """The id of the token that each was made with."""
        self.streams = 0


class OpenCalls:
    """Of one server. `run` must run, or revocation reaches new calls only."""

    def __init__(self, tokens: Tokens, limits: RpcLimits) -> None:
        self._tokens = tokens
        self._calls_max = limits.calls_per_tenant_max
        self._streams_max = limits.watches_per_tenant_max
        self._tenants: dict[TenantId | None, _Tenant] = {}
        self._revoked: set[Serving] = set()

    def begin(self, who: Principal, serving: Serving, streams: int) -> None:
        """This task serves a call, with so many streams of responses (none or one).

        Raises LimitExceededError. An operator's calls are bounded by `calls_max` alone.
        """
        tenant = self._tenants.get(who.tenant) or _Tenant()
        if who.tenant is not None:
            if len(tenant.calls) >= self._calls_max:
                raise _over("calls_per_tenant_max", self._calls_max, len(tenant.calls) + 1, "calls in flight")
            if streams and tenant.streams >= self._streams_max:
                raise _over("watches_per_tenant_max", self._streams_max, tenant.streams + 1, "open watches")
        if not tenant.calls:
            self._tenants[who.tenant] = tenant
        tenant.calls[serving] = who.token_id
        tenant.streams += streams

    def end(self, who: Principal, serving: Serving, streams: int) -> None:
        """Of what began."""
        tenant = self._tenants[who.tenant]
        del tenant.calls[serving]
        tenant.streams -= streams
        if not tenant.calls:
            del self._tenants[who.tenant]
        self._revoked.discard(serving)

    def is_revoked(self, serving: Serving) -> bool:
        """Whether the task was cancelled because its call's token is revoked."""
        return serving in self._revoked

    async def run(self) -> NoReturn:
        """End the calls of tokens that are revoked, until cancelled."""
        while True:
            await asyncio.sleep(RECHECK_S)
            await self.recheck()

    async def recheck(self) -> None:
        """Cancel the tasks whose token is no more. What can't be looked up now is looked up again the next time."""
        in_use = {token_id for tenant in self._tenants.values() for token_id in tenant.calls.values()}
        gone: set[str] = set()
        for number, token_id in enumerate(in_use, 1):
            try:
                if await self._tokens.token(token_id) is None:
                    gone.add(token_id)
            except StepwellError:
                continue
            if number % _LOOKS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        if gone:
            self._cancel(gone)

    def _cancel(self, gone: set[str]) -> None:
        """Once each: what is left of a call then may be a client that doesn't read how it ended."""
        for tenant in self._tenants.values():
            for serving, token_id in tenant.calls.items():
                if token_id in gone and serving not in self._revoked:
                    self._revoked.add(serving)
                    serving.cancel()


def _over(limit: str, value: int, seen: int, what: str) -> LimitExceededError:
    return LimitExceededError(
        f"the tenant would have {seen:,} {what}; it may have {value:,}: end some, or wait for them",
        limit=limit, value=str(value), seen=str(seen),
    )  # fmt: skip

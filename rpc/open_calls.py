"""The calls that are being served: how many each tenant has, and with which tokens, so that a revoked one ends them.

A call costs a look-up when it begins and when it ends, and nothing for each message of its streams: what is revoked is
found by looking at the tokens in use every `RECHECK_S`, and ends the tasks that serve them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn

from rpc.auth import NO_TOKEN, Principal, Tokens
from rpc.limits import RpcLimits
from stepwell.errors import ApiError, LimitExceededError, StepwellError, TokenRevokedError
from stepwell.names import TenantId

RECHECK_S: Final = 1.0
"""Between looks at the tokens in use. Open calls of a revoked one are to end within 5 s."""

BURST_S: Final = 1.0
"""After a pause, as many calls come at once as otherwise in this time."""

_LOOKS_IN_A_ROW: Final = 100
"""Tokens looked at before others get a turn: what is remembered is found without waiting."""

Serving = asyncio.Task[Any]


class Share:
    """What one tenant, or the operator, has of the server's calls. One that is empty goes at the next look."""

    __slots__ = ("calls", "next_at", "streams")

    def __init__(self) -> None:
        self.calls: dict[Serving, str] = {}
        """The id of the token that each was made with."""
        self.streams = 0
        self.next_at = 0.0
        """When its next call would be served, were there none before."""


class OpenCalls:
    """Of one server. `monotonic` gives seconds.

    `run` must run, or revocation reaches new calls only, and requests may take for ever to come.
    """

    def __init__(self, tokens: Tokens, limits: RpcLimits, monotonic: Callable[[], float]) -> None:
        self._tokens = tokens
        self._monotonic = monotonic
        self._interval_s = 1 / max(limits.calls_a_second_per_tenant_max, 1)
        self._calls_max = limits.calls_per_tenant_max
        self._streams_max = limits.watches_per_tenant_max
        self._request_seconds_max = limits.request_seconds_max
        self._shares: dict[TenantId | None, Share] = {}
        self._awaiting: dict[Serving, int] = {}
        """Calls whose request has not come, and when they began, in looks."""
        self._looks = 0
        self._ended: dict[Serving, ApiError] = {}

    def begin(self, who: Principal, serving: Serving, streams: int) -> Share:
        """This task serves a call, with so many streams of responses (none or one); to be handed to `end`.

        Raises LimitExceededError. An operator's calls are bounded by `calls_max` alone.
        """
        share = self._shares.get(who.tenant)
        if share is None:
            share = self._shares[who.tenant] = Share()
        calls = share.calls
        if who.tenant is not None:
            if len(calls) >= self._calls_max:
                raise _over("calls_per_tenant_max", self._calls_max, len(calls) + 1, "calls in flight")
            if streams and share.streams >= self._streams_max:
                raise _over("watches_per_tenant_max", self._streams_max, share.streams + 1, "open watches")
        calls[serving] = who.token_id
        share.streams += streams
        return share

    def pause_s(self, who: Principal, share: Share) -> float:
        """Count a call that is about to be served; how long it has to wait, so that others are served meanwhile."""
        if who.tenant is None:
            return 0.0
        now = self._monotonic()
        at = max(share.next_at, now - BURST_S)
        share.next_at = at + self._interval_s
        return at - now

    def awaits_request(self, serving: Serving) -> None:
        """From now until `has_request` the call is its client's to go on with, for so long and no longer."""
        self._awaiting[serving] = self._looks

    def has_request(self, serving: Serving) -> None:
        """It has come."""
        del self._awaiting[serving]

    def end(self, share: Share, serving: Serving, streams: int) -> None:
        """Of what began."""
        del share.calls[serving]
        share.streams -= streams
        if self._awaiting:
            self._awaiting.pop(serving, None)
        if self._ended:
            self._ended.pop(serving, None)

    def why_ended(self, serving: Serving) -> ApiError | None:
        """What its caller is to be told, when it was this that cancelled the task."""
        return self._ended.get(serving)

    async def run(self) -> NoReturn:
        """End the calls of tokens that are revoked, and those whose request does not come, until cancelled."""
        while True:
            await asyncio.sleep(RECHECK_S)
            self.end_late()
            await self.recheck()

    def end_late(self) -> None:
        """One more look: cancel the tasks that have waited for too many of them."""
        self._looks += 1
        for serving, began in self._awaiting.items():
            seconds = (self._looks - began) * RECHECK_S
            if seconds <= self._request_seconds_max:
                break
            why = LimitExceededError(
                f"the call's request did not come within {self._request_seconds_max:g} seconds",
                limit="request_seconds_max", value=f"{self._request_seconds_max:g}", seen=f"{seconds:g}",
            )  # fmt: skip
            self._end(serving, why)

    async def recheck(self) -> None:
        """Cancel the tasks whose token is no more. What can't be looked up now is looked up again the next time."""
        for empty in [tenant for tenant, share in self._shares.items() if not share.calls]:
            del self._shares[empty]
        in_use = {token_id for share in self._shares.values() for token_id in share.calls.values()} - {NO_TOKEN}
        gone: set[str] = set()
        for number, token_id in enumerate(in_use, 1):
            try:
                if await self._tokens.token(token_id) is None:
                    gone.add(token_id)
            except StepwellError:
                continue
            if number % _LOOKS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        for share in self._shares.values() if gone else ():
            for serving, token_id in share.calls.items():
                if token_id in gone:
                    self._end(serving, TokenRevokedError("this call's token was revoked while it was served"))

    def _end(self, serving: Serving, why: ApiError) -> None:
        """Once: what is left of a call then may be a client that doesn't read how it ended."""
        if serving not in self._ended:
            self._ended[serving] = why
            serving.cancel()


def _over(limit: str, value: int, seen: int, what: str) -> LimitExceededError:
    return LimitExceededError(
        f"the tenant would have {seen:,} {what}; it may have {value:,}: end some, or wait for them",
        limit=limit, value=str(value), seen=str(seen),
    )  # fmt: skip

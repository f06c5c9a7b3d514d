"""What tenants run: a workflow that follows the plan in its params, and tells the oracle what it sees.

A plan is a list of operations. Each result is unlike any other, so that a result that changes, or goes to the wrong
place, is seen at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from stepwell import WorkflowEntrypoint
from stepwell.errors import NonRetryableError
from tests.simulation.loop import EPOCH_S
from tests.simulation.oracle import Life, Oracle, Place

EVENT_TYPE = "go"
RETRIES = {"retries": {"limit": 40, "delay": 200, "backoff": "constant"}, "timeout": 20_000}


def drawn_plan(random: Random, *, depth: int = 0) -> list[Any]:
    """What an instance is to do: between one and eight things."""
    return [_drawn(random, depth) for _ in range(random.randint(1, 3 if depth else 8))]


def _drawn(random: Random, depth: int) -> list[Any]:
    chance = random.random()
    if chance < 0.45:
        return ["do", random.choice("ab"), random.choice((0, 0, 0, 1, 2)), random.choice((0, 0, 10, 200, 1_500))]
    if chance < 0.60:
        return ["sleep", random.choice((0, 50, 50, 900, 900, 2_000, 2_000, 8_000, 8_000, 40_000))]
    if chance < 0.72:
        return ["wait"]
    if chance < 0.78:
        return ["wait or give up", random.choice((0, 500, 5_000))]
    if chance < 0.84:
        return ["timer", random.choice((10, 700, 3_000))]
    if chance < 0.88:
        return ["large"]
    if chance < 0.92:
        return ["fail"]
    if depth < 2:
        return ["together", *(drawn_plan(random, depth=depth + 1) for _ in range(random.randint(2, 3)))]
    return ["do", "c", 0, 0]


def waits_in(plan: list[Any]) -> int:
    """How many events the plan can't do without."""
    return sum(1 for operation in _flat(plan) if operation[0] == "wait")


def _flat(plan: list[Any]) -> Iterator[list[Any]]:
    for operation in plan:
        yield operation
        if operation[0] == "together":
            for each in operation[1:]:
                yield from _flat(each)


class Tokens:
    """Values of which no two are alike."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> int:
        self._count += 1
        return self._count


class Follower(WorkflowEntrypoint):
    """The workflow; each tenant's version is a subclass. `ctx` is the instance's uid."""

    oracle: Oracle
    tokens: Tokens
    tenant: str
    version: str

    async def run(self, event: Any, step: Any) -> Any:
        plan = event["payload"]
        name = f"tenants/{self.tenant}/workflows/{event['workflowName']}/instances/{event['instanceId']}"
        life = self.oracle.runs(self.ctx, name, self.version, plan["tenant"])
        self.oracle.made(life, plan["nonce"])
        saw = await self._follow(life, step, plan["plan"], ())
        output = {"version": self.version, "saw": saw}
        self.oracle.returns(life, output)
        return output

    async def _follow(self, life: Life, step: Any, plan: list[Any], place: Place) -> list[Any]:
        return [await self._one(life, step, operation, (*place, index)) for index, operation in enumerate(plan)]

    async def _one(self, life: Life, step: Any, operation: list[Any], place: Place) -> Any:
        began_s = self.oracle.asks(life, place)
        match operation:
            case ["do", name, failures, takes_ms]:
                value = await step.do(name, config=RETRIES)(self._body(failures, takes_ms))()
            case ["large"]:
                value = await step.do("large", config=RETRIES)(self._large)()
            case ["fail"]:
                try:
                    value = await step.do("fail", config=RETRIES)(self._failing)()
                except Exception as error:
                    value = f"{type(error).__name__}: {error}"
            case ["sleep", ms]:
                await step.sleep("nap", ms)
                self.oracle.woke(life, place, began_s + ms / 1000)
                return "awake"
            case ["timer", ms]:
                began_s = asyncio.get_running_loop().time() - EPOCH_S
                await asyncio.sleep(ms / 1000)
                self.oracle.woke(life, place, began_s + ms / 1000)
                return "awake"
            case ["wait"]:
                value = (await step.wait_for_event("news", EVENT_TYPE, timeout=None)).payload
                self.oracle.received(life, place, value)
            case ["wait or give up", ms]:
                wait = step.wait_for_event("maybe", EVENT_TYPE, timeout=None)
                try:
                    value = (await asyncio.wait_for(wait, ms / 1000)).payload
                    self.oracle.received(life, place, value, could_do_without=True)
                except TimeoutError:
                    value = "nothing came"
            case ["together", *plans]:
                tasks = [self._follow(life, step, plan, (*place, index)) for index, plan in enumerate(plans)]
                return await asyncio.gather(*tasks)
            case _:
                raise AssertionError(f"no such operation: {operation}")
        self.oracle.sees(life, place, value)
        return value

    def _body(self, failures: int, takes_ms: int) -> Any:
        async def body(ctx: Any) -> int:
            if takes_ms:
                await asyncio.sleep(takes_ms / 1000)
            if ctx.attempt <= failures:
                raise ValueError(f"attempt {ctx.attempt} fails")
            return self.tokens.next()

        return body

    async def _large(self) -> list[Any]:
        return [self.tokens.next(), "x" * 20_000]

    async def _failing(self) -> None:
        raise NonRetryableError(f"for good, {self.tokens.next()}")


def versions(oracle: Oracle, tokens: Tokens, tenant: str, count: int) -> dict[str, type[Follower]]:
    """So many versions of the tenant's workflow, by digest."""
    return {
        digest: type("Follower", (Follower,), {"oracle": oracle, "tokens": tokens, "tenant": tenant, "version": digest})
        for digest in (f"sha256-{tenant}-{number}" for number in range(1, count + 1))
    }


def entrypoint_of(digest: str) -> str:
    return f"{digest}:Follower"


def params_of(tenant: str, plan: list[Any], nonce: str) -> bytes:
    """`nonce` tells one create from every other."""
    return json.dumps({"tenant": tenant, "plan": plan, "nonce": nonce}, separators=(",", ":")).encode()

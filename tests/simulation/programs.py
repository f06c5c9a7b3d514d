"""What tenants run: a workflow that follows the plan in its params, and tells the oracle what it sees.

A plan is a list of operations. Each result is unlike any other, so that a result that changes, or goes to the wrong
place, is seen at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from hashlib import sha256
from random import Random
from typing import Any

from stepwell import WorkflowEntrypoint
from stepwell.errors import NonRetryableError
from stepwell.guest.logs import SOURCE
from stepwell.guest.replaying import ReplayedInstance
from stepwell.names import Digest
from tests.simulation import families
from tests.simulation.lives import Life, Place
from tests.simulation.loop import EPOCH_S, PROCESS
from tests.simulation.oracle import Deaf, Oracle

EVENT_TYPE = "go"
CALL_TYPE = "call"
"""Of broadcasts."""
VERSIONS = 3
"""Of each tenant's workflow; they differ in nothing but what they say that they are."""
RETRIES: Any = {"retries": {"limit": 40, "delay": 200, "backoff": "constant"}, "timeout": 20_000}


def drawn_plan(random: Random, operations: tuple[int, int], *, poisonous: float = 0.0, depth: int = 0) -> list[Any]:
    """What an instance is to do: so many things, from and to; and whether it comes to the end of them."""
    plan = [_drawn(random, depth) for _ in range(random.randint(*operations))]
    if poisonous and random.random() < poisonous:
        poison = random.choice((["poison"], ["poison"], ["poison"], ["poison machine"]))
        plan.insert(random.randint(0, len(plan)), poison)
    return plan


def marked_plan(plan: list[Any]) -> list[Any]:
    """The same for an instance that may be restarted: what it sees first tells one life from the next."""
    return [["mark"], *plan]


def is_marked(plan: list[Any]) -> bool:
    return bool(plan) and plan[0] == ["mark"]


def poison_in(plan: list[Any]) -> str:
    """What ends those who run it; empty for what is harmless."""
    return next((operation[0] for operation in plan if operation[0].startswith("poison")), "")


def _drawn(random: Random, depth: int) -> list[Any]:
    chance = random.random()
    if chance < 0.45:
        kind = random.choice(("do", "do", "do", "do plainly"))
        return [kind, random.choice("ab"), random.choice((0, 0, 0, 1, 2)), random.choice((0, 0, 10, 200, 1_500))]
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
    if chance < 0.91:
        return ["fail"]
    if chance < 0.95:
        return ["race", *(_racer(random) for _ in range(random.randint(2, 3)))]
    if depth < 2:
        return ["together", *(drawn_plan(random, (1, 3), depth=depth + 1) for _ in range(random.randint(2, 3)))]
    return ["do", "c", 0, 0]


def _racer(random: Random) -> list[Any]:
    """Of a race, whose losers are given up."""
    if random.random() < 0.5:
        return ["do", random.choice("ab"), 0, random.choice((0, 50, 200, 900))]
    return random.choice((["sleep", 0], ["sleep", 200], ["sleep", 900], ["timer", 200], ["timer", 900]))


def takes_s(operation: list[Any]) -> float | None:
    """At the least, when nothing goes wrong; None for what waits for an event."""
    match operation:
        case ["child", *_]:
            return families.NEVER_S  # or once it has ended
        case ["do" | "do plainly", _, failures, takes_ms]:
            return float((failures + 1) * takes_ms + failures * RETRIES["retries"]["delay"]) / 1000
        case ["sleep" | "timer" | "wait or give up" | "word" | "hear" | "hear or give up", ms]:
            return float(ms) / 1000
        case ["wait"]:
            return None
    return 0.0


def waits_in(plan: list[Any]) -> int:
    """How many events the plan can't do without."""
    return sum(1 for operation in _flat(plan) if operation[0] == "wait")


def ends_alone(plan: list[Any]) -> bool:
    """Whether nobody has to do anything for it, nor looks at what became of broadcasts."""
    return not (waits_in(plan) or poison_in(plan) or any(operation[0].startswith("hear") for operation in plan))


def wait_places(plan: list[Any], place: Place = ()) -> Iterator[Place]:
    """Where in the plan they are."""
    for index, operation in enumerate(plan):
        if operation[0] == "wait":
            yield (*place, index)
        if operation[0] == "together":
            for number, each in enumerate(operation[1:]):
                yield from wait_places(each, (*place, index, number))


def _flat(plan: list[Any]) -> Iterator[list[Any]]:
    for operation in plan:
        yield operation
        if operation[0] == "together":
            for each in operation[1:]:
                yield from _flat(each)
        if operation[0] == "race":
            yield from operation[1:]


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
    nonce: str
    """Of the create."""

    async def run(self, event: Any, step: Any) -> Any:
        if isinstance(SOURCE.get(), ReplayedInstance):  # a replay has no consequences
            self.oracle = Deaf(self.oracle.now_s, lambda line: None, self.oracle.clock_error_s)
        plan = event["payload"]
        name = f"tenants/{self.tenant}/workflows/{event['workflowName']}/instances/{event['instanceId']}"
        life = self.oracle.runs(self.ctx, name, self.version, plan["tenant"])
        self.nonce = plan["nonce"]
        self.oracle.made(life, self.nonce)
        families.begins(self.oracle, life, self.nonce)
        saw, rest = [], plan["plan"]
        if is_marked(rest):
            mark = await step.do("mark", config=RETRIES)(self._body(0, 0))()
            life, saw, rest = self.oracle.marked(self.ctx, mark), [mark], rest[1:]
        saw += await self._follow(life, step, rest, ())
        output = {"version": self.version, "saw": saw}
        self.oracle.returns(life, output)
        families.returned(self.oracle, self.nonce)
        return output

    async def _follow(self, life: Life, step: Any, plan: list[Any], place: Place) -> list[Any]:
        return [await self._one(life, step, operation, (*place, index)) for index, operation in enumerate(plan)]

    async def _one(self, life: Life, step: Any, operation: list[Any], place: Place) -> Any:
        if operation[0] == "together":
            tasks = [self._follow(life, step, plan, (*place, index)) for index, plan in enumerate(operation[1:])]
            return await asyncio.gather(*tasks)
        if operation[0] == "race":
            return await self._race(life, step, operation[1:], place)
        began_s = self.oracle.asks(life, place, takes_s(operation))
        value = await self._done(life, step, operation, place, began_s)
        self.oracle.sees(life, place, value)
        return value

    async def _race(self, life: Life, step: Any, racers: list[Any], place: Place) -> Any:
        """Who wins is the same in every replay."""
        tasks = [
            asyncio.ensure_future(self._one(life, step, racer, (*place, index))) for index, racer in enumerate(racers)
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winners = [index for index, task in enumerate(tasks) if task.done() and not task.cancelled()]
        if not winners:
            raise asyncio.CancelledError  # the activation ends: all tasks were cancelled, and this one last
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for index in range(len(tasks)):
            self.oracle.gives_up(life, (*place, index))
        self.oracle.sees(life, place, winners)
        return winners

    async def _done(self, life: Life, step: Any, operation: list[Any], place: Place, began_s: float) -> Any:
        value: Any
        match operation:
            case ["do", name, failures, takes_ms]:
                undo = self._undo(life, place, takes_ms)
                value = await step.do(name, config=RETRIES, rollback=undo, rollback_config=RETRIES)(
                    self._body(failures, takes_ms)
                )()
            case ["do plainly", name, failures, takes_ms]:
                undo = self._undo(life, place, takes_ms)
                value = await step.do(name, config=RETRIES, rollback=undo, rollback_config=RETRIES)(
                    self._plain_body(failures)
                )()
            case ["child", *_]:
                value = await families.lived(self, life, step, operation, place)
            case ["word", ms]:
                value = await families.heard(self, life, step, place, ms)
            case ["poison" | "poison machine" as poison]:
                value = await step.do("poison", config=RETRIES)(self._poison(life, poison))()
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
                clock_s = asyncio.get_running_loop().time() - EPOCH_S
                # A fork's that was copied ends when its origin's does.
                began_s = clock_s if life.origin is None else min(began_s, clock_s)
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
                    self.oracle.gives_up(life, place)
            case ["hear" | "hear or give up" as kind, ms]:
                value = await self._heard(life, step, place, began_s, ms, by_itself=kind == "hear")
            case _:
                raise AssertionError(f"no such operation: {operation}")
        return value

    async def _heard(self, life: Life, step: Any, place: Place, began_s: float, ms: int, *, by_itself: bool) -> str:
        """A broadcast; a wait for one may end by itself, or is given up by the clock of `run`, which goes on from what
        was recorded: an activation whose sandbox ended before `run` began, or what its origin saw.
        """
        if not by_itself:
            began_s = min(began_s, asyncio.get_running_loop().time() - EPOCH_S)
        life.hears.setdefault(place, (self.oracle.now_s(), began_s + ms / 1000))
        wait = step.wait_for_event("listen", CALL_TYPE, timeout=ms if by_itself else None)
        try:
            id: str = (await (wait if by_itself else asyncio.wait_for(wait, ms / 1000))).payload
        except TimeoutError:
            life.unheard |= {place} - life.copied.keys()
            self.oracle.gives_up(life, place)
            return "nobody called"
        before = next((each for each, value in life.copied.items() if value == id), place)
        where = life.heard.setdefault(id, before)
        if where != place:
            self.oracle.violated(f"{life.name} ({life.uid}) heard {id} at {where}, and at {place}")
        return id

    def _body(self, failures: int, takes_ms: int) -> Any:
        async def body(ctx: Any) -> int:
            if takes_ms:
                await asyncio.sleep(takes_ms / 1000)
            if ctx.attempt <= failures:
                raise ValueError(f"attempt {ctx.attempt} fails")
            return self.tokens.next()

        return body

    def _undo(self, life: Life, place: Place, takes_ms: int) -> Any:
        """What undoes the step there, once a call rolls the instance back: it fails once, now and then."""
        self.oracle.may_be_undone(life, place)

        async def undo(output: Any, ctx: Any) -> None:
            self.oracle.undoes(life, place, output)
            if takes_ms:
                await asyncio.sleep(takes_ms / 1000)
            if takes_ms == 200 and ctx.attempt == 1:
                raise ValueError("not yet")
            self.oracle.undid(life, place)

        return undo

    def _plain_body(self, failures: int) -> Any:
        def body(ctx: Any) -> int:
            if ctx.attempt <= failures:
                raise ValueError(f"attempt {ctx.attempt} fails")
            return self.tokens.next()

        return body

    def _poison(self, life: Life, poison: str) -> Any:
        async def body() -> None:
            self.oracle.poisoned(life, poison)
            process = PROCESS.get()
            if poison == "poison":
                process.end()
            else:
                process.end_machine()
            await asyncio.sleep(3_600)

        return body

    async def _large(self) -> list[Any]:
        return [self.tokens.next(), "x" * 20_000]

    async def _failing(self) -> None:
        raise NonRetryableError(f"for good, {self.tokens.next()}")


def versions(oracle: Oracle, tokens: Tokens, tenant: str, last: int, *, since: int = 1) -> dict[str, type[Follower]]:
    """The tenant's versions up to that number, by digest."""
    return {
        digest: type("Follower", (Follower,), {"oracle": oracle, "tokens": tokens, "tenant": tenant, "version": digest})
        for digest in (digest_of(tenant, number) for number in range(since, last + 1))
    }


def digest_of(tenant: str, number: int) -> Digest:
    """Of the tenant's versions, from 1 on."""
    return Digest(f"sha256-{sha256(f'{tenant} {number}'.encode()).hexdigest()}")


def entrypoint_of(digest: str) -> str:
    return f"{digest}:Follower"


def params_of(tenant: str, plan: list[Any], nonce: str) -> bytes:
    """`nonce` tells one create from every other."""
    return json.dumps({"tenant": tenant, "plan": plan, "nonce": nonce}, separators=(",", ":")).encode()

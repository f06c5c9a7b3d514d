"""Children: which instances create others through a binding, in some seeds, by a chance of their own, so that other
seeds stay as they are; and what must hold of them.

A child runs a plan as its parent does, so all that holds of instances is held against it too. Its parent may send it
words, end it, and waits for what it comes to; whoever ends the parent leaves the child to itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from cluster import keys
from cluster.codec import encode
from cluster.records import Route, Tenant, Version
from cluster.store import Put
from stepwell.errors import ChildFailedError, EventTimeoutError, WrongStateError
from stepwell.names import WorkflowId
from stepwell.v1 import instances_pb2 as pb
from tests.simulation.calls import Calls, Refused
from tests.simulation.circumstances import Circumstances
from tests.simulation.deletions import Deletions
from tests.simulation.lines import STATUSES

if TYPE_CHECKING:
    from tests.simulation.lives import Life, Place
    from tests.simulation.oracle import Oracle
    from tests.simulation.programs import Follower
    from tests.simulation.world import World

CHILD: Final = WorkflowId("child")
BINDING: Final = "CHILD"
WORD: Final = "word"
WORD_WITHIN_MS: Final = 15_000
CONFIG: Final[Any] = {"retries": {"limit": 1_000, "delay": 500, "backoff": "constant"}, "timeout": 40_000}
"""Of a step that calls: others must be reached for it, which may take as long as things go wrong."""

DEPTH_MAX: Final = 2
RESUME_EVERY_S: Final = 10.0
KEPT_S: Final = (60.0, 90.0)
"""No less is taken from a guest."""
NEVER_S: Final = float("inf")


@dataclass
class Child:
    """What is known of one, by those who were told: `id` once its create was answered, `words` by their number when a
    send was, and where in its plan each was heard."""

    parent: str
    place: Place
    id: str = ""
    words: dict[int, float] = field(default_factory=dict)
    heard: dict[int, Place] = field(default_factory=dict)
    ended_by_parent: bool = False
    is_rolled_back: bool = False
    """Its parent has asked for that, or is about to."""
    has_ended: bool = False
    is_deleted: bool = False
    """Its parent has asked for that, or is about to."""
    is_awaited: bool = False
    """Its parent has done all else that it does with it."""


class Families:
    """Of one run."""

    def __init__(self, chance: Random, deletions: Deletions | None) -> None:
        self._chance = chance
        self._deletions = deletions

    def plan(self, plan: list[Any]) -> list[Any]:
        """Of those that may have children, half have some."""
        for _ in range(self._chance.choice((0, 0, 1, 2))):
            plan.insert(self._chance.randint(0, len(plan)), self._child(1))
        return plan

    def _child(self, depth: int) -> list[Any]:
        """Its plan, how many words it is sent, how its parent ends it, how it is created, whether it has an id, and for
        how long it is kept. One that is kept for a while only comes to its end alone: it may be gone for all calls."""
        chance = self._chance
        plan = [self._operation(depth) for _ in range(chance.randint(1, 4))]
        words = sum(1 for operation in plan if operation[0] == "word")
        end = chance.choice(("", "", "", "terminate", "cancel", "roll back"))
        if end == "terminate" and self._deletions is not None and self._deletions.is_of_a_child():
            end = "delete"
        how, named = chance.choice(("run", "step")), chance.random() < 0.5
        if not words and not end and how == "run":
            return ["child", plan, words, end, how, named, [chance.choice(KEPT_S), chance.choice(KEPT_S)]]
        return ["child", plan, words, end, how, named, None]

    def _operation(self, depth: int) -> list[Any]:
        chance = self._chance.random()
        if chance < 0.4:
            return ["do", self._chance.choice("ab"), self._chance.choice((0, 0, 1)), self._chance.choice((0, 10, 900))]
        if chance < 0.6:
            return ["sleep", self._chance.choice((0, 900, 8_000))]
        if chance < 0.85:
            return ["word", WORD_WITHIN_MS]
        if chance < 0.95 and depth < DEPTH_MAX:
            return self._child(depth + 1)
        return ["timer", 700]

    async def deploy(self, world: World, tenant: Tenant, digest: Any, entrypoint: str) -> None:
        """The version that children run."""
        store = world.etcd.client(lambda: True)
        version = Version(tenant.uid, digest, ((CHILD, entrypoint),), {}, 0, 1, 1)
        await store.txn((), (Put(keys.version(tenant.uid, digest), encode(version)),))
        route = Route(tenant.uid, CHILD, digest, entrypoint, 0, 0)
        await store.txn((), (Put(keys.route(tenant.uid, CHILD), encode(route)),))

    async def attend(self, world: World, tenants: list[str]) -> None:
        """Resume what was paused since sandboxes hung while they imported its code: by the rules, somebody has to look
        at it."""
        while True:
            await asyncio.sleep(RESUME_EVERY_S)
            for tenant in tenants:
                calls = Calls(world, tenant)
                for each in await _listed(calls, tenant):
                    if each.status == pb.INSTANCE_STATUS_PAUSED:
                        world.oracle.counted["children resumed"] += 1
                        request = pb.ResumeInstanceRequest(name=each.name, request_id=world.mint())
                        with suppress(Refused):  # the list lags: it may have ended, or be gone
                            await calls.answered("ResumeInstance", request)
                            if (life := world.oracle.lives.get(each.uid)) is not None:
                                world.oracle.resumes(life)

    async def check(self, world: World, tenant: str) -> None:
        """Once everything has come to rest: all children that anyone was told of are there, and have ended."""
        oracle, listed = world.oracle, await _listed(Calls(world, tenant), tenant)
        known = {life.name for life in self.lives(oracle, tenant, there=True) if life.kept_s is None}
        for nonce, child in oracle.children.items():
            if child.id and nonce.startswith(f"{tenant} ") and nonce not in oracle.kept_s and not child.is_deleted:
                known.add(f"{_parent(tenant)}/instances/{child.id}")
        names = [each.name for each in listed]
        if len(set(names)) != len(names) or not known <= set(names):
            oracle.violated(f"the list of {_parent(tenant)} is {names}, and there were {sorted(known)}")
        for each in listed:
            life, status = oracle.lives.get(each.uid), STATUSES[each.status]
            if life is not None and life.deleted and life.kept_s is None:
                oracle.violated(f"{each.name} ({each.uid}) was deleted, and is there")
            if life is not None and life.kept_s is not None:
                oracle.violated(f"{each.name} ({each.uid}) was kept for {life.kept_s} s, and is there")
            if status not in ("COMPLETE", "TERMINATED") or (life is not None and life.status not in ("", status)):
                oracle.violated(f"{each.name} ({each.uid}) is {status} at the end: {life}")
        oracle.counted["children at the end"] += len(listed)

    def lives(self, oracle: Oracle, tenant: str, *, there: bool = False) -> list[Life]:
        """Of a tenant's children; or of those that nobody has asked to delete."""
        gone = {oracle.made_by.get(nonce) for nonce, child in oracle.children.items() if there and child.is_deleted}
        lives = [life for life in oracle.lives.values() if life.name.startswith(f"{_parent(tenant)}/")]
        return [life for life in lives if life.uid not in gone]


def drawn(seed: int, circumstances: Circumstances, deletions: Deletions | None, *, forks: bool) -> Families | None:
    """None where there are none: in most seeds, where instances are poison, and where there are forks, since those who
    have children can't be forked."""
    chance = Random(f"families {seed}")
    return Families(chance, deletions) if chance.random() < 0.4 and not circumstances.poisonous and not forks else None


# ---------------------------------------------------------------- what runs do
async def lived(follower: Follower, life: Life, step: Any, operation: list[Any], place: Place) -> Any:
    """As its parent: create it, send it words, end it, and return what it comes to."""
    _, plan, words, end, how, named, kept_s = operation
    oracle, binding = follower.oracle, follower.env.CHILD
    nonce = f"{follower.tenant} {life.uid} {place}"
    child = oracle.children.setdefault(nonce, Child(life.uid, place))
    params = {"tenant": follower.tenant, "plan": plan, "nonce": nonce}
    id = f"{life.uid}-{'-'.join(map(str, place))}" if named else None
    if kept_s is not None:
        oracle.kept_s[nonce] = tuple(kept_s)
        success_ms, error_ms = (round(each_s * 1000) for each_s in kept_s)
        retention = {"successRetention": success_ms, "errorRetention": error_ms}
        made = await binding.create(id, params, retention=retention)
    elif how == "run":
        made = await binding.create(id, params)
    else:

        async def create() -> str:
            created: str = (await binding.create(id, params)).id
            return created

        made = await binding.get(await step.do(f"create {place}", config=CONFIG)(create)())
    if child.id not in ("", made.id):
        oracle.violated(f"{life.name} ({life.uid}) created {child.id} at {place}, and then {made.id}")
    child.id = made.id
    for number in range(words):
        await step.do(f"say {place} {number}", config=CONFIG)(partial(_say, oracle, made, child, life, number))()
    if end:
        await step.do(f"end {place}", config=CONFIG)(partial(_end, oracle, made, child, nonce, end))()
    child.is_awaited = True
    if child.has_ended and place in life.awaited:
        life.awaited[place] = oracle.now_s()
    try:
        value = ["complete", await made.result()]
    except ChildFailedError as failed:
        value = ["failed", failed.status]
    _told(oracle, life, nonce, child, value)
    return value


async def _say(oracle: Oracle, made: Any, child: Child, life: Life, number: int) -> str:
    try:
        await made.send_event(WORD, [life.uid, number])
    except WrongStateError:
        return "ended"
    child.words.setdefault(number, oracle.now_s())
    oracle.counted["words sent to children"] += 1
    return "sent"


async def _end(oracle: Oracle, made: Any, child: Child, nonce: str, how: str) -> str:
    child.ended_by_parent = True
    try:
        if how == "cancel":
            await made.cancel()
        elif how == "terminate":
            await made.terminate()
        elif how == "delete":
            child.is_deleted = True
            await made.delete()
            if (uid := oracle.made_by.get(nonce)) is not None:
                oracle.lives[uid].deleted, oracle.lives[uid].status = True, oracle.lives[uid].status or "GONE"
        else:
            child.is_rolled_back = True
            if (uid := oracle.made_by.get(nonce)) is not None:
                oracle.rolls_back(oracle.lives[uid])
            await made.terminate(rollback=True)
    except WrongStateError:
        return "ended"
    oracle.counted[f"children ended by their parents: {how}"] += 1
    return "asked"


async def heard(follower: Follower, life: Life, step: Any, place: Place, ms: int) -> Any:
    """As a child: wait for a word."""
    oracle = follower.oracle
    try:
        value = (await step.wait_for_event("word", WORD, timeout=ms)).payload
    except EventTimeoutError:
        _missed(oracle, life, follower.nonce, place, ms)
        return "no word"
    if (child := oracle.children.get(follower.nonce)) is not None:
        parent, number = value
        if parent != child.parent or child.heard.setdefault(number, place) != place:
            oracle.violated(f"{life.name} ({life.uid}) heard {value} at {place}, of {child}")
    return value


# ---------------------------------------------------------------- what must hold
def begins(oracle: Oracle, life: Life, nonce: str) -> None:
    """An activation of any instance does: somebody may have asked before anyone knew that it is there."""
    child = oracle.children.get(nonce)
    if child is not None and child.is_rolled_back:
        oracle.rolls_back(life)


def _missed(oracle: Oracle, life: Life, nonce: str, place: Place, ms: int) -> None:
    """No word came in time: so none had been sent that nobody has heard."""
    child = oracle.children.get(nonce)
    if child is None or place in life.seen:
        return
    until_s = life.began[place] + ms / 1000 - oracle.clock_error_s
    for number, at_s in child.words.items():
        if number not in child.heard and at_s < until_s:
            oracle.violated(f"{life.name} ({life.uid}) gave up at {place}, and word {number} was there at {at_s:.3f} s")


def returned(oracle: Oracle, nonce: str) -> None:
    """An instance's `run` did: if it is a child, its parent is to hear of it."""
    child = oracle.children.get(nonce)
    if child is None or child.has_ended:
        return
    child.has_ended = True
    parent = oracle.lives.get(child.parent)
    if parent is not None and child.is_awaited and child.place in parent.awaited:
        parent.awaited[child.place] = oracle.now_s()


def _told(oracle: Oracle, life: Life, nonce: str, child: Child, value: list[Any]) -> None:
    """A parent was told what its child came to."""
    uid = oracle.made_by.get(nonce)
    it = None if uid is None else oracle.lives.get(uid)
    if value[0] == "complete":
        if it is None or it.returned != value[1]:
            oracle.violated(f"{life.name} ({life.uid}) was told {value} of {child}, which returned {it}")
        elif not it.deleted:  # it may have expired since
            oracle.told_status(it, "COMPLETE", value[1])
    elif value[1] != "terminated" or not child.ended_by_parent:
        oracle.violated(f"{life.name} ({life.uid}) was told {value} of {child}")
    elif it is not None and not it.deleted:
        oracle.told_status(it, "TERMINATED", None)
    oracle.counted[f"ends of children told: {value[0]}"] += 1


def _parent(tenant: str) -> str:
    return f"tenants/{tenant}/workflows/{CHILD}"


async def _listed(calls: Calls, tenant: str) -> list[pb.Instance]:
    listed: list[pb.Instance] = []
    token = ""
    while True:
        request = pb.ListInstancesRequest(parent=_parent(tenant), page_size=1_000, page_token=token)
        page: pb.ListInstancesResponse = await calls.answered("ListInstances", request)
        listed += page.instances
        token = page.next_page_token
        if not token:
            return listed

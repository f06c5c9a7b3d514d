"""Those who call: each drives one instance after the other through its life, and checks every answer.

A call without an answer is repeated with the same `request_id`, until it has one: then it took effect once, or was
refused. An id has one client at a time, but for creates, which clash on purpose.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import Message

from cluster.directory import STALENESS_S
from stepwell.errors import AlreadyExistsError, ConflictError, NotFoundError, WrongStateError
from stepwell.v1 import instances_pb2 as pb
from tests.simulation import deletions, letters
from tests.simulation.calls import PAUSE_S, Calls, Refused
from tests.simulation.forks import Forks
from tests.simulation.lines import STATUSES
from tests.simulation.lives import ENDED, Life
from tests.simulation.machine import WORKFLOW
from tests.simulation.programs import digest_of, ends_alone, params_of, poison_in, wait_places, waits_in

if TYPE_CHECKING:
    from tests.simulation.world import World

A = TypeVar("A", bound=Message)

LOOK_EVERY_S: Final = 0.4


class Client:
    """One tenant's. `live` creates instances under the ids given, until the world is quiet."""

    def __init__(self, world: World, tenant: str, ids: list[str]) -> None:
        self._world = world
        self._tenant = tenant
        self._parent = f"tenants/{tenant}/workflows/{WORKFLOW}"
        self._ids = ids
        self._calls = Calls(world, tenant)

    async def live(self) -> None:
        """One life after the other."""
        world = self._world
        while not world.quiet:
            await self._life(world.random.choice(self._ids))
            await asyncio.sleep(world.random.random())
        if world.letters is not None:
            await world.letters.broadcasts.at_rest(world)
            await self._nameless()

    # ---------------------------------------------------------------- one life
    async def _life(self, id: str) -> None:
        world = self._world
        if world.random.random() < 0.15:
            await self._together(world.random.choice((1, 1, 1, 4)))
            return
        name = f"{self._parent}/instances/{id}"
        async with world.lock(name):
            if world.oracle.may_expire(name):
                await world.network.without_strays(name)  # it may be gone by now, and another take its place
            life = await self._won(id) if world.random.random() < 0.15 else await self._created(id)
            if life is None:
                return
            life = await self._driven(life)
            if world.forks is not None and not world.quiet and world.forks.is_due() and not life.is_to_go:
                with suppress(Refused):
                    await self._forked(world.forks, life)
            if world.random.random() < 0.5 and not life.is_to_go:
                await world.network.without_strays(name)
                await self._deleted(life)
                await world.network.without_strays(name)

    async def _together(self, count: int) -> None:
        """So many lives at once, made by as many calls at once, or by one; none has an id of its own."""
        if count > 1 and self._world.random.random() < 0.5:
            lives = [self._world.loop.world.spawn(self._driven(life)) for life in await self._batch(count)]
            await asyncio.wait(lives)
            for life in lives:
                life.result()
            return
        calls = [self._world.loop.world.spawn(self._nameless()) for _ in range(count)]
        await asyncio.wait(calls)
        for call in calls:
            call.result()

    async def _nameless(self) -> None:
        if (life := await self._created("")) is not None:
            await self._driven(life)

    async def _won(self, id: str) -> Life | None:
        """Two creates of one id at once: one of them is refused."""
        rivals = [self._world.loop.world.spawn(self._create(id, expires=0.0)) for _ in range(2)]
        await asyncio.wait(rivals)
        lives = [life for rival in rivals if (life := rival.result()) is not None]
        if len(lives) == 2:
            self._world.oracle.violated(f"{lives[0].name} was created as {lives[0].uid} and as {lives[1].uid}")
        return lives[0] if lives else await self._there_already(f"{self._parent}/instances/{id}")

    async def _created(self, id: str) -> Life | None:
        """The new instance, or the one that has the id; None when that is gone by now."""
        life = await self._create(id)
        return life if life is not None else await self._there_already(f"{self._parent}/instances/{id}")

    async def _create(self, id: str, *, expires: float = 0.7) -> Life | None:
        """The new instance; None when it was refused, since the id is taken. Of those that come to their end alone some
        are kept for a while only: a call that comes late may create one again, and then it has nobody."""
        world = self._world
        plan, nonce = world.plan(), world.mint()
        request = pb.CreateInstanceRequest(
            parent=self._parent,
            instance_id=id,
            params=params_of(self._tenant, plan, nonce),
            request_id=nonce if not id or world.random.random() < 0.9 else "",
        )
        if ends_alone(plan) and world.random.random() < expires:
            world.oracle.keeps(nonce, request.retention, world.random)
        asked_s = world.loop.now_s
        try:
            created: pb.Instance = await self._calls.answered("CreateInstance", request)
        except Refused as refused:
            if isinstance(refused.error, AlreadyExistsError):
                return None
            raise
        return self._born(created, plan, nonce, asked_s)

    async def _batch(self, count: int) -> list[Life]:
        """As many instances, by one call that is made again until each item of it is there."""
        world = self._world
        plans = [(world.plan(), world.mint()) for _ in range(count)]
        items = [pb.BatchCreateInstancesRequest.Item(params=params_of(self._tenant, *each)) for each in plans]
        request = pb.BatchCreateInstancesRequest(parent=self._parent, items=items, request_id=world.mint())
        asked_s, before = world.loop.now_s, dict[int, str]()
        while True:
            answer: pb.BatchCreateInstancesResponse = await self._calls.answered("BatchCreateInstances", request)
            created = {at: each.instance for at, each in enumerate(answer.results) if each.HasField("instance")}
            for at, instance in created.items():
                if before.setdefault(at, instance.uid) != instance.uid:
                    world.oracle.violated(
                        f"item {at} of a batch was {before[at]}, and is {instance.name} {instance.uid}"
                    )
            refused = [each.error for each in answer.results if not each.HasField("instance")]
            if not refused:
                world.oracle.counted["batches created"] += 1
                return [self._born(created[at], *plan, asked_s) for at, plan in enumerate(plans)]
            world.oracle.counted["items of batches without an answer"] += len(refused)
            if any(error.reason != "UNAVAILABLE" for error in refused):
                world.oracle.violated(f"items of a batch were refused: {refused}")
            await asyncio.sleep(PAUSE_S * (1 + world.random.random()))

    def _born(self, created: pb.Instance, plan: list[Any], nonce: str, asked_s: float) -> Life:
        """What a create was answered with."""
        world = self._world
        life = world.oracle.life(created.uid, created.name)
        world.oracle.made(life, nonce)
        version = created.version.rpartition("/")[2]
        world.oracle.told_version(self._tenant, WORKFLOW, version, asked_s, STALENESS_S + 2 * world.skew_s)
        if life.version and life.version != version:
            world.oracle.violated(f"{life.name} was created as {version} and runs {life.version}")
        life.version = version
        world.expected[created.uid] = plan
        life.touched_s = world.loop.now_s
        return life

    async def _there_already(self, name: str) -> Life | None:
        """Nobody else has this id now: so it is a former one, or this create's, which nobody could know again."""
        if (seen := await self._get(name)) is None:
            return None
        life = self._world.oracle.life(seen.uid, seen.name)
        life.version = life.version or seen.version.rpartition("/")[2]
        params = json.loads(seen.params)
        self._world.oracle.made(life, params["nonce"])
        self._world.expected.setdefault(life.uid, params["plan"])
        return life

    async def _driven(self, life: Life) -> Life:
        """Everything that it needs to come to its end, and some things that it does not need. The life that ended."""
        world, name = self._world, life.name
        while True:
            world.driven[name] = life
            try:
                await self._to_its_end(life, name)
                if world.letters is not None and not life.is_to_go:
                    await world.letters.look_through(self._calls, world, life)
            finally:
                del world.driven[name]
            if life.is_to_go and not life.deleted:
                await deletions.early(world, life, self._deleted)
            if life.deleted or world.steering is None or not world.steering.is_due(life):
                return life
            life = await self._restarted(life, name)

    async def _migrate(self, life: Life, version: str) -> None:
        """All versions do the same. Raises Refused: it has ended, or its replay came to no end."""
        oracle = self._world.oracle
        oracle.moves(life, version)
        request = pb.MigrateInstanceRequest(
            name=life.name, version=f"tenants/{self._tenant}/versions/{version}", request_id=self._world.mint()
        )
        while True:
            try:
                moved = await self._calls.answered("MigrateInstance", request)
                break
            except Refused as refused:
                if isinstance(refused.error, WrongStateError) or oracle.has_expired(life, refused.error):
                    raise
                if not isinstance(refused.error, ConflictError):
                    oracle.violated(f"{life.name} ({life.uid}) can't be moved: {refused}")
            await asyncio.sleep(self._world.random.random())
        oracle.moved(life, version)
        self._told(life, moved)

    async def _forked(self, forks: Forks, life: Life) -> None:
        """A fork of it is driven to its end; not of one that may be gone by then."""
        waits = set(wait_places(self._world.expected[life.uid]))
        if life.kept_s is None and (fork := await forks.made(self._calls, self._world, life, waits)) is not None:
            await self._driven(fork)

    async def _restarted(self, life: Life, name: str) -> Life:
        """Nobody else looks at it meanwhile: they could be told of the former life or of the new one."""
        oracle = self._world.oracle
        life = oracle.begins_again(life, self._world.sent[life.uid])
        try:
            await self._control(life, name, "RestartInstance", pb.RestartInstanceRequest)
        except Refused as refused:
            if not oracle.has_expired(life, refused.error):
                raise
            oracle.never_began(life)
        else:
            oracle.resumes(life)
        return life

    async def _to_its_end(self, life: Life, name: str) -> None:
        world = self._world
        waits = waits_in(world.expected[life.uid])
        sent = world.sent.setdefault(life.uid, 0)
        poison = poison_in(world.expected[life.uid])
        lazy = not poison and world.random.random() < 0.5
        while life.status == "" and not (world.steering is not None and world.steering.is_due_early(life)):
            if world.deletions is not None and world.deletions.is_due():
                life.is_to_go = True
                return
            if (life.rolls_back_since_s is not None or life.cancelled_s is not None) and not life.paused and not poison:
                await self._seen(life, name)
                await asyncio.sleep(world.random.random())
                continue
            events = life.events_before + waits + life.spare  # no more than it needs: it misses one that is lost
            if (lazy or (world.quiet and not poison)) and sent == events and not life.paused:
                await self._awaited(life, life.spare)
                continue
            chance = world.random.random()
            try:
                if world.forks is not None and not world.quiet and world.forks.is_due_early():
                    await self._forked(world.forks, life)
                elif world.steering is not None and (version := world.steering.version(life)):
                    await self._migrate(life, digest_of(self._tenant, version))
                elif world.steering is not None and world.steering.cancels(life):
                    world.oracle.terminates(life)
                    await self._control(life, name, "CancelInstance", pb.CancelInstanceRequest)
                    world.oracle.cancelled(life)
                elif sent < events and chance < 0.5:
                    sent = world.sent[life.uid] = sent + 1
                    await letters.send(self._calls, world, life, sent)
                    life.sent[sent] = world.loop.now_s
                elif chance < 0.55:
                    await self._calls.send(name, "other", [world.mint()])
                elif chance < 0.60 and not world.quiet:
                    world.oracle.pauses(life, world.loop.now_s)
                    await self._control(life, name, "PauseInstance", pb.PauseInstanceRequest)
                elif life.paused and poison == "poison machine":
                    await self._control(life, name, "TerminateInstance", pb.TerminateInstanceRequest)
                elif life.paused and (chance < 0.8 or world.quiet):
                    await self._control(life, name, "ResumeInstance", pb.ResumeInstanceRequest)
                    world.oracle.resumes(life)
                elif chance < 0.62 and not world.quiet and not poison:
                    world.oracle.rolls_back(life)
                    world.oracle.terminates(life)
                    request = partial(pb.TerminateInstanceRequest, rollback=True)
                    await self._control(life, name, "TerminateInstance", request)
                    life.paused = False
                elif chance < 0.63 and not world.quiet:
                    world.oracle.terminates(life)
                    await self._control(life, name, "TerminateInstance", pb.TerminateInstanceRequest)
                elif chance < 0.75:
                    await self._list_steps(life, name)
                else:
                    await self._seen(life, name)
            except Refused as refused:
                world.oracle.tell(f"{name} refused: {refused}")
                if await self._seen(life, name) is None:
                    return
            await asyncio.sleep(world.random.random())

    async def _awaited(self, life: Life, spare: int) -> None:
        """It has all that it needs: nobody touches it, so that it comes to its end by itself, or not."""
        world = self._world
        while life.returned is None and life.spare == spare and not life.paused:
            await world.oracle.changed(life)
        if life.returned is not None:
            await self._seen(life, life.name)
        await asyncio.sleep(world.random.random())

    async def _deleted(self, life: Life) -> None:
        world, name = self._world, life.name
        try:
            await self._calls.answered("DeleteInstance", pb.DeleteInstanceRequest(name=name, request_id=world.mint()))
        except Refused as refused:
            if not isinstance(refused.error, NotFoundError):
                raise
        life.deleted = True
        world.oracle.counted["deleted"] += 1
        if await self._get(name) is not None:
            world.oracle.violated(f"{name} ({life.uid}) was deleted, and is there")

    # ---------------------------------------------------------------- those who only look
    async def look_at(self, life: Life) -> None:
        """Once, and check what is told of it."""
        await self._seen(life, life.name)

    async def look_at_the_list(self) -> None:
        """All of it, and check it: everything has come to rest."""
        listed, token = [], ""
        while True:
            page: pb.ListInstancesResponse = await self._calls.answered(
                "ListInstances", pb.ListInstancesRequest(parent=self._parent, page_size=5, page_token=token)
            )
            listed += [(each.name, each.uid, STATUSES[each.status]) for each in page.instances]
            token = page.next_page_token
            if not token:
                return self._world.oracle.told_list(self._parent, listed)

    async def look(self) -> None:
        """At what others drive, over and over: whoever serves it shows the same."""
        world = self._world
        while not world.quiet:
            await asyncio.sleep(LOOK_EVERY_S * world.random.random())
            names = [name for name in world.driven if name.startswith(self._parent)]
            if not names:
                continue
            name = world.random.choice(names)
            life = world.driven[name]
            response = await self._calls.once("ListSteps", pb.ListStepsRequest(parent=name))
            if response is not None and world.driven.get(name) is life:
                self._told_steps(life, response)

    async def _control(self, life: Life, name: str, method: str, request: Any) -> None:
        self._told(life, await self._calls.answered(method, request(name=name, request_id=self._world.mint())))

    async def _seen(self, life: Life, name: str) -> pb.Instance | None:
        seen = await self._get(name)
        if seen is None:
            self._world.oracle.is_gone(life)
        else:
            self._told(life, seen)
        return seen

    async def _get(self, name: str) -> pb.Instance | None:
        try:
            seen: pb.Instance = await self._calls.answered("GetInstance", pb.GetInstanceRequest(name=name))
        except Refused as refused:
            if isinstance(refused.error, NotFoundError):
                return None
            raise
        return seen

    async def _list_steps(self, life: Life, name: str) -> None:
        response: pb.ListStepsResponse = await self._calls.answered("ListSteps", pb.ListStepsRequest(parent=name))
        self._told_steps(life, response)

    def _told_steps(self, life: Life, response: pb.ListStepsResponse) -> None:
        for step in response.steps:
            if step.status == pb.STEP_STATUS_COMPLETE and step.kind == pb.STEP_KIND_DO and step.HasField("output"):
                self._world.oracle.told_step(life, (step.step_name, step.count), step.output)

    def _told(self, life: Life, seen: pb.Instance) -> None:
        oracle = self._world.oracle
        if seen.uid != life.uid:
            oracle.violated(f"{life.name} was {life.uid}, and is {seen.uid}")
        status = STATUSES[seen.status]
        output = json.loads(seen.output) if seen.HasField("output") else None
        if status == "PAUSED" and seen.error.type in ("BundleRefusedError", "NodeDiedError"):
            # Two imports in a row took too long, since sandboxes hung; or it was there when machine after machine died:
            # by the rules, somebody has to look at it now.
            oracle.counted[f"paused by {seen.error.type}"] += 1
            oracle.pauses(life, life.paused_at_s if life.paused else life.touched_s)
        elif (
            status == "ERRORED" and seen.error.type == "SandboxDiedError" and poison_in(self._world.expected[life.uid])
        ):
            oracle.counted["poison found out"] += 1
        elif seen.HasField("error"):
            oracle.violated(f"{life.name} ({life.uid}) is {status}: {seen.error}")
        if seen.HasField("rollback"):
            oracle.told_rollback(life, pb.RollbackOutcome.Name(seen.rollback.outcome).removeprefix("ROLLBACK_OUTCOME_"))
        if status in ENDED or life.status:
            oracle.told_status(life, status, output)

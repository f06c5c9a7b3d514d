"""Events as their senders know them: by an id, sent again where they are dead, and to all that wait; in some seeds, by
a chance of their own, so that others stay as they are.

An event of an instance's plan is sent by an id, under several request_ids, and again later: it is one event. A dead one
of another instance, or of the life before a restart, may go in its place. What became of each is in the list of events.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from stepwell.errors import InvalidArgumentError, NotFoundError
from stepwell.v1 import instances_pb2 as pb
from tests.simulation import forks
from tests.simulation.broadcasts import Broadcasts
from tests.simulation.calls import Calls, Refused
from tests.simulation.circumstances import Circumstances
from tests.simulation.lines import shown
from tests.simulation.lives import ENDED, Life
from tests.simulation.network import STRAY_S
from tests.simulation.programs import EVENT_TYPE

if TYPE_CHECKING:
    from tests.simulation.world import World

DEAD_MAX: Final = 20
"""Dead events of a tenant that somebody thinks of."""


@dataclass(frozen=True)
class _Dead:
    """An event in the list of an instance of that name, and what it says: its number and uid, as it was sent first."""

    name: str
    number: int
    says: tuple[int, str]


class Letters:
    """Of one run."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._by_id: dict[str, dict[int, pb.SendEventRequest]] = defaultdict(dict)
        """Of a uid: what was sent to it under ids, by number."""
        self._repeated_s: dict[str, float] = {}
        """When an event of that uid was last sent that its journal may have no request_id of."""
        self._dead: dict[str, deque[_Dead]] = defaultdict(lambda: deque(maxlen=DEAD_MAX))
        self.broadcasts = Broadcasts(chance)
        self._looked_through: set[str] = set()
        """Instances, by uid, whose events were looked at after their end."""

    # ---------------------------------------------------------------- events by id
    async def send(self, calls: Calls, world: World, life: Life, number: int) -> None:
        """That event of its plan. Raises Refused."""
        if self._chance.random() < 0.3:
            await self._send_again(calls, world, life)
        if self._chance.random() < (0.5 if life.before is not None else 0.15):  # a restart leaves dead ones
            await self._look_through(calls, world, life)
        life.spare += self._chance.random() < 0.2  # one more than it needs, which may end dead
        request = await self._resent(calls, world, life, number) if self._chance.random() < 0.4 else None
        if request is None:
            large = ["x" * 20_000] if self._chance.random() < 0.1 else []
            request = pb.SendEventRequest(
                name=life.name,
                type=EVENT_TYPE,
                payload=json.dumps([number, life.uid, *large]).encode(),
                event_id=f"{life.uid}/{number}" if self._chance.random() < 0.7 else "",
            )
        if request.event_id:
            self._by_id[life.uid][number] = request
        await self._sent(calls, world, life, request, self._chance.choice((1, 1, 2)) if request.event_id else 1)

    async def _sent(self, calls: Calls, world: World, life: Life, request: pb.SendEventRequest, times: int) -> None:
        """So often at once, each under a request_id of its own: it is taken, or it is not. Raises Refused."""
        tasks = [
            world.loop.world.spawn(calls.answered("SendEvent", _under(request, world.mint()))) for _ in range(times)
        ]
        await asyncio.wait(tasks)
        errors = [error for task in tasks if (error := task.exception()) is not None]
        if times > 1 or errors:
            self._repeated_s[life.uid] = world.loop.now_s
        world.oracle.counted["events sent twice at once"] += times > 1
        for error in errors:
            if not isinstance(error, Refused) or len(errors) == times:
                raise error
            world.oracle.violated(
                f"{life.name} ({life.uid}) took event {request.event_id}, and was asked again: {error}"
            )
        world.oracle.counted["events sent by id"] += bool(request.event_id)

    async def _send_again(self, calls: Calls, world: World, life: Life) -> None:
        """An event that it took already: it is known by its id, in whatever state it is, and no other is taken for
        it."""
        known = [number for number in self._by_id[life.uid] if number in life.sent]
        if not known:
            return
        request = _under(self._by_id[life.uid][self._chance.choice(known)], world.mint())
        which = f"event {request.event_id}, which {life.name} ({life.uid}) took"
        if self._chance.random() < 0.3:
            request.payload = b'["another", ""]'
            try:
                await calls.answered("SendEvent", request)
            except Refused as refused:
                if not isinstance(refused.error, InvalidArgumentError):
                    world.oracle.violated(f"another event instead of {which}, is refused: {refused}")
                world.oracle.counted["other events of an id refused"] += 1
            else:
                world.oracle.violated(f"another event was taken instead of {which}")
        else:
            try:
                await calls.answered("SendEvent", request)
            except Refused as refused:
                world.oracle.violated(f"{which}, is not known: {refused}")
            world.oracle.counted["events sent again by id"] += 1
        self._repeated_s[life.uid] = world.loop.now_s

    # ---------------------------------------------------------------- dead events
    async def _resent(self, calls: Calls, world: World, life: Life, number: int) -> pb.SendEventRequest | None:
        """A dead event in the place of that one; None where nobody knows of any."""
        tenant = life.name.split("/")[1]
        choices = [each for each in self._dead[tenant] if _may_come(life, each.says)]
        if not choices:
            return None
        dead = self._chance.choice(choices)
        try:
            event = await calls.answered("GetEvent", pb.GetEventRequest(name=dead.name, number=dead.number))
        except Refused as refused:
            if not isinstance(refused.error, NotFoundError):
                raise
            return None
        if event.type != EVENT_TYPE or _says(event.payload) != dead.says:
            return None  # of another instance that has the name now
        life.resent[dead.says] = number
        world.oracle.counted["dead events sent again"] += 1
        return pb.SendEventRequest(name=life.name, type=event.type, payload=event.payload, event_id=event.resend_id)

    async def look_through(self, calls: Calls, world: World, life: Life) -> None:
        """What was sent to it, before it may be restarted: that forgets ids, and what is on its way under a request_id
        that its journal does not have would be a new event."""
        await self._look_through(calls, world, life)
        if life.mark is not None:
            await asyncio.sleep(self._repeated_s.get(life.uid, -STRAY_S) + STRAY_S - world.loop.now_s)

    async def _look_through(self, calls: Calls, world: World, life: Life) -> None:
        """The list of its events has what it took, and what became of that. Of those that are kept for a while only,
        nobody knows whose list it is."""
        if life.deleted or life.kept_s is not None:
            return
        if life.status:
            await self._send_again(calls, world, life)
        self._looked_through.discard(life.uid)
        sent, taken, heard, ended = set(life.sent), dict(life.events), set(life.heard), life.status in ENDED
        listed = await self._listed(calls, life)
        world.oracle.counted["events listed"] += len(listed)
        self._check_numbered(world, life, listed, sent, set(taken), ended)
        self.broadcasts.check_list(world, life, listed, heard)
        for each in listed:
            of_a_child = "/" in each.type
            if each.resend_id != ("" if of_a_child else each.event_id or f"{life.uid}.{each.number}"):
                world.oracle.violated(f"{life.name} ({life.uid}) has {shown(each)}, to be sent as {each.resend_id}")
            if each.type == EVENT_TYPE and each.state == pb.EVENT_STATE_DEAD:
                dead, known = _Dead(life.name, each.number, _says(each.payload)), self._dead[life.name.split("/")[1]]
                known.extend([] if dead in known else [dead])
        if ended:
            self._looked_through.add(life.uid)

    async def _listed(self, calls: Calls, life: Life) -> list[pb.ReceivedEvent]:
        """All of them, with their payloads."""
        listed, token, size = [], "", self._chance.choice((2, 5, 0))
        while True:
            page: pb.ListEventsResponse = await calls.answered(
                "ListEvents", pb.ListEventsRequest(parent=life.name, page_size=size, page_token=token)
            )
            for each in page.events:
                whole = pb.GetEventRequest(name=life.name, number=each.number)
                listed.append(await calls.answered("GetEvent", whole) if each.payload_truncated else each)
            token = page.next_page_token
            if not token:
                return listed

    def _check_numbered(
        self,
        world: World,
        life: Life,
        listed: list[pb.ReceivedEvent],
        sent: set[int],
        taken: set[int],
        ended: bool,
    ) -> None:
        """Those of its plan."""
        found: dict[int, list[pb.ReceivedEvent]] = defaultdict(list)
        for each in listed:
            if each.type != EVENT_TYPE:
                continue
            number, uid = life.as_sent(_says(each.payload))
            if _says(each.payload) in life.resent:
                found[number].clear()  # it may be its own, from before a restart
            if uid == life.uid:
                found[number].append(each)
        for number in sent:
            if len(found[number]) != 1:
                has = [shown(each) for each in found[number]]
                world.oracle.violated(f"{life.name} ({life.uid}) took event {number}, and has {has} of it")
        for number, events in found.items():
            states = {each.state for each in events}
            if number in taken:
                allowed = {pb.EVENT_STATE_TAKEN}
            elif number <= life.events_before:
                allowed = {pb.EVENT_STATE_DEAD}
            elif ended:
                allowed = {pb.EVENT_STATE_TAKEN, pb.EVENT_STATE_DEAD}
            else:
                continue
            if not states <= allowed:
                world.oracle.violated(
                    f"{life.name} ({life.uid}) has event {number} as {[shown(each) for each in events]}"
                )

    def check(self, world: World) -> None:
        """At the end of all."""
        self.broadcasts.check(world, self._looked_through)


def drawn(seed: int, circumstances: Circumstances) -> Letters | None:
    """None where there are none: in most seeds, and where instances are poison."""
    chance = Random(f"letters {seed}")
    return Letters(chance) if chance.random() < 0.3 and not circumstances.poisonous else None


async def send(calls: Calls, world: World, life: Life, number: int) -> None:
    """An event of its plan, in one way or another. Raises Refused."""
    if world.letters is not None:
        await world.letters.send(calls, world, life, number)
    else:
        await calls.send(life.name, EVENT_TYPE, [number, life.uid])


def _under(request: pb.SendEventRequest, request_id: str) -> pb.SendEventRequest:
    again = pb.SendEventRequest()
    again.CopyFrom(request)
    again.request_id = request_id
    return again


def _says(payload: bytes) -> tuple[int, str]:
    number, uid, *_ = json.loads(payload)
    return number, uid


def _may_come(life: Life, says: tuple[int, str]) -> bool:
    """Whether that event would be a new one to it: neither it nor what it is a fork of had it, but for a life before a
    restart."""
    number, uid = says
    own = uid == life.uid and number > life.events_before
    return life.as_sent(says) == says and not own and not forks.is_an_origins(life, uid)

"""What must hold, whoever crashes: kept by an onlooker that sees callers, runs and bodies, and no journal.

It shares nothing with the engine: it knows what was asked, what was answered, and what `run` saw and returned.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from stepwell.errors import NotFoundError
from tests.simulation import families, forks
from tests.simulation.lives import Life, Place
from tests.simulation.loop import PROCESS

POISONINGS_MAX: Final = {"poison": 3, "poison machine": 6}
"""So many sandboxes, or machines, may one instance take down. The third sandbox is its last. It is paused once five
machines died of activations that had done nothing; the first one may have done something before."""

KEPT_S: Final = (1.0, 5.0, 25.0)

LETS_GO_S: Final = 5.0
"""What runs in a shard has so long to end in good order."""

WRITTEN_DOWN_S: Final = 1.0
"""That a sandbox died is in the journal after so long, or later where writes time out."""


class Violation(AssertionError):
    """Something that must hold did not."""


@dataclass
class Oracle:
    """`now_s` is the right time; `tell` writes the trace. `clock_error_s` is by how much any two clocks differ."""

    now_s: Callable[[], float]
    tell: Callable[[str], None]
    clock_error_s: float
    lives: dict[str, Life] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    routes: dict[tuple[str, str], list[tuple[float, float, frozenset[str]]]] = field(default_factory=dict)
    """Of (tenant, workflow): from when, and until when at the latest, a route was being set to which versions."""
    made_by: dict[str, str] = field(default_factory=dict)
    """By the nonce of a create: the uid of what it made."""
    forking: dict[str, tuple[Life, dict[Place, Any], int]] = field(default_factory=dict)
    """By the nonce of a create: the instance that a fork was asked of last, what is copied, and how many waits that
    are over."""
    kept_s: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By the nonce of a create: for how long it asked its instance to be kept, as in `Life`."""
    children: dict[str, families.Child] = field(default_factory=dict)
    """By the nonce of their creates."""
    newest: dict[str, str] = field(default_factory=dict)
    """Of each name, the uid."""
    violations: list[str] = field(default_factory=list)
    let_go_s: dict[str, float] = field(default_factory=dict)
    """When a machine let go of a shard last."""
    calm: bool = False
    """Nothing goes wrong any more but by what tenants do."""
    latest_s: float = 0.0
    """By how much anything was late, once nothing went wrong any more."""

    def violated(self, what: str) -> None:
        """Noted, and raised: whoever it is told in, the run is over."""
        self.violations.append(what)
        self.tell(f"VIOLATION {what}")
        raise Violation(what)

    # ---------------------------------------------------------------- what runs see
    def life(self, uid: str, name: str) -> Life:
        life = self.lives.get(uid)
        if life is None:
            life = self.lives[uid] = Life(uid, name)
            self.counted["instance lifetimes"] += 1
            before, self.newest[name] = self.newest.get(name), uid
            if before is not None and self.lives[before].kept_s is not None:
                self.is_gone(self.lives[before])
        if life.name != name:
            self.violated(f"uid {uid} is {life.name} and {name}")
        return life

    def made(self, life: Life, nonce: str) -> None:
        """By that create, which may have been sent any number of times: again too once what it made has expired."""
        uid = self.made_by.setdefault(nonce, life.uid)
        expired = uid != life.uid and self.lives[uid].deleted and nonce in self.kept_s
        if uid != life.uid and not expired and not forks.is_one(self, life, nonce):
            self.violated(f"the create {nonce} made {self.lives[uid].name} ({uid}), and {life.name} ({life.uid})")
        life.kept_s = self.kept_s.get(nonce)

    def runs(self, uid: str, name: str, version: str, tenant_of_plan: str) -> Life:
        """`run` begins, once an activation."""
        life = self.life(uid, name)
        life.activations += 1
        if not name.startswith(f"tenants/{tenant_of_plan}/"):
            self.violated(f"{name} runs with what {tenant_of_plan} sent")
        if life.version and version != life.version and version not in life.moved_to:
            self.violated(f"{name} ({uid}) runs version {version}, and ran {life.version}")
        life.version = life.version or version
        return life

    def asks(self, life: Life, place: Place, takes_s: float | None) -> float:
        """When `run` asked for it first: it takes so long; None: until there is an event for it."""
        began_s = life.began.setdefault(place, self.now_s())
        if not any(place[:end] in life.seen for end in range(1, len(place) + 1)):  # nor is a race that it lost
            # From now: if its record was lost with a node, it begins anew.
            life.awaited[place] = None if takes_s is None else self.now_s() + takes_s
        return began_s

    def gives_up(self, life: Life, place: Place) -> None:
        """`run` does not wait for it any more."""
        life.awaited.pop(place, None)
        life.gave_up.add(place)

    def sees(self, life: Life, place: Place, value: Any) -> None:
        """`run` was given this there."""
        life.awaited.pop(place, None)
        if place not in life.seen:
            forks.compares(self, life, place, value)
            life.seen[place] = value
            self.counted["results seen"] += 1
        elif life.seen[place] != value:
            self.violated(f"{life.name} ({life.uid}) saw {life.seen[place]!r} at {place}, and then {value!r}")

    def woke(self, life: Life, place: Place, due_s: float) -> None:
        """A sleep is over that was to end then."""
        if place in life.seen:
            return
        if place in life.copied:
            self.sees(life, place, "awake")
            return
        early_s = due_s - self.clock_error_s - self.now_s()
        if early_s > 0:
            self.violated(f"{life.name} ({life.uid}) woke {early_s:.3f} s early at {place}")
        self.sees(life, place, "awake")

    def received(self, life: Life, place: Place, payload: list[Any], *, could_do_without: bool = False) -> None:
        """A wait was given an event: [its number, the instance's uid]."""
        number, uid = life.as_sent((payload[0], payload[1]))
        if place in life.copied or forks.is_an_origins(life, uid):
            return
        if uid != life.uid:
            self.violated(f"{life.name} ({life.uid}) received an event of {uid}")
        if number <= life.events_before:
            self.violated(f"{life.name} ({life.uid}) received event {number}, sent before it was restarted")
        if number not in life.events:
            life.events[number] = place
            life.spare += could_do_without
        where = life.events[number]
        if where != place:
            self.violated(f"{life.name} ({life.uid}) received event {number} at {where}, and at {place}")

    # ---------------------------------------------------------------- restarts
    def begins_again(self, life: Life, events: int) -> Life:
        """Somebody asks for that, after so many events: what will be, and is not late before the call is answered."""
        self.counted["restarts asked for"] += 1
        again = Life(life.uid, life.name, version=life.version, before=life, events_before=events)
        again.moved_to, again.kept_s = set(life.moved_to), life.kept_s
        again.paused, again.paused_at_s = True, self.now_s()
        self.lives[life.uid] = again
        return again

    def marked(self, uid: str, mark: Any) -> Life:
        """Which life this is, by what `run` saw first. Of a former one there may be runs that do not know it yet."""
        newest: Life | None = self.lives[uid]
        life = newest
        while life is not None and life.mark != mark:
            life = life.before
        if life is not None:
            return life
        assert newest is not None
        if newest.mark is not None:
            self.violated(f"{newest.name} ({uid}) began with {newest.mark!r}, and begins with {mark!r}")
        newest.mark = mark
        return newest

    # ---------------------------------------------------------------- migrations
    def moves(self, life: Life, version: str) -> None:
        """Somebody asks for that. What runs it now, or is about to, may hear of it late."""
        self.counted["migrations asked for"] += 1
        life.moved_to |= {life.version, version}

    def moved(self, life: Life, version: str) -> None:
        """The call was answered."""
        self.counted["migrated"] += 1
        life.version = version

    def cancelled(self, life: Life) -> None:
        """The call was answered: `run` ends where it stands, once it goes on."""
        self.counted["cancelled"] += 1
        life.cancelled_s = self.now_s()

    # ---------------------------------------------------------------- rollbacks
    def may_be_undone(self, life: Life, place: Place) -> None:
        """`run` asks for a step there that has a handler."""
        if place not in life.undoable:
            life.undoable.append(place)

    def undoes(self, life: Life, place: Place, output: Any) -> None:
        """An attempt of the handler begins."""
        self.counted["handlers begun"] += 1
        which, done = f"the step at {place} of {life.name} ({life.uid})", life.seen.get(place)
        if life.rolls_back_since_s is None:
            self.violated(f"{which} is undone, and nobody asked for that")
        if output != done:
            self.violated(f"{which} is undone as one that returned {output!r}, and {done!r} was seen")
        index = life.undoable.index(place)
        missing = [each for each in life.undoable[index + 1 :] if each not in life.undone]
        if missing:
            self.violated(f"{which} is undone before those at {missing}")
        life.touched_s = self.now_s()

    def undid(self, life: Life, place: Place) -> None:
        life.undone.add(place)
        life.touched_s = self.now_s()

    def rolls_back(self, life: Life) -> None:
        """Somebody asks for that."""
        if life.rolls_back_since_s is None:
            life.rolls_back_since_s = self.now_s()

    def told_rollback(self, life: Life, outcome: str) -> None:
        """An answer said so, of an instance that was ended by a call."""
        self.counted[f"rolled back: {outcome.lower()}"] += 1
        missing = [each for each in life.undoable if each not in life.undone]
        if outcome != "COMPLETE" or missing:
            self.violated(f"{life.name} ({life.uid}) is rolled back: {outcome}, and {missing} are not undone")

    def poisoned(self, life: Life, poison: str) -> None:
        """It ends those who run it, now. Once nothing else goes wrong, that is soon over."""
        self.counted[f"ended by {poison}"] += 1
        machine = PROCESS.get().name.partition(" ")[0]
        if self.now_s() - self.let_go_s.get(machine, -LETS_GO_S) >= LETS_GO_S:
            life.poisonings += self.calm
        life.poisoned = (PROCESS.get().name if poison == "poison" else "", self.now_s())
        if life.poisonings > POISONINGS_MAX[poison] + 2 * len(life.gave_up):
            self.violated(f"{life.name} ({life.uid}) took down {life.poisonings} in a row by {poison}")

    def lets_go(self, name: str) -> None:
        """A machine does, of a shard: what dies in its sandboxes meanwhile may be over for it already."""
        self.machine_died(name)
        self.let_go_s[name] = self.now_s()

    def machine_died(self, name: str) -> None:
        """What died in its sandboxes just before may not have been written down: then it does not count."""
        for life in self.lives.values():
            sandbox, at_s = life.poisoned
            if sandbox.startswith(f"{name} ") and self.now_s() - at_s < WRITTEN_DOWN_S:
                life.poisoned = ("", 0.0)
                life.poisonings -= self.calm

    async def changed(self, life: Life) -> None:
        """Return when `run` has returned something, or a while later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await life.ended.wait()

    def returns(self, life: Life, output: Any) -> None:
        if life.returned is not None and life.returned["saw"] != output["saw"]:
            self.violated(f"{life.name} ({life.uid}) returned {life.returned!r}, and then {output!r}")
        life.returned = output
        life.returned_s = self.now_s() if life.returned_s is None else life.returned_s
        life.ended.set()

    # ---------------------------------------------------------------- what is kept for a while
    def terminates(self, life: Life) -> None:
        """Somebody asks for that, after a rollback perhaps."""
        life.terminated_s = self.now_s() if life.terminated_s is None else life.terminated_s

    def is_gone(self, life: Life) -> None:
        """It is not there, and nobody was told that it is deleted: so it has expired, and not before its time."""
        if life.deleted:
            return
        ends = zip((life.returned_s, life.terminated_s), life.kept_s or (), strict=False)
        expires_s = min((ended_s + kept_s for ended_s, kept_s in ends if ended_s is not None), default=None)
        if expires_s is None:
            self.violated(f"{life.name} ({life.uid}) was created, and is not there")
        elif self.now_s() < expires_s - self.clock_error_s:
            self.violated(f"{life.name} ({life.uid}) is gone {expires_s - self.now_s():.3f} s early")
        life.deleted, life.status = True, life.status or "GONE"
        self.counted["expired"] += 1

    def keeps(self, nonce: str, retention: Any, random: Random) -> None:
        """A create asks for that."""
        success_s, error_s = self.kept_s[nonce] = random.choice(KEPT_S), random.choice(KEPT_S)
        retention.success_ms, retention.error_ms = int(success_s * 1000), int(error_s * 1000)

    def may_expire(self, name: str) -> bool:
        """Whether the newest instance of that name is kept for a while only."""
        return name in self.newest and self.lives[self.newest[name]].kept_s is not None

    def has_expired(self, life: Life, error: Exception) -> bool:
        """Whether a call for it was refused for that, as it seems."""
        return life.kept_s is not None and isinstance(error, NotFoundError)

    def never_began(self, life: Life) -> None:
        """A restart was refused, since nothing was there: it had expired, or had begun again, ended and expired."""
        assert life.before is not None
        self.is_gone(life if life.returned_s is not None else life.before)
        life.deleted, life.status = True, "GONE"

    # ---------------------------------------------------------------- what is late
    def pauses(self, life: Life, since_s: float) -> None:
        """Somebody asked for it since then, or the server did it."""
        life.paused, life.paused_at_s = True, since_s

    def resumes(self, life: Life) -> None:
        """The call was answered."""
        life.paused, life.touched_s = False, self.now_s()
        life.poisonings = 0
        life.paused_s += self.now_s() - life.paused_at_s

    def late(self, since_s: float) -> list[tuple[Life, str, float]]:
        """Who could go on and has not, as it seems from here, at what, and for how long; not counting what came before
        `since_s`. It may be that the server has paused it."""
        return [
            (life, what, self.now_s() - max(since_s, life.touched_s, due_s))
            for life in self.lives.values()
            if not life.status and life.returned is None and not life.paused
            for what, due_s in self._due(life)
        ]

    def _due(self, life: Life) -> Iterator[tuple[str, float]]:
        """What may go on, and from when."""
        if life.rolls_back_since_s is not None:
            yield "roll back", life.rolls_back_since_s
            return
        if life.cancelled_s is not None:
            yield "end", max(life.cancelled_s, life.touched_s)
            return
        if not life.activations:
            yield "begin", life.touched_s
        spare = min((at_s for number, at_s in life.sent.items() if number not in life.events), default=None)
        for place, due_s in life.awaited.items():
            if due_s is not None:
                yield str(place), due_s + life.paused_s
            elif spare is not None:
                yield str(place), max(spare, life.began[place])

    # ---------------------------------------------------------------- what callers are told
    def told_status(self, life: Life, status: str, output: Any) -> None:
        """An answer said so. What is final stays."""
        if life.status and status != life.status:
            self.violated(f"{life.name} ({life.uid}) was {life.status}, and then {status}")
        if status in ("COMPLETE", "ERRORED", "TERMINATED"):
            if not life.status:
                self.counted[f"ended {status.lower()}"] += 1
            life.status = status
        # What returned may have been moved before that was durable: then it returned once more, in that version.
        if status == "COMPLETE" and (life.returned is None or output != life.returned | {"version": life.version}):
            self.violated(f"{life.name} ({life.uid}) has the output {output!r}, and returned {life.returned!r}")

    def told_step(self, life: Life, step: tuple[str, int], output: bytes) -> None:
        if life.steps.setdefault(step, output) != output:
            self.violated(f"{life.name} ({life.uid}): step {step} was {life.steps[step]!r}, and then {output!r}")

    def told_list(self, parent: str, listed: list[tuple[str, str, str]]) -> None:
        """The whole list of a workflow, as (name, uid, status), once everything has come to rest."""
        there = {
            (life.name, life.uid, life.status)
            for life in self.lives.values()
            if life.name.startswith(f"{parent}/") and not life.deleted and life.kept_s is None
        }
        self.counted["instances listed"] += len(listed)
        if len(listed) != len(there) or set(listed) != there:
            more, missing = sorted(set(listed) - there), sorted(there - set(listed))
            self.violated(f"the list of {parent} has {more} too many, lacks {missing}, and is {len(listed)} long")

    def told_version(self, tenant: str, workflow: str, version: str, asked_s: float, stale_s: float) -> None:
        """A create that was asked for then got that version. Nobody may get one whose route went long before."""
        until = float("-inf")
        for index, (begun_s, _, routed) in enumerate(self.routes[tenant, workflow]):
            if version not in routed:
                continue
            later = self.routes[tenant, workflow][index + 1 :]
            gone_s = next((done_s for _, done_s, _ in later), float("inf"))
            if begun_s <= self.now_s() and asked_s <= gone_s + stale_s:
                return
            until = max(until, gone_s)
        self.violated(f"a create of {tenant}/{workflow} at {asked_s:.3f} s got {version}, routed until {until:.3f} s")


class Deaf(Oracle):
    """For what is only replayed: nothing that is seen there is news, and nothing is wrong with when."""

    def violated(self, what: str) -> None:
        pass

"""A life that is looked at closely: an instance driven by hand that keeps what it was before each event, for the laws.

A node may die under it, with the last records not yet durable; its id may be deleted and taken again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from data_plane.journal import record_messages
from data_plane.journal.v1 import journal_pb2
from stepwell.engine.actions import Actions, Completion, TellCompletion, TellStart
from stepwell.engine.events import Event
from stepwell.engine.instance import Instance, Live, Phase
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Created, Record, StepKey
from tests.unit.engine.driven import REFUSALS, Driven

DueTimes = dict[StepKey, int | None]


@dataclass(frozen=True, slots=True)
class Before:
    """What an instance was before an event. `text` is all of it, memory of the activation and order of dicts too."""

    text: str
    phase: Phase
    live: Live | None
    due: DueTimes
    records: int
    rolls_back: bool
    expires: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """One event and what came of it; without an event, the death of the node."""

    event: Event | None
    before: Before
    actions: Actions
    refusal: Exception | None = None


class Life(Driven):
    """`heard` is what the guest of the present activation was told, in order, from the journal's first completion on.

    With `asked` the instance is asked after each event when it is due next, as its node does: that tidies its heaps.
    Records are kept as they come back from their messages.
    """

    def __init__(self, limits: EngineLimits, *, asked: bool) -> None:
        super().__init__(limits)
        self.asked = asked
        self.heard: list[Completion] = []

    def meet(self, event: Event) -> Moment:
        """Let it happen. What is raised must be a refusal."""
        before = self._before()
        try:
            actions = self.handle(event)
        except REFUSALS as refusal:
            return Moment(event, before, [], refusal)
        self.records[before.records :] = [stored(record) for record in self.records[before.records :]]
        self._hear(actions)
        self._ask()
        return Moment(event, before, actions)

    def lose_node(self, lost: int) -> Moment:
        """The node dies, and of the last records, `lost` were not durable: never more than of the present instance."""
        before = self._before()
        most = len(self.newest()) - 1
        del self.records[len(self.records) - max(0, min(lost, most)) :]
        self.crash()
        self._ask()
        return Moment(None, before, [])

    def vanish(self, *, rows_stay: bool) -> None:
        """What is left of a deleted instance goes; with `rows_stay` a reader still meets its rows below newer ones."""
        if not rows_stay:
            self.records.clear()
        self.instance = Instance()

    def newest(self) -> list[Record]:
        """The records of the newest instance of this id."""
        first = max((at for at, record in enumerate(self.records) if isinstance(record, Created)), default=0)
        return self.records[first:]

    def due(self) -> DueTimes:
        return due_times(self.instance)

    def _ask(self) -> None:
        if self.asked:
            self.instance.next_due()
            self.instance.next_tick()

    def _before(self) -> Before:
        instance = self.instance
        return Before(
            repr(instance),
            instance.phase,
            aside(instance).live,
            self.due(),
            len(self.records),
            instance.terminating is not None,
            instance.expires_at is not None,
        )

    def _hear(self, actions: Actions) -> None:
        for action in actions:
            if isinstance(action, TellStart):
                self.heard = self.instance.completions[: action.recorded]
            elif isinstance(action, TellCompletion):
                self.heard.append(action.completion)


def aside(instance: Instance) -> Instance:
    """A copy: to ask when it is due, which moves deadlines in place, and to remember what the activation knew."""
    live = instance.live
    if live is not None:
        running = {key: replace(body) for key, body in live.running.items()}
        live = replace(live, running=running, gone=set(live.gone), deadlines=list(live.deadlines))
    asks = {key: replace(ask) for key, ask in instance.open.items()}
    return replace(instance, open=asks, deadlines=list(instance.deadlines), live=live)


def due_times(instance: Instance) -> DueTimes:
    """When each open key is due, with the pauses that its deadline has not been moved by yet."""
    return {
        key: None if ask.due is None else ask.due + instance.pauses_ms - ask.pauses_ms
        for key, ask in instance.open.items()
    }


def stored(record: Record) -> Record:
    """The record as a journal gives it back."""
    message = journal_pb2.Record()
    record_messages.fill(message, record)
    return record_messages.read(journal_pb2.Record.FromString(message.SerializeToString()))

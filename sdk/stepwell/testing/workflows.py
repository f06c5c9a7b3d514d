"""What a test starts: `Workflows`, the kit's front door."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from stepwell.cron import MINUTE_MS, parsed
from stepwell.durations import Duration, duration_ms
from stepwell.engine import events
from stepwell.engine.schedule import Schedule
from stepwell.environment import ENV
from stepwell.errors import NotFoundError
from stepwell.events import time_from_ms
from stepwell.guest.bundle import ExecutionContext
from stepwell.names import Digest, workflow_id
from stepwell.testing.bindings import Create, TestBindings
from stepwell.testing.host import Host, JournalRecord
from stepwell.testing.instance import InstanceUnderTest
from stepwell.testing.modifiers import Modifiers
from stepwell.testing.resident import Resident
from stepwell.values import encode

REAL_SECONDS_MAX: Final = 30.0
"""Real time that one wait of a test may take, before it fails."""


class Workflows:
    """Instances in memory, on a clock that is skipped. `vars` are the manifest's `[vars]`; `now` is the time at which
    the test begins, an aware datetime, the machine's by default. A context manager: what runs stops at its end.
    """

    def __init__(
        self,
        *,
        vars: Mapping[str, str] | None = None,
        now: datetime | None = None,
        real_seconds_max: float = REAL_SECONDS_MAX,
        crash_at: int | None = None,
    ) -> None:
        self._settings: dict[str, Any] = dict(vars=vars, now=now, real_seconds_max=real_seconds_max)
        start = now if now is not None else datetime.now(UTC)
        self._host = Host(int(start.timestamp() * 1000), crash_at=crash_at, real_seconds_max=real_seconds_max)
        self._env_before = dict(vars_of_env())
        self._bindings = self._host.bindings = TestBindings(self._host, self._create)
        self.modify_all = Modifiers()
        """What is changed about every instance that is started from here on."""
        self.set_vars(vars or {})
        self.rerun_with = "crash_at"
        self.only_crash: int | None = None
        """The one record after which `crash_at_every_record` is to crash, when it was asked for that one alone."""

    def __enter__(self) -> Workflows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """What runs stops where it stands."""
        self._host.close()
        ENV.fill(self._env_before)

    def afresh(self, crash_at: int) -> Workflows:
        """Another one like this, with nothing in it, which crashes after that record."""
        return Workflows(**self._settings, crash_at=crash_at)

    def set_vars(self, vars: Mapping[str, str]) -> None:
        """`self.env` and `workers.env` of all instances, as `[vars]` of the manifest: names and texts."""
        for name, value in vars.items():
            if not isinstance(value, str):
                raise TypeError(f"vars has {name!r}: {value!r}; values of [vars] are texts")
        self._settings["vars"] = dict(vars)
        ENV.fill(vars, self._bindings.env())

    def bind(self, **workflows: type[Any]) -> None:
        """`self.env` has these workflows by these names, as by `[[bindings]]`: `bind(SHIPPING=Shipping)`."""
        for name, workflow in workflows.items():
            self._bindings.bind(name, _a_workflow(workflow))
        self._host.sandbox.calls.workflows = self._bindings.workflows()
        self.set_vars(self._settings["vars"] or {})

    def start(
        self,
        workflow: type[Any],
        params: Any = None,
        *,
        id: str | None = None,
        name: str | None = None,
        schedule: str | None = None,
    ) -> InstanceUnderTest:
        """A new instance of that class, which has `run(event, step)`; `name` is the workflow's, the class's by default.
        With a cron expression as its `schedule` it is one that this schedule creates, and that was due at the last full
        minute.

        Raises TypeError for what is no workflow, ValueError for a bad id or expression, AlreadyExistsError for one that
        is taken, StepValueError for params that are no JSON.
        """
        host = self._host
        now_ms = host.clock.now_ms
        tick = None if schedule is None else Schedule(parsed(schedule).text, now_ms - now_ms % MINUTE_MS)
        chosen, _ = host.ids_of_next(id)
        given = name if name is not None else _a_workflow(workflow).__name__.strip("_")
        resident = self._create(Create(_a_workflow(workflow), given, chosen, encode(params), "", None, 0), tick)
        host.recover()
        self.modify_all.send_events(resident.modifiers)
        return InstanceUnderTest(host, resident)

    def instance(self, id: str) -> InstanceUnderTest:
        """One that is there, such as a child that was created through a binding. Raises NotFoundError."""
        for resident in self._host.there():
            if resident.id == id:
                return InstanceUnderTest(self._host, resident)
        raise NotFoundError(f"no instance {id!r}; there are: {', '.join(each.id for each in self._host.there())}")

    def _create(self, create: Create, tick: Schedule | None = None) -> Resident:
        host, workflow = self._host, create.workflow
        _, uid = host.ids_of_next(create.id)
        modifiers = self.modify_all.for_instance(lambda type, payload: started.send_event(type, payload))
        resident = Resident(
            host, create.id, workflow_id(create.name), lambda: workflow(ExecutionContext(), ENV), modifiers
        )
        host.residents.append(resident)
        started = InstanceUnderTest(host, resident)
        entrypoint = f"{workflow.__module__}:{workflow.__qualname__}"
        digest = Digest("sha256-test")
        resident.step(
            events.CreateRequested(
                host.clock.now_ms,
                uid,
                digest,
                entrypoint,
                create.params,
                create.request_id,
                b"",
                create.parent,
                create.depth,
                schedule=tick,
                retention=create.retention,
            )
        )
        return resident

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return time_from_ms(self._host.clock.now_ms)

    @property
    def records(self) -> list[JournalRecord]:
        """What all journals have, in the order of writing."""
        return list(self._host.records)

    @property
    def crash(self) -> JournalRecord | None:
        """The record after which it crashed, if it was to and did."""
        return self._host.crash

    def settle(self) -> None:
        """Let everything run that can without time being skipped."""
        self._host.drive(lambda: False, self._host.clock.now_ms)

    def advance(self, duration: Duration) -> None:
        """Let so much time pass, and no more: what is due by then happens."""
        self._host.drive(lambda: False, self._host.clock.now_ms + duration_ms(duration))

    def kill(self) -> None:
        """Crash now, as by SIGKILL of the node: bodies stop where they stand, instances are loaded from their
        journals."""
        self._host.kill()


def _a_workflow(workflow: Any) -> type[Any]:
    if not isinstance(workflow, type) or not callable(getattr(workflow, "run", None)):
        raise TypeError(f"{workflow!r} is no workflow: give a class with `async def run(self, event, step)`")
    return workflow


def vars_of_env() -> dict[str, str]:
    """What `workers.env` has."""
    return dict(vars(ENV))

"""Traffic over several tenants while something is killed, and what must hold of it in the end.

Clients create instances, send events and watch, each call made again until it is answered. A witness per instance keeps
every committed result that it is shown, at once, and the end is held against that.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, ENDED, RETRY_DELAY_S, UNKNOWN, Api

SHAPES = ("chain", "retries", "events", "fan", "large", "race")
END_S_MAX = 60
"""How long what is unfinished may take to its end after the last kill."""

EVENTS_EACH = 3
ATTEMPTS = {"first": 3, "second": 3, "slow": 2}
"""Steps that fail at first, and how often they run when nothing is killed."""
Key = tuple[pb.StepKind.ValueType, str, int]
Event = tuple[str, str, str, int, int]


@dataclass
class Run:
    """One instance, as its client knows it."""

    tenant: str
    shape: str
    params: dict[str, Any]
    id: str
    request_id: str
    attended: bool
    name: str = ""
    uid: str = ""
    version: str = ""
    results: dict[Key, bytes | None] = field(default_factory=dict)
    """Every step result that was ever seen as committed."""
    history: list[Event] = field(default_factory=list)
    """What the watch told, over all of its streams."""
    streams: int = 0
    sent: list[str] = field(default_factory=list)

    @property
    def workflow(self) -> str:
        return f"tenants/{self.tenant}/workflows/traffic"


PAUSED = (pb.INSTANCE_STATUS_PAUSED,)


class Traffic:
    """`seed` decides shapes, times and who chooses ids; what is killed when is the test's affair.

    Half of the instances are unattended: nobody asks for them before a list shows that they have ended, since a
    question would bring an instance back that its wake had lost.
    """

    def __init__(self, api: Api, tenants: tuple[str, ...], instances: int, seed: int) -> None:
        self.api = api
        self.tenants = tenants
        self._random = random.Random(seed)
        self.runs = [self._planned(number) for number in range(instances)]
        self.versions: dict[str, str] = {}
        self.doubled_creates = 0
        self.doubled_events = 0
        self.resumed = 0
        self._ended: set[str] = set()
        self.changes: list[str] = []

    def _planned(self, number: int) -> Run:
        chance = self._random
        shape = SHAPES[number % len(SHAPES)]
        sleeps = [chance.choice((200, 400, 900, 1500, 3000)) for _ in range(8)]
        attended = number // len(SHAPES) % 2 == 0
        own_id = f"run-{number}" if chance.random() < 0.5 else ""
        params = {"shape": shape, "sleeps": sleeps}
        tenant = self.tenants[number // len(SHAPES) % len(self.tenants)]
        return Run(tenant, shape, params, own_id, f"create-{number}", attended)

    async def deploy(self) -> None:
        for tenant in self.tenants:
            await self.api.create_tenant(tenant)
            self.versions[tenant] = await self.api.deploy(tenant, BUNDLES / "traffic", {"TENANT": tenant})

    async def carry_on(self, progress: Callable[[], float]) -> None:
        """Start instances as the test's own progress, from 0 to 1, goes on, and follow each to its end."""
        async with asyncio.TaskGroup() as around:
            listing = around.create_task(self._list_ended())
            async with asyncio.TaskGroup() as tasks:
                for number, run in enumerate(self.runs):
                    while progress() < number / len(self.runs):  # kills are no event
                        await asyncio.sleep(0.02)
                    tasks.create_task(self._follow(run))
            listing.cancel()

    async def _list_ended(self) -> None:
        """What has ended, by lists alone: they load no instance."""
        while True:
            for tenant in self.tenants:
                listed = await self.api.listed(f"tenants/{tenant}/workflows/traffic", ENDED)
                self._ended.update(each.name for each in listed)
                for paused in await self.api.listed(f"tenants/{tenant}/workflows/traffic", PAUSED):
                    await self._resume(paused.name)
            await asyncio.sleep(0.5)

    async def _resume(self, name: str) -> None:
        """As an operator would: the poison rule pauses what was at work, without progress, at five deaths in a row."""
        paused = await self.api.get(name)
        if paused.error.type == "NodeDiedError":
            self.resumed += 1
            request = pb.ResumeInstanceRequest(name=name, request_id=f"resume-{self.resumed}")
            await self.api.call(self.api.instances.ResumeInstance, request)
        elif paused.status == pb.INSTANCE_STATUS_PAUSED:
            self.changes.append(f"{name} was paused: {paused.error}")

    async def _follow(self, run: Run) -> None:
        created = await self._create(run)
        run.name, run.uid, run.version = created.name, created.uid, created.version
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(run) if run.attended else self._await_end(run))
            if run.shape == "events":
                tasks.create_task(self._send_events(run))
            if run.attended and self._random.random() < 0.5:
                tasks.create_task(self._create_again(run))

    async def _create(self, run: Run) -> pb.Instance:
        return await self.api.create(run.workflow, run.params, id=run.id, request_id=run.request_id)

    async def _create_again(self, run: Run) -> None:
        """A client that did not hear the answer asks once more, later."""
        await asyncio.sleep(self._random.uniform(0, 10))
        again = await self._create(run)
        self.doubled_creates += 1
        if (again.name, again.uid) != (run.name, run.uid):
            self.changes.append(f"{run.name}: the same create gave {again.name}, uid {again.uid}, before {run.uid}")

    async def _send_events(self, run: Run) -> None:
        for number in range(EVENTS_EACH):
            await asyncio.sleep(self._random.uniform(0, 6))
            payload = f"event {number} for {run.name}"
            await self.api.send_event(run.name, "go", payload, f"event-{number}")
            run.sent.append(payload)
            if number < EVENTS_EACH - 1 and self._random.random() < 0.5:
                await asyncio.sleep(self._random.uniform(0, 2))
                await self.api.send_event(run.name, "go", payload, f"event-{number}")
                self.doubled_events += 1

    async def _watch(self, run: Run) -> None:
        """Follow by cursor over as many streams as it takes."""
        cursor = ""
        while True:
            run.streams += 1
            try:
                async for event in self.api.watch(run.name, cursor):
                    cursor = event.cursor
                    run.history.append(told(event))
                    if event.type == "stepCompleted":
                        await self._note(run)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() not in UNKNOWN:
                    raise
            await asyncio.sleep(RETRY_DELAY_S)
        await self._note(run)

    async def _await_end(self, run: Run) -> None:
        while run.name not in self._ended:
            await asyncio.sleep(0.1)
        await self._note(run)

    async def _note(self, run: Run) -> None:
        """Keep what is committed; what was seen before must be there, as it was."""
        shown: dict[Key, bytes | None] = {
            (step.kind, step.step_name, step.count): step.output if step.HasField("output") else None
            for step in await self.api.steps(run.name)
            if step.status == pb.STEP_STATUS_COMPLETE
        }
        for key, output in run.results.items():
            if key not in shown:
                self.changes.append(f"{run.name}: the result of {key} is gone")
            elif shown[key] != output:
                self.changes.append(f"{run.name}: {key} was {output!r}, is {shown[key]!r}")
        run.results.update(shown)

    async def finished(self, carried: asyncio.Task[None]) -> None:
        """Wait for `carry_on`, once nothing is killed any more. Raises AssertionError naming what does not end."""
        await asyncio.wait({carried}, timeout=END_S_MAX)
        if not carried.done():
            self._ended.update(run.name for run in self.runs if run.history and run.history[-1][1] == "completed")
            waiting = [
                f"{run.name} ({run.shape}, attended: {run.attended}): {await self.api.get(run.name)}"
                for run in self.runs
                if run.name not in self._ended
            ]
            busy = [repr(task.get_stack(limit=1)) for task in asyncio.all_tasks() if "traffic.py" in repr(task)]
            raise AssertionError(f"after {END_S_MAX} s these have not ended: {waiting}; at work: {busy}")

    async def verdict(self) -> list[str]:
        """What is not as it must be, once all has ended."""
        wrong = list(self.changes)
        for run in self.runs:
            instance = await self.api.get(run.name)
            if (instance.uid, instance.version) != (run.uid, self.versions[run.tenant]):
                wrong.append(f"{run.name} is another instance, or on another version: {instance}")
            if instance.status != pb.INSTANCE_STATUS_COMPLETE:
                wrong.append(f"{run.name} ({run.shape}) is {instance.status}, error {instance.error}")
                continue
            output = json.loads(instance.output)
            results = {key: json.loads(value) for key, value in run.results.items() if value is not None}
            if output["tenant"] != run.tenant:
                wrong.append(f"{run.name} ran the code of {output['tenant']}")
            if output["tokens"] != expected(run, results):
                wrong.append(f"{run.name} ({run.shape}) gave {output['tokens']}, its steps {results}")
            again = [told(event) async for event in self.api.watch(run.name)]
            if run.attended and again != run.history:
                wrong.append(f"{run.name}: watched {run.history}, history says {again}")
        return wrong + await self._listed()

    async def _listed(self) -> list[str]:
        """Every acknowledged create exists, once, and nothing else."""
        wrong = []
        for tenant in self.tenants:
            listed = Counter(each.name for each in await self.api.listed(f"tenants/{tenant}/workflows/traffic"))
            known = Counter(run.name for run in self.runs if run.tenant == tenant)
            if listed != known:
                wrong.append(f"{tenant}: the list has {listed - known} too much, {known - listed} too little")
        return wrong


def told(event: pb.InstanceEvent) -> Event:
    return (event.cursor, event.type, event.step.step_name, event.step.count, event.event_time.ToMilliseconds())


def expected(run: Run, results: dict[Key, Any]) -> Any:
    """What the instance must give for the results that were committed; see bundles/traffic."""

    def did(name: str, count: int = 1) -> Any:
        return results.get((pb.STEP_KIND_DO, name, count))

    match run.shape:
        case "chain":
            return [did(f"s{number}") for number in range(8)]
        case "retries":
            return [did("first"), did("second"), "never", did("slow")]
        case "events":
            return [[run.sent[number], did("after", number + 1)] for number in range(EVENTS_EACH)] + ["nobody came"]
        case "fan":
            rounds = (1, 2)
            return [
                each
                for turn in rounds
                for each in (
                    *(did("blocking", 4 * (turn - 1) + number + 1) for number in range(4)),
                    *(did(f"waiting-{number}", turn) for number in range(4)),
                )
            ]
        case "large":
            digests = [did("digest", number + 1) for number in range(3)]
            return [digests, [each[1] for each in digests]]
        case _:
            return [[did("quick", 1)], "timed out", [did("quick", 2)], "timed out"]


def executions(log: Path) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """What bodies printed, from the server's log: by instance and step, each execution's (attempt, token)."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for instance, step, attempt, token in re.findall(
        r"EXECUTED (\S+) (\S+) (\d+) ([0-9a-f]{16})", log.read_text(errors="replace")
    ):
        found.setdefault((instance, step), []).append((int(attempt), token))
    return found


def at_least_once(traffic: Traffic, log: Path) -> tuple[list[str], int, int]:
    """What breaks the promise that a committed result is that of an execution; how often bodies of committed steps
    were seen to run, and how often they had to."""
    printed, wrong, ran, needed = executions(log), [], 0, 0
    for run in traffic.runs:
        instance = run.name.rpartition("/")[2]
        committed = Counter(name for kind, name, _ in run.results if kind == pb.STEP_KIND_DO)
        for name, count in committed.items():
            ran += len(printed.get((instance, name), ()))
            needed += count * ATTEMPTS.get(name, 1)
        for (kind, name, _), output in run.results.items():
            token = _token_in(output) if kind == pb.STEP_KIND_DO and output is not None else None
            if token is not None and token not in [each for _, each in printed.get((instance, name), ())]:
                wrong.append(f"{run.name}: {name} has the result {token}, which no execution printed")
    return wrong, ran, needed


def _token_in(output: bytes) -> str | None:
    """The token of a step that returns one, bare or last in a list."""
    value = json.loads(output)
    text = value[-1] if isinstance(value, list) else value
    return text if isinstance(text, str) and re.fullmatch(r"[0-9a-f]{16}", text) else None

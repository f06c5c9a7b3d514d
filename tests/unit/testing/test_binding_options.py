"""What calls through bindings may say beside their payload, in the kit; and what the guest refuses to say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from loader.messages import decode_guest_message
from stepwell import ChildFailedError, WorkflowEntrypoint, WorkflowStep
from stepwell.errors import InvalidArgumentError, NotFoundError, StepwellError
from stepwell.retention import Retention
from stepwell.testing import Workflows, crash_at_every_record
from stepwell.testing.host import Host


class Child(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        if event.payload == "fails":
            raise ValueError("no")
        if event.payload != "waits":
            return event.payload

        async def undo(output: Any) -> None:
            print(f"undo {output}")

        await step.do("first", rollback=undo)(lambda: 1)()
        await step.do("second")(lambda: 2)()
        return (await step.wait_for_event("go", "go")).payload


class Parent(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        return await getattr(self, event.payload["do"])(event.payload, step)

    async def keeps(self, payload: Any, step: WorkflowStep) -> Any:
        @step.do("create", config={"retries": {"limit": 1, "delay": 10}})
        async def create(ctx: Any) -> None:
            await self.env.CHILD.create("a", 7, retention=payload["retention"])
            if ctx.attempt == 1:
                raise RuntimeError("after the create")

        await create()
        return await (await self.env.CHILD.get("a")).result()

    async def keeps_a_batch(self, payload: Any, step: WorkflowStep) -> Any:
        items = [{"id": "a", "retention": {"successRetention": "1 hour"}}, {"id": "b"}]
        return [await each.result() for each in await self.env.CHILD.create_batch(items)]

    async def says_another(self, payload: Any, step: WorkflowStep) -> Any:
        @step.do("create", config={"retries": {"limit": 1, "delay": 10}})
        async def create(ctx: Any) -> None:
            await self.env.CHILD.create("a", retention={"successRetention": f"{ctx.attempt} hours"})
            raise RuntimeError("after the create")

        await create()

    async def rolls_back(self, payload: Any, step: WorkflowStep) -> Any:
        child = await self.env.CHILD.create("a", "waits")
        await step.sleep("a while", "1 hour")
        await child.terminate(rollback=payload["rollback"])
        try:
            return await child.result()
        except ChildFailedError as failed:
            return failed.status

    async def restarts(self, payload: Any, step: WorkflowStep) -> Any:
        child = await self.env.CHILD.create("a", "waits")
        await step.sleep("a while", "1 hour")
        await child.restart(from_=payload["from"])
        await step.sleep("a while longer", "1 hour")
        await child.send_event("go", "went")
        return await child.result()


@pytest.fixture
def bound(workflows: Workflows) -> Workflows:
    workflows.bind(CHILD=Child)
    return workflows


def kept(workflows: Workflows, id: str = "a") -> Retention:
    return workflows.instance(id)._resident.state.retention


@crash_at_every_record
def test_a_child_goes_when_its_time_has_come_and_its_id_is_free(workflows: Workflows) -> None:
    workflows.bind(CHILD=Child)
    parent = workflows.start(Parent, {"do": "keeps", "retention": {"successRetention": "1 hour"}})
    assert parent.result() == 7
    assert kept(workflows) == Retention(3_600_000)
    workflows.advance("59 minutes")
    assert workflows.instance("a").status == "complete"
    workflows.advance("2 minutes")
    with pytest.raises(NotFoundError):
        workflows.instance("a")
    assert workflows.start(Child, 8, id="a").result() == 8


@pytest.mark.parametrize(
    ("said", "is_kept"),
    [
        (None, Retention()),
        ({}, Retention()),
        ({"successRetention": "1 day", "errorRetention": 60_000}, Retention(86_400_000, 60_000)),
        ({"errorRetention": "1 week", "successRetention": None}, Retention(None, 604_800_000)),
    ],
)
def test_a_retention_may_be_a_dict_with_cloudflares_keys(bound: Workflows, said: Any, is_kept: Retention) -> None:
    bound.start(Parent, {"do": "keeps", "retention": said}).result()
    assert kept(bound) == is_kept


def test_a_retention_may_be_the_clients(bound: Workflows) -> None:
    class Keeps(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            await self.env.CHILD.create("a", retention=Retention.of(error=timedelta(days=2)))

    bound.start(Keeps).result()
    assert kept(bound) == Retention(None, 2 * 86_400_000)


def test_each_of_a_batch_has_its_own(bound: Workflows) -> None:
    bound.start(Parent, {"do": "keeps_a_batch"}).result()
    assert (kept(bound, "a"), kept(bound, "b")) == (Retention(3_600_000), Retention())


def test_another_attempt_may_not_say_another(bound: Workflows) -> None:
    failed = bound.start(Parent, {"do": "says_another"}).error()
    assert isinstance(failed, InvalidArgumentError)
    assert "another retention" in str(failed)


@crash_at_every_record
def test_a_parent_has_its_child_rolled_back(workflows: Workflows) -> None:
    workflows.bind(CHILD=Child)
    parent = workflows.start(Parent, {"do": "rolls_back", "rollback": True})
    assert parent.result() == "terminated"
    rollback = workflows.instance("a").rollback()
    assert rollback is not None
    assert rollback.outcome == "complete"


def test_without_a_rollback_nothing_is_undone(bound: Workflows) -> None:
    bound.start(Parent, {"do": "rolls_back", "rollback": False}).result()
    assert bound.instance("a").rollback() is None


@pytest.mark.parametrize(
    ("said", "kept_steps"),
    [
        (None, []),
        ("second", ["first"]),
        ({"name": "second", "count": 1, "type": "do"}, ["first"]),
        ({"name": "go", "type": "waitForEvent"}, ["first", "second"]),
    ],
)
def test_a_parent_restarts_its_child_from_a_step(bound: Workflows, said: Any, kept_steps: list[str]) -> None:
    assert bound.start(Parent, {"do": "restarts", "from": said}).result() == "went"
    ended = [each.step.split("'")[1] for each in bound.records if each.instance == "a" and each.kind == "StepCompleted"]
    again = [each for each in ("first", "second") if each not in kept_steps]
    assert ended == ["first", "second", *again]


class Misuses(WorkflowEntrypoint):
    """What each use is refused by, in run and in a step's body."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        child = await self.env.CHILD.create("a", "waits")
        uses = {
            "retention: successRetention: 1,000 ms is no retention": lambda: self.env.CHILD.create(
                retention={"successRetention": 1_000}
            ),
            "retention: errorRetention: 'soon' is not a duration": lambda: self.env.CHILD.create(
                retention={"errorRetention": "soon"}
            ),
            "retention: successRetention: 5 ms is no": lambda: self.env.CHILD.create(retention=Retention(5)),
            "retention is a Retention, or a dict of successRetention and errorRetention": lambda: self.env.CHILD.create(
                retention={"success": "1 day"}
            ),
            "retention is a": lambda: self.env.CHILD.create_batch([{}, {"retention": "1 day"}]),
            "rollback is True or False": lambda: child.terminate(rollback={"rollback": True}),
            "from_ is a step's name": lambda: child.restart(from_={"step": "first"}),
            "from_: name: a int": lambda: child.restart(from_={"name": 1}),
            "from_: name: ''": lambda: child.restart(from_=""),
            "from_: name: 'utf-8'": lambda: child.restart(from_="\ud800"),
            "from_: count: 0": lambda: child.restart(from_={"name": "first", "count": 0}),
            "from_: type: 'timer'": lambda: child.restart(from_={"name": "first", "type": "timer"}),
            "the instance has no step": lambda: child.restart(from_="never"),
            "'a": lambda: self.env.CHILD.create("a" * 101),
            "'\\ud800'": lambda: self.env.CHILD.get("\ud800"),
            "'go/1'": lambda: child.send_event("go/1"),
            "'b": lambda: child.send_event("b" * 101),
        }
        told = []
        for expected, use in uses.items():
            for called in (use, lambda use=use: step.call("in a step", use)):
                try:
                    await called()
                except StepwellError as refused:
                    if not isinstance(refused, InvalidArgumentError) or not str(refused).startswith(expected):
                        told.append([expected, type(refused).__name__, str(refused)])
                else:
                    told.append([expected, "not refused", ""])
        return told


def test_what_no_frame_may_have_and_what_cant_be_is_refused_by_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Host._heard

    def checked(host: Host, envelope: bytes, payload: bytes) -> None:
        decode_guest_message(envelope)  # what this raises for ends a sandbox
        heard(host, envelope, payload)

    monkeypatch.setattr(Host, "_heard", checked)
    with Workflows() as workflows:
        workflows.bind(CHILD=Child)
        misuses = workflows.start(Misuses)
        assert misuses.result() == []
        assert all(step.attempts == 1 for step in misuses.steps), "what is refused is not tried again"
        assert len(workflows._host.residents) == 2, "nothing was created"

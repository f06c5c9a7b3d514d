"""Workflows of a test that create each other: what they get is what a server's would, whatever crashes in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepwell import ChildFailedError, RunRestrictionError, WorkflowEntrypoint, WorkflowStep
from stepwell.errors import LimitExceededError, NotFoundError, StepwellError, WrongStateError
from stepwell.testing import Workflows, WorkflowTestError, crash_at_every_record


class Child(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        how = event.payload
        if how == "fails":
            raise ValueError("no")
        if how == "waits":
            return (await step.wait_for_event("go", "go")).payload
        await step.sleep("a while", how)
        return {"slept": how}


class Parent(WorkflowEntrypoint):
    """Creates two in a step whose first attempt fails, and waits for both."""

    async def run(self, event: Any, step: WorkflowStep) -> Any:
        @step.do("create", config={"retries": {"limit": 1}})
        async def create(ctx: Any) -> list[str]:
            made = [await self.env.CHILD.create(params=ms) for ms in (60_000, 10)]
            if ctx.attempt == 1:
                raise RuntimeError("after the creates")
            return [child.id for child in made]

        children = [await self.env.CHILD.get(id) for id in await create()]
        return await asyncio.gather(*(child.result() for child in children), children[0].result())


class InRun(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        child = await self.env.CHILD.create(id="named", params="waits")
        await child.sendEvent("go", 7)
        output = await child.result()
        return [output, await child.result(), (await child.status()).output, child.id]


def bound(workflows: Workflows) -> Workflows:
    workflows.bind(CHILD=Child)
    return workflows


@crash_at_every_record
def test_children_are_created_once_and_awaited(workflows: Workflows) -> None:
    parent = bound(workflows).start(Parent)
    assert parent.result() == [{"slept": 60_000}, {"slept": 10}, {"slept": 60_000}]
    assert [step.name for step in parent.steps] == [
        "create", "CHILD.get", "CHILD.get", "CHILD instance-2", "CHILD instance-3",
    ]  # fmt: skip
    with pytest.raises(NotFoundError):
        workflows.instance("instance-4")


@crash_at_every_record
def test_calls_in_run_are_steps(workflows: Workflows) -> None:
    parent = bound(workflows).start(InRun)
    assert parent.result() == [7, 7, 7, "named"]
    assert [step.name for step in parent.steps] == ["CHILD.create", "CHILD.sendEvent", "CHILD named", "CHILD.status"]


class Deletes(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        for id, params in (("waits", "waits"), ("ended", 10)):
            child = await self.env.CHILD.create(id=id, params=params)
            if id == "ended":
                await child.result()
        await child.delete()
        await child.delete()
        outcome = await self.env.CHILD.deleteBatch(["waits", "no id", "never", "waits"])
        return [outcome.deleted, outcome.errors]


@crash_at_every_record
def test_instances_are_deleted(workflows: Workflows) -> None:
    deleted, errors = bound(workflows).start(Deletes).result()
    assert deleted == [{"id": "waits"}, {"id": "never"}, {"id": "waits"}]
    assert [(error["id"], error["type"]) for error in errors] == [("no id", "InvalidArgumentError")]
    for id in ("waits", "ended"):
        with pytest.raises(NotFoundError):
            workflows.instance(id)


class DeletesItself(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        await (await self.env.SELF.get("self")).delete()


def test_who_deletes_itself_goes_no_further(workflows: Workflows) -> None:
    workflows.bind(SELF=DeletesItself)
    with pytest.raises(WorkflowTestError, match="was terminated"):
        workflows.start(DeletesItself, id="self").result()
    with pytest.raises(NotFoundError):
        workflows.instance("self")


class Awaits(WorkflowEntrypoint):
    async def run(self, event: Any, step: WorkflowStep) -> Any:
        child = await self.env.CHILD.create(id="c", params=event.payload)
        try:
            return await child.result()
        except ChildFailedError as failed:
            return str(failed)


@crash_at_every_record
def test_a_child_that_fails_says_so(workflows: Workflows) -> None:
    assert bound(workflows).start(Awaits, "fails").result() == "CHILD 'c' errored: ValueError: no"


@crash_at_every_record
def test_a_child_that_is_terminated_says_so(workflows: Workflows) -> None:
    parent = bound(workflows).start(Awaits, "waits")
    parent.wait_for_step_result("CHILD.create")
    workflows.settle()
    workflows.instance("c").terminate()
    assert parent.result() == "CHILD 'c' terminated"


@crash_at_every_record(every=2)
def test_a_parent_that_is_restarted_gets_the_same_child_and_its_end(workflows: Workflows) -> None:
    parent = bound(workflows).start(Awaits, 10)
    assert parent.result() == {"slept": 10}
    parent.restart()
    assert parent.result() == {"slept": 10}
    with pytest.raises(NotFoundError):
        workflows.instance("instance-3")


def test_a_parent_that_ended_before_its_child_finds_its_end_after_a_restart(workflows: Workflows) -> None:
    parent = bound(workflows).start(Awaits, 10)
    parent.wait_for_step_result("CHILD.create")
    parent.terminate()
    workflows.instance("c").result()
    parent.restart()
    assert parent.result() == {"slept": 10}


def test_a_wait_for_a_child_may_be_given_up_and_begun_again(workflows: Workflows) -> None:
    class Impatient(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            child = await self.env.CHILD.create(params=60_000)
            try:
                async with asyncio.timeout(10):
                    await child.result()
            except TimeoutError:
                return ["late", await child.result()]

    assert bound(workflows).start(Impatient).result() == ["late", {"slept": 60_000}]


def test_who_shares_a_wait_takes_it_over_from_one_that_gave_up(workflows: Workflows) -> None:
    class Shares(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            child = await self.env.CHILD.create(params=60_000)

            async def impatient() -> str:
                try:
                    async with asyncio.timeout(10):
                        return str(await child.result())
                except TimeoutError:
                    return "late"

            return await asyncio.gather(impatient(), child.result(), child.result())

    assert bound(workflows).start(Shares).result() == ["late", {"slept": 60_000}, {"slept": 60_000}]


def test_what_creates_itself_comes_to_an_end(workflows: Workflows) -> None:
    class Deep(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            try:
                below = await self.env.DEEP.create(params=event.payload + 1)
            except LimitExceededError as refused:
                return [event.payload, "16" in str(refused)]
            return await below.result()

    workflows.bind(DEEP=Deep)
    assert workflows.start(Deep, 0).result() == [16, True]


def test_misuse_is_refused_at_once(workflows: Workflows) -> None:
    class Misuses(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            names = []
            mine = await self.env.CHILD.create(id="mine", params=10)
            uses: tuple[Callable[[], Awaitable[Any]], ...] = (
                lambda: self.env.CHILD.get("nobody"),
                lambda: self.env.CHILD.create(id="a b"),
                lambda: self.env.CHILD.create(id="other"),
                lambda: self.env.CHILD.create_batch([{}] * 101),
            )
            for use in uses:
                try:
                    await use()
                except (StepwellError, ValueError) as refused:
                    names.append(type(refused))
            other = await self.env.CHILD.get("other")
            for awaiting in (other.result(), step.call("in a step", mine.result)):
                try:
                    await awaiting
                except StepwellError as refused:
                    names.append(type(refused))
            await mine.result()
            try:
                await mine.terminate()
            except WrongStateError as refused:
                names.append(type(refused))
            return [each.__name__ for each in names]

    bound(workflows).start(Child, "waits", id="other")
    misuses = workflows.start(Misuses)
    assert misuses.result() == [
        "NotFoundError", "InvalidArgumentError", "AlreadyExistsError", "ValueError", "RunRestrictionError",
        "RunRestrictionError", "WrongStateError",
    ]  # fmt: skip
    assert all(step.attempts == 1 for step in misuses.steps), "what is refused is not tried again"


def test_a_batch_leaves_out_ids_that_are_taken(workflows: Workflows) -> None:
    class Batch(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            made = await self.env.CHILD.create_batch([{"id": each, "params": 10} for each in ("a", "taken", "b")])
            return [[child.id, await child.result()] for child in made]

    bound(workflows).start(Child, 10, id="taken")
    assert workflows.start(Batch).result() == [["a", {"slept": 10}], ["b", {"slept": 10}]]


def test_many_calls_of_a_step_wait_for_their_turn(workflows: Workflows) -> None:
    class Many(WorkflowEntrypoint):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            @step.do()
            async def create() -> list[str]:
                return [each.id for each in await asyncio.gather(*(self.env.CHILD.create(params=1) for _ in range(50)))]

            return len(set(await create()))

    assert bound(workflows).start(Many).result() == 50


def test_a_binding_is_of_no_use_outside_of_workflows(workflows: Workflows) -> None:
    from stepwell.environment import ENV

    bound(workflows)
    with pytest.raises(RunRestrictionError, match="outside of a step"):
        asyncio.run(ENV.CHILD.create())
    with pytest.raises(AttributeError, match=r"\[\[bindings\]\]"):
        _ = ENV.OTHER

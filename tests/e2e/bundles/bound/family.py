"""Workflows that create each other."""

import asyncio
from typing import Any

from stepwell import ChildFailedError, WorkflowEntrypoint
from stepwell.errors import StepwellError


class Child(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        how = event.payload
        if how == "fails":
            raise ValueError("no")
        if how == "is undone":
            await step.call("something", self._something, rollback=self._undo)
            await step.wait_for_event("never", "never", timeout=None)
        if how == "waits":
            return (await step.wait_for_event("go", "go")).payload
        await step.sleep("a while", how)
        return {"slept": how}

    async def _something(self) -> str:
        return "done"

    async def _undo(self, output: Any, error: Any) -> None:
        print(f"undo {output}")


class Family(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        return await getattr(self, event.payload["do"])(event.payload, step)

    async def fans_out(self, payload: Any, step: Any) -> Any:
        """In a step, whose first attempt fails behind the creates."""

        @step.do("create", config={"retries": {"limit": 1, "delay": 10}})
        async def create(ctx: Any) -> list[str]:
            made = [await self.env.CHILD.create(params=ms) for ms in (1_500, 10)]
            if ctx.attempt == 1:
                raise RuntimeError("after the creates")
            return [child.id for child in made]

        children = [await self.env.CHILD.get(id) for id in await create()]
        return await asyncio.gather(*(child.result() for child in children), children[0].result())

    async def steers(self, payload: Any, step: Any) -> Any:
        """In run, each call a step of its own."""
        child = await self.env.CHILD.create(id=payload["id"], params="waits")
        await child.send_event("go", {"a": 1})
        output = await child.result()
        failing = await self.env.CHILD.create(params="fails")
        try:
            await failing.result()
        except ChildFailedError as failed:
            return [output, str(failed).partition(" errored")[2], (await child.status()).status]

    async def keeps_a_minute(self, payload: Any, step: Any) -> Any:
        """A child, in a step whose first attempt fails behind the create, and another in run."""
        minute = {"successRetention": "1 minute"}

        @step.do("create", config={"retries": {"limit": 1, "delay": 10}})
        async def create(ctx: Any) -> str:
            made = await self.env.CHILD.create(params=10, retention=minute)
            if ctx.attempt == 1:
                raise RuntimeError("after the create")
            return made.id

        children = [await self.env.CHILD.get(await create()), await self.env.CHILD.create(params=10, retention=minute)]
        await asyncio.gather(*(child.result() for child in children))
        return [child.id for child in children]

    async def undoes_a_child(self, payload: Any, step: Any) -> Any:
        child = await self.env.CHILD.create(params="is undone")

        @step.do("until it waits")
        async def waits() -> None:
            begun = await self.env.CHILD.get(child.id)
            while (await begun.status()).status != "waiting":
                await asyncio.sleep(0.05)

        await waits()
        await child.terminate(rollback=True)
        try:
            await child.result()
        except ChildFailedError as failed:
            return [child.id, failed.status]

    async def goes_deep(self, payload: Any, step: Any) -> Any:
        try:
            below = await self.env.FAMILY.create(params={"do": "goes_deep", "depth": payload["depth"] + 1})
        except StepwellError as refused:
            return [payload["depth"], type(refused).__name__]
        return await below.result()

    async def misuses(self, payload: Any, step: Any) -> Any:
        """What is refused, by what."""
        names = []
        for use in (
            lambda: self.env.CHILD.get("nobody"),
            lambda: self.env.CHILD.create(id="a b"),
            lambda: self.env.CHILD.create(id="a" * 101),
            lambda: self.env.CHILD.create(retention={"successRetention": "1 second"}),
        ):
            try:
                await use()
            except StepwellError as refused:
                names.append(type(refused).__name__)

        @step.do("in a step")
        async def awaits(ctx: Any) -> str:
            child = await self.env.CHILD.create(params=10)
            try:
                await child.result()
            except StepwellError as refused:
                return type(refused).__name__
            return "nothing"

        names.append(await awaits())
        return names

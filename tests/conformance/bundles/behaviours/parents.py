"""Instances that create others, through bindings."""

import asyncio

from behaviours import Behaviours

from stepwell.errors import AlreadyExistsError, NotFoundError


class Parents(Behaviours):
    async def creates_in_a_step(self, event, step):
        @step.do("create it")
        async def create():
            made = await self.env.STEPS.create(id=event["payload"]["child"], params={"do": "declared"})
            return made.id

        return await create()

    async def names_a_taken_id(self, event, step):
        try:
            await self.env.STEPS.create(id=event["payload"]["child"], params={"do": "declared"})
        except AlreadyExistsError:
            return "taken"

    async def gets_what_is_not_there(self, event, step):
        try:
            await self.env.STEPS.get("nobody")
        except NotFoundError:
            return "not found"

    async def steers(self, event, step):
        made = await self.env.WAITING.create(params={"do": "wait"})
        if event["payload"]["sends"]:
            await made.send_event("approval", 7)
        else:
            await made.terminate()
        return made.id

    async def deletes(self, event, step):
        made = await self.env.WAITING.create(params={"do": "wait"})
        await made.delete()
        return made.id

    async def deletes_itself(self, event, step):
        await (await self.env.PARENTS.get(event["instanceId"])).delete()

    async def deletes_a_batch(self, event, step):
        for id in ("batch-1", "batch-2"):
            await self.env.WAITING.create(id=id, params={"do": "wait"})
        outcome = await self.env.WAITING.deleteBatch(["batch-1", "no id", "batch-2", "batch-1"])
        return [outcome.deleted, outcome.errors]

    async def asks_for_its_status(self, event, step):
        made = await self.env.WAITING.create(params={"do": "wait"})
        await made.terminate()
        return (await made.status()).status

    async def batches(self, event, step):
        items = [{"id": each, "params": {"do": "declared"}} for each in event["payload"]["ids"]]
        return [each.id for each in await self.env.STEPS.createBatch(items)]

    async def awaits(self, event, step):
        made = await self.env.STEPS.create(params={"do": "declared"})
        return await made.result()

    async def keeps(self, event, step):
        made = await self.env.STEPS.create(params={"do": "declared"}, retention={"successRetention": "3 days"})
        item = {"params": {"do": "declared"}, "retention": {"successRetention": "10 days", "errorRetention": "3 days"}}
        (of_a_batch,) = await self.env.STEPS.create_batch([item])
        return [made.id, of_a_batch.id]

    async def rolls_back(self, event, step):
        made = await self.env.WAITING.create(params={"do": "undoable"})
        await step.call("until it waits", self._waits, made.id)
        await made.terminate(rollback=True)
        return made.id

    async def restarts_from_a_step(self, event, step):
        made = await self.env.WAITING.create(params={"do": "steps_then_wait"})
        await step.call("until it waits", self._waits, made.id)
        await made.restart(from_={"name": "second"})
        await step.call("until it waits again", self._waits, made.id)
        await made.send_event("go", "went")
        return made.id

    async def _waits(self, id):
        made = await self.env.WAITING.get(id)
        while (await made.status()).status != "waiting":
            await asyncio.sleep(0.05)

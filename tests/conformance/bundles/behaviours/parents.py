"""Instances that create others, through bindings."""

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

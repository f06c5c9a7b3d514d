from prices import total

from workers import Response, WorkerEntrypoint, WorkflowEntrypoint


class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        for number in range(event["payload"]["items"]):

            @step.do(f"item {number}")
            async def item():
                return 2

            await item()
        return {"total": total(event["payload"]["items"]), "currency": self.env.CURRENCY}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("not served here")

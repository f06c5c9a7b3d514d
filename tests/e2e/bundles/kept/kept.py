from workers import WorkflowEntrypoint


class Kept(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do()
        async def take():
            print("taken")
            return "x" * 20_000

        await take()
        return "y" * 20_000

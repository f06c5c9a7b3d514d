"""What `run` and the caller see of an error."""

from behaviours import Behaviours

ONCE = {"retries": {"limit": 0}}


class OutOfStock(Exception):
    pass


class Failures(Behaviours):
    async def caught(self, event, step):
        kinds = {"TypeError": TypeError, "ValueError": ValueError, "KeyError": KeyError, "OutOfStock": OutOfStock}

        @step.do("failing", config=ONCE)
        async def failing():
            raise kinds[event["payload"]["kind"]]("on purpose")

        try:
            await failing()
        except kinds[event["payload"]["kind"]] as error:
            return [type(error).__name__, str(error)]

    async def uncaught(self, event, step):
        @step.do("failing", config=ONCE)
        async def failing():
            raise OutOfStock("no tea")

        await failing()

    async def hidden(self, event, step):
        def local():
            class Local(Exception):
                pass

            raise Local("nobody can import it")

        try:
            await step.do("failing", config=ONCE)(local)()
        except Exception as error:
            return [type(error).__name__, str(error)]

    async def http_handler(self, event, step):
        from workers import Response

        @step.do("answers")
        async def answers():
            return Response("hello")

        return await answers()

    async def rolled_back(self, event, step):
        async def undo(output, error, ctx):
            print(f"undo {output}: {error}")

        for name in ("one", "two"):
            await step.do(name, rollback=undo)(lambda name=name: name)()
        raise ValueError("over")

    async def fails_itself(self, event, step):
        async def undo(output):
            if output is not None:
                raise ValueError(f"an output: {output}")

        @step.do("fails", config=ONCE, rollback=undo, rollback_config=ONCE)
        async def fails():
            raise ValueError("over")

        await fails()

    async def for_good(self, event, step):
        @step.do("failing", config=ONCE)
        async def failing():
            raise OutOfStock("no tea")

        try:
            await failing()
        except OutOfStock as error:
            await step.wait_for_event("go", "go")
            return str(error)

    async def with_rollback(self, event, step):
        @step.with_rollback("debit")
        async def debit():
            return 1

        return await debit()

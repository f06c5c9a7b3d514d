"""How a step gets the results of others."""

import asyncio

from behaviours import Behaviours

ran = {}
"""How often each body ran, by instance."""


class Dependencies(Behaviours):
    def body(self, event, name, result=None):
        async def body():
            ran.setdefault(event["instanceId"], []).append(name)
            return name if result is None else result

        return body

    def ran(self, event):
        return ran.get(event["instanceId"], [])

    async def by_parameter(self, event, step):
        @step.do()
        async def dep_1():
            return "one"

        @step.do()
        async def dep_2():
            return "two"

        @step.do(concurrent=True)
        async def final_step(dep_1, ctx, dep_2):
            return [dep_1, dep_2, ctx["step"]["name"]]

        return await final_step()

    async def by_function(self, event, step):
        @step.do("a long name with blanks")
        async def first():
            return 6

        @step.do("second")
        async def second(first):
            return first * 7

        return await second()

    async def run_once(self, event, step):
        first = step.do("first")(self.body(event, "first"))
        await first()

        @step.do("left")
        async def left(first):
            return f"left of {first}"

        @step.do("right")
        async def right(first):
            return f"right of {first}"

        @step.do("end", concurrent=True)
        async def end(left, right):
            return [left, right]

        return [await end(), self.ran(event)]

    async def called_again(self, event, step):
        first = step.do("first")(self.body(event, "first"))
        await first()
        await first()
        return self.ran(event)

    async def by_position(self, event, step):
        @step.do("dependency a")
        async def step_a():
            return 10

        @step.do("dependency b")
        async def step_b():
            return 20

        @step.do("my final step", depends=[step_a, step_b], concurrent=True)
        async def my_final_step(result_a=0, result_b=0):
            return result_a + result_b

        return await my_final_step()

    async def positional_depends(self, event, step):
        @step.do("a")
        async def a():
            return 1

        @step.do("b", [a])
        async def b(result):
            return result

        return await b()

    async def too_few(self, event, step):
        @step.do("a")
        async def a():
            return 1

        @step.do("b", depends=[a])
        async def b(one, two):
            return one

        return await b()

    async def meeting(self, event, step):
        """Two dependencies that end only when both run."""
        here = set()

        def meets(name):
            async def body():
                here.add(name)
                for _ in range(30):
                    if len(here) == 2:
                        return "met"
                    await asyncio.sleep(0.01)
                return "alone"

            return body

        step.do("one")(meets("one"))
        step.do("two")(meets("two"))

        @step.do("both", concurrent=event["payload"]["concurrent"])
        async def both(one, two):
            return [one, two]

        return await both()

    async def unknown(self, event, step):
        @step.do("charge")
        async def charge(card):
            return card

        return await charge()

    async def defaulted(self, event, step):
        @step.do("charge")
        async def charge(card="4242"):
            return card

        return await charge()

    async def context_first(self, event, step):
        step.do("ctx")(self.body(event, "a step"))

        @step.do("look")
        async def look(ctx):
            return ctx if isinstance(ctx, str) else ctx["step"]["name"]

        return await look()

    async def declared_again(self, event, step):
        await step.do("rate")(self.body(event, "old"))()
        step.do("rate")(self.body(event, "new"))

        @step.do("total")
        async def total(rate):
            return rate

        return await total()

    async def failed_one(self, event, step):
        tries = []

        @step.do("shaky", config={"retries": {"limit": 0}})
        async def shaky():
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("not yet")
            return "now"

        @step.do("user")
        async def user(shaky):
            return shaky

        try:
            await user()
        except ValueError as error:
            return [str(error), await user()]

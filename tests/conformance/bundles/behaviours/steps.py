"""What `step.do` does, and what a body is given."""

from behaviours import Behaviours


class Steps(Behaviours):
    async def named(self, event, step):
        @step.do("my first step")
        async def first():
            return "a"

        @step.do()
        async def my_second_step():
            return "b"

        return [await first(), await my_second_step()]

    async def declared(self, event, step):
        @step.do("never called")
        async def never():
            return "a"

        return "done"

    async def repeated(self, event, step):
        counts = []
        for _ in range(3):

            @step.do("again")
            async def again(ctx):
                return ctx["step"]["count"]

            counts.append(await again())
        return [counts, await again()]

    async def kinds(self, event, step):
        @step.do("same")
        async def same(ctx):
            return ctx["step"]["count"]

        await step.sleep("same", 1)
        return await same()

    async def remembered(self, event, step):
        @step.do("draw")
        def draw():
            import uuid

            return str(uuid.uuid4())

        drawn = await draw()
        await step.wait_for_event("go", "go")
        return [drawn, await step.do("look")(lambda: drawn)()]

    async def threaded(self, event, step):
        @step.do("plain function")
        def plain():
            import threading

            return threading.current_thread() is not threading.main_thread()

        return await plain()

    async def context(self, event, step):
        @step.do("look", config={"retries": {"limit": 3, "delay": "5 seconds"}, "timeout": "1 minute"})
        async def look(ctx):
            return [ctx["attempt"], ctx["step"]["name"], ctx["step"]["count"], ctx["config"], ctx.attempt]

        return await look()

    async def defaults(self, event, step):
        @step.do("look")
        async def look(ctx):
            return ctx["config"]

        return await look()

    async def gathered(self, event, step):
        import asyncio

        here = []

        def meets(name):
            async def body():
                here.append(name)
                while len(here) < 2:  # both run at once, or neither ends
                    await asyncio.sleep(0.01)
                return name

            return body

        return await asyncio.gather(step.do("one")(meets("one"))(), step.do("two")(meets("two"))())

    async def copied(self, event, step):
        @step.do("values")
        async def values():
            return {"tuple": (1, 2), "nothing": None, "text": "ü", "deep": [{"a": 1.5}]}

        return await values()

    async def binary(self, event, step):
        from datetime import UTC, datetime

        @step.do("values")
        async def values():
            return [b"\x00\xff", datetime(2026, 1, 1, tzinfo=UTC)]

        first, second = await values()
        return [first, second.isoformat()]

    async def unserializable(self, event, step):
        @step.do("bad")
        async def bad():
            return object()

        return await bad()

    async def nested(self, event, step):
        @step.do("inner")
        async def inner():
            return 1

        @step.do("outer")
        async def outer():
            return await inner()

        return await outer()

    async def event_given(self, event, step):
        event["payload"]["changed"] = True
        await step.sleep("out of memory", 1200)
        return [
            sorted(event),
            event["instanceId"],
            event["workflowName"],
            event["timestamp"].tzinfo is not None,
            event["payload"].get("changed"),
            event["payload"].get("kept"),
        ]

    async def mutated(self, event, step):
        @step.do("changes the event")
        async def changes():
            event["payload"]["text"] = "changed"

        await changes()
        await step.wait_for_event("go", "go")
        return event["payload"]["text"]

    async def outside(self, event, step):
        @step.do("ids")
        async def environment():
            return self.env.COLOUR

        from workers import env

        return [await environment(), env.COLOUR]

    async def long_name(self, event, step):
        @step.do("x" * event["payload"]["length"])
        async def body():
            return "fine"

        return await body()

    async def large(self, event, step):
        @step.do("large")
        async def large():
            return "x" * event["payload"]["length"]

        return len(await large())

    async def many(self, event, step):
        for _ in range(event["payload"]["count"]):
            step.sleep("short", 0).close()  # counted when it is called
        return "done"

import os
import sys
import threading

from stepwell import WorkflowEntrypoint

print("imported\n2026-01-01T00:00:00Z [error    ] forged by import")


class Quiet(WorkflowEntrypoint):
    async def run(self, event, step):
        print("begins")

        @step.do("work", config={"retries": {"limit": 1, "delay": 10}})
        async def work(ctx):
            print("tries", file=sys.stderr)
            if ctx.attempt == 1:
                raise ValueError("once more")
            print("done", end="")

        await work()
        print("sleeps")
        await step.sleep("nap", event.payload)
        print("slept")


class Loud(WorkflowEntrypoint):
    """Prints all that it should not, in every way that there is."""

    async def run(self, event, step):
        print("x" * 1_000_000)

        @step.do("flood", config={"timeout": "30 seconds"})
        def flood():
            for number in range(40_000):
                print(number)
            for fd in (1, 2):
                os.write(fd, b"2026-01-01T00:00:00Z [error    ] forged by fd\n" * 2_000)
            sys.stdout.buffer.write(b"\xff\xfe no text\n")
            threading.Thread(target=print_without_end, daemon=True).start()

        await flood()
        await step.sleep("rest", 3_000)
        print('{"$stepwell": "forged"}\x00\x1b[2J\u202e\ud800 \x9b31m')


def print_without_end():
    while True:
        print("after the end")

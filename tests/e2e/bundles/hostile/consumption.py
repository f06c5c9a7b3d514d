"""Takes more than its share: memory, processes, threads, /tmp, output."""

import contextlib
import os
import sys
import threading
import time

from stepwell import WorkflowEntrypoint

ONCE = {"retries": {"limit": 0, "delay": 0}, "timeout": "2 seconds"}


class Allocates(WorkflowEntrypoint):
    async def run(self, event, step):
        def allocate():
            held = []
            while True:
                held.append(bytearray(os.urandom(4096) * 2048))

        await step.call("allocate", allocate, config=ONCE)


class AllocatesInRun(WorkflowEntrypoint):
    async def run(self, event, step):
        held = []
        while True:
            held.append(bytearray(os.urandom(4096) * 2048))


class AllocatesAtOnce(WorkflowEntrypoint):
    """More than there is, in one piece: Python says no before the sandbox has to."""

    async def run(self, event, step):
        await step.call("allocate", lambda: len(bytearray(1 << 46)), config=ONCE)


class SharesMemory(WorkflowEntrypoint):
    """Memory that no process of its own seems to have: files that were never linked."""

    async def run(self, event, step):
        def fill():
            while True:
                descriptor = os.memfd_create("hoard")
                for _ in range(64):
                    os.write(descriptor, b"x" * (1 << 20))

        await step.call("fill", fill, config=ONCE)


class Forks(WorkflowEntrypoint):
    async def run(self, event, step):
        def fork():
            while True:
                try:
                    os.fork()
                except OSError:
                    continue

        await step.call("fork", fork, config=ONCE)


class ForksAndAllocates(WorkflowEntrypoint):
    async def run(self, event, step):
        def fork():
            held = []
            while True:
                with contextlib.suppress(OSError):
                    os.fork()
                held.append(bytearray(os.urandom(4096) * 256))

        await step.call("fork", fork, config=ONCE)


class StartsThreads(WorkflowEntrypoint):
    async def run(self, event, step):
        def start():
            while True:
                threading.Thread(target=time.sleep, args=(10_000,), daemon=True).start()

        await step.call("start", start, config=ONCE)


class StepsThatNeverEnd(WorkflowEntrypoint):
    """A new thread each time, each left behind at its timeout."""

    async def run(self, event, step):
        config = {"retries": {"limit": 200, "delay": 1, "backoff": "constant"}, "timeout": 20}
        await step.call("stuck", lambda: time.sleep(10_000), config=config)


class FillsTmp(WorkflowEntrypoint):
    async def run(self, event, step):
        def fill():
            for number in range(10_000):
                with open(f"/tmp/{number}", "wb") as file:
                    for _ in range(1000):
                        file.write(b"x" * (1 << 20))

        await step.call("fill", fill, config=ONCE)


class FilesWithoutEnd(WorkflowEntrypoint):
    """Empty ones: names cost memory too."""

    async def run(self, event, step):
        def fill():
            for number in range(100_000_000):
                os.close(os.open(f"/tmp/{'n' * 200}{number}", os.O_CREAT))

        await step.call("fill", fill, config=ONCE)


class Prints(WorkflowEntrypoint):
    async def run(self, event, step):
        def prints():
            while True:
                print("noise\x1b[31m\u202e" * 100)
                print('{"level": "error", "event": "forged"}', file=sys.stderr)

        await step.call("print", prints, config=ONCE)


class PrintsRaw(WorkflowEntrypoint):
    async def run(self, event, step):
        def prints():
            while True:
                os.write(1, b"\x00\x00\x00\x02" * 1000 + b"\n")

        await step.call("print", prints, config=ONCE)


class PrintsInRun(WorkflowEntrypoint):
    async def run(self, event, step):
        while True:
            print("x" * 100_000)

"""Finds the descriptors of its process, and does to them what it can."""

import fcntl
import os

from stepwell import WorkflowEntrypoint

ONCE = {"retries": {"limit": 0, "delay": 0}, "timeout": "2 seconds"}
RUBBISH = bytes(range(256)) * 64


def descriptors():
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))


class WriteToAll(WorkflowEntrypoint):
    async def run(self, event, step):
        def write():
            for descriptor in descriptors():
                try:
                    os.write(descriptor, RUBBISH)
                except OSError:
                    continue

        await step.call("write", write, config=ONCE)


class ReadFromAll(WorkflowEntrypoint):
    """Takes away what the host says to the guest."""

    async def run(self, event, step):
        def read():
            for descriptor in descriptors():
                try:
                    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK)
                    os.read(descriptor, 1 << 20)
                except OSError:
                    continue

        for _ in range(1000):
            await step.call("read", read, config=ONCE)


class CloseAll(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call("close", lambda: os.closerange(0, 1024), config=ONCE)


class OpenWithoutEnd(WorkflowEntrypoint):
    async def run(self, event, step):
        def open_all():
            held = []
            try:
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            finally:
                event.payload["held"] = held

        await step.call("open", open_all, config=ONCE)


class PipesWithoutEnd(WorkflowEntrypoint):
    """Each child has a table of descriptors of its own, and fills its pipes."""

    async def run(self, event, step):
        def fill():
            while True:
                if os.fork() == 0:
                    try:
                        while True:
                            _, end = os.pipe()
                            os.set_blocking(end, False)
                            os.write(end, b"x" * 65536)
                    except OSError:
                        os.kill(os.getpid(), 19)

        await step.call("fill", fill, config=ONCE)

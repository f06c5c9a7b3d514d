"""Ends the process that it runs in, by every way that Python has."""

import os
import signal
import sys

from stepwell import WorkflowEntrypoint

ONCE = {"retries": {"limit": 0, "delay": 0}, "timeout": "2 seconds"}


class SysExit(WorkflowEntrypoint):
    async def run(self, event, step):
        sys.exit(3)


class SysExitInStep(WorkflowEntrypoint):
    async def run(self, event, step):
        async def leave():
            sys.exit(4)

        await step.call("leave", leave, config=ONCE)


class OsExit(WorkflowEntrypoint):
    async def run(self, event, step):
        os._exit(0)


class OsExitInStep(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call("leave", lambda: os._exit(7), config=ONCE)


class Abort(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call("abort", os.abort, config=ONCE)


class KillItself(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.call("kill", lambda: os.kill(os.getpid(), signal.SIGKILL), config=ONCE)


class KillEverybody(WorkflowEntrypoint):
    async def run(self, event, step):
        def kill():
            if os.fork() == 0:
                for sent in (signal.SIGSTOP, signal.SIGKILL):
                    os.kill(-1, sent)
            signal.pause()

        await step.call("kill", kill, config=ONCE)


class Exec(WorkflowEntrypoint):
    """Becomes another program, which keeps the sandbox's process alive and says nothing."""

    async def run(self, event, step):
        def become():
            os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(10_000)"])

        await step.call("become", become, config=ONCE)

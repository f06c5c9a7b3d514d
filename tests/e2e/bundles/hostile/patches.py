"""Changes the runtime that runs it, and raises what is no Exception wherever it may."""

import asyncio
import atexit
import builtins
import gc
import json
import sys
import threading

from stepwell import WorkflowEntrypoint

ONCE = {"retries": {"limit": 0, "delay": 0}, "timeout": "2 seconds"}


class Own(BaseException):
    """Nobody expects it."""


RAISED = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "Own": Own,
}


def broken(*_args, **_kwargs):
    raise Own("patched")


class PatchesTheRuntime(WorkflowEntrypoint):
    async def run(self, event, step):
        for name, module in list(sys.modules.items()):
            if name.startswith("stepwell"):
                for attribute in list(vars(module)):
                    if not attribute.startswith("__"):
                        setattr(module, attribute, broken)
        await step.call("next", lambda: 1, config=ONCE)


class PatchesTheRuntimesClasses(WorkflowEntrypoint):
    async def run(self, event, step):
        for name, module in list(sys.modules.items()):
            if name.startswith("stepwell"):
                for kind in [each for each in vars(module).values() if isinstance(each, type)]:
                    for attribute in [each for each in vars(kind) if not each.startswith("__")]:
                        try:
                            setattr(kind, attribute, broken)
                        except (TypeError, AttributeError):
                            continue
        await step.call("next", lambda: 1, config=ONCE)


class PatchesJson(WorkflowEntrypoint):
    async def run(self, event, step):
        for module in (json, json.encoder, json.decoder, json.scanner):
            for attribute in list(vars(module)):
                if not attribute.startswith("__"):
                    setattr(module, attribute, broken)
        return await step.call("next", lambda: 1, config=ONCE)


class PatchesAsyncio(WorkflowEntrypoint):
    async def run(self, event, step):
        for module in (asyncio, asyncio.events, asyncio.tasks, asyncio.base_events, asyncio.selector_events):
            for attribute in list(vars(module)):
                if not attribute.startswith("__"):
                    setattr(module, attribute, broken)
        return await step.call("next", lambda: 1, config=ONCE)


class PatchesBuiltins(WorkflowEntrypoint):
    async def run(self, event, step):
        for name in [each for each in vars(builtins) if not each.startswith("__")]:
            setattr(builtins, name, broken)
        await step.call("next", lambda: 1, config=ONCE)


class EmptiesEverything(WorkflowEntrypoint):
    """Every dict and list that the garbage collector knows, the runtime's own too."""

    async def run(self, event, step):
        def empty():
            for found in gc.get_objects():
                if type(found) in (list, dict):
                    found.clear()

        await step.call("empty", empty, config=ONCE)


class TracesEverything(WorkflowEntrypoint):
    async def run(self, event, step):
        sys.setrecursionlimit(50)
        sys.setprofile(broken)
        threading.setprofile(broken)
        sys.excepthook = sys.unraisablehook = threading.excepthook = broken
        atexit.register(broken)
        await step.call("next", lambda: 1, config=ONCE)


class RaisesInRun(WorkflowEntrypoint):
    async def run(self, event, step):
        raise RAISED[event.payload["kind"]]("raised in run")


class RaisesInStep(WorkflowEntrypoint):
    async def run(self, event, step):
        async def fail():
            raise RAISED[event.payload["kind"]]("raised in a step")

        await step.call("fail", fail, config=ONCE)


class RaisesInThread(WorkflowEntrypoint):
    async def run(self, event, step):
        def fail():
            raise RAISED[event.payload["kind"]]("raised in a thread")

        await step.call("fail", fail, config=ONCE)


class RaisesInFinally(WorkflowEntrypoint):
    async def run(self, event, step):
        class Dying:
            def __del__(self):
                raise RAISED[event.payload["kind"]]("raised by __del__")

        held = Dying()

        async def generator():
            try:
                yield held
            finally:
                raise RAISED[event.payload["kind"]]("raised by a generator")

        async def branch():
            try:
                async for _ in generator():
                    await step.wait_for_event("never", "never")
            finally:
                raise RAISED[event.payload["kind"]]("raised by a branch")

        branches = [asyncio.create_task(branch()) for _ in range(3)]
        try:
            await step.call("next", lambda: 1, config=ONCE)
        except BaseException:
            raise RAISED[event.payload["kind"]]("raised by except") from None
        finally:
            del branches
            raise RAISED[event.payload["kind"]]("raised by finally")


class RaisesInCallbacks(WorkflowEntrypoint):
    """On the event loop that the guest itself runs on, from outside of any step."""

    async def run(self, event, step):
        async def plant():
            loop = asyncio.get_running_loop()
            for kind in RAISED.values():
                loop.call_later(0.01, broken, kind)
                loop.call_soon(raising, kind)
            await asyncio.sleep(0.1)

        await step.call("plant", plant, config=ONCE)
        return "survived"


def raising(kind):
    raise kind("raised in a callback")

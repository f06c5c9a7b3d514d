"""Runs all `attempts` from `run`, from a coroutine's step, from a thread, from a child, or as it is imported."""

import json
import os

import attempts

from stepwell import WorkflowEntrypoint

AT_IMPORT = attempts.all_of({"port": 9, "paths": [], "abstract": "nobody"})


class Probe(WorkflowEntrypoint):
    async def run(self, event, step):
        given = dict(event.payload)
        where = given["where"]
        if where == "import":
            return AT_IMPORT
        if where == "run":
            return attempts.all_of(given)
        if where == "coroutine":

            async def probe():
                return attempts.all_of(given)

            return await step.call("probe", probe)
        if where == "thread":
            return await step.call("probe", lambda: attempts.all_of(given))
        return await step.call("probe", lambda: in_child(given))


def in_child(given):
    """A child has other descriptors, and no audit hook that knows of `run`."""
    begin, end = os.pipe()
    if os.fork() == 0:
        try:
            with os.fdopen(end, "w") as file:
                json.dump(attempts.all_of(given), file)
        finally:
            os._exit(0)
    os.close(end)
    with os.fdopen(begin) as file:
        return json.load(file)

"""A workflow that waits in the middle; each body draws a token, so that a body that ran again is seen."""

import secrets

from stepwell import WorkflowEntrypoint


class Steered(WorkflowEntrypoint):
    async def run(self, event, step):
        async def token(times):
            return secrets.token_hex(8) * times

        first = await step.call("first", token, 1)
        await step.call("large", token, 2_000)
        await step.wait_for_event("go", "go", timeout=None)
        return [first, await step.call("last", token, 1), self.env.VERSION]

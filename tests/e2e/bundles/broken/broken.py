"""Imports a module that fails."""

import deeper  # noqa: I001
from stepwell import WorkflowEntrypoint


class Broken(WorkflowEntrypoint):
    async def run(self, event, step):
        return deeper.VALUE

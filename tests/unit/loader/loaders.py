"""A loader over plain processes, and versions for it to load."""

from __future__ import annotations

from pathlib import Path

from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store_files import FileBundleStore
from loader.loader import Loader
from loader.sandbox.sandbox import Sandbox, SandboxError
from loader.sandbox.sandbox_process import ProcessLauncher
from loader.settings import LoaderSettings
from stepwell.names import Digest, TenantUid, WorkflowId

ACME, OTHER = TenantUid("acme1"), TenantUid("other1")
MANIFEST = Manifest((WorkflowEntry(WorkflowId("order"), "main:Order"),), {})
WORKFLOW = """
from stepwell import WorkflowEntrypoint
class Order(WorkflowEntrypoint):
    async def run(self, event, step): ...
"""
SETTINGS = LoaderSettings(warm_sandboxes=0)


class CountingLauncher(ProcessLauncher):
    """Plain processes, counted; the first `failures` launches fail."""

    def __init__(self, folder: Path, failures: int = 0) -> None:
        super().__init__(folder)
        self.launches = 0
        self.failures = failures
        self.excess = 0

    def excess_bytes(self) -> int:
        return self.excess

    async def launch(self) -> Sandbox:
        self.launches += 1
        if self.launches <= self.failures:
            raise SandboxError("/host/path: out of luck")
        return await super().launch()


async def deployed(store: FileBundleStore, tenant: TenantUid = ACME, code: str = WORKFLOW) -> Digest:
    upload = store.upload(tenant)
    await upload.open("main.py", False)
    await upload.write(code.encode())
    return (await upload.commit(MANIFEST)).digest


def loader_of(store: FileBundleStore, launcher: CountingLauncher, settings: LoaderSettings = SETTINGS) -> Loader:
    return Loader(store, launcher, settings, make_correlation_id=lambda: "c-1")

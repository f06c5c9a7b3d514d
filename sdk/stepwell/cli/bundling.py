"""A folder as the bundle that a deploy uploads: its manifest, its own files, and what its requirements ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.cli.app import App

if TYPE_CHECKING:
    from stepwell.client.workflows import BundleFile
    from stepwell.v1.workflows_pb2 import Manifest


@dataclass(frozen=True, slots=True)
class Bundle:
    """What `client.workflows.deploy` takes."""

    manifest: Manifest
    files: Collection[BundleFile]


@contextmanager
def bundled(app: App, folder: Path, tenant: str | None, tell: Callable[[str], None]) -> Iterator[Bundle]:
    """The folder's bundle, as long as this lasts. What is left out is told on stderr, progress by `tell`."""
    from stepwell.cli.folder import files_of
    from stepwell.cli.manifest_file import FILE, read_manifest
    from stepwell.cli.packages.bundled import packages_of
    from stepwell.cli.packages.cache import PackageCache
    from stepwell.cli.packages.target import Target
    from stepwell.cli.wrangler_file import read_wrangler
    from stepwell.client.workflow_terms import limits_message, retention_message
    from stepwell.v1.workflows_pb2 import CatchUp, Manifest, Schedule, WorkflowEntry

    declared = (None if (folder / FILE).exists() else read_wrangler(folder)) or read_manifest(folder)
    for why in declared.ignored:
        app.screen.aside(f"Ignored: {why}")
    own = files_of(declared.root)
    entries = [
        WorkflowEntry(
            workflow_id=each.name,
            entrypoint=each.entrypoint,
            retention=retention_message(each.retention),
            limits=limits_message(each.limits),
            schedules=[
                Schedule(cron=cron, timezone=timezone, catch_up=CatchUp.Value(f"CATCH_UP_{catch_up.upper()}"))
                for cron, timezone, catch_up in each.schedules
            ],
        )
        for each in declared.workflows
    ]
    manifest = Manifest(workflows=entries, vars=declared.vars, bindings=declared.bindings)

    def target() -> Target:
        return Target.of(app.ask(lambda client: client.workflows.guest_runtime(tenant)))

    with packages_of(folder, declared.root, target, PackageCache.of(app.environ), tell) as packages:
        files = [*own, *packages]
        tell(f"Uploading {len(files)} files; the server checks them in a sandbox …")
        yield Bundle(manifest, files)


def quietly(_: str) -> None:
    """Tells nobody: for where nobody reads along."""

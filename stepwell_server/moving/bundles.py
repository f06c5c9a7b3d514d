"""Bundles of an export on their way into a cluster's bundle store."""

from __future__ import annotations

from collections.abc import Iterator

from loader.bundles.manifest import Manifest
from loader.bundles.store import BundleStore
from stepwell.errors import InternalError, NotFoundError
from stepwell.names import Digest, TenantUid
from stepwell_server.moving.entries import BundleHead, EndHead, Entry, FileHead, PartHead
from stepwell_server.moving.folder import ExportFolder
from stepwell_server.moving.refusals import DamagedExportError


async def import_bundles(export: ExportFolder, bundles: BundleStore) -> None:
    """Have the store hold them all; those that it has, whole, are not uploaded again. Raises DamagedExportError."""
    entries = export.entries("bundles")
    for head, body in entries:
        if not isinstance(head, BundleHead):
            raise DamagedExportError(f"the bundles of the export are out of order at {head}")
        if await _is_whole(bundles, head.tenant, head.digest):
            for skipped, _ in entries:
                if isinstance(skipped, EndHead):
                    break
        else:
            await _upload(bundles, head, Manifest.from_canonical(body), entries)


async def _is_whole(bundles: BundleStore, tenant: TenantUid, digest: Digest) -> bool:
    try:
        async with bundles.pull(tenant, digest):
            return True
    except (NotFoundError, InternalError):
        return False


async def _upload(bundles: BundleStore, bundle: BundleHead, manifest: Manifest, entries: Iterator[Entry]) -> None:
    upload = bundles.upload(bundle.tenant)
    try:
        for head, body in entries:
            match head:
                case FileHead(path, executable):
                    await upload.open(path, executable)
                case PartHead():
                    await upload.write(body)
                case EndHead():
                    break
                case _:
                    raise DamagedExportError(f"the bundles of the export are out of order at {head}")
        kept = await upload.commit(manifest)
    except BaseException:
        await upload.abandon()
        raise
    if kept.digest != bundle.digest:
        raise DamagedExportError(f"the files of version {bundle.digest} come to {kept.digest}: they are not its own")

"""An installation with a history, and a cluster to move it to: small, in memory but for bundles, the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from cluster import keys
from cluster.codec import decode, encode
from cluster.generations import bucket_of
from cluster.records import Route, Target, Tenant, Token, Version
from cluster.store import Put
from control_plane.limits import ControlLimits
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from data_plane.journal.store import InstanceKey, Position, PutBlob, PutRow, Row, Stamp
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store_files import FileBundleStore
from stepwell.engine.records import (
    Activated,
    ActivationEnded,
    AttemptFailed,
    BlobRef,
    Completed,
    Created,
    Deleting,
    Errored,
    Failure,
    Paused,
    Record,
    SleepStarted,
    StepCompleted,
    StepKey,
    WaitStarted,
)
from stepwell.names import Digest, InstanceId, InstanceUid, TenantId, TenantUid, WorkflowId
from stepwell_server.moving.exporting import Source
from stepwell_server.moving.importing import Cluster
from tests.contract.memory_store import MemoryStore
from tests.contract.oracle_store import OracleJournalStore

NOW: Final = 1_800_000_000_000
FLOW: Final = WorkflowId("flow")
SHARDS: Final = 4
UNTIL: Final = NOW + 3_600_000

_STEP, _NAP, _WAIT = StepKey("do", "charge", 1), StepKey("sleep", "nap", 1), StepKey("waitForEvent", "ok", 1)
_BOOM: Final = Failure("builtins", "ValueError", "no")


class WholeOracle(OracleJournalStore):
    """Knows of all that it holds."""

    async def instances(self, *, after: InstanceKey | None = None, limit: int) -> Sequence[InstanceKey]:
        found = {place[1] for place in self.cells.written if place[0] == "row"}
        known = sorted(key for key in found if isinstance(key, InstanceKey))
        return [key for key in known if after is None or key > after][:limit]


@dataclass(frozen=True)
class Installation:
    """`records` has what each of its instances came to, by key; those alone are to move."""

    control: MemoryStore
    journal: WholeOracle
    bundles: FileBundleStore
    tenants: dict[str, Tenant]
    records: dict[InstanceKey, list[Record]]
    blobs: dict[InstanceKey, dict[str, bytes]]

    @property
    def source(self) -> Source:
        return Source(self.control, self.journal, self.bundles)


async def installation(folder: Path) -> Installation:
    """Two tenants, two versions of the first one's workflow, tokens, and an instance in each state."""
    control, journal, bundles = MemoryStore(), WholeOracle(), FileBundleStore(folder / "bundles")
    made = Installation(control, journal, bundles, {}, {}, {})
    dice = random.Random(1)
    tenants = Tenants(control, clock_ms=lambda: NOW, random_bytes=dice.randbytes)
    tokens = Tokens(control, clock_ms=lambda: NOW, random_bytes=dice.randbytes, limits=ControlLimits())
    await tokens.mint(None)
    for name, request in (("acme", "first"), ("globex", "")):
        tenant = made.tenants[name] = await tenants.create(TenantId(name), request)
        await tokens.mint(tenant)
        for number in range(2 if name == "acme" else 1):
            digest = await deployed(made, tenant, f"{name} {number}".encode(), NOW + number)
    acme, globex = made.tenants["acme"], made.tenants["globex"]
    for name, records in histories().items():
        wrote(made, acme.uid, digest, name, records, blob=name == "waiting")
    wrote(made, globex.uid, digest, "waiting", histories()["sleeping"])
    two_owners_and_a_late_write(made, InstanceKey(acme.uid, FLOW, InstanceId("moved-on")), digest)
    gone = InstanceKey(acme.uid, FLOW, InstanceId("gone"))
    deleting = [Deleting(NOW, InstanceUid("gone"), NOW, "")]
    journal.apply(PutRow(gone, Row(Position(3, 1), deleting, first=True), Stamp(3, 1)))
    return made


def histories() -> dict[str, list[Record]]:
    """By the name of the instance."""
    running: list[Record] = [Activated(NOW + 1, "cpython-3.11")]
    step = StepCompleted(NOW + 2, _STEP, 1, NOW + 1, b'"paid"')
    idle = ActivationEnded(NOW + 3, runnable=False)
    return {
        "queued": [],
        "running": [*running, step],
        "sleeping": [*running, step, SleepStarted(NOW + 2, _NAP, UNTIL), idle],
        "waiting": [*running, WaitStarted(NOW + 2, _WAIT, "ok", None), idle],
        "retrying": [*running, AttemptFailed(NOW + 2, _STEP, 1, NOW + 1, _BOOM, NOW + 90_000), idle],
        "paused": [*running, idle, Paused(NOW + 4, None, "")],
        "complete": [*running, step, Completed(NOW + 5, b'"done"')],
        "expiring": [*running, step, Completed(NOW + 5, b'"done"', UNTIL)],
        "errored": [*running, Errored(NOW + 5, _BOOM)],
    }


async def deployed(made: Installation, tenant: Tenant, code: bytes, at: int) -> Digest:
    upload = made.bundles.upload(tenant.uid)
    await upload.open("main.py", executable=False)
    await upload.write(code)
    await upload.open("tools/run", executable=True)
    kept = await upload.commit(Manifest((WorkflowEntry(FLOW, "main:Flow"),), {}))
    version = Version(tenant.uid, kept.digest, ((FLOW, "main:Flow"),), {}, at, kept.file_count, kept.size_bytes)
    older = (Target(Digest("sha256-" + "0" * 64), "main:Flow"),)
    canary = (Target(kept.digest, "main:Flow", 5),)
    first = Digest("sha256-" + "1" * 64)
    route = Route(tenant.uid, FLOW, first, "main:Flow", NOW, at, weight=95, others=canary, before=(older,))
    await made.control.txn(
        (),
        (
            Put(keys.version(tenant.uid, kept.digest), encode(version)),
            Put(keys.version_by_age(tenant.uid, at, kept.digest), str(kept.size_bytes).encode()),
            Put(keys.route(tenant.uid, FLOW), encode(route)),
            Put(keys.generation(bucket_of(tenant.uid)), b""),
        ),
    )
    return kept.digest


def wrote(
    made: Installation, tenant: TenantUid, digest: Digest, name: str, more: list[Record], *, blob: bool = False
) -> None:
    """An instance of that history, in two rows; with `blob` its params are kept apart."""
    key, uid, numbers = InstanceKey(tenant, FLOW, InstanceId(name)), InstanceUid(f"uid-{name}"), count(1)
    params = BlobRef("2-1", 5) if blob else b"null"
    if blob:
        made.blobs[key] = {"2-1": b'"big"'}
        made.journal.apply(PutBlob(key, uid, "2-1", b'"big"', Stamp(2, next(numbers))))
    created: list[Record] = [Created(NOW, uid, digest, "main:Flow", params, "")]
    made.journal.apply(PutRow(key, Row(Position(2, 0), created, first=True), Stamp(2, next(numbers))))
    if more:
        made.journal.apply(PutRow(key, Row(Position(2, 1), more), Stamp(2, next(numbers))))
    made.records[key] = [*created, *more]


def two_owners_and_a_late_write(made: Installation, key: InstanceKey, digest: Digest) -> None:
    """The second owner read one row; what the first wrote after that is dead."""
    created: list[Record] = [Created(NOW, InstanceUid("uid-m"), digest, "main:Flow", b"null", "")]
    later: list[Record] = [Activated(NOW + 9, "cpython-3.11")]
    rows = (
        Row(Position(1, 0), created, first=True),
        Row(Position(1, 1), [Completed(NOW, b"late")]),
        Row(Position(3, 1), later, first=True, predecessor=Position(1, 0)),
    )
    for number, row in enumerate(rows, 1):
        made.journal.apply(PutRow(key, row, Stamp(row.position.epoch, number)))
    made.records[key] = [*created, *later]


def cluster(folder: Path) -> Cluster:
    """New, and empty."""
    return Cluster(MemoryStore(), OracleJournalStore(), FileBundleStore(folder / "cluster-bundles"), SHARDS)


def moved_records(store: MemoryStore) -> dict[str, bytes]:
    """What a tenant owns of a control store."""
    found = {each.key: each.value for each in store._records.values()}
    return {
        key: value
        for key, value in found.items()
        if keys.kind(key) in ("tenant", "version", "version-of", "route", "token", "token-of")
        and f"/{keys.OPERATOR}/" not in key
        and not is_operators(key, value)
    }


def is_operators(key: str, value: bytes) -> bool:
    return keys.kind(key) == "token" and decode(Token, value, key).tenant is None

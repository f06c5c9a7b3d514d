"""An import gives a cluster what the export has, once, whatever interrupts it, and nobody serves what is not whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import keys
from cluster.codec import decode, encode
from cluster.generations import bucket_of
from cluster.records import Importing, ShardOwner, Tenant, Token
from cluster.store import Compare, Put
from data_plane.journal.chain import chain
from data_plane.journal.store import (
    InstanceKey,
    Position,
    PutMark,
    PutWake,
    Stamp,
    Wake,
)
from data_plane.wakes import BUCKET_MS
from stepwell.names import TenantId, TenantUid, WorkflowId
from stepwell_server.moving import claim as claims
from stepwell_server.moving.exporting import export
from stepwell_server.moving.importing import Cluster, Import
from stepwell_server.moving.refusals import DamagedExportError, MoveRefusedError
from tests.unit.stepwell_server.moving.installation import (
    NOW,
    UNTIL,
    Installation,
)
from tests.unit.stepwell_server.moving.target import (
    LATER,
    acme,
    found_by_owners,
    has_moved,
    imported,
    journal,
    records,
    shard,
)


async def test_a_cluster_has_all_that_was_exported(made: Installation, out: Path, target: Cluster) -> None:
    done = await imported(out, target)
    assert (done.was_done, done.was_begun, done.counts.instances) == (False, False, len(made.records))
    await has_moved(made, target)


async def test_what_belongs_to_the_installation_stays_there(made: Installation, out: Path, target: Cluster) -> None:
    await imported(out, target)
    kinds = {keys.kind(key) for key in records(target)}
    assert kinds == {"tenant", "version", "version-of", "route", "token-of", "token", "generation", "epoch", "imported"}
    owners = {decode(Token, value, key).tenant for key, value in records(target).items() if keys.kind(key) == "token"}
    assert owners == {"acme", "globex"}


async def test_the_next_owners_are_led_to_what_is_unfinished(made: Installation, out: Path, target: Cluster) -> None:
    await imported(out, target)
    led = {key.instance: due for key, due in (await found_by_owners(target)).items() if key.tenant == acme(made)}
    now = {name for name, due in led.items() if due <= LATER + BUCKET_MS}
    assert now == {"queued", "running", "retrying", "moved-on"}
    assert {name: due for name, due in led.items() if name not in now} == {"sleeping": UNTIL, "expiring": UNTIL}


async def test_lists_are_made_from_the_journals(made: Installation, out: Path, target: Cluster) -> None:
    await imported(out, target)
    page = await target.journal.list_instances(acme(made), next(iter(made.records)).workflow, limit=100)
    assert {listing.key.instance: listing.status for listing in page.listings} == {
        "queued": "queued",
        "running": "running",
        "sleeping": "waiting",
        "waiting": "waiting",
        "retrying": "waiting",
        "paused": "paused",
        "complete": "complete",
        "expiring": "complete",
        "errored": "errored",
        "moved-on": "running",
    }


async def test_a_shard_that_was_served_keeps_its_wakes_and_counts_on(
    made: Installation, out: Path, target: Cluster
) -> None:
    """The cluster has tenants of its own, whose sleepers lie in the same shards, from before a long standstill."""
    number = shard(next(iter(made.records)))
    key = InstanceKey(TenantUid("theirs"), *next(iter(made.records))[1:])
    old = LATER // BUCKET_MS - 500
    for mutation in (
        PutMark(number, 7, old, Stamp(7, 1)),
        PutWake(number, Wake(old + 1, (old + 1) * BUCKET_MS, key), Stamp(7, 2)),
    ):
        journal(target).apply(mutation)
    await target.store.txn((), (Put(keys.shard_epoch(number), b"5"),))
    await imported(out, target)
    stored = await target.store.get(keys.shard_epoch(number))
    assert stored is not None
    assert int(stored.value) == 8, "above what etcd counts, and above what the journal store has"
    led = await found_by_owners(target)
    assert key in led
    assert {key.instance for key in led if key.tenant == acme(made)} >= {"queued", "sleeping"}


async def test_rows_keep_their_places_below_every_later_owner(made: Installation, out: Path, target: Cluster) -> None:
    await imported(out, target)
    for key in made.records:
        theirs = await made.journal.read_journal(key)
        ours = await target.journal.read_journal(key)
        assert list(ours) == chain(theirs)
        stored = await target.store.get(keys.shard_epoch(shard(key)))
        assert stored is not None
        assert int(stored.value) > max(row.position.epoch for row in ours)


async def test_directories_are_told_of_each_tenant(made: Installation, out: Path, target: Cluster) -> None:
    await imported(out, target)
    for tenant in made.tenants.values():
        assert keys.generation(bucket_of(tenant.uid)) in records(target)


async def test_a_second_import_changes_nothing(made: Installation, out: Path, target: Cluster) -> None:
    first = await imported(out, target)
    revision, cells = await target.store.revision(), dict(journal(target).cells.written)
    assert await imported(out, target) == replace(first, was_done=True)
    assert (await target.store.revision(), journal(target).cells.written) == (revision, cells)


@pytest.mark.parametrize("tenant", [Tenant(TenantId("globex"), TenantUid("other"), NOW), None])
async def test_a_tenant_that_is_there_is_never_written_over(
    made: Installation, out: Path, target: Cluster, tenant: Tenant | None
) -> None:
    there = tenant or Tenant(TenantId("renamed"), made.tenants["globex"].uid, NOW)
    await target.store.txn((), (Put(keys.tenant(there.id), encode(there)),))
    before = records(target)
    with pytest.raises(MoveRefusedError, match=f"has a tenant '{there.id}' .* already.* nothing was imported"):
        await imported(out, target)
    assert records(target) == before
    assert journal(target).cells.written == {}


async def test_a_tenant_that_is_made_meanwhile_is_never_written_over(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Put(keys.tenant(TenantId("acme")), b"theirs")
    before = claims.ImportClaim.write

    async def late(self: claims.ImportClaim, records: Any) -> None:
        await target.store.txn((Compare(there.key, 0),), (there,))
        await before(self, records)

    monkeypatch.setattr(claims.ImportClaim, "write", late)
    with pytest.raises(MoveRefusedError, match=r"somebody made control records .*: 'tenant/acme'"):
        await imported(out, target)
    assert records(target)[there.key] == b"theirs"
    assert await found_by_owners(target) == {}
    await claims.give_up(target.store)
    assert keys.IMPORT not in records(target)


async def test_a_cluster_that_is_served_is_refused(made: Installation, out: Path, target: Cluster) -> None:
    owner = Put(keys.shard_owner(3), encode(ShardOwner("node-b", 1, "x")))
    await target.store.txn((), (owner,))
    with pytest.raises(MoveRefusedError, match=r"nodes of this cluster own shards \(node-b\): stop all data nodes"):
        await imported(out, target)
    assert records(target).keys() == {owner.key}


async def test_a_node_that_comes_in_between_is_noticed_and_goes_on(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Put(keys.shard_owner(3), encode(ShardOwner("node-b", 1, "x")))
    take = claims.ImportClaim.take

    async def late(self: claims.ImportClaim) -> bool:
        await target.store.txn((), (owner,))
        return await take(self)

    monkeypatch.setattr(claims.ImportClaim, "take", late)
    with pytest.raises(MoveRefusedError, match="node-b"):
        await imported(out, target)
    assert records(target).keys() == {owner.key}


async def test_a_flipped_byte_is_refused_before_anything_is_written(
    made: Installation, out: Path, target: Cluster
) -> None:
    for path in files_of(out):
        data = path.read_bytes()
        path.write_bytes(data[:-5] + bytes([data[-5] ^ 4]) + data[-4:])
        with pytest.raises(DamagedExportError, match=path.name):
            await imported(out, target)
        path.write_bytes(data)
    assert records(target) == {}
    assert journal(target).cells.written == {}
    assert list(target.bundles.folder.rglob("*")) == []  # type: ignore[attr-defined]


async def test_two_exports_are_imported_one_after_the_other(
    made: Installation, out: Path, target: Cluster, tmp_path: Path
) -> None:
    begun = Importing("another", 1, 0)
    await target.store.txn((), (Put(keys.IMPORT, encode(begun)),))
    with pytest.raises(MoveRefusedError, match="the export with the checksum another: import that one again"):
        await imported(out, target)
    assert records(target)[keys.IMPORT] == encode(begun)


async def test_a_run_that_was_taken_up_by_another_ends(
    made: Installation, out: Path, target: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, results = claims.ImportClaim.end, list[Import]()

    async def late(self: claims.ImportClaim, at_ms: int) -> None:
        monkeypatch.setattr(claims.ImportClaim, "end", end)
        results.append(await imported(out, target))
        await end(self, at_ms)

    monkeypatch.setattr(claims.ImportClaim, "end", late)
    with pytest.raises(MoveRefusedError, match="another run has taken it up"):
        await imported(out, target)
    assert [done.was_begun for done in results] == [True]
    await has_moved(made, target)


async def test_many_control_records_take_several_transactions(
    made: Installation, target: Cluster, tmp_path: Path
) -> None:
    uid = acme(made)
    many = {f"version-of/{uid}/{number:04d}": b"x" * 20_000 for number in range(90)}
    for key, value in many.items():
        await made.control.txn((), (Put(key, value),))
    await export(made.source, tmp_path / "many")
    await imported(tmp_path / "many", target)
    assert many.items() <= records(target).items()
    assert Position(2, 0) in [row.position for row in await target.journal.read_journal(next(iter(made.records)))]


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_there_is_nothing_to_give_up_where_nothing_was_begun(target: Cluster) -> None:
    with pytest.raises(MoveRefusedError, match="no import into this cluster is under way"):
        await claims.give_up(target.store)


async def test_a_record_that_this_release_can_not_read_is_refused_before_anything_is_written(
    made: Installation, target: Cluster, tmp_path: Path
) -> None:
    key = keys.route(acme(made), WorkflowId("flow"))
    await made.control.txn((), (Put(key, b"[3,[]]"),))
    await export(made.source, tmp_path / "newer")
    with pytest.raises(DamagedExportError, match=rf"the record '{key}' has format 3, this program knows 2"):
        await imported(tmp_path / "newer", target)
    assert records(target) == {}


async def test_a_tenant_whose_uid_nobody_minted_is_refused_before_anything_is_written(
    made: Installation, target: Cluster, tmp_path: Path
) -> None:
    there = Tenant(TenantId("odd"), TenantUid("a1-3"), NOW)
    await made.control.txn((), (Put(keys.tenant(there.id), encode(there)),))
    await export(made.source, tmp_path / "odd")
    with pytest.raises(DamagedExportError, match="'a1-3' can't be a tenant's uid"):
        await imported(tmp_path / "odd", target)
    assert records(target) == {}

"""Records come back as they went in; newer and damaged ones are refused."""

from __future__ import annotations

import pytest

from cluster import keys
from cluster.codec import FORMAT, RecordFormatError, decode, decode_route, encode
from cluster.records import Answered, Route, Tenant, Token, Version
from cluster.store import KeyValue
from stepwell.names import Digest, TenantId, TenantUid, WorkflowId

UID = TenantUid("u1")
RECORDS = [
    Tenant(TenantId("acme"), UID, 5, spread=4),
    Token("t1", "00ff", None, None, 6),
    Token("t2", "00ff", TenantId("acme"), UID, 6),
    Version(UID, Digest("d"), ((WorkflowId("a"), "main:A"), (WorkflowId("b"), "main:B")), {"K": "ü"}, 7, 2, 3),
    Route(UID, WorkflowId("a"), Digest("d"), "main:A", 8, 9),
    Answered("CreateTenant", TenantId("acme")),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_went_in(record: object) -> None:
    assert decode(type(record), encode(record)) == record


def test_a_newer_format_is_refused_and_not_guessed() -> None:
    newer = encode(RECORDS[0]).replace(f"[{FORMAT},".encode(), f"[{FORMAT + 1},".encode())
    with pytest.raises(RecordFormatError, match=r"'tenant/acme' has format 2.*as new as"):
        decode(Tenant, newer, "tenant/acme")


@pytest.mark.parametrize("data", [b"", b"[1]", b'[1,{"id":"acme"}]', b'{"id":1}', b"\xff", b'[1,{"id":"\xff"}]'])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RecordFormatError, match="damaged"):
        decode(Tenant, data, "tenant/acme")


def test_a_routes_etag_is_the_stores_and_never_stored() -> None:
    route = Route(UID, WorkflowId("a"), Digest("d"), "main:A", 8, 9, mod_revision=5)
    stored = KeyValue("k", encode(route), 1, 7)
    assert decode_route(stored).mod_revision == 7
    assert encode(route) == encode(RECORDS[4])


def test_newer_versions_come_first_among_keys() -> None:
    ages = [keys.version_by_age(UID, ms, Digest(f"sha256-{ms}")) for ms in (1, 99, 1_800_000_000_000)]
    assert [keys.digest_by_age(key) for key in sorted(ages)] == ["sha256-1800000000000", "sha256-99", "sha256-1"]


def test_keys_tell_what_was_put_into_them() -> None:
    assert [keys.bucket_of_generation(keys.generation(bucket)) for bucket in (0, 7, 4_095)] == [0, 7, 4_095]
    assert keys.token_id_of(keys.token_of(UID, 12, "ab12")) == "ab12"

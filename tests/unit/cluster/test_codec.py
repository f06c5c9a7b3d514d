"""Records come back as they went in; newer and damaged ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from cluster import keys
from cluster.codec import FORMAT, RecordFormatError, decode, decode_route, encode
from cluster.records import (
    Active,
    Answered,
    Asked,
    CatchUp,
    Route,
    Schedule,
    ScheduledWorkflow,
    Schedules,
    Scope,
    Target,
    Tenant,
    TickDone,
    Ticked,
    Token,
    Version,
)
from cluster.store import KeyValue
from stepwell.names import Digest, TenantId, TenantUid, WorkflowId
from stepwell.retention import Retention
from stepwell.workflow_limits import WorkflowLimits

UID = TenantUid("u1")
TENANT, VERSION, ROUTE = keys.tenant(TenantId("acme")), keys.version(UID, Digest("d")), keys.route(UID, WorkflowId("a"))
RECORDS = [
    (TENANT, Tenant(TenantId("acme"), UID, 5), b'[2,["u1",5]]'),
    (keys.token("t1"), Token("t1", "00ff", None, None, 6), b'[2,["00ff",null,null,6]]'),
    (
        keys.token("t2"),
        Token("t2", "00ff", TenantId("acme"), UID, 6, (Scope.RUN,)),
        b'[2,["00ff","acme","u1",6,["run"]]]',
    ),
    (
        keys.token("t3"),
        Token("t3", "00ff", None, None, 6, at_start=True),
        b'[2,["00ff",null,null,6,["read","run","deploy"],true]]',
    ),
    (
        VERSION,
        Version(UID, Digest("d"), ((WorkflowId("a"), "main:A"), (WorkflowId("b"), "main:B")), {"K": "ü"}, 7, 2, 3),
        '[2,[[["a","main:A"],["b","main:B"]],{"K":"ü"},7,2,3]]'.encode(),
    ),
    (
        VERSION,
        Version(
            UID,
            Digest("d"),
            ((WorkflowId("a"), "main:A"),),
            {},
            7,
            2,
            3,
            retentions=((WorkflowId("a"), Retention(60_000, None)),),
            limits=((WorkflowId("a"), WorkflowLimits(None, 3)),),
        ),
        b'[2,[[["a","main:A"]],{},7,2,3,false,[],[],[["a",[60000,null]]],[["a",[null,3]]]]]',
    ),
    (ROUTE, Route(UID, WorkflowId("a"), Digest("d"), "main:A", 8, 9), b'[2,["d","main:A",8,9]]'),
    (
        ROUTE,
        Route(
            UID,
            WorkflowId("a"),
            Digest("d"),
            "main:A",
            8,
            9,
            weight=95,
            others=(Target(Digest("e"), "main:B", 5),),
            before=((Target(Digest("d"), "main:A"),),),
            asked=Asked("r1", "roll back", ()),
        ),
        b'[2,["d","main:A",8,9,0,95,[["e","main:B",5]],[[["d","main:A",100]]],["r1","roll back",[]]]]',
    ),
    (
        VERSION,
        Version(UID, Digest("d"), (), {}, 7, 2, 3, schedules=((WorkflowId("a"), (Schedule("0 9 * * *"),)),)),
        b'[2,[[],{},7,2,3,false,[],[["a",[["0 9 * * *","UTC","last"]]]]]]',
    ),
    (
        keys.schedules(UID),
        Schedules(
            UID,
            (
                ScheduledWorkflow(
                    WorkflowId("a"), True, (Active(Schedule("0 9 * * *", "Asia/Tokyo", CatchUp.NONE), 8),)
                ),
            ),
        ),
        b'[2,[[["a",true,[[["0 9 * * *","Asia/Tokyo","none"],8]]]]]]',
    ),
    (
        keys.ticked(UID, WorkflowId("a")),
        Ticked(UID, WorkflowId("a"), (TickDone("0 9 * * *", "Asia/Tokyo", 9, 7),)),
        b'[2,[[["0 9 * * *","Asia/Tokyo",9,7]]]]',
    ),
    (keys.request("r1"), Answered("CreateTenant", TenantId("acme")), b'[2,["CreateTenant","acme"]]'),
]
IDS = [f"{key} {len(data)}" for key, _, data in RECORDS]


@pytest.mark.parametrize(("key", "record", "data"), RECORDS, ids=IDS)
def test_a_record_comes_back_as_it_went_in(key: str, record: object, data: bytes) -> None:
    assert encode(record) == data
    assert decode(type(record), data, key) == record


@pytest.mark.parametrize(("key", "record"), [each[:2] for each in RECORDS], ids=IDS)
def test_a_record_of_the_first_format_is_read(key: str, record: object) -> None:
    assert decode(type(record), msgspec.json.encode((1, record)), key) == record


@pytest.mark.parametrize(("key", "record", "data"), RECORDS, ids=IDS)
def test_fields_that_a_newer_release_added_are_passed_over(key: str, record: object, data: bytes) -> None:
    more = json.loads(data)
    defaults: dict[type, list[object]] = {
        Route: [0, 100, [], [], None], Version: [False, [], [], [], []], Token: [["read", "run", "deploy"], False],
    }  # fmt: skip
    left_out, least = defaults.get(type(record), []), 5 if isinstance(record, Version) else 4
    more[1] += [*left_out[len(more[1]) - least :], "new", {"newer": 1}]
    assert decode(type(record), json.dumps(more).encode(), key) == record


def test_a_newer_format_is_refused_and_not_guessed() -> None:
    newer = encode(RECORDS[0][1]).replace(f"[{FORMAT},".encode(), f"[{FORMAT + 1},".encode())
    with pytest.raises(RecordFormatError, match=r"'tenant/acme' has format 3.*as new as"):
        decode(Tenant, newer, TENANT)


@pytest.mark.parametrize(
    "data",
    [b"", b"[1]", b'[1,{"id":"acme"}]', b'{"id":1}', b"\xff", b'[1,{"id":"\xff"}]', b"[2,{}]", b"[2,[]]", b'[2,["u1"]]',
     b'[2,["u1","5"]]', b'[2,["\xff",5]]'],
)  # fmt: skip
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RecordFormatError, match="damaged"):
        decode(Tenant, data, TENANT)


def test_a_routes_etag_is_the_stores_and_never_stored() -> None:
    route = Route(UID, WorkflowId("a"), Digest("d"), "main:A", 8, 9, mod_revision=5)
    stored = KeyValue(ROUTE, encode(route), 1, 7)
    assert decode_route(stored).mod_revision == 7
    assert encode(route) == encode(replace(route, mod_revision=0))


def test_newer_versions_come_first_among_keys() -> None:
    ages = [keys.version_by_age(UID, ms, Digest(f"sha256-{ms}")) for ms in (1, 99, 1_800_000_000_000)]
    assert [keys.digest_by_age(key) for key in sorted(ages)] == ["sha256-1800000000000", "sha256-99", "sha256-1"]


def test_keys_tell_what_was_put_into_them() -> None:
    assert [keys.bucket_of_generation(keys.generation(bucket)) for bucket in (0, 7, 4_095)] == [0, 7, 4_095]
    assert keys.token_id_of(keys.token_of(UID, 12, "ab12")) == "ab12"


def test_a_release_from_before_there_were_weights_reads_a_routes_first_version() -> None:
    """It knows a route's first five fields, and passes over the others."""
    _, record, data = next(each for each in RECORDS if isinstance(each[1], Route) and each[1].others)
    assert isinstance(record, Route)
    assert json.loads(data)[1][:5] == [record.digest, record.entrypoint, 8, 9, 0]

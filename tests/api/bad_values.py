"""What a field may not have, by what the field means, and how each is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from control_plane.workflow_service import CHUNK_BYTES_MAX
from rpc.json_edge import DEPTH_MAX, NUMBER_CHARACTERS_MAX, PAYLOAD_BYTES_MAX
from stepwell import names
from stepwell.cron import CRON_LENGTH_MAX
from stepwell.retention import RETENTION_MS_MAX
from tests.api.requests import KINDS, NAMES, Value

CONTROLS = {
    "a control character": "\x07",
    "a null": "\0",
    "a line break": "\n",
    "an escape": "\x1b[2J",
    "bidi": "\u202e",
}


@dataclass(frozen=True, slots=True)
class Bad:
    """One value. `metadata` is what the refusal must have, besides the field where the reason is INVALID_ARGUMENT."""

    what: str
    value: Value
    reason: str = "INVALID_ARGUMENT"
    metadata: Mapping[str, str] = field(default_factory=dict)
    as_operator: bool = False


def too_long(limit: str, value: int, text: str, reason: str = "INVALID_ARGUMENT") -> Bad:
    """A text over its limit, by one or by far."""
    return Bad(f"{limit} + {len(text) - value}", text, reason, over(limit, value, len(text)))


def over(limit: str, value: int, seen: int) -> dict[str, str]:
    return {"limit": limit, "value": str(value), "seen": str(seen)}


def _ids(limit: str, length_max: int, others: tuple[str, ...] = ()) -> Iterator[Bad]:
    """Of a name that has rules of its own."""
    for what, text in CONTROLS.items():
        yield Bad(what, f"a{text}b")
    for text in ("-a", " a", "a b", "a/b", "ä", "a\u00a0", "../a", "%61", *others):
        yield Bad(repr(text), text)
    yield too_long(limit, length_max, "a" * (length_max + 1))
    yield too_long(limit, length_max, "a" * 1_000_000)


def _resource_names(kind: str) -> Iterator[Bad]:
    """Of a resource name: each of its parts as it may not be."""
    pattern = str(KINDS[kind])
    good = pattern.format_map({"tenant": "acme", "version": "sha256-" + "0" * 64, "token": "0" * 16})
    if kind not in ("owner", "version or none"):
        yield Bad("empty", "")
    yield Bad("a word", "acme")
    yield Bad("a slash more", good + "/")
    yield Bad("a slash before", "/" + good)
    yield Bad("a part more", good + "/x")
    yield Bad("another collection", good.replace("tenants/", "tenant/", 1))
    yield Bad("upper case", good.upper())
    yield Bad("very long", good + "x" * 1_000_000)
    yield Bad("no tenant of its own", good.replace("acme", "-", 1), as_operator=True)
    for tenant in ("", "ACME", "..", "*", "-a", "a-", "a_b", "ä", *(f"a{text}b" for text in CONTROLS.values())):
        yield Bad(f"tenant {tenant!r}", good.replace("acme", tenant, 1))
    limit = names.TENANT_ID_LENGTH_MAX
    yield Bad("a long tenant", good.replace("acme", "a" * 64, 1), metadata=over("tenant_id_length_max", limit, 64))
    before = good.rpartition("/")[0]
    if kind in ("workflow", "instance", "version", "version or none", "token"):
        for text in ("", "-a", "..", "ä", *(f"a{text}b" for text in CONTROLS.values())):
            yield Bad(f"last part {text!r}", f"{before}/{text}")
        yield Bad(
            "last part in upper case" if kind in ("version", "version or none", "token") else "last part with a dot",
            f"{before}/A.",
        )
    if kind in ("workflow", "instance"):
        length = names.WORKFLOW_ID_LENGTH_MAX if kind == "workflow" else names.INSTANCE_ID_LENGTH_MAX
        long = over(f"{kind}_id_length_max", length, length + 1)
        yield Bad("a long last part", f"{before}/{'a' * (length + 1)}", metadata=long)
    if kind == "instance":
        yield Bad("a reserved last part", f"{before}/latest")
        yield Bad("a bad part in the middle", good.replace("order", "-order"))


def _json() -> Iterator[Bad]:
    for data in (
        b"{nope", b"NaN", b'{"a":NaN}', b"Infinity", b"-Infinity", b"1 2", b"'x'", b"\xff", b'"\xed\xa0\x80"', b"\0",
        b"[1,]", b'"\x00"', b'{"a":1e999}', b'{1:2}', b"\xef\xbb\xbf1", b'"\\ud800"', b"nul", b"[" * 50, b'"\x1b"',
    ):  # fmt: skip
        yield Bad(repr(data[:20]), data)
    levels = DEPTH_MAX + 1
    yield Bad("deep", b"[" * levels + b"]" * levels, "LIMIT_EXCEEDED", over("json_depth_max", DEPTH_MAX, levels))
    yield Bad(
        "very deep", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "LIMIT_EXCEEDED",
        over("json_depth_max", DEPTH_MAX, 100_000),
    )  # fmt: skip
    digits = NUMBER_CHARACTERS_MAX + 1
    yield Bad(
        "a long number", b"[1," + b"9" * digits + b"]", "LIMIT_EXCEEDED",
        over("json_number_characters_max", NUMBER_CHARACTERS_MAX, digits),
    )  # fmt: skip
    for size in (PAYLOAD_BYTES_MAX + 1, PAYLOAD_BYTES_MAX + 500_000):
        yield Bad(
            f"{size} bytes", b'"' + b"x" * (size - 2) + b'"', "LIMIT_EXCEEDED",
            over("payload_bytes_max", PAYLOAD_BYTES_MAX, size),
        )  # fmt: skip


def _refused(what: str, *values: Value) -> Iterator[Bad]:
    for value in values:
        yield Bad(f"{what} {str(value)[:30]!r}", value)


def _bundle_refused(what: str, *values: Value) -> Iterator[Bad]:
    for value in values:
        yield Bad(f"{what} {str(value)[:30]!r}", value, "BUNDLE_REFUSED")


INSTANCE_IDS = tuple(_ids("instance_id_length_max", names.INSTANCE_ID_LENGTH_MAX, ("latest", ".", "a.b")))

EVENT_IDS = (
    *_refused("text", " ", "a b", "ä", *(f"a{text}b" for text in CONTROLS.values())),
    too_long("event_id_length_max", names.EVENT_ID_LENGTH_MAX, "e" * 101),
    too_long("event_id_length_max", names.EVENT_ID_LENGTH_MAX, "e" * 1_000_000),
)

UNUSUAL_MS = (0, -1, 59_999, RETENTION_MS_MAX + 1, -(2**63), 2**63 - 1)
"""None is a minute to a year."""

BAD: Mapping[str, tuple[Bad, ...]] = {
    **{kind: tuple(_resource_names(kind)) for kind in NAMES},
    "tenant id": tuple(
        _ids("tenant_id_length_max", names.TENANT_ID_LENGTH_MAX, ("", "A", "a_b", "a-", "-", "tenants/a"))
    ),
    "instance id": INSTANCE_IDS,
    "instance ids": (
        *(replace(bad, value=["one", str(bad.value)]) for bad in INSTANCE_IDS),
        *_refused("ids", [], [""], ["one", "two", "one"]),
        Bad(
            "101", [f"i{number}" for number in range(101)], "LIMIT_EXCEEDED",
            {"limit": "batch_items_max", "value": "100", "seen": "101"},
        ),
    ),
    "event type": tuple(_ids("event_type_length_max", names.EVENT_TYPE_LENGTH_MAX, ("", ".a", "a:b"))),
    "request id": (
        *_refused("text", " ", "a b", "ä", *(f"a{text}b" for text in CONTROLS.values())),
        too_long("request_id_length_max", names.REQUEST_ID_LENGTH_MAX, "r" * 65),
        too_long("request_id_length_max", names.REQUEST_ID_LENGTH_MAX, "r" * 1_000_000),
    ),
    "retention": tuple(_refused("number", *UNUSUAL_MS)),
    "workflow's retention": tuple(_bundle_refused("number", *UNUSUAL_MS)),
    "workflow's limit": tuple(_bundle_refused("number", 0, -1, 100_001, -(2**31), 2**31 - 1)),
    "event states": tuple(_refused("enum", [0], [99], [-1], [1, 2, 99])),
    "event number": tuple(_refused("number", 0, -1, -(2**63))),
    "event id": EVENT_IDS,
    "broadcast id": (*_refused("text", ""), *EVENT_IDS),
    "step name": (
        too_long("step_name_length_max", names.STEP_NAME_LENGTH_MAX, "s" * 257),
        too_long("step_name_length_max", names.STEP_NAME_LENGTH_MAX, "s" * 1_000_000),
    ),
    "reason": (
        too_long("cancel_reason_length_max", names.CANCEL_REASON_LENGTH_MAX, "r" * 257),
        too_long("cancel_reason_length_max", names.CANCEL_REASON_LENGTH_MAX, "r" * 1_000_000),
    ),
    "step to begin from": (
        *_refused("text", ""),
        too_long("step_name_length_max", names.STEP_NAME_LENGTH_MAX, "s" * 257),
    ),
    "step kind": tuple(_refused("enum", 99, -1)),
    "kind of that step": tuple(_refused("enum", 99, -1)),
    "step count": tuple(_refused("number", -1, -(2**31))),
    "json": tuple(_json()),
    "time": tuple(_refused("number", -1, 253_402_300_800, 2**62)),
    "last time": tuple(_refused("number", -1, 253_402_300_800, 2**62)),
    "nanoseconds": tuple(_refused("number", -1, 1_000_000_000)),
    "page size": tuple(_refused("number", -1, -(2**31))),
    "page token": tuple(_refused("text", "x", "====", "AAAAAAAAAA", "ä", "A" * 5_000, "A" * 1_000_000, "\0")),
    "cursor": (
        *_refused("text", "a." + "9" * 13, "x" * 1_000_000),
        *_refused("text", "x", ".", "a.", ".1", "a.b", "a.-1", "a.٣", "a.1"),
    ),
    "etag": tuple(Bad(f"text {text[:9]!r}", text, "CONFLICT") for text in ("1", "x", "\0", "-1", "x" * 1_000_000)),
    "flag": (),
    "told alone": (),
    "weight": tuple(_refused("number", 0, -1, 101, -(2**31), 2**31 - 1)),
    "spread": tuple(_refused("number", -1, 3, 6, 1_000, 2_048, -(2**31))),
    "scopes": tuple(_refused("enum", [0], [99], [-1])),
    "statuses": tuple(_refused("enum", [0], [99], [-1], [1, 2, 99])),
    "workflow id": (
        *_bundle_refused("text", "", "-a", "a b", "a/b", "ä", *(f"a{text}b" for text in CONTROLS.values())),
        too_long("workflow_id_length_max", names.WORKFLOW_ID_LENGTH_MAX, "a" * 65, "BUNDLE_REFUSED"),
    ),
    "entrypoint": (
        *_bundle_refused("text", "", "main", ":Order", "main:", "main:Or der", "ma-in:Order", "../main:Order", "a:b:c"),
        *_bundle_refused("text", "mäin:Order", *(f"main:a{text}b" for text in CONTROLS.values())),
        too_long("entrypoint_length_max", names.ENTRYPOINT_LENGTH_MAX, "main:" + "O" * 252, "BUNDLE_REFUSED"),
    ),
    "cron": (
        *_bundle_refused("text", "", "* * * *", "60 * * * *", "* * * * 1-5", "0 0 30 2 *", "@daily", "*/0 * * * *"),
        *_bundle_refused("text", "٣ * * * *", *(f"0 0 {text} * *" for text in CONTROLS.values())),
        too_long("cron_length_max", CRON_LENGTH_MAX, "0 0 1 1 *" + ",*" * 46, "BUNDLE_REFUSED"),
        too_long("cron_length_max", CRON_LENGTH_MAX, "*," * 500_000, "BUNDLE_REFUSED"),
    ),
    "time zone": (
        *_bundle_refused("text", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", " UTC"),
        *_bundle_refused("text", "z" * 1_000_000),
        *_bundle_refused("text", *(f"U{text}TC" for text in CONTROLS.values())),
    ),
    "catch up": tuple(_refused("enum", 99, -1)),
    "vars": (
        *_bundle_refused("names", {"": "x"}, {"a\n": "x"}, {"\u202e": "x"}),
        Bad("a long name", {"a" * 129: "x"}, "LIMIT_EXCEEDED", over("manifest_var_name_length_max", 128, 129)),
        Bad("many", {f"v{n}": "" for n in range(101)}, "LIMIT_EXCEEDED", over("manifest_vars_max", 100, 101)),
        Bad("large", {"a": "x" * 65_536}, "LIMIT_EXCEEDED", {"limit": "manifest_bytes_max", "value": "65536"}),
    ),
    "bindings": (
        *_bundle_refused("names", {"": "x"}, {"a-b": "x"}, {"a\n": "x"}, {"ä": "x"}, {"1a": "x"}),
        *_bundle_refused("workflows", {"A": ""}, {"A": "-a"}, {"A": "a/b"}, {"A": "a\0b"}),
        Bad("a long workflow", {"A": "a" * 65}, "BUNDLE_REFUSED", over("workflow_id_length_max", 64, 65)),
        Bad("a long name", {"a" * 129: "x"}, "LIMIT_EXCEEDED", over("manifest_var_name_length_max", 128, 129)),
        Bad("many", {f"b{n}": "x" for n in range(51)}, "LIMIT_EXCEEDED", over("manifest_bindings_max", 50, 51)),
    ),
    "path": (
        *_bundle_refused("path", "", ".", "..", "../x", "/x", "a//b", "a/", "./a", "a/../b"),
        *_bundle_refused("path", "a\\b", "C:\\x", "gro\u0308sse", *(f"a{text}b" for text in CONTROLS.values())),
        Bad("long", "/".join("a" * 200 for _ in range(6)), "BUNDLE_REFUSED", over("bundle_path_bytes_max", 1024, 1205)),
        Bad("a long part", "a" * 256, "BUNDLE_REFUSED", over("bundle_path_part_bytes_max", 255, 256)),
        Bad("deep", "/".join("a" * 33), "BUNDLE_REFUSED", over("bundle_path_parts_max", 32, 33)),
        Bad("very long", "a/" * 500_000, "BUNDLE_REFUSED", {"limit": "bundle_path_bytes_max", "seen": "1000000"}),
    ),
    "chunk": (
        Bad(
            "a byte over", b"x" * (CHUNK_BYTES_MAX + 1), "LIMIT_EXCEEDED",
            over("chunk_bytes_max", CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1),
        ),
    ),
}  # fmt: skip

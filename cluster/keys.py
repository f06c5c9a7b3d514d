"""Under which key each record lies.

Short, because a large installation has millions of them. Ids within keys have no '/' (see `stepwell.names`), so no key
can be mistaken for another's, and a prefix that ends in '/' is exactly one tenant's, or one kind's.
"""

from __future__ import annotations

from stepwell.names import Digest, TenantId, TenantUid, WorkflowId

TENANTS = "tenant/"
GENERATIONS = "generation/"

OWNERSHIP = "ownership/"
"""The prefix of who lives and who owns what, which every node watches."""

MEMBERS = f"{OWNERSHIP}member/"
OWNERS = f"{OWNERSHIP}owner/"
CONTROLS = f"{OWNERSHIP}control/"
"""Control servers that live."""

IMPORT = f"{OWNERSHIP}import"
"""Where an import says that it is under way: no shard is claimed while this is there, and every node sees it."""

OPERATOR = "operator"
"""Where a tenant's uid stands in a key, for what belongs to the operator; a uid begins with hexadecimal digits."""

_NEWEST_MS = (1 << 48) - 1
"""A time that no clock will tell: keys count down from it so that the newest come first."""


def tenant(tenant_id: TenantId) -> str:
    return f"{TENANTS}{tenant_id}"


def token(token_id: str) -> str:
    return f"token/{token_id}"


def tokens_of(owner: TenantUid | None) -> str:
    """The prefix of an owner's tokens, oldest first; None stands for the operator."""
    return f"token-of/{owner or OPERATOR}/"


def token_of(owner: TenantUid | None, created_at_ms: int, token_id: str) -> str:
    return f"{tokens_of(owner)}{created_at_ms:012x}-{token_id}"


def token_id_of(key: str) -> str:
    """The token's id in a key that `token_of` made."""
    return key.rpartition("-")[2]


def version(uid: TenantUid, digest: Digest) -> str:
    return f"version/{uid}/{digest}"


def versions_by_age(uid: TenantUid) -> str:
    """The prefix of a tenant's versions, newest first; their values are the sizes of their files in bytes."""
    return f"version-of/{uid}/"


def version_by_age(uid: TenantUid, created_at_ms: int, digest: Digest) -> str:
    return f"{versions_by_age(uid)}{_NEWEST_MS - created_at_ms:012x}/{digest}"


def digest_by_age(key: str) -> Digest:
    """The digest in a key that `version_by_age` made."""
    return Digest(last_part(key))


def routes(uid: TenantUid) -> str:
    """The prefix of a tenant's routes, by workflow."""
    return f"route/{uid}/"


def route(uid: TenantUid, workflow: WorkflowId) -> str:
    return f"{routes(uid)}{workflow}"


SCHEDULES = "schedules/"
"""The prefix of what is in force for each tenant that has schedules, which every node watches."""


def schedules(uid: TenantUid) -> str:
    return f"{SCHEDULES}{uid}"


def ticked_of(uid: TenantUid) -> str:
    """The prefix of how far a tenant's schedules have come, by workflow."""
    return f"ticked/{uid}/"


def ticked(uid: TenantUid, workflow: WorkflowId) -> str:
    return f"{ticked_of(uid)}{workflow}"


def request(request_id: str) -> str:
    """An operator's request_id; it may hold a '/', and is the last part of its key."""
    return f"request/{request_id}"


def deploying(uid: TenantUid) -> str:
    """Whose turn it is to deploy for the tenant; on a lease of that turn's own."""
    return f"deploying/{uid}"


def generation(bucket: int) -> str:
    return f"{GENERATIONS}{bucket:03x}"


def bucket_of_generation(key: str) -> int:
    """The bucket in a key that `generation` made."""
    return int(key[len(GENERATIONS) :], 16)


def member(node: str) -> str:
    return f"{MEMBERS}{node}"


def control(node: str) -> str:
    return f"{CONTROLS}{node}"


def shard_owner(number: int) -> str:
    return f"{OWNERS}{number:05d}"


def shard_of_owner(key: str) -> int:
    """The shard in a key that `shard_owner` made."""
    return int(key[len(OWNERS) :])


SHARD_COUNT = "shard-count"
"""Of the cluster: written by the first of its processes, and never changed."""


def shard_epoch(number: int) -> str:
    """Outside of what is watched: each change of an owner changes it too."""
    return f"epoch/{number:05d}"


def imported(export: str) -> str:
    """Of an export that was imported to its end; its manifest's SHA-256 names it."""
    return f"imported/{export}"


def kind(key: str) -> str:
    """What the record is, by the beginning of its key: `tenant`, `route`, `token-of`…"""
    return key.partition("/")[0]


def last_part(key: str) -> str:
    """Of a key that `tenant`, `token`, `version` or `route` made: the id, the digest, the workflow."""
    return key.rpartition("/")[2]


def owner(key: str) -> str:
    """Of a key that `version`, `version_by_age`, `route` or `token_of` made: the tenant's uid, or OPERATOR."""
    return key.split("/", 2)[1]

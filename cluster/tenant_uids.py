"""A tenant's uid: random, and saying over how many shards the tenant's instances lie.

A node that takes a shard over reads there whose instances are in it, and nothing else of them; since the spread is part
of the name, it can say of any of them which shard it is in, without a look at the cluster's store. It can't change
either, which would leave instances in shards where nobody looks for them.
"""

from __future__ import annotations

from typing import Final

from stepwell.names import TenantUid

SPREADS: Final = tuple(1 << power for power in range(11))
"""What a spread can be: 1, 2, 4, … 1,024, as many shards as a cluster has, unless it was made with another number."""

_MARK: Final = "-"
_BY_TEXT: Final = {str(spread): spread for spread in SPREADS}


def tenant_uid(random: bytes, spread: int) -> TenantUid:
    """`random` is so much that no uid is made twice. Raises ValueError for what can't be a spread."""
    if spread not in SPREADS:
        raise ValueError(f"a spread is a power of two from 1 to {SPREADS[-1]:,}, not {spread}")
    return TenantUid(random.hex() if spread == 1 else f"{random.hex()}{_MARK}{spread}")


def spread_of(uid: TenantUid) -> int:
    """A power of two; 1 for a uid that says nothing of it. Raises ValueError for what is no tenant's uid."""
    _, mark, text = uid.partition(_MARK)
    if not mark:
        return 1
    spread = _BY_TEXT.get(text)
    if spread is None:
        raise ValueError(f"{uid[:64]!r} can't be a tenant's uid: what follows {_MARK!r} is no spread")
    return spread

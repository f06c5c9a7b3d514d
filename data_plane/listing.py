"""What a list shows of an instance, made from its state."""

from __future__ import annotations

from data_plane.journal.store import InstanceKey, Listing
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.status import status_of


def listing_of(key: InstanceKey, instance: Instance) -> Listing | None:
    """The row; None once the instance is being deleted, or does not exist."""
    if instance.phase in (Phase.ABSENT, Phase.DELETING):
        return None
    return Listing(
        key,
        instance.uid,
        instance.created_at,
        status_of(instance),
        instance.digest,
        instance.started_at,
        instance.ended_at,
        instance.stored_bytes,
    )

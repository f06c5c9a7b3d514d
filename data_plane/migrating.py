"""Moving an instance to another version: only where that version's code does what the instance did so far.

The journal is replayed while the instance goes on. Nothing of it may have changed that its code can tell when the
migration is recorded, in the same turn in which that is looked at: otherwise it is replayed again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from data_plane.calling import RoutedVersion, Routes, Seen, durably, refuse_if_absent
from data_plane.journal.store import InstanceKey
from data_plane.node import Node
from data_plane.replaying import Differs, Unchecked, Verdict
from stepwell.engine.events import MigrateRequested
from stepwell.engine.instance import Instance, Phase
from stepwell.errors import ConflictError, ReplayMismatchError, WrongStateError
from stepwell.names import Digest

MIGRATION_TRIES_MAX: Final = 3
"""Replays of an instance that goes on meanwhile, before its caller is told to pause it."""


class Migrations:
    """`seen` is the instance as it is durable."""

    def __init__(self, node: Node, routes: Routes, seen: Callable[[InstanceKey], Awaitable[Seen]]) -> None:
        self._node = node
        self._routes = routes
        self._seen = seen

    async def migrate(self, key: InstanceKey, digest: Digest, request_id: str) -> None:
        """Durable, and listed, when this returns.

        Raises NotFoundError (no such instance, no such workflow in that version, or it is being retired),
        WrongStateError once the instance has ended, ReplayMismatchError, ConflictError when it went on during each
        replay, InvalidArgumentError when the request_id named another call, and what `data_plane.replaying` does.
        """
        server = self._node.server_of(key)
        async with server.resident(key) as resident:
            for _ in range(MIGRATION_TRIES_MAX):
                seen = await self._seen(key)
                replays = self._node.replays
                recorded = replays.recorded(key, seen.instance)
                version = await self._routes.on_version(key.tenant, key.workflow, digest)
                asks = _asks_for_a_replay(resident.instance, version, request_id)
                if asks:
                    steps_max = version.limits.steps
                    check(await replays.replay(key, recorded, version.digest, version.entrypoint, steps_max), digest)
                async with durably(server, resident):
                    # Once more, and nothing is awaited from here on: a version that is being retired gets no instance.
                    version = await self._routes.on_version(key.tenant, key.workflow, digest)
                    refuse_if_absent(key, resident.instance)
                    if not asks or recorded.is_of(resident.instance):
                        now = self._node.clock()
                        resident.step(
                            MigrateRequested(now, version.digest, version.entrypoint, request_id, version.limits)
                        )
                        break
            else:
                raise ConflictError(
                    f"instance {key.instance!r} went on during each of {MIGRATION_TRIES_MAX} replays; try again, or "
                    "pause it, migrate and resume it"
                )
            await server.listed(resident)


def check(verdict: Verdict, digest: Digest) -> None:
    """Raises ReplayMismatchError where the replay differs, WrongStateError where it came to no end."""
    if isinstance(verdict, Differs):
        raise ReplayMismatchError(
            f"the code of version {digest} does not do what the instance did so far: at completion {verdict.position} "
            f"the journal has {verdict.expected}, but {verdict.got}",
            position=str(verdict.position),
            expected=verdict.expected,
            got=verdict.got,
        )
    if isinstance(verdict, Unchecked):
        raise WrongStateError(
            f"it is not known whether the code of version {digest} does what the instance did so far: {verdict.reason}"
        )


def _asks_for_a_replay(instance: Instance, version: RoutedVersion, request_id: str) -> bool:
    """Not where the engine answers all the same: it has ended, runs that version, or the call came before."""
    return (
        instance.phase in (Phase.LIVE, Phase.PAUSED)
        and (instance.digest, instance.entrypoint) != (version.digest, version.entrypoint)
        and (not request_id or request_id not in instance.requests)
    )

"""What an operator may set of the loader: one value, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """How many sandboxes there are, and how long anything about them may take."""

    warm_sandboxes: int = 2
    """Generic sandboxes kept ready, without tenant code. 0 boots each on demand."""

    boots_parallel_max: int = 2
    """Sandboxes booted at the same time; more only slow each other down on a few cores."""

    sandboxes_max: int = 100
    """Sandboxes with tenant code; the one that has been idle longest makes room. The warm ones come on top."""

    sandboxes_per_tenant_max: int = 25
    """Of these, one tenant's; further ones wait for that tenant's own."""

    loads_parallel_max: int = 16
    """Sandboxes that wait for their boot or import a bundle at the same time; tenants take turns."""

    loads_per_tenant_max: int = 2
    """Of these, one tenant's."""

    starts_a_minute_per_tenant_max: int = 60
    """Sandboxes started for one tenant, after as many at once as it may have; further ones wait."""

    idle_timeout_ms: int = 60_000
    """A sandbox without a lease is ended after this time."""

    boot_timeout_ms: int = 30_000
    """From starting a sandbox to its hello; a loaded machine takes seconds."""

    import_timeout_ms: int = 30_000
    """Importing a bundle; one that takes longer is refused."""

    loop_stall_ms: int = 10_000
    """How long the event loop of a sandbox in which instances run may stand still before the sandbox is ended."""

    boot_attempts_max: int = 3
    """Attempts to start a sandbox for somebody who waits, before they hear that there is none."""

    boot_backoff_ms: int = 250
    """Pause after a failed boot; doubles with each failure in a row, up to 10 s."""

    waiting_max: int = 10_000
    """Requests for a sandbox that wait for room; further ones are refused at once."""

    checks_parallel_max: int = 2
    """Deploys checked at the same time."""

    checks_per_tenant_max: int = 1
    """Of these, one tenant's; further ones wait, and tenants take turns."""

    bytes_a_second_per_tenant_max: int = 8 * 1024 * 1024
    """What one tenant's guests may say together, results and logs; more waits in their sockets."""

    outgoing_bytes_max: int = 64 * 1024 * 1024
    """Bytes waiting for one guest that does not read, before it is ended: the starts of 250 small instances."""

    log_lines_a_second_max: int = 1_000
    """Of what one sandbox prints; what is over is counted and dropped."""

    log_bytes_a_second_max: int = 1024 * 1024
    """The same in bytes."""

    guest_limits: Mapping[str, int] = field(default_factory=dict)
    """Sent to each guest with its bundle; names and defaults are the guest's own."""

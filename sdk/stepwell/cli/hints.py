"""What to do next: a sentence for each error and for each state that waits for somebody."""

from __future__ import annotations

BY_REASON = {
    "NOT_REACHABLE": "Is the server running? `stepwell dev` starts one here; STEPWELL_ENDPOINT names another.",
    "UNAUTHENTICATED": (
        "Set STEPWELL_TOKEN, give one to `stepwell contexts add`, or let `stepwell dev` write this server's."
    ),
    "TOKEN_REVOKED": "Set STEPWELL_TOKEN to another, or let `stepwell dev` write one to your contexts.",
    "PERMISSION_DENIED": (
        "A tenant's token reaches its own tenant and what its scopes hold; with the operator's, name one with --tenant."
    ),
    "CONFLICT": "Somebody changed it at the same time: try again.",
    "RATE_LIMITED": "Try again in a second, and then less often.",
    "UNAVAILABLE": "Try again in a moment.",
    "SANDBOX_UNAVAILABLE": "`stepwell doctor` shows what the server lacks; the operator's log has the rest.",
    "DEADLINE_EXCEEDED": "It may have happened all the same: look before you try again.",
    "ALREADY_EXISTS": "Choose another id; an instance's may be left out, and one is made.",
}


def for_instance(
    status: str, *, failed: bool, waits_for_event: bool, tenant: str, workflow: str, instance: str
) -> str | None:
    """What a person can do about an instance as it stands; None when there is nothing to do."""
    whose = f" --tenant {tenant}" if tenant else ""
    this = f"{workflow} {instance}{whose}"
    match status:
        case "paused" if failed:
            return f"It stays on its version. Once the cause is gone: stepwell instances resume {this}"
        case "paused" | "waitingForPause":
            return f"To go on: stepwell instances resume {this}"
        case "waiting" | "running" if waits_for_event:
            return f"It waits for an event: stepwell instances send-event {this} --type TYPE --payload JSON"
        case "errored":
            return (
                f"What it printed: stepwell instances logs {this}\n"
                f"Mend the cause, deploy, start anew: stepwell workflows trigger {workflow}{whose}"
            )
        case _:
            return None

"""Which right each method of the API asks of a token: the one table.

A method that is not in it can't be registered, so that no new call is forgotten. A tenant's token has the rights that
its scopes name, and none of these includes another; an operator's token has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Final

from cluster.records import Scope


class Right(StrEnum):
    """What a method may ask for."""

    ANY = "any"
    """Every token has it: for what tells nothing of any tenant."""
    OPERATE = "operate"
    """An operator's tokens alone have it."""
    READ = Scope.READ.value
    RUN = Scope.RUN.value
    DEPLOY = Scope.DEPLOY.value


Table = Mapping[str, Mapping[str, Right]]
"""By service, then by method."""

RIGHTS: Final[Table] = {
    "stepwell.v1.TenantService": {
        "CreateTenant": Right.OPERATE,
        "GetTenant": Right.OPERATE,
        "ListTenants": Right.OPERATE,
        "CreateToken": Right.OPERATE,
        "ListTokens": Right.OPERATE,
        "RevokeToken": Right.OPERATE,
    },
    "stepwell.v1.WorkflowService": {
        "DeployVersion": Right.DEPLOY,
        "GetGuestRuntime": Right.DEPLOY,
        "GetVersion": Right.READ,
        "ListVersions": Right.READ,
        "ListVersionFiles": Right.READ,
        "GetVersionUsage": Right.READ,
        "DrainVersion": Right.DEPLOY,
        "RetireVersion": Right.DEPLOY,
        "GetWorkflow": Right.READ,
        "ListWorkflows": Right.READ,
        "DeleteWorkflow": Right.DEPLOY,
        "GetRoute": Right.READ,
        "ListRoutes": Right.READ,
        "SetRoute": Right.DEPLOY,
        "PromoteRoute": Right.DEPLOY,
        "RollBackRoute": Right.DEPLOY,
        "ListSchedules": Right.READ,
        "PauseSchedules": Right.DEPLOY,
        "ResumeSchedules": Right.DEPLOY,
    },
    "stepwell.v1.InstanceService": {
        "CreateInstance": Right.RUN,
        "BatchCreateInstances": Right.RUN,
        "GetInstance": Right.READ,
        "ListInstances": Right.READ,
        "ListSteps": Right.READ,
        "SendEvent": Right.RUN,
        "BroadcastEvent": Right.RUN,
        "ListEvents": Right.READ,
        "GetEvent": Right.READ,
        "PauseInstance": Right.RUN,
        "ResumeInstance": Right.RUN,
        "RestartInstance": Right.RUN,
        "CancelInstance": Right.RUN,
        "ForkInstance": Right.RUN,
        "ReplayInstance": Right.READ,
        "MigrateInstance": Right.RUN,
        "TerminateInstance": Right.RUN,
        "DeleteInstance": Right.RUN,
        "BatchDeleteInstances": Right.RUN,
        "WatchInstance": Right.READ,
        "ListLogs": Right.READ,
        "WatchLogs": Right.READ,
    },
    "stepwell.v1.NodeService": {
        "ListNodes": Right.OPERATE,
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": Right.ANY,
    },
}

INTERNAL: Final[Table] = {
    **RIGHTS,
    "stepwell.internal.v1.PeerService": {
        "CheckBundle": Right.OPERATE,
        "GetGuestRuntime": Right.OPERATE,
        "CountInMemory": Right.OPERATE,
        "CountListed": Right.OPERATE,
        "GetLoad": Right.OPERATE,
        "CallInstance": Right.OPERATE,
        "TellParent": Right.OPERATE,
    },
}
"""On the listener of peers, which call for others, and in the installation's own name."""

OPERATORS: Final = frozenset(Right)


@cache
def tenants(scopes: tuple[Scope, ...]) -> frozenset[Right]:
    """The rights of a tenant's token with those scopes."""
    return frozenset((Right.ANY, *(Right(scope.value) for scope in scopes)))


def needed(table: Table, service: str, method: str) -> Right:
    """What that method asks for. Raises LookupError when the table doesn't say."""
    try:
        return table[service][method]
    except KeyError:
        raise LookupError(
            f"/{service}/{method}: the table in rpc/rights.py doesn't say which right it asks for"
        ) from None

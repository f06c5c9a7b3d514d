"""What guests run on is told alike by every process of a cluster: data nodes have guests, the others ask them."""

from __future__ import annotations

import platform

from stepwell.v1.workflows_pb2 import GetGuestRuntimeRequest
from tests.e2e.api import Api
from tests.servers.installation import Installation


async def test_every_process_tells_what_guests_run_on(installation: Installation) -> None:
    cluster, authority = installation.cluster, installation.authority
    async with Api(installation.addresses, cluster.token, authority) as api:
        await api.create_tenant("packaged")
    told = set()
    for part in (*cluster.controls, *cluster.nodes):
        async with Api(f"ipv4:{cluster.endpoints[part.name]}", cluster.token, authority) as api:
            asked = GetGuestRuntimeRequest(parent="tenants/packaged")
            runtime = await api.call(api.workflows.GetGuestRuntime, asked)
            told.add((runtime.python_version, runtime.implementation, runtime.machine, runtime.libc))
    ((version, *others),) = told
    assert version.startswith("3.11.")
    assert others == ["cpython", platform.machine(), "glibc"]

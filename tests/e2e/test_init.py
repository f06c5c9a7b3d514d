"""What `stepwell init` writes, deployed as it is and run to its end on gVisor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.server import Server
from tests.e2e.shell import Shell


@pytest.mark.timeout(180)
async def test_a_new_project_runs(server: Server, tmp_path: Path) -> None:
    await server.start()
    shell, acme = Shell(server), ("--tenant", "acme")
    await shell.document("tenants", "create", "acme")
    await shell.document("init", str(tmp_path / "orders"))
    deployed = await shell.document("deploy", str(tmp_path / "orders"), *acme)
    assert [(each["name"], each["entrypoint"]) for each in deployed["workflows"]] == [("order", "orders:Order")]
    params = '{"item": "tea", "cents": 300}'
    created = await shell.document("workflows", "trigger", "order", *acme, "--id", "first", "--params", params)
    await shell.document(
        "instances", "send-event", "order", "first", *acme, "--type", "approval", "--payload", '{"approved": true}'
    )
    assert (await shell.run("instances", "watch", "order", "first", *acme))[0] == 0
    described = await shell.document("instances", "describe", "order", "first", *acme)
    receipt = f"3.00 EUR, {created['uid']}:charge:1"
    assert described["output"] == {"item": "tea", "receipt": receipt, "shipped": True}
    assert "shipping tea" in (await shell.run("instances", "logs", "order", "first", *acme))[1]
    assert await server.stop() == 0

"""Bundles of several packages, and what their requirements bring: native wheels, found at a deploy, run on gVisor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.api import BUNDLES
from tests.e2e.server import Server
from tests.e2e.shell import Shell

ACME = ("--tenant", "acme")


@pytest.mark.timeout(240)
async def test_native_packages_run_in_steps_on_gvisor(server: Server, tmp_path: Path) -> None:
    await server.start()
    server.environ["XDG_CACHE_HOME"] = str(tmp_path)
    shell = Shell(server)
    await shell.document("tenants", "create", "acme")
    deployed = await shell.document("deploy", str(BUNDLES / "packaged"), *ACME)
    assert deployed["created"]
    again = await shell.document("deploy", str(BUNDLES / "packaged"), *ACME)
    assert (again["version"], again["created"]) == (deployed["version"], False)
    params = json.dumps({"name": "<tea>", "numbers": ["1", 2]})
    await shell.document("workflows", "trigger", "packaged", *ACME, "--id", "one", "--params", params)
    status, _, _ = await shell.run("instances", "watch", "packaged", "one", *ACME, "-o", "json")
    assert status == 0
    described = await shell.document("instances", "describe", "packaged", "one", *ACME)
    assert described["status"] == "complete", described
    page, numbers, switched, where = described["output"]
    assert page == {"html": "<b>&lt;tea&gt;</b> 3", "in C": True}
    assert numbers == [1, 2]
    assert switched == ["other", "back"]
    assert where == {
        "versions": {"markupsafe": "3.0.3", "greenlet": "3.5.6"},
        "paths": ["/bundle", "/bundle/python_modules"],
        "last": "/bundle/python_modules",
    }
    assert await server.stop() == 0


@pytest.mark.timeout(120)
async def test_a_package_without_a_wheel_is_refused_before_anything_is_sent(server: Server, tmp_path: Path) -> None:
    await server.start()
    server.environ["PIP_NO_INDEX"] = "1"
    server.environ["PIP_FIND_LINKS"] = os.fspath(tmp_path)
    shell = Shell(server)
    await shell.document("tenants", "create", "acme")
    refused = await shell.refused("deploy", str(BUNDLES / "packaged"), *ACME)
    assert refused["reason"] == "BUNDLE_REFUSED"
    assert "no wheel of markupsafe==3.0.3 for CPython 3.11 on Linux" in refused["message"]
    assert (await shell.document("versions", "list", *ACME))["items"] == []
    assert await server.stop() == 0

"""Sandboxes that don't start are shown to the operator with the reason, asked for again, and serve once they start."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeServer
from tests.e2e.server import Server, until

BROKEN = """#!/bin/sh
if [ "$1" = --version ]; then echo "runsc version release-20260701.0"; exit; fi
echo "/dev/kvm: the dog ate it" >&2
exit 128
"""


def sandbox_checks(server: Server) -> list[tuple[str, str]]:
    """What `stepwell doctor` says of sandboxes: statuses and details."""
    done = subprocess.run(
        [server.command_line()[0], "doctor", "-o", "json"],
        env=server.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return [(check["status"], check["detail"]) for check in checks if check["name"] == "sandbox"]


@pytest.mark.timeout(180)
async def test_a_runsc_that_does_not_work_is_shown_and_tried_again_until_it_does(
    make_server: MakeServer, tmp_path: Path
) -> None:
    real = shutil.which("runsc")
    assert real is not None
    runsc = tmp_path / "runsc"
    runsc.write_text(BROKEN)
    runsc.chmod(0o755)
    server = make_server(config=f'[gvisor]\nrunsc = "{runsc}"\n[loader]\nwarm_sandboxes = 1\n')
    await server.start()
    await until("doctor tells", lambda: sandbox_checks(server)[0][0] == "warning", 60)
    [(_, detail)] = sandbox_checks(server)
    assert detail == "not ready: its process ended with status 128"
    assert "the dog ate it" in server.last_words()
    replacement = tmp_path / "new"
    replacement.symlink_to(real)
    replacement.rename(runsc)
    await until("sandboxes start", lambda: sandbox_checks(server)[0][0] == "ok", 60)
    assert sandbox_checks(server)[0][1].startswith("gVisor with ptrace, ")
    assert await server.stop() == 0


@pytest.mark.timeout(120)
async def test_a_server_that_limits_nothing_says_so_at_its_start_and_to_the_doctor(make_server: MakeServer) -> None:
    server = make_server(config="[gvisor]\ncgroups = false\n[loader]\nwarm_sandboxes = 0\n")
    await server.start()
    warning = "cgroups = false: sandboxes may take all of the machine's memory and CPU"
    assert f"WARNING: {warning}" in server.last_words()
    assert ("warning", warning) in sandbox_checks(server)
    assert await server.stop() == 0

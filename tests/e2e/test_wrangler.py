"""A project as it is deployed to Cloudflare, by the shipped command on gVisor: it runs, and what is ignored is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.api import BUNDLES
from tests.e2e.server import Server
from tests.e2e.shell import Shell

ACME = ("--tenant", "acme")
KEPT = {"successMs": 3 * 86_400_000, "errorMs": 7 * 86_400_000}


@pytest.mark.timeout(180)
async def test_a_project_written_for_cloudflare_runs_within_its_limits(server: Server) -> None:
    await server.start()
    shell = Shell(server)
    await shell.document("tenants", "create", "acme")
    status, out, err = await shell.run("deploy", str(BUNDLES / "cloudflare"), *ACME, "-o", "json")
    assert status == 0, err
    limits = {"steps": 3, "concurrency": None}
    assert json.loads(out)["workflows"] == [
        {"name": "order", "entrypoint": "entry:Order", "schedules": [], "retention": KEPT, "limits": limits}
    ]
    assert [line for line in err.splitlines() if line.startswith("Ignored")] == [
        "Ignored: wrangler.jsonc: the workflow order: limits: of no meaning here: cpu_ms",
        "Ignored: wrangler.jsonc: the workflow mail: it is another script's, deploy that one too",
        "Ignored: wrangler.jsonc: vars.RATES: it is no text, and only texts are handed on",
        "Ignored: wrangler.jsonc: of no meaning here: compatibility_date, compatibility_flags, observability",
    ]
    within = await _ended(shell, "within", items=3)
    assert (within["status"], within["output"]) == ("complete", {"total": 6, "currency": "EUR"})
    assert within["retention"] == KEPT
    over = await _ended(shell, "over", items=4)
    assert (over["status"], over["error"]["type"]) == ("errored", "StepDefinitionError")
    assert "'item 3' would be step 4 of this instance, over the limit of 3" in over["error"]["message"]
    assert [step["status"] for step in over["steps"]] == ["complete"] * 3
    assert await server.stop() == 0


async def _ended(shell: Shell, id: str, **params: int) -> Any:
    await shell.document("workflows", "trigger", "order", *ACME, "--id", id, "--params", json.dumps(params))
    status, _, err = await shell.run("instances", "watch", "order", id, *ACME, "-o", "json")
    assert status == 0, err
    return await shell.document("instances", "describe", "order", id, *ACME)

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from stepwell.client.part_health import DETAIL, WARNING
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import ACME, FakeServer


def test_a_created_tenant_is_listed(cli: Cli) -> None:
    made = cli("tenants", "create", "zoo", "-o", "json").document
    assert made == {"tenant": "zoo", "uid": "u2", "spread": 1, "createTime": "2026-01-02T03:04:05Z"}
    listed = cli("tenants", "list", "-o", "json").document
    assert [item["tenant"] for item in listed["items"]] == ["acme", "zoo"]
    assert listed["nextPageToken"] is None
    assert cli("tenants", "list", "--page-size", "1", "-o", "json").document["nextPageToken"] == "1"


def test_people_see_tenants_and_that_there_are_more(cli: Cli) -> None:
    cli("tenants", "create", "zoo")
    shown = cli("tenants", "list", "--page-size", "1")
    assert shown.out.splitlines()[1].startswith("acme")
    assert "--page-token 1" in shown.err


def test_a_tenants_token_may_not_create_tenants(cli: Cli, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("STEPWELL_TOKEN", ACME)
    refused = cli("tenants", "create", "zoo", "-o", "json")
    assert (refused.status, refused.error["code"]) == (1, "PERMISSION_DENIED")


def test_the_doctor_is_content_with_a_server_that_serves(cli: Cli, server: FakeServer) -> None:
    document = cli("doctor", "-o", "json").document
    assert document == {
        "status": "ok",
        "checks": [
            {"name": "server", "status": "ok", "detail": f"{server.endpoint} serves"},
            {"name": "token", "status": "ok", "detail": "the operator's"},
        ],
    }


def test_the_doctor_knows_a_tenants_token(cli: Cli, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("STEPWELL_TOKEN", ACME)
    assert cli("doctor", "-o", "json").document["checks"][1]["detail"] == "a tenant's"


def test_an_unknown_token_is_a_warning_of_the_doctor(cli: Cli, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("STEPWELL_TOKEN", "swk_x_y")
    seen = cli("doctor", "-o", "json")
    assert (seen.status, seen.document["status"], seen.document["checks"][1]["status"]) == (0, "warning", "warning")


def test_the_doctor_tells_what_the_server_says_of_its_parts(cli: Cli, server: FakeServer) -> None:
    server.health.set("sandbox", HealthCheckResponse.NOT_SERVING)
    server.health.set("stores", HealthCheckResponse.SERVING)
    seen = cli("doctor", "-o", "json")
    assert seen.status == 0
    assert [(check["name"], check["status"]) for check in seen.document["checks"][2:]] == [
        ("sandbox", "warning"),
        ("stores", "ok"),
    ]
    assert "sandbox  warning" in cli("doctor").out


def test_the_doctor_shows_what_an_operator_is_told_and_each_warning(cli: Cli, server: FakeServer) -> None:
    detail = (DETAIL, "gVisor\u202e with ptrace".encode())
    server.health.told["sandbox"] = (detail, (WARNING, b"runsc is old"), (WARNING, b"no limits"))
    server.health.set("sandbox", HealthCheckResponse.SERVING)
    seen = cli("doctor", "-o", "json")
    assert (seen.status, seen.document["status"]) == (0, "warning")
    assert seen.document["checks"][2:] == [
        {"name": "sandbox", "status": "ok", "detail": "gVisor\u202e with ptrace"},
        {"name": "sandbox", "status": "warning", "detail": "runsc is old"},
        {"name": "sandbox", "status": "warning", "detail": "no limits"},
    ]
    server.health.set("sandbox", HealthCheckResponse.NOT_SERVING)
    shown = cli("doctor").out
    assert "\u202e" not in shown
    assert "not ready: gVisor" in shown


def test_the_doctor_ends_with_3_until_the_server_serves(cli: Cli, server: FakeServer) -> None:
    server.health.set("", HealthCheckResponse.NOT_SERVING)
    seen = cli("doctor", "-o", "json")
    assert (seen.status, seen.error["reason"]) == (3, "NOT_SERVING")


def test_the_doctor_ends_with_3_where_no_server_ever_was(unconnected: Cli) -> None:
    assert unconnected("doctor", "-o", "json").status == 3


def test_dev_says_how_to_get_a_server_that_is_not_there(unconnected: Cli, environ: pytest.MonkeyPatch) -> None:
    environ.setattr("stepwell.cli.server_module.find_spec", lambda _: None)
    ended = unconnected("dev", "-o", "json")
    assert (ended.status, ended.error["reason"]) == (1, "SERVER_NOT_INSTALLED")
    assert "pip install stepwell-server" in ended.error["message"]


def test_dev_hands_its_options_to_the_server(unconnected: Cli, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Path, int | None, str]] = []

    def run(data: Path, port: int | None, sandbox: str) -> int:
        calls.append((data, port, sandbox))
        return 5

    server = ModuleType("stepwell_server.dev")
    server.run = run  # type: ignore[attr-defined]
    environ.setitem(sys.modules, "stepwell_server", ModuleType("stepwell_server"))
    environ.setitem(sys.modules, "stepwell_server.dev", server)
    environ.setattr("stepwell.cli.server_module.find_spec", lambda name: name == "stepwell_server" or None)
    assert unconnected("dev").status == 5
    unconnected("dev", "--data", str(tmp_path / "here"), "--port", "0", "--sandbox", "process")
    assert calls == [(tmp_path / "data/stepwell", None, "gvisor"), (tmp_path / "here", 0, "process")]


def test_export_says_what_it_wrote(unconnected: Cli, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Path, Path]] = []
    exported = {"folder": "out", "checksum": "abc", "tenants": 2, "versions": 3, "routes": 2, "tokens": 4}
    exported |= {"bundles": 3, "instances": 9, "unfinished": 5, "deleted": 1, "rows": 40, "blobs": 2}

    def run(data: Path, folder: Path) -> dict[str, object]:
        calls.append((data, folder))
        return exported

    server = ModuleType("stepwell_server.export")
    server.run = run  # type: ignore[attr-defined]
    environ.setitem(sys.modules, "stepwell_server", ModuleType("stepwell_server"))
    environ.setitem(sys.modules, "stepwell_server.export", server)
    environ.setattr("stepwell.cli.server_module.find_spec", lambda name: name == "stepwell_server" or None)
    assert unconnected("export", str(tmp_path), "out", "-o", "json").document == exported
    shown = unconnected("export", str(tmp_path), "out").out
    assert "Exported to out, checksum abc" in shown
    assert "2 tenants, 3 versions, 2 routes, 4 tokens, 9 instances, 5 unfinished" in shown
    assert "1 instances that are deleted" in shown
    assert calls == [(tmp_path, Path("out"))] * 2


def test_export_needs_a_data_directory(unconnected: Cli, tmp_path: Path) -> None:
    assert unconnected("export", str(tmp_path / "absent"), "out").status == 2

"""Isolation from inside: a bundle that tries to get at what is not its own, from wherever its code runs."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api
from tests.e2e.server import Server

NO_FILE = r"FileNotFoundError|NotADirectoryError"
READ_ONLY = r"Read-only file system|PermissionError|FileNotFoundError"
DENIED = r"PermissionError|Operation not permitted|Permission denied"
UNREACHABLE = r"ConnectionRefusedError|Network is unreachable|RunRestrictionError|TimeoutError|No such|OSError"
NOT_THERE = r"ProcessLookupError|No such process"
SECRET = "a-secret-of-the-hosts"
ENVIRONMENT = {
    "PATH", "HOME", "LANG", "TZ", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE",
}  # fmt: skip

REFUSED = {
    r"read /proc/1/mem": DENIED + "|" + NO_FILE + r"|OSError|got: b''",
    r"read .*": NO_FILE + "|" + DENIED,
    r"write /proc/1/oom_score_adj": READ_ONLY + "|Invalid argument",
    r"write .*": READ_ONLY,
    r"list /(proc/1/root)?": r"got: \[('(bin|bundle|dev|etc|lib|lib64|proc|sys|tmp|usr)'(, )?)+\]$|" + DENIED,
    r"list the bundle's parent": r"got: \[('(bin|bundle|dev|etc|lib|lib64|proc|sys|tmp|usr)'(, )?)+\]$",
    r"environment": r"got: \[[A-Z', _]*\]$",
    r"environment of 1": r"got: b'|" + DENIED,
    r"mounts": r"got: b'",
    r"cgroup": r"got: b'|" + NO_FILE,
    r"other processes": r"got: \[\]$",
    r"devices": r"got: \[\]$",
    r"who am I": r"got: \[65534, 65534, 65534, 'sandbox'\]$",
    r".* as root": DENIED + r"|Function not implemented|Invalid argument|No such device|RunRestrictionError",
    r"to root|make a tunnel|mount.*|unmount|chroot|mknod|set .*|reboot|load a module": DENIED
    + r"|Function not implemented|Invalid argument|No such device",
    r"to .*|by (UDP|IPv6)": UNREACHABLE,
    r"by name": r"gaierror|RunRestrictionError",
    r"by a (raw|packet) socket": DENIED + r"|RunRestrictionError|not supported",
    r"interfaces": r"got: \[('lo')?\]$|OSError|RunRestrictionError",
    r"(kill|ptrace) another": NOT_THERE + "|" + DENIED,
    r"kill the parent": NOT_THERE + "|" + DENIED + r"|got: None",
    r"sudo": r"FileNotFoundError|RunRestrictionError",
    r"path": r"got: ",
}
"""What may come of an attempt, by a pattern for its name; the first that fits counts."""


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="stepwell-e2e-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        server.environ["STEPWELL_SECRET"] = SECRET
        (server.data / "secret").write_text(SECRET)
        try:
            asyncio.run(server.start())
            yield server
        finally:
            server.end()


@pytest.fixture
async def api(running: Server) -> AsyncIterator[Api]:
    async with Api(running.endpoint, running.token) as api:
        yield api


async def ended(api: Api, tenant: str, workflow: str, payload: object) -> dict[str, object]:
    """What an instance gave."""
    created = await api.create(f"tenants/{tenant}/workflows/{workflow}", payload)
    instance = await api.ended(created.name)
    assert instance.status == pb.INSTANCE_STATUS_COMPLETE, instance.error
    output: dict[str, object] = json.loads(instance.output)
    return output


async def made(api: Api, tenant: str, bundle: str, variables: dict[str, str] | None = None) -> None:
    """A tenant that has deployed the bundle."""
    await api.create_tenant(tenant)
    await api.deploy(tenant, BUNDLES / bundle, variables)


@pytest.mark.parametrize("where", ["import", "run", "coroutine", "thread", "child"])
async def test_nothing_outside_the_sandbox_can_be_read_written_reached_or_seen(
    running: Server, api: Api, where: str
) -> None:
    tenant = f"probing-{where}"
    await made(api, tenant, "probes")
    abstract = f"stepwell-test-{running.pid}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + abstract)
        listening.listen()
        given = {
            "where": where,
            "port": int(running.endpoint.rpartition(":")[2]),
            "abstract": abstract,
            "pid": running.pid,
            "paths": [
                str(running.data / "secret"),
                str(running.data / "control.db"),
                str(running.data),
                f"/proc/1/root{running.data}/secret",
                f"/bundle/../../../..{running.data}/secret",
                f"/proc/{running.pid}/environ",
                f"/proc/{running.pid}/root/etc/shadow",
            ],
        }
        found = await ended(api, tenant, "probe", given)
    assert len(found) > 60 or where == "import"
    wrong = [f"{name}: {what}" for name, what in found.items() if not fits(name, str(what))]
    assert not wrong, "\n".join(wrong)
    environment = set(re.findall(r"'(\w+)'", str(found["environment"])))
    assert environment <= ENVIRONMENT
    told = json.dumps(found)
    assert SECRET not in told
    assert "swk_" not in told
    for name, what in found.items():
        assert name.startswith("read ") or str(running.data) not in str(what), name


def fits(name: str, what: str) -> bool:
    for pattern, expected in REFUSED.items():
        if re.fullmatch(pattern, name):
            return re.match(expected, what) is not None or (
                not what.startswith("got") and re.search(expected, what) is not None
            )
    raise AssertionError(f"no rule for {name}")


async def test_what_an_instance_leaves_behind_stays_with_its_version_and_tenant(api: Api) -> None:
    await made(api, "keeper", "keepsakes")
    first = await ended(api, "keeper", "keep", None)
    again = await ended(api, "keeper", "keep", None)
    assert first["found"] == {}
    assert {"/tmp", "module", "builtins", "environment", "processes"} <= set(_texts(first["left"]))
    assert again["sandbox"] == first["sandbox"], "the same version: the same sandbox, or this test shows nothing"
    assert {"/tmp", "module", "builtins", "environment"} <= set(_texts(again["found"]))
    await made(api, "neighbour", "keepsakes")
    await api.deploy("keeper", BUNDLES / "keepsakes", {"VERSION": "2"})
    other_version = await ended(api, "keeper", "keep", None)
    other_tenant = await ended(api, "neighbour", "keep", None)
    assert other_version["found"] == {}
    assert other_tenant["found"] == {}
    assert len({str(each["sandbox"]) for each in (first, other_version, other_tenant)}) == 3


async def test_an_instance_of_the_old_version_wakes_in_no_sandbox_of_the_new_one(api: Api) -> None:
    """Both at work at once, several of each: no sandbox runs two versions."""
    await made(api, "mover", "keepsakes", {"VERSION": "old"})
    old = [await api.create("tenants/mover/workflows/keep", None) for _ in range(4)]
    await api.deploy("mover", BUNDLES / "keepsakes", {"VERSION": "new"})
    new = [await api.create("tenants/mover/workflows/keep", None) for _ in range(4)]
    sandboxes: dict[str, set[str]] = {}
    for created in [*old, *new]:
        instance = await api.ended(created.name)
        assert instance.status == pb.INSTANCE_STATUS_COMPLETE, instance.error
        sandboxes.setdefault(instance.version, set()).add(json.loads(instance.output)["sandbox"])
    one, other = sandboxes.values()
    assert one.isdisjoint(other)


def _texts(value: object) -> list[str]:
    assert isinstance(value, list | dict)
    return [str(each) for each in value]

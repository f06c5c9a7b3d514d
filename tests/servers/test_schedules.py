"""A node is killed while times of schedules come that it drives: others go on, and each time makes one instance.

Times that were missed stand in for minutes: an operator's hand in etcd has the schedules be in force for longer.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.generations import Change, change
from cluster.records import Schedules
from cluster.store import Put
from cluster.store_etcd import open_etcd_store
from scripts.demo_server import until
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import tenants_pb2
from stepwell_server.cluster_config import NodeConfig, read_cluster_config
from tests.e2e.api import BUNDLES, Api
from tests.servers.installation import Installation

pytestmark = pytest.mark.timeout(300)

WORKFLOWS = 6
"""Driven by several nodes."""

MISSED_MINUTES = 40
MINUTE_MS = 60_000
SPREAD = 16
MADE_S_MAX = 120


async def test_each_time_makes_one_instance_over_the_end_of_a_node(installation: Installation, tmp_path: Path) -> None:
    cluster = installation.cluster
    workflows = [f"tenants/clockwork/workflows/ticking-{number}" for number in range(WORKFLOWS)]
    async with Api(installation.addresses, cluster.token, installation.authority) as api:
        await api.create_tenant("clockwork", SPREAD)
        await api.deploy("clockwork", _bundle(tmp_path))
        tenant = await api.call(api.tenants.GetTenant, tenants_pb2.GetTenantRequest(name="tenants/clockwork"))
        since_ms = await _put_back(installation, tenant.uid)
        await _made(5, workflows[:1], api)
        victim = cluster.nodes[0]
        victim.kill()
        left = [MISSED_MINUTES - len(await api.listed(workflow)) for workflow in workflows]
        print(f"as a node was killed, {left} times were left", file=sys.stderr)
        await _made(MISSED_MINUTES, workflows, api)
        await asyncio.to_thread(cluster.start_node, victim)
        await asyncio.to_thread(until, "every shard has an owner", cluster.is_whole, 60)
        for workflow in workflows:
            instances = [await api.ended(each.name) for each in await api.listed(workflow)]
            times = sorted(each.schedule.scheduled_time.ToMilliseconds() for each in instances)
            first = since_ms - since_ms % MINUTE_MS + MINUTE_MS
            assert times == [first + number * MINUTE_MS for number in range(len(times))]
            assert {each.status for each in instances} == {pb.INSTANCE_STATUS_COMPLETE}
            assert sorted(json.loads(each.output)["scheduledTime"] for each in instances) == times


async def _made(count: int, workflows: list[str], api: Api) -> None:
    """Return once each has so many instances."""
    deadline = time.monotonic() + MADE_S_MAX
    for workflow in workflows:
        while (made := len(await api.listed(workflow))) < count:
            assert time.monotonic() < deadline, f"{workflow} has {made}"
            await asyncio.sleep(0.02)


def _bundle(folder: Path) -> Path:
    """The bundle of the command's test, with several workflows."""
    shutil.copy(BUNDLES / "ticking" / "ticking.py", folder)
    (folder / "stepwell.toml").write_text(
        "".join(
            f'[[workflows]]\nname = "ticking-{number}"\nentrypoint = "ticking:Ticking"\n'
            'schedules = [{ cron = "* * * * *", catch_up = "all" }]\n'
            for number in range(WORKFLOWS)
        )
    )
    return folder


async def _put_back(installation: Installation, uid: str) -> int:
    """Have the tenant's schedules be in force for longer; since when, in ms since the epoch."""
    part = installation.cluster.nodes[0]
    config = read_cluster_config(NodeConfig, installation.cluster.folder / "cluster.toml", part.environment)
    async with open_etcd_store(config.etcd_settings()) as store:
        (stored,) = [each for each in await store.range(keys.SCHEDULES, limit=100) if each.key.endswith(uid)]
        record = decode_value(Schedules, stored)
        since_ms = record.workflows[0].active[0].since_ms - MISSED_MINUTES * MINUTE_MS
        put = tuple(
            each._replace(active=tuple(active._replace(since_ms=since_ms) for active in each.active))
            for each in record.workflows
        )
        operation = Put(stored.key, encode(Schedules(record.tenant_uid, put)))

        async def decide() -> Change[None]:
            return Change((operation,), lambda revision: None)

        await change(store, record.tenant_uid, decide)
    return since_ms

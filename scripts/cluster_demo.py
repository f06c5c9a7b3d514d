"""Shows a cluster at work, through the shipped command alone: real etcd, three real Cassandra nodes, a control server
and three data nodes. One of each is killed while instances run, and nothing is lost.

The instances are those of `make demo`. What it claims it checks, and it exits with 1 and a sentence at the first thing
that is not so. Everything runs on loopback, in folders of its own, and is ended.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import demo
from scripts.demo import APPROVAL, BUNDLES, EXAMPLES, RUNS, committed, compare, tell, verdict
from scripts.demo_server import DemoFailedError, until
from scripts.local_cluster import LocalCluster, Part

PATIENCE_S = 180


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="stepwell-cluster-"))
    cluster: LocalCluster | None = None
    began = time.monotonic()
    try:
        cluster = LocalCluster(folder, java="-XX:TieredStopAtLevel=1")
        show(cluster)
    except DemoFailedError as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        if cluster is not None:
            print(cluster.last_words(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    finally:
        if cluster is not None:
            cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)
    tell(f"Everything that was started is stopped. Done in {time.monotonic() - began:.0f} s.")
    return 0


def show(cluster: LocalCluster) -> None:
    """The whole story, in order."""
    tell("1. etcd, three Cassandra nodes with three copies of everything, a control server, three data nodes")
    cluster.start()
    for node in cluster.ask("nodes", "list")["items"]:
        tell(f"   {node['node']}: {node['role']}, owns {node['ownedShards']} shards")
    for tenant, bundles in BUNDLES.items():
        cluster.ask("tenants", "create", tenant)
        for bundle in bundles:
            cluster.ask("deploy", str(EXAMPLES / bundle), "--tenant", tenant)
    tell("   acme and globex have deployed their workflows, through a data node: it passes on what is not its own.")

    tell("\n2. Six instances")
    for run in RUNS:
        cluster.ask(
            "workflows", "trigger", run.workflow, "--tenant", run.tenant, "--id", run.id, "--params", run.params
        )
        tell(f"   created {run}")

    tell("\n3. SIGKILL of a data node in the middle of steps")
    until("steps are committed and others run", lambda: demo.in_the_middle(cluster), PATIENCE_S)
    before = committed(cluster)
    node = busiest(cluster)
    tell(f"   {node.name} runs the most: kill -9 {node.pid}")
    node.kill()
    began = time.monotonic()
    until(f"{node.name} is known to be gone, and every shard has an owner", lambda: gone(cluster, node), PATIENCE_S)
    compare(before, committed(cluster))
    tell(f"   The others own its shards {time.monotonic() - began:.1f} s later. Every committed result is as it was.")
    cluster.start_node(node)
    tell(f"   {node.name} is back.")

    tell("\n4. SIGKILL of a Cassandra node")
    before = committed(cluster)
    part = cluster.cassandra[-1]
    tell(f"   kill -9 {part.pid}: {part.name}, one of three")
    part.kill()
    moves_on(cluster, "with two Cassandra nodes")
    compare(before, committed(cluster))
    tell("   Steps go on: two copies are a quorum. Every committed result is as it was.")
    cluster.start_cassandra(len(cluster.cassandra))
    tell(f"   {part.name} is back.")

    tell("\n5. SIGKILL of etcd")
    before = committed(cluster)
    tell(f"   kill -9 {cluster.etcd.pid}, for longer than a lease lasts: nobody may be sure any more of what is whose")
    cluster.etcd.kill()
    time.sleep(12)
    cluster.start_etcd()
    began = time.monotonic()
    until("every shard has an owner again", cluster.is_whole, PATIENCE_S)
    compare(before, committed(cluster))
    tell(f"   Back; {time.monotonic() - began:.1f} s later all shards are owned. Every committed result is as it was.")

    tell("\n6. Approvals")
    waiting = [run for run in RUNS if run.waits_for_approval]
    until("every plan and pipeline waits for approval", lambda: demo.all_wait(cluster, waiting), PATIENCE_S)
    before = committed(cluster)
    for run in waiting:
        cluster.ask(
            "instances", "send-event", run.workflow, run.id,
            "--tenant", run.tenant, "--type", "approval", "--payload", APPROVAL,
        )  # fmt: skip
        tell(f"   approved {run}")
    until("every instance has ended", lambda: demo.all_ended(cluster), PATIENCE_S)
    compare(before, committed(cluster))

    tell("\n7. What became of them")
    for run in RUNS:
        tell(f"   {run}: {verdict(run, demo.describe(cluster, run))}")
    tell("   Each ran its own tenant's code, and every result committed before a kill is in the journal unchanged.\n")


def busiest(cluster: LocalCluster) -> Part:
    """The data node that runs the most instances."""
    nodes = [node for node in cluster.ask("nodes", "list")["items"] if node["role"] == "data"]
    name = max(nodes, key=lambda node: node["activeInstances"] or 0)["node"].rpartition(".")[0]
    return next(part for part in cluster.nodes if part.name == name)


def gone(cluster: LocalCluster, part: Part) -> bool:
    """Whether its lease has ended, and what it owned is others'."""
    found = cluster.ask("nodes", "list")
    return found["unownedShards"] == 0 and not any(
        node["node"].rpartition(".")[0] == part.name for node in found["items"]
    )


def moves_on(cluster: LocalCluster, when: str) -> None:
    """Wait until something was committed that was not before, or all wait for a person."""
    before = sum(map(len, committed(cluster).values()))
    waiting = [run for run in RUNS if run.waits_for_approval]
    until(
        f"a step is committed {when}",
        lambda: sum(map(len, committed(cluster).values())) > before or demo.all_wait(cluster, waiting),
        PATIENCE_S,
    )


if __name__ == "__main__":
    sys.exit(main())

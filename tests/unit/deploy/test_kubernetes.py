"""The manifests fit each other: who is selected, by which labels, on which ports."""

from __future__ import annotations

import tomllib
from typing import Any

from tests.unit.deploy.manifests import KUBERNETES, document, objects

OBJECTS = objects()
CONFIG = tomllib.loads((KUBERNETES / "cluster.toml").read_text(encoding="utf-8"))


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each["spec"] for each in OBJECTS if each["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    return {name: spec["template"] for kind in ("StatefulSet", "Job") for name, spec in of_kind(kind).items()}


def selected(selector: dict[str, str]) -> list[str]:
    """The pods that have all these labels."""
    return sorted(name for name, pod in pods().items() if selector.items() <= pod["metadata"]["labels"].items())


def container(name: str) -> dict[str, Any]:
    (only,) = pods()[name]["spec"]["containers"]
    return dict(only)


def test_every_file_of_the_folder_is_applied() -> None:
    kustomization = document(KUBERNETES / "kustomization.yaml")
    generated = [name for each in kustomization["configMapGenerator"] for name in each["files"]]
    named = {*kustomization["resources"], *generated, "kustomization.yaml"}
    assert named == {path.name for path in KUBERNETES.iterdir()}
    assert {each["name"] for each in kustomization["images"]} == {container(name)["image"] for name in pods()}


def test_everything_is_in_the_namespace() -> None:
    (namespace,) = (each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Namespace")
    assert {each["metadata"].get("namespace", namespace) for each in OBJECTS} == {namespace}
    assert [each["kind"] for each in OBJECTS if "namespace" not in each["metadata"]] == ["Namespace"]


def test_services_lead_to_all_that_serve_and_to_ports_that_these_have() -> None:
    for service in of_kind("Service").values():
        assert selected(service["selector"]) == ["control", "node"]
        for port in service["ports"]:
            for name in ("control", "node"):
                assert {"name": port["targetPort"], "containerPort": port["port"]} in container(name)["ports"]


def test_ports_are_those_of_the_settings() -> None:
    ports = {
        "clients": int(CONFIG["server"]["listen"].rpartition(":")[2]),
        "peers": int(CONFIG["peers"]["listen"].rpartition(":")[2]),
        "metrics": CONFIG["telemetry"]["metrics_port"],
    }
    for name in ("control", "node"):
        assert {each["name"]: each["containerPort"] for each in container(name)["ports"]} == ports
    policies = of_kind("NetworkPolicy")
    for name, port in ports.items():
        assert {each["port"] for rule in policies[name]["ingress"] for each in rule["ports"]} == {port}
    stores = {each["port"] for rule in policies["stores"]["egress"] for each in rule["ports"]}
    etcd = {int(endpoint.rpartition(":")[2]) for endpoint in CONFIG["etcd"]["endpoints"]}
    assert stores == {*etcd, 9042, 53}


def test_what_no_policy_allows_is_refused_both_ways() -> None:
    assert of_kind("NetworkPolicy")["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_peers_are_called_by_nobody_else() -> None:
    (ingress,) = of_kind("NetworkPolicy")["peers"]["ingress"]
    (caller,) = ingress["from"]
    assert list(caller) == ["podSelector"], "a namespace's selector would let others in"
    assert selected(caller["podSelector"]["matchLabels"]) == ["control", "node"]


def test_all_that_need_stores_reach_them() -> None:
    policy = of_kind("NetworkPolicy")["stores"]
    assert selected(policy["podSelector"]["matchLabels"]) == ["control", "node", "stepwell-schema"]


def test_one_of_each_kind_is_taken_away_at_a_time() -> None:
    budgets = of_kind("PodDisruptionBudget")
    assert {name: selected(spec["selector"]["matchLabels"]) for name, spec in budgets.items()} == {
        "control": ["control"],
        "node": ["node"],
    }
    assert {spec["maxUnavailable"] for spec in budgets.values()} == {1}


def test_what_is_mounted_is_a_volume_and_every_volume_is_mounted() -> None:
    for name, pod in pods().items():
        mounted = {mount["name"] for mount in container(name)["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_certificates_are_mounted_as_folders_so_that_renewed_ones_arrive() -> None:
    for name in pods():
        through_links = [mount["name"] for mount in container(name)["volumeMounts"] if "subPath" in mount]
        assert through_links == ["config"]


def test_what_runs_no_tenants_code_has_no_privileges() -> None:
    for name in ("control", "stepwell-schema"):
        assert pods()[name]["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container(name)["securityContext"] == {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_pod_has_a_token_of_the_clusters() -> None:
    assert {pod["spec"]["automountServiceAccountToken"] for pod in pods().values()} == {False}

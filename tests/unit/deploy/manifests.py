"""What deploy/ says of the processes of Stepwell, read as their orchestrators read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
CONFIG_PATH = "/etc/stepwell/cluster.toml"
VERBS = ("control", "node", "schema")


@dataclass(frozen=True, slots=True)
class Deployed:
    """One process. `image` is control or node, `verb` what `stepwell` is asked to do; `mounts` are folders and files
    that are there, `ports` those that others may reach by what the image or the manifest says."""

    name: str
    image: str
    verb: str
    arguments: tuple[str, ...]
    config: Path
    environment: Mapping[str, str]
    mounts: frozenset[str]
    grace_s: float
    privileged: bool
    probes: tuple[tuple[str, ...], ...]


def of_compose() -> Iterator[Deployed]:
    """The services whose image is made of Stepwell."""
    for name, service in document(COMPOSE)["services"].items():
        image = service["image"].removeprefix("stepwell-")
        if image not in ("control", "node"):
            continue
        arguments = tuple(service.get("command") or command_of(image))
        volumes = [volume.split(":") for volume in service["volumes"]]
        (source,) = (volume[0] for volume in volumes if volume[1] == CONFIG_PATH)
        check = service.get("healthcheck")
        yield Deployed(
            name,
            image,
            arguments[0],
            arguments,
            DEPLOY / source,
            service.get("environment", {}),
            frozenset(volume[1] for volume in volumes),
            seconds(service.get("stop_grace_period", "10s")),
            service.get("privileged", False),
            (tuple(check["test"][1:]),) if check else (),
        )


def of_kubernetes() -> Iterator[Deployed]:
    """The pods of the manifests, one of each kind."""
    for each in objects():
        if each["kind"] not in ("StatefulSet", "Deployment", "Job"):
            continue
        pod = each["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        image = container["image"].removeprefix("stepwell-")
        arguments = tuple(container.get("args") or command_of(image))
        told = [probe for kind, probe in container.items() if kind.endswith("Probe")]
        yield Deployed(
            each["metadata"]["name"],
            image,
            arguments[0],
            arguments,
            KUBERNETES / "cluster.toml",
            environment(container.get("env", ()), each["metadata"]["name"] + "-0"),
            frozenset(mount["mountPath"] for mount in container["volumeMounts"]),
            pod.get("terminationGracePeriodSeconds", 30),
            container["securityContext"].get("privileged", False),
            tuple(tuple(probe["exec"]["command"]) for probe in told),
        )


def objects() -> list[dict[str, Any]]:
    """All that the kustomization lists, in its order."""
    listed = document(KUBERNETES / "kustomization.yaml")["resources"]
    return [each for name in listed for each in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))]


def document(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def environment(listed: Any, pod: str) -> dict[str, str]:
    """As the kubelet makes it for that pod; what comes from a Secret is `secret`."""
    found: dict[str, str] = {}
    for each in listed:
        source = each.get("valueFrom")
        if source is None:
            value = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], each["value"])
        elif "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "metadata.name"
            value = pod
        else:
            assert not source["secretKeyRef"].get("optional", False)
            value = "secret"
        found[each["name"]] = value
    return found


def dockerfile(image: str) -> str:
    return (DEPLOY / f"Dockerfile.{image}").read_text(encoding="utf-8")


def command_of(image: str) -> list[str]:
    """What the image does when it is asked for nothing."""
    found = re.search(r"^CMD \[(.*)\]$", dockerfile(image), re.MULTILINE)
    assert found is not None, f"Dockerfile.{image} has no CMD"
    return [word.strip(' "') for word in found[1].split(",")]


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def is_mounted(path: Path, mounts: frozenset[str]) -> bool:
    return any(os.path.commonpath([path, mount]) == mount for mount in mounts)

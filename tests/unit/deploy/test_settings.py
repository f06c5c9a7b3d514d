"""Every process that deploy/ starts is started as the program would have it: settings, files, names, ports, times."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from deploy import probe
from stepwell_server.cluster_config import ControlConfig, NodeConfig, host_and_port, read_cluster_config
from stepwell_server.cluster_process import LIVE
from tests.architecture.contracts import options, verbs
from tests.unit.deploy.manifests import (
    COMPOSE,
    CONFIG_PATH,
    Deployed,
    command_of,
    dockerfile,
    document,
    is_mounted,
    objects,
    of_compose,
    of_kubernetes,
)

COMPOSED = list(of_compose())
DEPLOYED = [*COMPOSED, *of_kubernetes()]
RUNNING = [each for each in DEPLOYED if each.verb != "schema"]
STOP_S = 5.0
"""What a process needs to stop beside `drain_s`: half a second for calls, the rest for what it closes."""


def config_of(process: Deployed) -> NodeConfig | ControlConfig:
    if process.verb == "node":
        return read_cluster_config(NodeConfig, process.config, process.environment)
    return read_cluster_config(ControlConfig, process.config, process.environment)


def named(process: Deployed) -> str:
    return f"{process.config.parent.name}: {process.name}"


def test_there_are_as_many_processes_as_the_page_says() -> None:
    assert sorted(each.verb for each in COMPOSED) == ["control"] * 2 + ["node"] * 3 + ["schema"]
    assert sorted(each.verb for each in of_kubernetes()) == ["control", "node", "schema"]


@pytest.mark.parametrize("process", DEPLOYED, ids=named)
def test_its_settings_are_the_programs(process: Deployed) -> None:
    config = config_of(process)
    assert config.cassandra_settings().contact_points


@pytest.mark.parametrize("process", DEPLOYED, ids=named)
def test_its_command_is_one_of_the_programs(process: Deployed) -> None:
    words = " ".join(["stepwell", *(word for word in process.arguments if re.fullmatch(r"[a-z]+", word))])
    command = dict(verbs())[words]
    assert {word for word in process.arguments if word.startswith("--")} <= set(options(command))
    assert process.arguments[-2:] == ("--config", CONFIG_PATH)


@pytest.mark.parametrize("process", RUNNING, ids=named)
def test_its_files_are_mounted(process: Deployed) -> None:
    config = config_of(process)
    paths = [
        value
        for section in (config.server, config.peers, config.etcd, config.cassandra)
        for field in dataclasses.fields(section)
        if isinstance(value := getattr(section, field.name), Path) and value.name
    ]
    assert len(paths) >= 5, "two certificates with their keys, and an authority"
    assert [path for path in paths if not is_mounted(path, process.mounts)] == []


@pytest.mark.parametrize("process", RUNNING, ids=named)
def test_it_is_probed_where_it_listens(process: Deployed) -> None:
    config = config_of(process)
    assert host_and_port("listen", config.server.listen)[1] == probe.PORT
    for command in process.probes:
        python, script, option, certificate, *service = command
        assert (python, script, option) == ("python", "/opt/stepwell/probe.py", "--certificate")
        assert certificate == str(config.server.certificate)
        assert service in ([], [LIVE])


@pytest.mark.parametrize("process", RUNNING, ids=named)
def test_the_image_says_on_which_ports_it_listens(process: Deployed) -> None:
    config = config_of(process)
    exposed = re.findall(r"^EXPOSE (.*)$", dockerfile(process.image), re.MULTILINE)
    assert exposed == [" ".join(each.listen.rpartition(":")[2] for each in (config.server, config.peers))]


@pytest.mark.parametrize("process", RUNNING, ids=named)
def test_it_has_the_time_to_stop_in_good_order(process: Deployed) -> None:
    assert process.grace_s >= config_of(process).drain_s + STOP_S


@pytest.mark.parametrize("process", RUNNING, ids=named)
def test_data_nodes_alone_are_privileged(process: Deployed) -> None:
    assert process.privileged is (process.verb == "node")
    assert process.image == process.verb == command_of(process.image)[0]


def test_in_compose_each_process_is_reached_by_a_name_that_its_certificate_has() -> None:
    told = document(COMPOSE)["services"]["certificates"]["command"][2].split()
    peers, servers = (words.split(",") for words in told[told.index("/certificates") + 1 :][:2])
    for process in (each for each in COMPOSED if each.verb != "schema"):
        host, port = host_and_port("address", config_of(process).peers.address)
        assert (host, config_of(process).name, process.name) == (process.name,) * 3
        assert port == host_and_port("listen", config_of(process).peers.listen)[1]
        assert host in peers
        assert host in servers


def test_in_kubernetes_each_process_is_reached_by_the_name_that_its_governing_service_gives() -> None:
    everything = objects()
    namespace = next(each["metadata"]["name"] for each in everything if each["kind"] == "Namespace")
    services = {each["metadata"]["name"]: each["spec"] for each in everything if each["kind"] == "Service"}
    sets = {each["metadata"]["name"]: each["spec"] for each in everything if each["kind"] == "StatefulSet"}
    for process in (each for each in of_kubernetes() if each.verb != "schema"):
        config, service = config_of(process), sets[process.name]["serviceName"]
        assert config.name == f"{process.name}-0"
        assert services[service]["clusterIP"] == "None"
        assert services[service]["publishNotReadyAddresses"] is True
        port = host_and_port("listen", config.peers.listen)[1]
        assert config.peers.address == f"{process.name}-0.{service}.{namespace}.svc.cluster.local:{port}"

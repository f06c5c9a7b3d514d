"""The settings of a cluster's processes: a file, the environment over it, and what neither may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell_server.cluster_config import ControlConfig, NodeConfig, printable, read_cluster_config
from stepwell_server.sections import ConfigError

GOOD = """
name = "node-7"
[etcd]
endpoints = ["a:2379", "b:2379"]
password = "hush"
[cassandra]
contact_points = ["c"]
datacenter = "dc1"
[loader]
warm_sandboxes = 3
"""


def read(tmp_path: Path, text: str, **environ: str) -> NodeConfig:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return read_cluster_config(NodeConfig, path, environ)


def test_a_file_sets_what_it_names(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert (config.name, config.etcd.endpoints, config.loader.warm_sandboxes) == ("node-7", ("a:2379", "b:2379"), 3)
    assert config.etcd_settings().endpoints == ("a:2379", "b:2379")
    assert config.cassandra_settings().contact_points == ("c",)
    assert config.server.listen == "127.0.0.1:7837"


def test_the_environment_is_over_the_file(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        GOOD,
        STEPWELL__NAME="node-8",
        STEPWELL__ETCD__ENDPOINTS="x:1, y:2",
        STEPWELL__CASSANDRA__PORT="9999",
        STEPWELL__LOADER__LOG_LINES_A_SECOND_MAX="5",
        STEPWELL__GVISOR__CGROUPS="false",
        STEPWELL__DRAIN_S="3",
        STEPWELL_ENDPOINT="a client's, and no setting",
    )
    assert (config.name, config.etcd.endpoints, config.cassandra.port) == ("node-8", ("x:1", "y:2"), 9999)
    assert (config.loader.log_lines_a_second_max, config.loader.warm_sandboxes) == (5, 3)
    assert (config.gvisor.cgroups, config.drain_s) == (False, 3.0)


def test_one_file_does_for_both_kinds_of_process_and_is_checked_by_both(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(GOOD + "[control_plane]\nversions_max = 7\n")
    environ = {"STEPWELL__LOADER__WARM_SANDBOXES": "4"}
    assert read_cluster_config(ControlConfig, path, environ).control_plane.versions_max == 7
    assert read_cluster_config(NodeConfig, path, environ).loader.warm_sandboxes == 4
    path.write_text("[loader]\nwarm_sandbox = 1\n")
    with pytest.raises(ConfigError, match=r"\[loader\] has no 'warm_sandbox'"):
        read_cluster_config(ControlConfig, path, {})


def test_without_a_file_the_environment_is_enough() -> None:
    environ = {"STEPWELL__ETCD__ENDPOINTS": "a:1"}
    assert read_cluster_config(ControlConfig, None, environ).etcd.endpoints == ("a:1",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[nonsense]\nx = 1", "'nonsense' is not known here; there are name, data"),
        ("[etcd]\nendpoint = 'a:1'", r"\[etcd\] has no 'endpoint'"),
        ("etcd = 1", r"etcd is a table, \[etcd\], not 1"),
        ("[etcd]\nendpoints = 'a:1'", "etcd.endpoints takes a list of texts"),
        ("[cassandra]\nport = '9042'", "cassandra.port takes int"),
        ("drain_s = -1", "drain_s can't be negative"),
        ("name = 'a/b'", "can't be a name"),
        ("sandbox = 'docker'", "sandbox is gvisor or process"),
        ("[cluster]\nshard_count = 0", "shard_count is from 1 to 65536"),
        ("[server]\nlisten = '7837'", r"\[server\] listen is host:port"),
        ("[telemetry]\ntrace_ratio = 2", "trace_ratio is from 0 to 1"),
        ("[etcd", "cluster.toml: "),
    ],
)
def test_what_can_not_be_meant_is_refused_and_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("STEPWELL__NONSENSE", "1", "STEPWELL__NONSENSE names no setting"),
        ("STEPWELL__ETCD", "a:1", r"names no setting of \[etcd\]"),
        ("STEPWELL__ETCD__ENDPOINT", "a:1", r"names no setting of \[etcd\]"),
        ("STEPWELL__NAME__X", "a", "name is no table"),
        ("STEPWELL__CASSANDRA__PORT", "many", "cassandra.port takes int, not 'many'"),
    ],
)
def test_a_variable_that_names_nothing_is_refused(tmp_path: Path, variable: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(tmp_path, GOOD, **{variable: value})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: there is no such file"):
        read_cluster_config(NodeConfig, tmp_path / "missing.toml", {})


def test_what_is_missing_is_said_when_it_is_needed(tmp_path: Path) -> None:
    config = read(tmp_path, "")
    with pytest.raises(ConfigError, match=r"\[etcd\] endpoints: name at least one member"):
        config.etcd_settings()
    with pytest.raises(ConfigError, match=r"\[cassandra\]: Cassandra needs at least one contact point"):
        config.cassandra_settings()


@pytest.mark.parametrize("listen", ["0.0.0.0:7837", "10.1.2.3:7837", "[::]:7837", "node-1.example:7837"])
def test_nothing_listens_off_loopback_in_plaintext(tmp_path: Path, listen: str) -> None:
    config = read(tmp_path, f"[server]\nlisten = '{listen}'\n[peers]\nlisten = '{listen}'")
    with pytest.raises(ConfigError, match="tokens would cross the network in plaintext"):
        config.server_certificates()
    with pytest.raises(ConfigError, match="anybody who reaches it could call in anybody's name"):
        config.peer_certificates()


@pytest.mark.parametrize("listen", ["127.0.0.1:7837", "127.0.0.2:7837", "localhost:7837", "[::1]:7837"])
def test_on_loopback_no_certificate_is_needed(tmp_path: Path, listen: str) -> None:
    config = read(tmp_path, f"[server]\nlisten = '{listen}'\n[peers]\nlisten = '{listen}'")
    assert config.server_certificates() is None
    assert config.peer_certificates() is None


def test_half_of_a_certificate_is_refused(tmp_path: Path) -> None:
    config = read(tmp_path, "[server]\ncertificate = 'a.pem'\n[peers]\ncertificate = 'a.pem'\nprivate_key = 'a.key'")
    with pytest.raises(ConfigError, match=r"\[server\] certificate and private_key: name both"):
        config.server_certificates()
    with pytest.raises(ConfigError, match=r"\[peers\].*name all three, or none"):
        config.peer_certificates()


def test_what_is_printed_can_be_read_again_and_has_no_secrets(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    text = printable(config)
    assert "hush" not in text
    assert "hush" not in repr(config)
    assert 'password = "(hidden)"' in text
    again = read(tmp_path, text.replace("(hidden)", "hush"))
    assert again == config

"""config.toml: what it may say of gVisor, and how a wrong word is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell_server.config import DevConfig, read_config
from stepwell_server.sections import ConfigError


def read(folder: Path, text: str) -> DevConfig:
    (folder / "config.toml").write_text(text)
    return read_config(folder, None, "gvisor")


def test_the_sandboxes_runtime_and_limits_are_the_operators(tmp_path: Path) -> None:
    said = '[gvisor]\nplatform = "systrap"\nrunsc = "/opt/runsc"\nmemory_bytes_max = 1000\ncgroups = false\n'
    found = read(tmp_path, said).gvisor
    assert (found.platform, found.runsc, found.memory_bytes_max, found.cgroups) == (
        "systrap",
        "/opt/runsc",
        1000,
        False,
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('platform = "kvm"', "gvisor.platform is ptrace or systrap, not 'kvm'"),
        ("platform = 1", "gvisor.platform is ptrace or systrap, not 1"),
        ('cgroups = "no"', "gvisor.cgroups takes bool, not 'no'"),
        ("cpu_millis_max = -1", "gvisor.cpu_millis_max can't be negative"),
        ("memory = 1", r"\[gvisor\] has no 'memory'; there are cgroup, cgroups, cpu_millis_max"),
    ],
)
def test_a_wrong_word_is_refused_with_what_would_be_right(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(tmp_path, f"[gvisor]\n{line}\n")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('otlp_endpoint = "localhost:4317"', "otlp_endpoint is http://host:port, or https://.*, not 'localhost:4317'"),
        ("trace_ratio = 1.5", "trace_ratio is from 0 to 1, not 1.5"),
        ("metrics_port = 65536", "metrics_port is from 1 to 65535, or 0 for none, not 65536"),
        ('log_format = "xml"', "telemetry.log_format is text or json, not 'xml'"),
    ],
)
def test_telemetry_that_cant_be_is_refused_with_the_file_and_the_section(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^{tmp_path}.*: .*{why}"):
        read(tmp_path, f"[telemetry]\n{line}\n")


def test_telemetry_is_off_by_default_and_figures_are_on_loopback(tmp_path: Path) -> None:
    found = read(tmp_path, "").telemetry
    assert (found.otlp_endpoint, found.metrics_port, found.metrics_address) == ("", 0, "127.0.0.1")

"""What can't be set says why: the server listens on loopback until it has TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.cli.main import main
from stepwell_server.config import read_config
from stepwell_server.sections import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        'host = "0.0.0.0"',
        'listen = "0.0.0.0:7837"',
        'bind = "::"',
        'address = "10.0.0.1"',
        '[listen]\nhost = "0.0.0.0"',
        '[rpc]\nhost = "0.0.0.0"',
        '[rpc]\nlisten = "0.0.0.0:7837"',
    ],
)
def test_where_to_listen_can_not_be_set_and_the_error_says_why(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1 and nowhere else") as refused:
        read_config(tmp_path, None, "gvisor")
    assert str(tmp_path / "config.toml") in str(refused.value)


@pytest.mark.parametrize("option", ["--host", "--listen", "--bind"])
def test_no_option_lets_the_server_listen_elsewhere(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["dev", option, "0.0.0.0"]) == 2
    assert "127.0.0.1 and nowhere else" in capsys.readouterr().err


def test_a_tenants_calls_are_bounded_by_the_operator(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[rpc]\ncalls_per_tenant_max = 7\nwatches_per_tenant_max = 2\n")
    rpc = read_config(tmp_path, None, "gvisor").rpc
    assert (rpc.calls_per_tenant_max, rpc.watches_per_tenant_max) == (7, 2)

"""The configuration of `stepwell dev`: one frozen value, read once.

Three come from the command line; the rest from `config.toml` in the data directory, where a table a section names the
fields below. A key that nobody knows is an error: it is a typo, or meant for another version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from control_plane.limits import ControlLimits
from data_plane.logs.limits import LogLimits
from data_plane.node import NodeSettings
from data_plane.quotas import TenantLimits
from loader.sandbox.sandbox_gvisor import GVisorSettings
from loader.settings import LoaderSettings
from rpc.limits import RpcLimits
from stepwell.engine.limits import EngineLimits
from stepwell_server.sections import ConfigError, checked, document, section
from stepwell_server.telemetry_settings import TelemetrySettings

_ADDRESSES: Final = frozenset("host hosts listen bind address addr interface endpoint".split())
"""What one might call where to listen: there is a sentence for it."""


@dataclass(frozen=True, slots=True)
class DevConfig:
    """Both planes in one process, on one machine."""

    data: Path
    """Where everything durable is kept; made when it is absent."""

    port: int = 7837
    """On loopback; 0 takes a free one."""

    sandbox: Literal["gvisor", "process"] = "gvisor"
    """`process` isolates nothing: for machines without gVisor, and for code that you trust."""

    drain_s: float = 10.0
    """How long SIGTERM waits for what is in flight."""

    loader: LoaderSettings = field(default_factory=LoaderSettings)
    gvisor: GVisorSettings = field(default_factory=GVisorSettings)
    node: NodeSettings = field(default_factory=NodeSettings)
    tenants: TenantLimits = field(default_factory=TenantLimits)
    engine: EngineLimits = field(default_factory=EngineLimits)
    control_plane: ControlLimits = field(default_factory=ControlLimits)
    logs: LogLimits = field(default_factory=LogLimits)
    rpc: RpcLimits = field(default_factory=RpcLimits)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)


SECTIONS: dict[str, type] = {
    "loader": LoaderSettings,
    "gvisor": GVisorSettings,
    "node": NodeSettings,
    "tenants": TenantLimits,
    "engine": EngineLimits,
    "control_plane": ControlLimits,
    "logs": LogLimits,
    "rpc": RpcLimits,
    "telemetry": TelemetrySettings,
}


def read_config(data: Path, port: int | None, sandbox: str) -> DevConfig:
    """The configuration for this data directory. Raises ConfigError."""
    path = data / "config.toml"
    values: dict[str, Any] = {}
    for name, value in document(path, missing_is_empty=True).items():
        _refuse_address(path, name)
        if name == "drain_s":
            values[name] = checked(str(path), name, value, float)
        elif name in SECTIONS and isinstance(value, dict):
            for key in value:
                _refuse_address(path, key)
            values[name] = section(str(path), name, SECTIONS[name], value)
        else:
            known = ", ".join(["drain_s", *(f"[{section}]" for section in SECTIONS)])
            raise ConfigError(f"{path}: {name!r} is not known here; there are {known}")
    if sandbox not in ("gvisor", "process"):
        raise ConfigError(f"--sandbox is gvisor or process, not {sandbox!r}")
    if port is not None:
        values["port"] = port
    return DevConfig(data=data, sandbox=sandbox, **values)  # type: ignore[arg-type]


def _refuse_address(path: Path, key: str) -> None:
    if key.lower() in _ADDRESSES:
        raise ConfigError(
            f"{path}: {key!r} can't be set: this server listens on 127.0.0.1 and nowhere else, and tokens go over it in"
            " plaintext. Let a proxy with TLS on this machine serve others, or run `stepwell node`, which speaks TLS"
        )

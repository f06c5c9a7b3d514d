"""The configuration of `stepwell dev`: one frozen value, read once.

Three come from the command line; the rest from `config.toml` in the data directory, where a table a section names the
fields below. A key that nobody knows is an error: it is a typo, or meant for another version.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from control_plane.limits import ControlLimits
from data_plane.engine.limits import EngineLimits
from data_plane.logs.limits import LogLimits
from data_plane.node import NodeSettings
from data_plane.quotas import TenantLimits
from loader.sandbox.sandbox_gvisor import GVisorSettings
from loader.settings import LoaderSettings
from rpc.limits import RpcLimits
from stepwell_server.telemetry_settings import TelemetrySettings

_ADDRESSES = frozenset("host hosts listen bind address addr interface endpoint".split())
"""What one might call where to listen: there is a sentence for it."""

CONFIG_BYTES_MAX = 64 * 1024

Section = TypeVar("Section")


class ConfigError(Exception):
    """What is wrong, in which file, and what would be right."""


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
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    values: dict[str, Any] = {}
    for name, table in document.items():
        if name == "drain_s":
            values[name] = _checked(path, name, table, float)
        elif name in SECTIONS and isinstance(table, dict):
            values[name] = _section(path, name, SECTIONS[name], table)
        else:
            _refuse_address(path, name)
            known = ", ".join(["drain_s", *(f"[{section}]" for section in SECTIONS)])
            raise ConfigError(f"{path}: {name!r} is not known here; there are {known}")
    if sandbox not in ("gvisor", "process"):
        raise ConfigError(f"--sandbox is gvisor or process, not {sandbox!r}")
    if port is not None:
        values["port"] = port
    return DevConfig(data=data, sandbox=sandbox, **values)  # type: ignore[arg-type]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {CONFIG_BYTES_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8") from None


def _section(path: Path, name: str, kind: type[Section], table: dict[str, Any]) -> Section:
    known = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in known:
            _refuse_address(path, key)
            raise ConfigError(f"{path}: [{name}] has no {key!r}; there are {', '.join(sorted(known))}")
        if get_origin(known[key]) is Literal:
            values[key] = _chosen(path, f"{name}.{key}", value, get_args(known[key]))
        else:
            default = getattr(kind(), key)
            values[key] = _checked(path, f"{name}.{key}", value, type(default))
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{path}: [{name}] {error}") from None


def _chosen(path: Path, name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ConfigError(f"{path}: {name} is {' or '.join(choices)}, not {value!r}")
    return value


def _refuse_address(path: Path, key: str) -> None:
    if key.lower() in _ADDRESSES:
        raise ConfigError(
            f"{path}: {key!r} can't be set: the server listens on 127.0.0.1 and nowhere else, since it has no TLS yet"
            " and tokens would cross the network in plaintext. Let a proxy with TLS on this machine serve others"
        )


def _checked(path: Path, name: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if kind is Path and type(value) is str:
        value = Path(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise ConfigError(f"{path}: {name} takes {kind.__name__}, not {value!r}")
    if isinstance(value, int | float) and value < 0:
        raise ConfigError(f"{path}: {name} can't be negative")
    return value

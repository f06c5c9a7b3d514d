"""The configuration of `stepwell node` and `stepwell control`: a file, and the environment over it.

A setting of the section `etcd` that is called `endpoints` is `STEPWELL__ETCD__ENDPOINTS` in the environment; lists are
separated by commas there. Both are read once, by one function, into one frozen value a process.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from cluster.cassandra.settings import CassandraSettings
from cluster.etcd.connection import EtcdSettings
from control_plane.limits import ControlLimits
from data_plane.assignment import SHARD_COUNT
from data_plane.logs.limits import LogLimits
from data_plane.node import NodeSettings
from data_plane.quotas import TenantLimits
from loader.bundles.cache import CACHE_BYTES_MAX
from loader.sandbox.sandbox_gvisor import GVisorSettings
from loader.settings import LoaderSettings
from rpc.limits import RpcLimits
from rpc.tls import CertificateFiles
from stepwell.engine.limits import EngineLimits
from stepwell_server.sections import ConfigError, checked, document, section, value_of
from stepwell_server.telemetry_settings import TelemetrySettings

ENVIRONMENT: Final = "STEPWELL__"

NOWHERE: Final = Path()
"""Stands for a file that is not named."""

_SECRETS: Final = frozenset({"password"})
HIDDEN: Final = "(hidden)"


@dataclass(frozen=True, slots=True)
class ServerSection:
    """Where clients connect."""

    listen: str = "127.0.0.1:7837"
    """host:port. Off loopback only with a certificate, since tokens go over it."""
    certificate: Path = NOWHERE
    private_key: Path = NOWHERE


@dataclass(frozen=True, slots=True)
class PeersSection:
    """Where the installation's other processes connect, and what they must show."""

    listen: str = "127.0.0.1:7838"
    """host:port. Off loopback only with certificates: whoever may speak here may speak for everybody."""
    address: str = ""
    """host:port by which the others reach it; empty: where it listens. Its certificate is for this host."""
    certificate: Path = NOWHERE
    private_key: Path = NOWHERE
    authority: Path = NOWHERE
    """Of an authority that certifies this installation's processes and nobody else."""


@dataclass(frozen=True, slots=True)
class ClusterSection:
    """What all processes must have alike."""

    shard_count: int = SHARD_COUNT
    """Fixed when the first process starts; each one that starts checks it."""


@dataclass(frozen=True, slots=True)
class EtcdSection:
    """See `cluster.etcd.connection.EtcdSettings`."""

    endpoints: tuple[str, ...] = ()
    prefix: str = "stepwell/"
    authority: Path = NOWHERE
    certificate: Path = NOWHERE
    private_key: Path = NOWHERE
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CassandraSection:
    """See `cluster.cassandra.settings.CassandraSettings`."""

    contact_points: tuple[str, ...] = ()
    datacenter: str = ""
    keyspace: str = "stepwell"
    port: int = 9042
    user: str = ""
    password: str = field(default="", repr=False)
    authority: Path = NOWHERE
    certificate: Path = NOWHERE
    private_key: Path = NOWHERE


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What both kinds of process have."""

    name: str = field(default_factory=socket.gethostname)
    """Of this process, among others: shown by `stepwell nodes list`."""
    data: Path = Path("/var/lib/stepwell")
    """Nothing in it has to outlive the process: a cache of bundles, sandboxes."""
    drain_s: float = 10.0
    """How long SIGTERM waits for what is in flight."""
    bundle_cache_bytes: int = CACHE_BYTES_MAX
    """Of bundles in the data folder; those that were used longest ago make room."""
    server: ServerSection = field(default_factory=ServerSection)
    peers: PeersSection = field(default_factory=PeersSection)
    cluster: ClusterSection = field(default_factory=ClusterSection)
    etcd: EtcdSection = field(default_factory=EtcdSection)
    cassandra: CassandraSection = field(default_factory=CassandraSection)
    rpc: RpcLimits = field(default_factory=RpcLimits)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    def etcd_settings(self) -> EtcdSettings:
        """Raises ConfigError."""
        of = self.etcd
        if not of.endpoints:
            raise ConfigError("[etcd] endpoints: name at least one member, as host:port")
        if bool(of.certificate.name) != bool(of.private_key.name):
            raise ConfigError("[etcd] certificate and private_key: name both, or neither")
        return EtcdSettings(
            of.endpoints,
            of.prefix,
            _bytes_of(of.authority),
            _bytes_of(of.certificate),
            _bytes_of(of.private_key),
            of.user,
            of.password,
        )

    def cassandra_settings(self) -> CassandraSettings:
        """Raises ConfigError."""
        of = self.cassandra
        try:
            return CassandraSettings(
                of.contact_points,
                of.datacenter,
                of.keyspace,
                of.port,
                of.user,
                of.password,
                _named(of.authority),
                _named(of.certificate),
                _named(of.private_key),
            )
        except ValueError as error:
            raise ConfigError(f"[cassandra]: {error}") from None

    def server_certificates(self) -> CertificateFiles | None:
        """Raises ConfigError where there should be some."""
        of = self.server
        if bool(of.certificate.name) != bool(of.private_key.name):
            raise ConfigError("[server] certificate and private_key: name both, or neither")
        if of.certificate.name:
            return CertificateFiles(of.certificate, of.private_key)
        _refuse_plaintext("server", of.listen, "tokens would cross the network in plaintext")
        return None

    def peer_certificates(self) -> CertificateFiles | None:
        """Raises ConfigError where there should be some."""
        of = self.peers
        named = [bool(path.name) for path in (of.certificate, of.private_key, of.authority)]
        if any(named) and not all(named):
            raise ConfigError("[peers] certificate, private_key and authority: name all three, or none")
        if all(named):
            return CertificateFiles(of.certificate, of.private_key, of.authority)
        _refuse_plaintext("peers", of.listen, "anybody who reaches it could call in anybody's name")
        return None


@dataclass(frozen=True, slots=True)
class NodeConfig(ClusterConfig):
    """Of a data-plane node."""

    sandbox: Literal["gvisor", "process"] = "gvisor"
    """`process` isolates nothing: for code that you trust."""
    loader: LoaderSettings = field(default_factory=LoaderSettings)
    gvisor: GVisorSettings = field(default_factory=GVisorSettings)
    node: NodeSettings = field(default_factory=NodeSettings)
    tenants: TenantLimits = field(default_factory=TenantLimits)
    engine: EngineLimits = field(default_factory=EngineLimits)
    logs: LogLimits = field(default_factory=LogLimits)


@dataclass(frozen=True, slots=True)
class ControlConfig(ClusterConfig):
    """Of a control-plane server."""

    control_plane: ControlLimits = field(default_factory=ControlLimits)


@dataclass(frozen=True, slots=True)
class _Both(NodeConfig):
    """All that a file may say."""

    control_plane: ControlLimits = field(default_factory=ControlLimits)


Config = TypeVar("Config", NodeConfig, ControlConfig)


def read_cluster_config(kind: type[Config], path: Path | None, environ: Mapping[str, str]) -> Config:
    """What the file says, where there is one, and the environment over it. Raises ConfigError.

    One file does for both kinds of process: what is the other kind's is held against that, and not used.
    """
    defaults, both = kind(), _Both()
    told = document(path, missing_is_empty=False) if path is not None else {}
    values = _values(_Both, both, str(path), told)
    for variable, text in sorted(environ.items()):
        if variable.startswith(ENVIRONMENT):
            _set_from_environment(_Both, both, values, variable, text)
    mine = {each.name for each in dataclasses.fields(defaults)}
    config = kind(**{name: value for name, value in values.items() if name in mine})
    if not config.name or not (config.name.isascii() and config.name.isprintable()) or "/" in config.name:
        raise ConfigError(f"name: {config.name!r} can't be a name: printable ASCII without '/', please")
    if not 1 <= config.cluster.shard_count <= SHARD_COUNT_MAX:
        raise ConfigError(f"[cluster] shard_count is from 1 to {SHARD_COUNT_MAX}, not {config.cluster.shard_count}")
    for name, listen in (("server", config.server.listen), ("peers", config.peers.listen)):
        host_and_port(f"[{name}] listen", listen)
    return config


SHARD_COUNT_MAX: Final = 65_536
"""Each costs an owner's record in etcd and a few rows in Cassandra."""


def _values(kind: type, defaults: Any, where: str, told: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    names = [each.name for each in dataclasses.fields(kind)]
    for name, value in told.items():
        if name not in names:
            raise ConfigError(f"{where}: {name!r} is not known here; there are {', '.join(names)}")
        default = getattr(defaults, name)
        if dataclasses.is_dataclass(default):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {name} is a table, [{name}], not {value!r}")
            values[name] = section(where, name, type(default), value)
        elif name == "sandbox":
            values[name] = value_of(where, name, value, Literal["gvisor", "process"], default)
        else:
            values[name] = checked(where, name, value, type(default))
    return values


def _set_from_environment(kind: type, defaults: Any, values: dict[str, Any], variable: str, text: str) -> None:
    parts = variable.removeprefix(ENVIRONMENT).lower().split("__")
    name = parts[0]
    if name not in [each.name for each in dataclasses.fields(kind)] or len(parts) > 2:
        raise ConfigError(f"the environment's {variable} names no setting")
    before = values.get(name, getattr(defaults, name))
    if not dataclasses.is_dataclass(before):
        if len(parts) != 1:
            raise ConfigError(f"the environment's {variable} names no setting: {name} is no table")
        values.update(_values(kind, defaults, f"the environment's {variable}", {name: _parsed(text, before)}))
        return
    if len(parts) != 2 or parts[1] not in [each.name for each in dataclasses.fields(before)]:
        raise ConfigError(f"the environment's {variable} names no setting of [{name}]")
    table = {parts[1]: _parsed(text, getattr(before, parts[1]))}
    read = section(f"the environment's {variable}", name, type(before), table)
    values[name] = dataclasses.replace(before, **{parts[1]: getattr(read, parts[1])})  # type: ignore[type-var]


def _parsed(text: str, like: Any) -> Any:
    """What TOML would have given; what can't be is left as text, and refused by its type."""
    if isinstance(like, tuple):
        return [each.strip() for each in text.split(",") if each.strip()]
    if isinstance(like, bool):
        return {"true": True, "false": False}.get(text, text)
    if isinstance(like, int | float):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


def printable(config: ClusterConfig) -> str:
    """The configuration as a file would have it, secrets hidden."""
    lines: list[str] = []
    tables: list[str] = []
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if dataclasses.is_dataclass(value):
            rows = [_line(part.name, getattr(value, part.name)) for part in dataclasses.fields(value)]
            tables.append("\n".join([f"\n[{each.name}]", *rows]))
        else:
            lines.append(_line(each.name, value))
    return "\n".join([*lines, *tables]) + "\n"


def _line(name: str, value: Any) -> str:
    if name in _SECRETS and value:
        value = HIDDEN
    return f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case Path():
            return _toml("" if value == NOWHERE else str(value))
        case tuple() | list():
            return f"[{', '.join(map(_toml, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{key} = {_toml(each)}' for key, each in value.items())}}}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def host_and_port(what: str, text: str) -> tuple[str, int]:
    """Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{what} is host:port, such as 127.0.0.1:7837, not {text!r}")
    return host, int(port)


def _refuse_plaintext(name: str, listen: str, why: str) -> None:
    host, _ = host_and_port(f"[{name}] listen", listen)
    try:
        loopback = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise ConfigError(
            f"[{name}] listen: {listen} is not loopback, and there is no certificate: {why}. Name its certificate, or "
            "listen on 127.0.0.1"
        )


def _named(path: Path) -> Path | None:
    return path if path.name else None


def _bytes_of(path: Path) -> bytes | None:
    if not path.name:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"[etcd] {path}: {error.strerror}") from None

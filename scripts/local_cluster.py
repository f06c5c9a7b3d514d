"""A whole cluster on loopback, from real parts: etcd, Cassandra, control servers and data nodes, each a process of its
own that may be killed and started again. For demonstrations, benchmarks and tests; everything is ended by pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.cassandra.settings import CassandraSettings
from scripts.demo_server import COMMAND, DemoFailedError, free_port, until

ROOT: Final = Path(__file__).resolve().parent.parent
START_S_MAX: Final = 120
STOP_S_MAX: Final = 30
ASK_S_MAX: Final = 60
"""For one command, the moments in which its instance is nobody's included."""


class Part:
    """One process of the cluster. `environment` and `group`, which it runs as, may be set until it starts."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.environment = environment
        self.group: int | None = None
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        # Not by Popen, which would fork in full for it: gRPC's handlers don't always live through that.
        as_group = () if self.group is None else ("setpriv", f"--regid={self.group}", "--keep-groups")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*as_group, *self._command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and force when it does not listen."""
        if not self.runs:
            return
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def expect(self) -> None:
        """Raises when it has ended by itself."""
        if not self.runs:
            raise DemoFailedError(f"{self.name} has ended; its last words ({self.log}):\n{self.last_words()}")

    def last_words(self, lines: int = 30) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Tls(NamedTuple):
    """Files, and what names them: `authority` is by whom clients trust Stepwell's processes as `localhost`; `etcd` has
    flags, `cassandra` is a file of settings, `environment` is for Stepwell's processes."""

    authority: Path
    etcd: tuple[str, ...]
    cassandra: Path
    environment: Mapping[str, str]


class LocalCluster:
    """`start` it, and `stop` it in any case. `java` adds flags to Cassandra's JVM; `settings` is TOML that all of
    Stepwell's processes get. Without `tls` everything is in plaintext."""

    def __init__(
        self,
        folder: Path,
        *,
        cassandra: int = 3,
        control: int = 1,
        nodes: int = 3,
        sandbox: str = "gvisor",
        settings: str = "",
        java: str = "",
        tls: Tls | None = None,
    ) -> None:
        self.folder = folder
        self.token = ""
        self._tls = tls
        self._mine = {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")} | {
            "XDG_CONFIG_HOME": str(folder / "config"),
            **(tls.environment if tls else {}),
        }
        self._sandbox = sandbox
        self._java = java
        self._replication = min(3, cassandra)
        self.cassandra_port, self.etcd_port, self._storage_port = free_port(), free_port(), free_port()
        self._config = folder / "cluster.toml"
        self._config.write_text(self._settings(cassandra) + settings)
        self.etcd = self._etcd()
        self.cassandra = [self._cassandra(number) for number in range(1, cassandra + 1)]
        self.endpoints: dict[str, str] = {}
        """Where clients reach control servers and data nodes, by name."""
        self.peer_ports: dict[str, int] = {}
        """Where they reach each other."""
        self.controls = [self._stepwell("control", number) for number in range(1, control + 1)]
        self.nodes = [self._stepwell("node", number) for number in range(1, nodes + 1)]

    # ---------------------------------------------------------------- life
    def start(self) -> None:
        """Returns once all of it serves."""
        if not COMMAND.exists():
            raise DemoFailedError(f"{COMMAND} is not there: run `make setup`")
        self.start_etcd()
        for number in range(1, len(self.cassandra) + 1):
            self.start_cassandra(number)
        self._run("schema", "apply", "--replication-factor", str(self._replication), config=True)
        self.token = self._run("control", "--new-operator", config=True).strip()
        for part in (*self.controls, *self.nodes):
            part.start()
        for part in (*self.controls, *self.nodes):
            self.await_serving(part)
        until("every shard has an owner", self.is_whole, START_S_MAX)

    def stop(self) -> None:
        with ExitStack() as stack:
            for part in (self.etcd, *self.cassandra, *self.controls):
                stack.callback(part.stop)
            for part in self.nodes:
                stack.callback(part.stop)

    def start_etcd(self) -> None:
        self.etcd.start()
        self._await_port(self.etcd, "127.0.0.1", self.etcd_port)

    def start_cassandra(self, number: int) -> None:
        """One after the other, as a new cluster's must be."""
        part = self.cassandra[number - 1]
        part.start()
        self._await_port(part, f"127.0.0.{number}", self.cassandra_port)

    def start_node(self, part: Part) -> None:
        part.start()
        self.await_serving(part)

    def await_serving(self, part: Part) -> None:
        def serves() -> bool:
            part.expect()
            return self._asked(self.endpoints[part.name], "doctor").returncode == 0

        until(f"{part.name} serves", serves, START_S_MAX)

    def is_whole(self) -> bool:
        """Whether every shard has an owner that lives."""
        return bool(self.ask("nodes", "list")["unownedShards"] == 0)

    def cassandra_settings(self) -> CassandraSettings:
        """For whoever wants to speak to Cassandra itself."""
        points = [f"127.0.0.{number}" for number in range(1, len(self.cassandra) + 1)]
        return CassandraSettings(points, "datacenter1", port=self.cassandra_port)

    # ---------------------------------------------------------------- questions
    def ask(self, *arguments: str, of: Part | None = None) -> Any:
        """The JSON document that a verb prints, asked of any process that runs; again, while it says that it could not
        do it just now. Raises with the command and its error."""
        deadline = time.monotonic() + ASK_S_MAX
        while True:
            part = of or next(part for part in (*self.nodes, *self.controls) if part.runs)
            asked = self._asked(self.endpoints[part.name], *arguments)
            if asked.returncode == 0:
                return json.loads(asked.stdout)
            if "UNAVAILABLE" not in asked.stderr or time.monotonic() > deadline:
                ended = f"exited {asked.returncode}: {asked.stderr.strip()}"
                raise DemoFailedError(f"`stepwell {' '.join(arguments)}` at {part.name} {ended}")
            time.sleep(0.3)

    def last_words(self) -> str:
        """Of all of Stepwell's processes."""
        return "\n".join(f"{part.log}:\n{part.last_words(12)}" for part in (*self.controls, *self.nodes))

    # ---------------------------------------------------------------- how each is started
    def _settings(self, cassandra: int) -> str:
        points = ", ".join(f'"127.0.0.{number}"' for number in range(1, cassandra + 1))
        return (
            f'[etcd]\nendpoints = ["127.0.0.1:{self.etcd_port}"]\n'
            f'[cassandra]\ncontact_points = [{points}]\ndatacenter = "datacenter1"\nport = {self.cassandra_port}\n'
            "[cluster]\nshard_count = 64\n"
        )

    def _etcd(self) -> Part:
        found = subprocess.run([ROOT / "scripts/etcd_binary"], capture_output=True, text=True, check=False)
        if found.returncode != 0:
            raise DemoFailedError(found.stderr.strip())
        scheme = "https" if self._tls else "http"
        client, peer = f"{scheme}://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{free_port()}"
        command = [
            found.stdout.strip(),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            *(self._tls.etcd if self._tls else ()),
        ]
        return Part("etcd", command, self._mine, self.folder)

    def _cassandra(self, number: int) -> Part:
        environment = self._mine | {
            "CASSANDRA_PORT": str(self.cassandra_port),
            "CASSANDRA_STORAGE_PORT": str(self._storage_port),
            "CASSANDRA_JAVA": self._java,
        }
        if self._tls:
            environment["CASSANDRA_YAML"] = str(self._tls.cassandra)
        folder = self.folder / f"cassandra-{number}"
        command = [str(ROOT / "scripts/cassandra_node"), str(number), str(folder)]
        return Part(f"cassandra-{number}", command, environment, self.folder)

    def _stepwell(self, kind: str, number: int) -> Part:
        name = f"{kind}-{number}"
        self.endpoints[name] = f"127.0.0.1:{free_port()}"
        self.peer_ports[name] = free_port()
        environment = self._mine | {
            "STEPWELL__NAME": name,
            "STEPWELL__DATA": str(self.folder / name),
            "STEPWELL__SERVER__LISTEN": self.endpoints[name],
            "STEPWELL__PEERS__LISTEN": f"127.0.0.1:{self.peer_ports[name]}",
        }
        if self._tls:
            environment["STEPWELL__PEERS__ADDRESS"] = f"localhost:{self.peer_ports[name]}"
        if kind == "node":
            environment["STEPWELL__SANDBOX"] = self._sandbox
        return Part(name, [str(COMMAND), kind, "--config", str(self._config)], environment, self.folder)

    def _asked(self, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = self._mine | {"STEPWELL_ENDPOINT": endpoint, "STEPWELL_TOKEN": self.token}
        if self._tls:
            environment |= {
                "STEPWELL_ENDPOINT": endpoint.replace("127.0.0.1", "https://localhost"),
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self._tls.authority),
            }
        return subprocess.run(
            [str(COMMAND), *arguments, "-o", "json"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_S_MAX,
            check=False,
        )

    def _run(self, *arguments: str, config: bool) -> str:
        more = ["--config", str(self._config)] if config else []
        command = [str(COMMAND), *arguments, *more]
        ran = subprocess.run(command, env=self._mine, capture_output=True, text=True, timeout=START_S_MAX, check=False)
        if ran.returncode != 0:
            raise DemoFailedError(f"`stepwell {' '.join(arguments)}` exited {ran.returncode}: {ran.stderr.strip()}")
        return ran.stdout

    def _await_port(self, part: Part, host: str, port: int) -> None:
        def listens() -> bool:
            part.expect()
            with socket.socket() as probe:
                return probe.connect_ex((host, port)) == 0

        until(f"{part.name} serves", listens, START_S_MAX)

"""A cluster whose every connection is encrypted and proved: by certificates among its processes, etcd and Cassandra, by
passwords besides at the latter two, by a certificate and tokens for clients."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import grpc
import trustme
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cluster.cassandra.settings import CassandraSettings
from scripts.demo_server import until
from scripts.local_cluster import ROOT, LocalCluster, Tls

USER: Final = "stepwell"
PASSWORD: Final = "of no use elsewhere"
SET_UP_S_MAX: Final = 60.0
NAME: Final = "localhost"


class Certificates:
    """In a folder: `make-certificates`' own for Stepwell, and those of an authority for its stores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.make()
        stores = trustme.CA()
        stores.cert_pem.write_to_path(str(folder / "stores-ca.pem"))
        for name, hosts in (("store", [f"127.0.0.{number}" for number in range(1, 4)]), ("client", [NAME])):
            issued = stores.issue_cert(*hosts)
            key = load_pem_private_key(issued.private_key_pem.bytes(), None)
            (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            (folder / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        (folder / "store-both.pem").write_bytes(
            (folder / "store.key").read_bytes() + (folder / "store.pem").read_bytes()
        )

    def make(self) -> None:
        """What of Stepwell's own is not there."""
        subprocess.run([ROOT / "deploy/make-certificates", self.folder, NAME, NAME], check=True, timeout=60)

    def renew(self, name: str) -> None:
        """`server` or `peer`: another certificate, by the same authority."""
        (self.folder / f"{name}.pem").unlink()
        self.make()

    def tls(self) -> Tls:
        of = self.folder
        yaml = of / "cassandra.yaml"
        yaml.write_text(
            "authenticator: PasswordAuthenticator\n"
            "authorizer: CassandraAuthorizer\n"
            "client_encryption_options:\n  enabled: true\n  optional: false\n  require_client_auth: true\n"
            "  ssl_context_factory: {class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}\n"
            f"  keystore: {of / 'store-both.pem'}\n  truststore: {of / 'stores-ca.pem'}\n"
        )
        stores = {"AUTHORITY": "stores-ca.pem", "CERTIFICATE": "client.pem", "PRIVATE_KEY": "client.key"}
        environment = {
            "STEPWELL__SERVER__CERTIFICATE": str(of / "server.pem"),
            "STEPWELL__SERVER__PRIVATE_KEY": str(of / "server.key"),
            "STEPWELL__PEERS__CERTIFICATE": str(of / "peer.pem"),
            "STEPWELL__PEERS__PRIVATE_KEY": str(of / "peer.key"),
            "STEPWELL__PEERS__AUTHORITY": str(of / "peers-ca.pem"),
        }
        for store in ("ETCD", "CASSANDRA"):
            environment |= {f"STEPWELL__{store}__{name}": str(of / file) for name, file in stores.items()}
            environment |= {f"STEPWELL__{store}__USER": USER, f"STEPWELL__{store}__PASSWORD": PASSWORD}
        etcd = (
            "--client-cert-auth",
            f"--cert-file={of / 'store.pem'}",
            f"--key-file={of / 'store.key'}",
            f"--trusted-ca-file={of / 'stores-ca.pem'}",
        )
        return Tls(of / "server-ca.pem", etcd, yaml, environment)


class SecuredCluster(LocalCluster):
    """The users that Stepwell has at its stores are made as they start for the first time."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.certificates = Certificates(folder / "certificates")
        super().__init__(folder, tls=self.certificates.tls(), **more)

    def start_etcd(self) -> None:
        super().start_etcd()
        files = self.certificates.folder
        credentials = grpc.ssl_channel_credentials(
            (files / "stores-ca.pem").read_bytes(),
            (files / "client.key").read_bytes(),
            (files / "client.pem").read_bytes(),
        )
        with grpc.secure_channel(f"127.0.0.1:{self.etcd_port}", credentials) as channel:

            def call(method: str, request: bytes) -> None:
                ask: Any = channel.unary_unary(f"/etcdserverpb.{method}")
                ask(request, timeout=SET_UP_S_MAX, wait_for_ready=True)

            for user, role in (("root", "root"), (USER, "stepwell")):
                call("Auth/UserAdd", _field(1, user.encode()) + _field(2, PASSWORD.encode()))
                if role != "root":
                    call("Auth/RoleAdd", _field(1, role.encode()))
                    call("Auth/RoleGrantPermission", _field(1, role.encode()) + _field(2, _permission(b"stepwell/")))
                call("Auth/UserGrantRole", _field(1, user.encode()) + _field(2, role.encode()))
            call("Auth/AuthEnable", b"")

    def start_cassandra(self, number: int) -> None:
        super().start_cassandra(number)
        if number == 1:
            until("Cassandra has its first user", self._has_made_the_user, SET_UP_S_MAX)

    def cassandra_settings(self) -> CassandraSettings:
        files = self.certificates.folder
        open_ = super().cassandra_settings()
        return CassandraSettings(
            open_.contact_points,
            open_.datacenter,
            port=open_.port,
            user=USER,
            password=PASSWORD,
            authority=files / "stores-ca.pem",
            certificate=files / "client.pem",
            private_key=files / "client.key",
        )

    def _has_made_the_user(self) -> bool:
        """Cassandra makes its own superuser a moment after it has started."""
        settings = self.cassandra_settings()
        cluster = Cluster(
            ["127.0.0.1"],
            port=self.cassandra_port,
            ssl_context=settings.tls(),
            auth_provider=PlainTextAuthProvider("cassandra", "cassandra"),
        )
        try:
            session = cluster.connect()
        except Exception as error:
            if "AuthenticationFailed" in repr(error):
                return False
            raise
        try:
            session.execute(f"CREATE ROLE IF NOT EXISTS {USER} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
            session.execute(f"GRANT ALL PERMISSIONS ON ALL KEYSPACES TO {USER}")
            # Last: from here on a quorum of copies is asked who may enter. Nodes that join are sent theirs.
            copies = f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': {min(3, len(self.cassandra))}}}"
            session.execute(f"ALTER KEYSPACE system_auth WITH replication = {copies}")
        finally:
            cluster.shutdown()
        return True


def _field(number: int, value: bytes) -> bytes:
    """A string or a message, as protobuf writes it; up to 127 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


def _permission(prefix: bytes) -> bytes:
    """authpb.Permission: to read and write what begins so."""
    after = prefix[:-1] + bytes([prefix[-1] + 1])
    return bytes([1 << 3, 2]) + _field(2, prefix) + _field(3, after)

"""The probe of the images tells what a server on TLS says of its health, without its authority and without a token."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy import probe
from rpc.tls import CertificateFiles, Certificates

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Server:
    """On loopback, with its certificate in a file."""

    port: int
    certificate: Path
    health: health.HealthServicer

    def asked(self, *service: str) -> int:
        return probe.main(["--certificate", str(self.certificate), "--port", str(self.port), *service])


def serving(folder: Path, *names: str) -> Iterator[Server]:
    issued = trustme.CA().issue_cert(*names)
    certificate, private_key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    private_key.write_bytes(issued.private_key_pem.bytes())
    server = grpc.server(futures.ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    certificates = Certificates(CertificateFiles(certificate, private_key))
    port = server.add_secure_port(f"{probe.HOST}:0", certificates.server())
    server.start()
    yield Server(port, certificate, servicer)
    server.stop(None).wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    yield from serving(tmp_path, "stepwell.example.com")


@pytest.fixture
def server_of_many_names(tmp_path: Path) -> Iterator[Server]:
    yield from serving(tmp_path, "*.stepwell.example.com")


@pytest.fixture
def server_without_a_name(tmp_path: Path) -> Iterator[Server]:
    yield from serving(tmp_path, "127.0.0.1")


def test_a_server_that_serves_is_ready(server: Server) -> None:
    server.health.set("", SERVING)
    assert server.asked() == 0


def test_a_server_that_lives_and_does_not_serve_is_alive_and_not_ready(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.health.set("", NOT_SERVING)
    server.health.set("live", SERVING)
    assert server.asked("live") == 0
    assert server.asked() == 1
    assert capsys.readouterr().err == "probe: the whole is NOT_SERVING\n"


def test_a_certificate_for_a_wildcard_is_enough(server_of_many_names: Server) -> None:
    server_of_many_names.health.set("", SERVING)
    assert server_of_many_names.asked() == 0


def test_a_certificate_without_a_host_name_is_refused_in_words(
    server_without_a_name: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert server_without_a_name.asked() == 1
    assert "make one that has a DNS name" in capsys.readouterr().err


def test_another_certificate_than_the_servers_is_not_trusted(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.health.set("", SERVING)
    server.certificate = tmp_path / "other.pem"
    server.certificate.write_bytes(trustme.CA().issue_cert("stepwell.example.com").cert_chain_pems[0].bytes())
    assert server.asked() == 1
    assert "certificate verify failed" in capsys.readouterr().err


def test_nobody_there_is_not_alive(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.port = 1
    assert server.asked("live") == 1
    assert "probe: 127.0.0.1:1, with " in capsys.readouterr().err


def test_a_service_that_the_server_does_not_know_is_not_alive(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert server.asked("lively") == 1
    assert capsys.readouterr().err == f"probe: 127.0.0.1:{server.port} answers NOT_FOUND\n"

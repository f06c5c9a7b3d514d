"""What make-certificates makes can be used by processes of Stepwell, and for nothing else than it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rpc.tls import CertificateFiles, Certificates

COMMAND = Path(__file__).resolve().parents[3] / "deploy" / "make-certificates"
PEERS = "node-0.peers.example.com,*.wide.example.com"
NAMES = "stepwell.example.com"


def made(folder: Path) -> None:
    subprocess.run([COMMAND, folder, PEERS, NAMES], check=True, timeout=60)


def verified(folder: Path, name: str, authority: str, purpose: str, host: str) -> bool:
    """Whether OpenSSL takes the certificate, for that purpose and that host."""
    command = f"openssl verify -CAfile {authority}-ca.pem -purpose {purpose} -verify_hostname {host} {name}.pem"
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, check=False, timeout=60)
    return done.returncode == 0


def test_processes_can_use_what_is_made(tmp_path: Path) -> None:
    made(tmp_path)
    Certificates(CertificateFiles(tmp_path / "server.pem", tmp_path / "server.key"))
    Certificates(CertificateFiles(tmp_path / "peer.pem", tmp_path / "peer.key", tmp_path / "peers-ca.pem"))


def test_a_peer_calls_and_is_called_by_its_names_and_no_others(tmp_path: Path) -> None:
    made(tmp_path)
    for purpose in ("sslserver", "sslclient"):
        assert verified(tmp_path, "peer", "peers", purpose, "node-0.peers.example.com")
        assert verified(tmp_path, "peer", "peers", purpose, "node-7.wide.example.com")
        assert not verified(tmp_path, "peer", "peers", purpose, "node-1.peers.example.com")


def test_the_servers_certificate_opens_nothing_among_peers(tmp_path: Path) -> None:
    made(tmp_path)
    assert verified(tmp_path, "server", "server", "sslserver", "stepwell.example.com")
    assert not verified(tmp_path, "server", "server", "sslclient", "stepwell.example.com")
    assert not verified(tmp_path, "server", "peers", "sslserver", "stepwell.example.com")


def test_a_certificate_that_was_removed_is_made_again_by_the_same_authority(tmp_path: Path) -> None:
    made(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    (tmp_path / "peer.pem").unlink()
    made(tmp_path)
    changed = {name for name, data in before.items() if (tmp_path / name).read_bytes() != data}
    assert changed == {"peer.pem", "peer.key"}
    assert verified(tmp_path, "peer", "peers", "sslserver", "node-0.peers.example.com")


def test_nobody_else_may_read_keys(tmp_path: Path) -> None:
    made(tmp_path)
    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) == 4
    assert [key.name for key in keys if key.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("arguments", [[], ["folder"], ["folder", "peers", "names", "more"]])
def test_without_its_arguments_it_says_which(arguments: list[str]) -> None:
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "make-certificates FOLDER PEERS NAMES" in done.stderr

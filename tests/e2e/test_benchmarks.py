"""Benchmarks leave nothing behind, whoever ends them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 30.0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_benchmark_that_is_ended_ends_its_servers(sent: signal.Signals) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "bench", "tenants"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        etcd = _etcd_of(bench)
        bench.send_signal(sent)
        bench.communicate(timeout=ENDS_WITHIN_S)
        assert bench.returncode not in (None, 0)
        assert not _runs(etcd), "etcd is still there"
    finally:
        bench.kill()
        bench.communicate()


def _etcd_of(bench: subprocess.Popen[bytes]) -> int:
    """The pid of the etcd that it started."""
    until_s = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until_s:
        for of_a_thread in Path(f"/proc/{bench.pid}/task").glob("*/children"):
            for pid in of_a_thread.read_text().split():
                if b"etcd" in Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]:
                    return int(pid)
        time.sleep(0.1)
    pytest.fail("it started no etcd")


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"

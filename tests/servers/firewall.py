"""Cuts processes of a cluster on loopback off from each other, packets dropped both ways, by rules of nftables.

A process is told by the group that it runs as, on the connections that it opens, and by its ports on those that others
open to it. The rules are in a table of their own, which goes with the block.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

FIRST_GROUP: Final = 71_000
"""Of the groups that processes are told by; they need not be in any file."""


class Firewall:
    """`group` is for a process to start as; `cut` is in force within its block. Raises RuntimeError, in nft's words."""

    def __init__(self, table: str) -> None:
        self._table = f"inet {table}"
        self._groups = 0
        self.dropped = 0
        """Packets, by all cuts that have ended."""

    def __enter__(self) -> Firewall:
        _nft(
            f"add table {self._table}\n"
            f"add chain {self._table} marks {{ type filter hook output priority -10; }}\n"
            f"add chain {self._table} cuts {{ type filter hook output priority 0; }}"
        )
        return self

    def __exit__(self, *_: object) -> None:
        _nft(f"delete table {self._table}")

    def group(self) -> int:
        """Connections of whoever runs as it are told apart from now on."""
        self._groups += 1
        group = FIRST_GROUP + self._groups
        _nft(f"add rule {self._table} marks meta skgid {group} ct state new ct mark set {group}")
        return group

    @contextmanager
    def cut(self, *, group: int, reaching: Iterable[int], reached: Iterable[int] = ()) -> Iterator[None]:
        """Nothing goes from the group's processes to these ports, nor back; nor from anybody to the ports `reached`."""
        to, own = (", ".join(map(str, ports)) for ports in (reaching, reached))
        rules = [f"ct mark {group} tcp {side} {{ {to} }}" for side in ("dport", "sport")]
        if own:
            rules += [f"tcp {side} {{ {own} }}" for side in ("dport", "sport")]
        _nft("\n".join(f"add rule {self._table} cuts {rule} counter drop" for rule in rules))
        try:
            yield
        finally:
            self.dropped += self._counted()
            _nft(f"flush chain {self._table} cuts")

    def _counted(self) -> int:
        told = json.loads(_nft("", "--json", "list", "chain", *self._table.split(), "cuts"))
        rules = [each["rule"]["expr"] for each in told["nftables"] if "rule" in each]
        return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)


def _nft(commands: str, *arguments: str) -> str:
    """Commands by standard input, or one as arguments."""
    command = ["nft", *(arguments or ("--file", "-"))]
    ran = subprocess.run(command, input=commands, capture_output=True, text=True, check=False, timeout=30)
    if ran.returncode != 0:
        raise RuntimeError(f"nft: {ran.stderr.strip()}; it takes root, or CAP_NET_ADMIN")
    return ran.stdout

"""What guests run on: the Python, the machine and the C library that a bundle's packages have to be made for."""

from __future__ import annotations

from typing import NamedTuple


class GuestRuntime(NamedTuple):
    """The system is always Linux."""

    python_version: str
    """All three numbers, such as 3.11.2."""

    implementation: str
    """`sys.implementation.name`: cpython."""

    machine: str
    """`platform.machine()`: x86_64, aarch64."""

    libc: str
    """glibc, or empty: then packages with native code can't be promised to work."""

    libc_version: str
    """Such as 2.36; empty without `libc`."""

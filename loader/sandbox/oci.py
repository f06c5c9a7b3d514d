"""What a gVisor sandbox is allowed, as an OCI runtime specification. Pure: the same arguments, the same value.

Everything that a tenant's code can see is named here: the read-only root, the bundle, an in-memory /tmp, an environment
without anything of the host's. No capabilities, no network, nobody's uid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from loader.sandbox.rootfs import LIBRARY

PYTHON_FLAGS: Final = ("-P", "-s", "-S", "-B")
"""Not -I: it would ignore PYTHONHASHSEED, which replay needs. -S: `site` costs file system calls and brings nothing."""

GUEST_ARGV: Final = ("/usr/bin/python3", *PYTHON_FLAGS, str(LIBRARY / "stepwell/guest/boot.pyc"))

GUEST_ENV: Final = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
}
"""All of a guest's environment; fixed, so that every process of a version sees the same."""

NOBODY: Final = 65534
"""Debian's nobody: uid and gid of everything in a sandbox."""

BUNDLE_PATH: Final = "/bundle"

_NAMESPACES: Final = ("pid", "ipc", "uts", "mount", "network")


def oci_spec(rootfs: Path, bundle: Path, *, tmp_bytes: int, files_max: int, processes_max: int) -> dict[str, Any]:
    """The content of config.json: `rootfs` and `bundle` are folders of the host."""
    rlimits = {"RLIMIT_NOFILE": files_max, "RLIMIT_NPROC": processes_max, "RLIMIT_CORE": 0}
    return {
        "ociVersion": "1.0.2",
        "hostname": "sandbox",
        "process": {
            "user": {"uid": NOBODY, "gid": NOBODY},
            "args": list(GUEST_ARGV),
            "env": [f"{name}={value}" for name, value in GUEST_ENV.items()],
            "cwd": "/tmp",
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [{"type": name, "soft": value, "hard": value} for name, value in rlimits.items()],
        },
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
                "options": [f"size={tmp_bytes}", "mode=1777", "nosuid", "nodev"],
            },
            {
                "destination": BUNDLE_PATH, "type": "bind", "source": str(bundle),
                "options": ["bind", "ro", "nosuid", "nodev"],
            },
        ],
        "linux": {"namespaces": [{"type": kind} for kind in _NAMESPACES]},
    }  # fmt: skip

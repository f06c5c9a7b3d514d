"""The read-only root file system of gVisor sandboxes, made of this machine's own Debian Python.

It has the interpreter, the standard library and the guest's part of the SDK, compiled, and the shared libraries that
these need, or that a wheel may take for granted: nothing of the host's /etc, /home, /root or /var. Modules are kept as
bytecode without sources, right where an import looks first: under gVisor every file system call is dear, and this was
quicker than a zip of the library and the usual __pycache__. Those of the guest itself are in one file too.

`python -m loader.sandbox.rootfs` prints its path, and builds it when it is missing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from loader.sandbox.boot_modules import write_boot_modules

PYTHON = Path("/usr/bin/python3.11")
LIBRARY = Path("/usr/lib/python3.11")
ZONES = Path("/usr/share/zoneinfo")

LAYOUT = 3
"""Raise it when what is built here changes, so that an older build is not used."""

_LIBRARY_LEFT_OUT = frozenset(
    {"__pycache__", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "tkinter",
     "turtledemo", "venv"}
)  # fmt: skip
_EXTENSIONS_LEFT_OUT = ("_test", "_xx", "xxlimited", "_tkinter", "nis", "ossaudiodev", "readline", "_curses", "_dbm")
_SDK_LEFT_OUT = frozenset({"__pycache__", "client", "cli", "v1", "testing"})
_ZONES_LEFT_OUT = frozenset({"posix", "right"})
_FOR_WHEELS = (
    "libgcc_s.so.1", "libstdc++.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libc.so.6", "libutil.so.1",
    "libpthread.so.0", "libresolv.so.2", "libz.so.1", "libexpat.so.1",
)  # fmt: skip
"""What a manylinux wheel may need and not bring (PEP 600 and auditwheel's list), but for windows, graphics and GLib."""

_PASSWD = "nobody:x:65534:65534:nobody:/tmp:/usr/sbin/nologin\n"
_GROUP = "nogroup:x:65534:\n"


class RootfsError(Exception):
    """The root file system can't be built; the message says what to install."""


def sdk_folder() -> Path:
    """The folder that has the packages `stepwell` and `workers`, as this process would import them."""
    found = importlib.util.find_spec("stepwell.frames")
    if found is None or found.origin is None:
        raise RootfsError("The package stepwell is not installed beside the server: `pip install stepwell`.")
    return Path(found.origin).parent.parent


def ensure_rootfs(cache: Path | None = None, sdk: Path | None = None) -> Path:
    """The root file system for this machine's Python and this SDK, built when missing; blocks for seconds then.

    Safe to call from several processes at once. Raises RootfsError.
    """
    sdk = sdk or sdk_folder()
    target = (cache or default_cache()) / fingerprint(sdk)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        root = stage / "root"
        _build(root, sdk)
        root.rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return target


def default_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/stepwell/rootfs`, below `~/.cache` by default."""
    base = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "/root"), ".cache")
    return Path(base, "stepwell", "rootfs")


def fingerprint(sdk: Path) -> str:
    """Changes when the interpreter, the SDK's files or this layout do."""
    if not PYTHON.exists() or not LIBRARY.exists():
        raise RootfsError(f"{PYTHON} is missing: `apt-get install python3.11` (Debian 12).")
    seen = hashlib.sha256(f"{LAYOUT} {os.confstr('CS_GNU_LIBC_VERSION')}".encode())
    for path in (PYTHON, LIBRARY, LIBRARY / "os.py", LIBRARY / "lib-dynload"):
        status = path.stat()
        size = 0 if path.is_dir() else status.st_size  # a folder's depends on the file system that it is copied to
        seen.update(f"\n{path} {size} {status.st_mtime_ns}".encode())
    for path in sorted(_sdk_modules(sdk)):
        seen.update(f"\n{path.relative_to(sdk)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()[:32]


def _build(root: Path, sdk: Path) -> None:
    for folder in ("usr/bin", "etc", "proc", "sys", "dev", "tmp", "bundle"):
        (root / folder).mkdir(parents=True)
    _copy_file(PYTHON, root / "usr/bin/python3")
    library = root / LIBRARY.relative_to("/")
    for module in _modules(LIBRARY, _LIBRARY_LEFT_OUT):
        _copy_file(module, library / module.relative_to(LIBRARY))
    for module in _sdk_modules(sdk):
        _copy_file(module, library / module.relative_to(sdk))
    _compile(root, library)
    for extension in (LIBRARY / "lib-dynload").glob("*.so"):
        if not extension.name.startswith(_EXTENSIONS_LEFT_OUT):
            _copy_file(extension, library / "lib-dynload" / extension.name)
    _copy_libraries(root, [PYTHON, *(library / "lib-dynload").iterdir()])
    _copy_zones(root)
    try:
        write_boot_modules(root, LIBRARY, PYTHON)
    except subprocess.CalledProcessError as error:
        raise RootfsError(f"The guest can't be imported: {error.stderr[-2000:]}") from None
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text(_GROUP)
    for base, folders, _ in os.walk(root):
        for each in (base, *(os.path.join(base, name) for name in folders)):
            os.chmod(each, 0o755)


def _compile(root: Path, library: Path) -> None:
    """Put each module's bytecode in its source's place. Unchecked: no import looks for a source that isn't there."""
    command = [
        str(PYTHON), "-I", "-m", "compileall", "-q", "-b", "-j", "0", "--invalidation-mode", "unchecked-hash",
        "-s", str(root), "-p", "/", str(library),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RootfsError(f"The library or the SDK can't be compiled: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    for source in library.rglob("*.py"):
        source.unlink()


def _copy_libraries(root: Path, binaries: list[Path]) -> None:
    done = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=True)
    for word in done.stdout.split():
        if word.startswith("/") and not word.endswith(":"):
            _copy_library(root, Path(word))
            if word.endswith("/libc.so.6"):
                for name in _FOR_WHEELS:
                    _copy_library(root, Path(word).with_name(name))


def _copy_library(root: Path, library: Path) -> None:
    target = root / library.relative_to("/")
    if library.exists() and not target.exists():
        _copy_file(library.resolve(), target)


def _copy_zones(root: Path) -> None:
    """Time zones, for `zoneinfo`, when this machine has them: some 2 MB."""
    for base, folders, files in os.walk(ZONES):
        if Path(base) == ZONES:
            folders[:] = [name for name in folders if name not in _ZONES_LEFT_OUT]
        for name in files:
            path = Path(base, name)
            if path.is_file():
                _copy_file(path.resolve(), root / path.relative_to("/"))


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def _sdk_modules(sdk: Path) -> Iterator[Path]:
    for package in ("stepwell", "workers"):
        yield from _modules(sdk / package, _SDK_LEFT_OUT)


def _modules(folder: Path, left_out: frozenset[str]) -> Iterator[Path]:
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in left_out and not name.startswith("config-")]
        yield from (Path(base, name) for name in files if name.endswith(".py"))


def main() -> None:
    """Print the path, building first when it must."""
    try:
        target = default_cache() / fingerprint(sdk_folder())
        if not target.exists():
            print(f"Building the sandboxes' root file system in {target} …", file=sys.stderr, flush=True)
        print(ensure_rootfs())
    except RootfsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

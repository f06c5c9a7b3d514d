"""Generates the committed Python of proto/, or with --check says whether what is committed is what would be generated.

Each target is a folder of protos that protoc sees under another, virtual path: the one that the generated modules are
imported from, so that `stepwell/v1/instances.proto` becomes `stepwell.v1.instances_pb2` below sdk/, and bytes at rest
become a module inside the part of the data plane that owns them. Files of one target may import each other, and
Google's well-known types. Services get gRPC classes, and only protos that have one do.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")
_SERVICE = re.compile(r"^service\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """Protos of one package and where their Python lives: `below` is a folder on the import path."""

    source: str
    package: str
    below: str

    @property
    def folder(self) -> Path:
        return Path(self.below, self.package)


TARGETS = (
    Target(source="proto/stepwell/v1", package="stepwell/v1", below="sdk"),
    Target(source="proto/stepwell/internal/v1", package="rpc/internal/v1", below="."),
    Target(source="proto/etcd", package="cluster/etcd", below="."),
    Target(source="proto/stepwell/storage/v1", package="data_plane/journal/v1", below="."),
)


def generate(target: Target, into: Path) -> None:
    """Writes a target's modules below `into`, at the same relative places as in the checkout."""
    protos = sorted((ROOT / target.source).glob("*.proto"))
    if not protos:
        raise SystemExit(f"generate_stubs: no .proto file in {target.source}")
    out = into / target.below
    out.mkdir(parents=True, exist_ok=True)
    _protoc(target, protos, [f"--python_out={out}", f"--mypy_out={out}"])
    services = [proto for proto in protos if _SERVICE.search(proto.read_text())]
    if services:
        _protoc(target, services, [f"--grpc_python_out={out}", f"--mypy_grpc_out={out}"])


def _protoc(target: Target, protos: Sequence[Path], outputs: Sequence[str]) -> None:
    scripts = Path(sysconfig.get_path("scripts"))
    with as_file(files("grpc_tools") / "_proto") as well_known:
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{target.package}={ROOT / target.source}",
            f"-I{well_known}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            *outputs,
            *(f"{target.package}/{proto.name}" for proto in protos),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(f"generate_stubs: protoc failed on {target.source}\n{ran.stderr}")


def generated_files(folder: Path) -> dict[str, bytes]:
    """The generated modules that lie in a folder, by name."""
    return {path.name: path.read_bytes() for pattern in GENERATED for path in folder.glob(pattern)}


def differences(target: Target, root: Path = ROOT) -> list[str]:
    """What is wrong with a target's committed modules, one line each; empty when they are fresh."""
    with tempfile.TemporaryDirectory(prefix="stepwell-stubs-") as scratch:
        generate(target, Path(scratch))
        fresh = generated_files(Path(scratch) / target.folder)
    committed = generated_files(root / target.folder)
    found = []
    for name in sorted(fresh.keys() | committed.keys()):
        if name not in committed:
            found.append(f"{target.folder / name} is missing")
        elif name not in fresh:
            found.append(f"{target.folder / name} belongs to no proto any more")
        elif fresh[name] != committed[name]:
            found.append(f"{target.folder / name} is not what {target.source} generates")
    return found


def rewrite(target: Target) -> None:
    """Replaces a target's modules in the checkout, and removes those whose proto is gone."""
    with tempfile.TemporaryDirectory(prefix="stepwell-stubs-") as scratch:
        generate(target, Path(scratch))
        fresh = generated_files(Path(scratch) / target.folder)
    folder = ROOT / target.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in generated_files(folder).keys() - fresh.keys():
        (folder / name).unlink()
    for name, content in fresh.items():
        (folder / name).write_bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the stubs are stale")
    if not parser.parse_args().check:
        for target in TARGETS:
            rewrite(target)
        return 0
    stale = [line for target in TARGETS for line in differences(target)]
    for line in stale:
        print(f"generate_stubs: {line}", file=sys.stderr)
    if stale:
        print("generate_stubs: run `make stubs` and commit what it writes", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

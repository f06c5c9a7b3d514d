"""What a folder's requirements become: wheels for the guest's Python, in a folder of their own, each time the same."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from stepwell.cli.packages import pip_run
from stepwell.cli.packages.cache import SETS_MAX
from stepwell.cli.packages.requirements import REQUIREMENTS_BYTES_MAX, Requirements, read_requirements
from stepwell.cli.packages.resolving import failure
from stepwell.cli.packages.target import Target
from stepwell.v1 import workflows_pb2 as w
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_server import FakeServer
from tests.unit.cli.wheels import NATIVE, pinned, wheel

GOOD = '[[workflows]]\nname = "order"\nentrypoint = "main:Order"\n'


class Project:
    """A folder to be deployed, and beside it one of wheels, which is all the index that there is."""

    def __init__(self, here: Path, cli: Cli, server: FakeServer) -> None:
        self.folder = here / "bundle"
        self.wheels = here / "wheels"
        self.cache = here / "cache"
        self._cli = cli
        self._server = server
        self.wheels.mkdir()
        self.folder.mkdir()
        (self.folder / "stepwell.toml").write_text(GOOD)
        (self.folder / "main.py").write_text("class Order: ...\n")

    def asks_for(self, *lines: str, file: str = "requirements.txt") -> None:
        (self.folder / file).write_text("\n".join(lines) + "\n")

    def packages(self) -> dict[str, bytes]:
        """What is uploaded beside the folder's own files."""
        self._server.uploaded.clear()
        done = self._cli("deploy", str(self.folder), "--tenant", "acme")
        assert done.status == 0, done.err
        prefix = "python_modules/"
        return {
            path.removeprefix(prefix): content
            for path, content in self._server.uploaded.items()
            if path.startswith(prefix)
        }

    def refused(self) -> str:
        """Why it can't be deployed."""
        done = self._cli("deploy", str(self.folder), "--tenant", "acme", "-o", "json")
        assert done.status == 1
        assert done.error["reason"] == "BUNDLE_REFUSED"
        assert self._server.uploaded == {}
        return str(done.error["message"])


@pytest.fixture
def project(tmp_path: Path, cli: Cli, server: FakeServer, environ: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path, cli, server)
    environ.setenv("XDG_CACHE_HOME", str(made.cache))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        environ.delenv(name)
    environ.setenv("PIP_CONFIG_FILE", os.devnull)
    environ.setenv("PIP_NO_INDEX", "1")
    environ.setenv("PIP_FIND_LINKS", str(made.wheels))
    return made


def test_packages_go_into_a_folder_of_their_own_and_can_be_asked_for_their_version(project: Project) -> None:
    wheel(project.wheels, "apple", "1.5", requires=["pear>=2"])
    wheel(project.wheels, "pear", "2.0", tag=NATIVE, files={"pear/__init__.py": "", "pear/data.bin": "x"})
    project.asks_for("apple")
    found = project.packages()
    assert {path for path in found if "dist-info" not in path} == {"apple.py", "pear/__init__.py", "pear/data.bin"}
    assert b"Version: 1.5" in found["apple-1.5.dist-info/METADATA"]


def test_a_lock_is_read_before_the_requirements(project: Project) -> None:
    wheel(project.wheels, "apple", "1.0")
    wheel(project.wheels, "apple", "2.0")
    project.asks_for("apple")
    assert project.packages()["apple.py"] == b"VERSION = '2.0'\n"
    project.asks_for("apple==1.0", file="requirements.lock")
    assert project.packages()["apple.py"] == b"VERSION = '1.0'\n"


@pytest.mark.parametrize("lines", [[""], ["# nothing yet"], ["--index-url https://example.com/simple", "  # none"]])
def test_a_file_that_asks_for_nothing_asks_nobody(project: Project, server: FakeServer, lines: list[str]) -> None:
    project.asks_for(*lines)
    assert project.packages() == {}
    assert server.runtimes_asked == []


def test_what_the_guest_runs_on_decides_and_not_this_machine(project: Project, server: FakeServer) -> None:
    wheel(project.wheels, "apple", tag="cp312-cp312-manylinux_2_28_aarch64", files={"apple.py": "arm"})
    wheel(project.wheels, "apple", tag="cp311-cp311-manylinux2014_x86_64", files={"apple.py": "intel"})
    wheel(project.wheels, "apple", tag="cp311-cp311-manylinux_2_99_x86_64", files={"apple.py": "too new"})
    project.asks_for("apple")
    assert project.packages()["apple.py"] == b"intel"
    server.runtime = w.GuestRuntime(
        python_version="3.12.4", implementation="cpython", machine="aarch64", libc="glibc", libc_version="2.36"
    )
    assert project.packages()["apple.py"] == b"arm"
    assert server.runtimes_asked == ["tenants/acme"] * 2


def test_markers_are_the_guests(project: Project, server: FakeServer) -> None:
    conditions = {
        "old": 'python_version < "3.9"',
        "exact": 'python_full_version == "3.8.1"',
        "linux": 'sys_platform == "linux"',
        "windows": 'sys_platform == "win32"',
        "odd": 'platform_machine == "riscv64"',
        "mine": f'python_version == "{sys.version_info[0]}.{sys.version_info[1]}"',
    }
    for name in conditions:
        wheel(project.wheels, name)
    wheel(project.wheels, "apple", requires=[f"{name} ; {when}" for name, when in conditions.items()])
    project.asks_for("apple", 'windows; os_name == "nt"')
    server.runtime = w.GuestRuntime(
        python_version="3.8.1", implementation="cpython", machine="riscv64", libc="glibc", libc_version="2.36"
    )
    assert {path for path in project.packages() if path.endswith(".py")} == {
        "apple.py", "exact.py", "linux.py", "odd.py", "old.py",
    }  # fmt: skip


def test_without_glibc_only_pure_packages_are_taken(project: Project, server: FakeServer) -> None:
    server.runtime = w.GuestRuntime(python_version="3.11.2", implementation="cpython", machine="x86_64")
    wheel(project.wheels, "apple")
    project.asks_for("apple")
    assert "apple.py" in project.packages()
    wheel(project.wheels, "pear", tag=NATIVE)
    project.asks_for("pear")
    server.uploaded.clear()
    assert "no wheel of pear for CPython 3.11 on Linux x86_64." in project.refused()


def test_the_same_wheels_are_the_same_bytes_however_they_are_named(project: Project) -> None:
    scripts = {
        "apple/__init__.py": "def main(): ...\n",
        "apple-1.0.dist-info/entry_points.txt": "[console_scripts]\napple = apple:main\n",
        "apple-1.0.data/data/share/man/apple.1": "manual",
        "apple-1.0.data/purelib/more.py": "",
        "apple-hack.pth": "import nothing",
        "apple/__init__.pyc": "compiled",
    }
    path = wheel(project.wheels, "apple", files=scripts)
    project.asks_for("apple")
    first = project.packages()
    project.asks_for(f"apple @ file://{path}")
    assert project.packages() == first
    project.asks_for(pinned(path))
    assert project.packages() == first
    info = "apple-1.0.dist-info"
    assert sorted(first) == [
        f"{info}/METADATA", f"{info}/RECORD", f"{info}/WHEEL", f"{info}/entry_points.txt", "apple/__init__.py",
        "more.py",
    ]  # fmt: skip
    listed = {line.split(",")[0] for line in first[f"{info}/RECORD"].decode().splitlines()}
    assert listed == set(first)


def test_a_record_that_names_files_of_others_removes_none_of_them(project: Project, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = wheel(project.wheels, "apple")
    ups = "../" * 40
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["apple-1.0.dist-info/RECORD"] += f"{ups}{str(victim)[1:]},,\n{victim},,\n../bin,,\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    project.asks_for("apple")
    assert "apple.py" in project.packages()
    assert victim.read_text() == "mine"


def test_hashes_are_held(project: Project) -> None:
    path = wheel(project.wheels, "apple")
    project.asks_for(pinned(path))
    assert "apple.py" in project.packages()
    project.asks_for(pinned(path)[:-6] + "00000")
    project._server.uploaded.clear()
    told = project.refused()
    assert "requirements.txt" in told
    assert "DO NOT MATCH THE HASHES" in told


def test_what_is_fixed_by_hashes_is_kept_and_taken_without_pip(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.asks_for(pinned(wheel(project.wheels, "apple")))
    first = project.packages()
    monkeypatch.setattr("stepwell.cli.packages.resolving.subprocess.Popen", None)
    assert project.packages() == first


def test_what_is_not_fixed_is_looked_for_again(project: Project) -> None:
    wheel(project.wheels, "apple", "1.0")
    project.asks_for("apple")
    assert "apple-1.0.dist-info/METADATA" in project.packages()
    wheel(project.wheels, "apple", "2.0")
    assert "apple-2.0.dist-info/METADATA" in project.packages()
    assert list((project.cache / "stepwell/packages").iterdir()) == []


def test_only_so_many_sets_are_kept(project: Project) -> None:
    line = pinned(wheel(project.wheels, "apple"))
    kept = project.cache / "stepwell/packages"
    for number in range(SETS_MAX + 2):
        (kept / f"old-{number}").mkdir(parents=True)
        os.utime(kept / f"old-{number}", (number, number))
    project.asks_for(line)
    project.packages()
    names = {each.name for each in kept.iterdir()}
    assert len(names) == SETS_MAX
    assert "old-2" not in names
    assert "old-3" in names


def test_what_has_no_wheel_is_named_with_what_it_is_for_and_what_to_do(project: Project) -> None:
    wheel(project.wheels, "apple", "1.0")
    wheel(project.wheels, "apple", "2.0", tag="cp311-cp311-win_amd64")
    project.asks_for("apple==2.0")
    told = project.refused()
    assert "requirements.txt: there is no wheel of apple==2.0 for CPython 3.11 on Linux x86_64, glibc 2.36." in told
    assert "Versions that have one: 1.0." in told
    assert "pip wheel" in told
    project.asks_for("pear")
    assert "no wheel of pear for CPython 3.11 on Linux x86_64, glibc 2.36. Is the name right?" in project.refused()


def test_what_contradicts_itself_is_told_in_pips_words(project: Project) -> None:
    wheel(project.wheels, "apple", requires=["pear<2"])
    wheel(project.wheels, "pear", "1.0")
    wheel(project.wheels, "pear", "2.0")
    project.asks_for("apple", "pear==2.0")
    told = project.refused()
    assert "pip can't find its packages for CPython 3.11" in told
    assert "conflicting dependencies" in told


SETUP = "open({!r}, 'w')\nfrom setuptools import setup\nsetup(name='apple', version='1')\n"


@pytest.mark.parametrize("line", ["./source", "-e ./source", "--no-binary apple\napple", "git+file://{here}/source"])
def test_nothing_is_built_and_no_code_of_a_package_runs(project: Project, tmp_path: Path, line: str) -> None:
    ran = tmp_path / "ran"
    source = project.folder / "source"
    source.mkdir()
    (source / "setup.py").write_text(SETUP.format(str(ran)))
    with tarfile.open(project.wheels / "apple-1.tar.gz", "w:gz") as archive:
        archive.add(source, "apple-1")
    project.asks_for(line.format(here=project.folder))
    told = project.refused()
    assert "would have to be built here. Nothing is" in told
    assert not ran.exists()


def test_an_index_that_can_not_be_reached_is_not_taken_for_a_wrong_name(
    project: Project, environ: pytest.MonkeyPatch
) -> None:
    environ.delenv("PIP_NO_INDEX")
    environ.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    environ.setenv("PIP_RETRIES", "1")
    project.asks_for("apple")
    told = project.refused()
    assert "could not reach" in told
    assert "Is the name right" not in told


def test_pip_may_ask_a_keyring_and_start_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keyring", "git"):
        (tmp_path / name).write_text("#!/bin/sh\necho started\n")
        (tmp_path / name).chmod(0o755)
    program = (
        "import subprocess, sys\n"
        "from stepwell.cli.packages.pip_run import refuse_programs\n"
        "sys.addaudithook(refuse_programs)\n"
        "subprocess.run(sys.argv[1:], check=True)\n"
    )

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)

    assert start(str(tmp_path / "keyring"), "get").stdout == "started\n"
    refused = start(str(tmp_path / "git"), "clone")
    assert (refused.stdout, refused.returncode) == ("", 1)
    assert "stepwell lets pip start no program, 'git'" in refused.stderr


def test_a_program_that_pip_wants_to_start_is_named() -> None:
    target = Target("3.11.2", "cpython", "x86_64", "glibc", "2.36")
    told = failure(
        Requirements(Path("requirements.txt"), "", False), target, "apple", f"ERROR: {pip_run.REFUSED}'askpass'\n"
    )
    assert told.message == "requirements.txt: pip wants to start askpass, and may start nothing here but keyring"


def test_a_python_without_pip_is_told_how_to_get_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.asks_for("apple")
    monkeypatch.setattr("stepwell.cli.packages.resolving.importlib.util.find_spec", lambda name: None)
    told = project.refused()
    assert "python -m ensurepip" in told
    assert "uv pip install pip" in told


def test_packages_that_are_there_already_are_not_mixed_with_others(project: Project, server: FakeServer) -> None:
    (project.folder / "python_modules").mkdir()
    (project.folder / "python_modules/own.py").write_text("")
    assert list(project.packages()) == ["own.py"]
    project.asks_for("apple")
    server.uploaded.clear()
    assert "remove one of them" in project.refused()


def test_a_wrangler_projects_requirements_lie_beside_its_file(project: Project, server: FakeServer) -> None:
    (project.folder / "stepwell.toml").unlink()
    (project.folder / "src").mkdir()
    (project.folder / "main.py").rename(project.folder / "src/main.py")
    (project.folder / "wrangler.jsonc").write_text(
        '{"main": "src/main.py", "workflows": [{"name": "order", "binding": "O", "class_name": "Order"}]}'
    )
    wheel(project.wheels, "apple")
    project.asks_for("apple")
    assert "apple.py" in project.packages()
    assert "main.py" in server.uploaded


def test_a_file_that_is_no_file_of_requirements_is_refused(project: Project) -> None:
    (project.folder / "requirements.txt").write_bytes(b"#" * (REQUIREMENTS_BYTES_MAX + 1))
    assert "larger than 1024 KiB" in project.refused()
    (project.folder / "requirements.txt").write_bytes(b"\xff")
    assert "not UTF-8" in project.refused()


def test_people_see_what_goes_on(project: Project, cli: Cli) -> None:
    wheel(project.wheels, "apple")
    project.asks_for("apple")
    shown = cli("deploy", str(project.folder), "--tenant", "acme").err
    assert "Collecting apple" in shown or "Processing" in shown
    assert "Packages of requirements.txt are there, for CPython 3.11 on Linux x86_64, glibc 2.36" in shown
    assert cli("deploy", str(project.folder), "--tenant", "acme", "-o", "json").err == ""


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("a==1 --hash=sha256:00", True),
        ("a==1 \\\n    --hash=sha256:00", True),
        ("a==1", False),
        ("a==1  # --hash=sha256:00", False),
        ("-r other.txt\na==1 --hash=sha256:00", False),
        ("--constraint=c.txt\na==1 --hash=sha256:00", False),
    ],
)
def test_a_text_is_fixed_when_it_alone_says_what_is_taken(tmp_path: Path, text: str, fixed: bool) -> None:
    (tmp_path / "requirements.txt").write_text(text)
    found = read_requirements(tmp_path)
    assert found is not None
    assert found.is_fixed is fixed

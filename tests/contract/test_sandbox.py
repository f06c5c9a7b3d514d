"""What every sandbox promises, and what gVisor's promise besides."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loader.guest import GuestDiedError
from loader.sandbox.sandbox import SandboxError, SandboxLauncher
from stepwell.errors import BundleRefusedError
from tests.contract.sandbox_guests import (
    MANIFEST,
    WORKFLOW,
    Lines,
    booted,
    end_of,
    loaded,
    looking,
    processes_naming,
    seen,
)
from tests.contract.sandbox_launchers import TMP_BYTES, make


@pytest.fixture(params=["gvisor", "process"])
async def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SandboxLauncher]:
    launcher = make(request.param, tmp_path / "sandboxes")
    assert launcher.probe() == []
    yield launcher
    await launcher.close()


@pytest.fixture
async def gvisor(tmp_path: Path) -> AsyncIterator[SandboxLauncher]:
    launcher = make("gvisor", tmp_path / "sandboxes")
    yield launcher
    await launcher.close()


async def test_a_guest_boots_and_says_hello_without_a_thread_for_it(launcher: SandboxLauncher) -> None:
    before = threading.active_count()
    guest = await booted(launcher)
    assert guest.hello is not None
    assert guest.hello.python.startswith("3.11")
    assert threading.active_count() == before


async def test_what_is_written_to_any_descriptor_never_reaches_the_protocol(launcher: SandboxLauncher) -> None:
    noise = "import os\nfor fd in (0, 1, 2):\n    try: os.write(fd, b'noise\\n')\n    except OSError: pass\n"
    child = "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', 'print(\"child\")'])\n"
    guest, lines = await loaded(launcher, noise + "print('hello')\n" + child + WORKFLOW)
    assert guest.alive
    assert await lines.raw(3) == [b"noise", b"noise", b"child"]
    assert lines.of(1) == [b"hello"]


async def test_the_environment_is_fixed_and_nothing_of_the_hosts(
    launcher: SandboxLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_SECRET", "hush")
    environment = await seen(launcher, "dict(os.environ)")
    assert environment["PYTHONHASHSEED"] == "0"
    assert "STEPWELL_SECRET" not in environment
    assert set(environment) <= {
        "PATH", "HOME", "LANG", "LC_CTYPE", "TZ", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE",
        "PYTHONPATH", "TMPDIR", "PWD", "SHLVL", "_",
    }  # fmt: skip


async def test_sets_iterate_alike_in_every_process(launcher: SandboxLauncher) -> None:
    assert await seen(launcher, "hash('a')") == await seen(launcher, "hash('a')")


async def test_a_bundle_that_fails_to_import_says_file_line_and_why(launcher: SandboxLauncher) -> None:
    with pytest.raises(BundleRefusedError) as caught:
        await loaded(launcher, "x = 1\ny = missing\n")
    assert "main.py" in caught.value.message
    assert "line 2" in caught.value.message or ":2" in caught.value.message
    assert "NameError" in caught.value.message


async def test_an_entrypoint_that_is_not_there_says_what_is(launcher: SandboxLauncher) -> None:
    with pytest.raises(BundleRefusedError, match="Other"):
        await loaded(launcher, WORKFLOW.replace("Order", "Other"))


async def test_the_end_of_the_guests_process_is_its_death(launcher: SandboxLauncher) -> None:
    guest, _ = await loaded(
        launcher, "import os, threading\nthreading.Timer(0.05, lambda: os._exit(7)).start()\n" + WORKFLOW
    )
    assert await guest.death
    assert await guest.sandbox.wait() in (7, -signal.SIGKILL)


async def test_an_illegal_frame_ends_its_own_sandbox_only(launcher: SandboxLauncher) -> None:
    neighbour = await booted(launcher)
    forge = "import os\nfor fd in range(3, 200):\n    try: os.write(fd, b'\\xff' * 64)\n    except OSError: pass\n"
    guest = await booted(launcher)
    (guest.sandbox.bundle_source / "main.py").write_text(forge + WORKFLOW)
    with pytest.raises(GuestDiedError, match="illegal frame"):
        await guest.load(guest.sandbox.bundle_path, MANIFEST, {})
    assert neighbour.alive


async def test_a_killed_sandbox_leaves_no_process_and_no_folder(launcher: SandboxLauncher, tmp_path: Path) -> None:
    guest, _ = await loaded(
        launcher, "import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()\n" + WORKFLOW
    )
    folder = guest.sandbox.bundle_source.parent
    assert processes_naming(str(tmp_path))
    guest.kill("the test says so")
    await guest.sandbox.wait()
    await launcher.close()
    assert processes_naming(str(tmp_path)) == set()
    assert not folder.exists()
    assert list((tmp_path / "sandboxes").iterdir()) == []


async def test_a_closed_launcher_boots_nothing(launcher: SandboxLauncher) -> None:
    await launcher.close()
    with pytest.raises(SandboxError, match="closed"):
        await launcher.launch()


HOST = """
import asyncio, sys
from pathlib import Path
from tests.contract.sandbox_guests import booted
from tests.contract.sandbox_launchers import make
async def main():
    launcher = make(sys.argv[1], Path(sys.argv[2]))
    guests = [await booted(launcher) for _ in range(2)]
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["gvisor", "process"])
async def test_a_host_that_dies_by_sigkill_leaves_no_process_and_its_folder_goes_at_the_next_start(
    kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "sandboxes"
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, kind, str(folder), stdout=asyncio.subprocess.PIPE, env=os.environ
        | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert host.stdout is not None
    assert await host.stdout.readline() == b"up\n"
    running = processes_naming(str(folder)) - {host.pid}
    assert len(running) >= 2
    host.kill()
    await host.wait()
    async with asyncio.timeout(5):
        for pid in running:
            await end_of(pid)
    assert processes_naming(str(folder)) == set()
    [left] = folder.iterdir()
    launcher = make("process", folder)
    await booted(launcher)
    assert not left.exists()
    await launcher.close()


async def test_gvisor_shows_the_bundle_read_only(gvisor: SandboxLauncher) -> None:
    guest = await booted(gvisor)
    guest.sandbox.bundle_source.chmod(0o777)
    code = looking("[tried(lambda: open('/bundle/new', 'w')), tried(lambda: os.unlink('/bundle/main.py'))]")
    (guest.sandbox.bundle_source / "main.py").write_text(code)
    lines = Lines()
    await guest.load(guest.sandbox.bundle_path, MANIFEST, {}, log_sink=lines.put)
    [text] = await lines.raw(1)
    assert text.count(b"Read-only file system") == 2


async def test_gvisor_boots_guests_from_one_file(gvisor: SandboxLauncher) -> None:
    """But for what the interpreter itself needs to start, and what the bundle imports then."""
    kinds = "{n: type(m.__loader__).__name__ for n, m in sys.modules.items() if type(m).__name__ == 'module'}"
    found = await seen(gvisor, kinds)
    others = {name for name, kind in found.items() if kind == "SourcelessFileLoader"}
    assert others <= {"__main__", "encodings", "encodings.aliases", "encodings.utf_8"}
    assert found["asyncio.events"] == found["stepwell.guest.runtime"] == "BootLoader"
    later = "[__import__('csv').__loader__.__class__.__name__, __import__('importlib').reload(json).loads('1')]"
    assert await seen(gvisor, later) == ["SourcelessFileLoader", 1]
    assert await seen(gvisor, "[f.__name__ for f in sys.meta_path]") == [
        "BuiltinImporter",
        "FrozenImporter",
        "PathFinder",
    ]
    gc = "[__import__('gc').isenabled(), __import__('gc').get_freeze_count() > 10_000]"
    assert await seen(gvisor, gc) == [True, True]


async def test_gvisor_shows_no_file_of_the_hosts(gvisor: SandboxLauncher, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    found = await seen(gvisor, "[sorted(os.listdir('/')), sorted(os.listdir('/etc'))]")
    assert set(found[0]) <= {"bin", "bundle", "dev", "etc", "lib", "lib64", "proc", "sys", "tmp", "usr"}
    assert found[1] == ["group", "passwd"]
    mounts = await seen(gvisor, "open('/proc/mounts').read() + open('/proc/self/mountinfo').read()")
    assert str(tmp_path) not in mounts
    assert "stepwell" not in mounts
    assert "No such file" in await seen(gvisor, f"tried(lambda: open({str(tmp_path / 'secret')!r}))")


async def test_gvisor_runs_as_nobody_without_capabilities(gvisor: SandboxLauncher) -> None:
    ids = "[os.getuid(), os.getgid(), os.getgroups(), os.uname().nodename, os.cpu_count() > 0]"
    uid, gid, groups, node, _ = await seen(gvisor, ids)
    assert (uid, gid, node) == (65534, 65534, "sandbox")
    assert set(groups) <= {65534}
    status = await seen(gvisor, "[l for l in open('/proc/self/status').read().splitlines() if 'Cap' in l]")
    assert all(int(line.split()[1], 16) == 0 for line in status)


async def test_gvisor_has_no_network(gvisor: SandboxLauncher) -> None:
    reach = "tried(lambda: __import__('socket').create_connection(('1.1.1.1', 53), 1))"
    assert "OSError" in await seen(gvisor, reach)


async def test_gvisor_bounds_tmp(gvisor: SandboxLauncher) -> None:
    assert await seen(gvisor, "open('/tmp/a', 'wb').write(b'x' * 1000)") == 1000
    fill = f"tried(lambda: open('/tmp/b', 'wb', 0).write(b'x' * {TMP_BYTES}) + open('/tmp/c', 'wb', 0).write(b'x'))"
    assert "No space left" in str(await seen(gvisor, fill))


async def test_gvisor_bounds_files_and_processes(gvisor: SandboxLauncher) -> None:
    files = await seen(gvisor, "tried(lambda: [os.open('/dev/null', 0) for _ in range(2000)])")
    assert "Too many open files" in files
    limits = "[__import__('resource').getrlimit(n) for n in (6, 7)]"
    assert await seen(gvisor, limits) == [[256, 256], [1024, 1024]]

"""What a deploy's check says of bundles that can't be used, found in real sandboxes: words that an author can act on.

Whatever the code does, the check ends, says why, and leaves neither a process nor a sandbox.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store_files import FileBundleStore
from loader.loader import Loader
from loader.settings import LoaderSettings
from stepwell.errors import BundleRefusedError
from stepwell.names import Digest, TenantUid, WorkflowId
from tests.contract.sandbox_guests import WORKFLOW, processes_naming
from tests.contract.sandbox_launchers import MEBIBYTE, gvisor

ACME = TenantUid("acme1")
IMPORT_TIMEOUT_MS = 4_000
SETTINGS = LoaderSettings(warm_sandboxes=0, import_timeout_ms=IMPORT_TIMEOUT_MS)
TOO_LONG = "Importing the bundle took over 4 s: do slow work in a step, not while importing."

FRAMES = """
import os, struct
def say(envelope):
    data = struct.pack('>II', len(envelope), 0) + envelope
    for fd in range(3, 256):
        try: os.write(fd, data)
        except OSError: pass
"""


@pytest.fixture
async def loader(tmp_path: Path) -> AsyncIterator[Loader]:
    store = FileBundleStore(tmp_path / "bundles")
    launcher = gvisor(tmp_path / "sandboxes", memory_bytes_max=128 * MEBIBYTE)
    async with Loader(store, launcher, SETTINGS, make_correlation_id=lambda: "c-1") as loader:
        yield loader
        assert loader.sandboxes == 0
    assert processes_naming(str(tmp_path)) == set()


async def kept(folder: Path, files: Mapping[str, str], entrypoint: str = "main:Order") -> Digest:
    """A bundle in the loader's store."""
    upload = FileBundleStore(folder / "bundles").upload(ACME)
    for path, text in files.items():
        await upload.open(path, False)
        await upload.write(text.encode())
    return (await upload.commit(Manifest((WorkflowEntry(WorkflowId("order"), entrypoint),), {}))).digest


async def refusal(loader: Loader, folder: Path, files: Mapping[str, str], entrypoint: str = "main:Order") -> str:
    with pytest.raises(BundleRefusedError) as caught:
        await loader.check(ACME, await kept(folder, files, entrypoint))
    return caught.value.message


FAULTY = {
    "a syntax error": ("x = 1\ndef broken(:\n", ["SyntaxError", "main.py", "line 2"]),
    "not UTF-8 by its own word": ("# coding: nonsense\n", ["SyntaxError", "nonsense", "main.py"]),
    "bad indentation": ("if True:\nx = 1\n", ["IndentationError", "main.py", "line 2"]),
    "an error while importing": ("x = 1\ny = x.missing\n", ["AttributeError", "main.py", "line 2", "missing"]),
    "a module that nobody has": ("import requests\n", ["ModuleNotFoundError", "requests", "main.py", "line 1"]),
    "an exit": ("import sys\nsys.exit('bye')\n", ["SystemExit", "bye", "main.py", "line 2"]),
    "an interrupt": ("raise KeyboardInterrupt\n", ["KeyboardInterrupt", "main.py", "line 1"]),
    "an error that can't be shown": (
        "class Evil(BaseException):\n    def __str__(self): raise SystemExit\nraise Evil\n",
        ["Evil", "main.py", "line 3"],
    ),
    "recursion": ("def deep(): deep()\ndeep()\n", ["RecursionError", "main.py"]),
    "no such class": ("x = 1\n", ["main:Order", "has no 'Order'", "none"]),
    "a class of another kind": ("class Order: pass\n", ["main:Order", "no subclass of WorkflowEntrypoint"]),
}  # fmt: skip


@pytest.mark.parametrize(("code", "told"), FAULTY.values(), ids=FAULTY)
async def test_faulty_code_is_told_with_file_and_line(
    loader: Loader, tmp_path: Path, code: str, told: list[str]
) -> None:
    message = await refusal(loader, tmp_path, {"main.py": code})
    assert [word for word in told if word not in message] == []


async def test_the_file_that_is_wrong_is_named_wherever_it_is(loader: Loader, tmp_path: Path) -> None:
    files = {"main.py": "import shop.prices\n", "shop/__init__.py": "", "shop/prices.py": "A = 1\n\nB = (\n"}
    message = await refusal(loader, tmp_path, files)
    assert "SyntaxError" in message
    assert "shop/prices.py, line 3" in message
    assert "/bundle" not in message


async def test_a_missing_module_of_an_entrypoint_is_named(loader: Loader, tmp_path: Path) -> None:
    message = await refusal(loader, tmp_path, {"other.py": WORKFLOW})
    assert "entrypoint 'main:Order': the bundle has no module 'main'" in message


HOSTILE = {
    "spins": ("while True: pass\n", TOO_LONG),
    "waits": ("import threading\nthreading.Event().wait()\n", TOO_LONG),
    "prints without end": ("while True: print('x' * 1000)\n", TOO_LONG),
    "writes without end": ("import os\nwhile True: os.write(1, b'x' * 1000)\n", TOO_LONG),
    "stops itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n", TOO_LONG),
    "ends its process": ("import os\nos._exit(0)\n", "its process ended with status 0"),
    "kills all it can": (
        "import os\nfor pid in (-1, os.getppid(), os.getpid()):\n    try: os.kill(pid, 9)\n"
        "    except OSError: pass\nos.abort()\n",
        "its process was ended by signal",
    ),
    "crashes": ("import ctypes\nctypes.string_at(0)\n", "its process was ended by signal 11 (Segmentation fault)"),
    "allocates without end": (
        "held = []\nwhile True: held.append(bytearray(1 << 22))\n", "it used more than its 128 MiB of memory",
    ),
    "sends what is no frame": (FRAMES + "say(b'rubbish')\n", "it sent an illegal frame"),
    "answers twice": (FRAMES + "say(b'[\"loaded\"]' )\nsay(b'[\"loaded\"]')\nsay(b'[\"hello\",1,\"\",\"\"]')\n", None),
    "speaks for an instance": (FRAMES + "say(b'[\"returned\",1]')\n", "before the bundle was loaded"),
    "forks without end": ("import os\nwhile True: os.fork()\n", None),
}  # fmt: skip


@pytest.mark.parametrize(("code", "told"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_code_ends_its_own_check_only(
    loader: Loader, tmp_path: Path, code: str, told: str | None
) -> None:
    files = {"main.py": code + WORKFLOW}
    if told is None:
        with suppress(BundleRefusedError):
            await loader.check(ACME, await kept(tmp_path, files))
    else:
        assert told in await refusal(loader, tmp_path, files)
    await loader.check(ACME, await kept(tmp_path, {"main.py": WORKFLOW}))


HARMLESS = {
    "forks": "import os, time\nif os.fork() == 0: time.sleep(1000)\n",
    "lets its child go on": "import os\nos.fork()\n",
    "starts threads": (
        "import threading\nfor _ in range(20): threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    ),
    "closes every descriptor but one": "import os\nos.closerange(3, 100)\n",
    "takes its streams away": "import sys\nsys.stdout = sys.stderr = sys.stdin = None\n",
}


@pytest.mark.parametrize("code", HARMLESS.values(), ids=HARMLESS)
async def test_odd_code_that_loads_is_taken(loader: Loader, tmp_path: Path, code: str) -> None:
    await loader.check(ACME, await kept(tmp_path, {"main.py": code + WORKFLOW}))

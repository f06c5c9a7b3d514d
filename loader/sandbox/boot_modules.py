"""The file that a guest boots from in gVisor: the code of every module that `stepwell/guest/boot.py` imports.

One read takes the place of some 1,200 file system calls, which took a third of a boot
(docs/adr/0032-guests-boot-from-one-file.md).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_BOOT: Final = "stepwell/guest/boot.modules"

_WRITE: Final = """
import marshal, sys
root, library, target = sys.argv[1:]
sys.path[:] = [root + library, root + library + "/lib-dynload"]
before = set(sys.modules)
import stepwell.guest.connection, stepwell.guest.runtime
from importlib.machinery import ExtensionFileLoader, SourcelessFileLoader
found = {}
for name, module in list(sys.modules.items()):
    spec = getattr(module, "__spec__", None)
    if name in before or spec is None or not (spec.origin or "").startswith(root):
        continue
    if isinstance(spec.loader, SourcelessFileLoader):
        found[name] = (spec.origin.removeprefix(root), spec.loader.get_code(name))
    elif isinstance(spec.loader, ExtensionFileLoader):
        found[name] = (spec.origin.removeprefix(root), None)
with open(target, "wb") as file:
    file.write(marshal.dumps(found))
"""


def write_boot_modules(root: Path, library: Path, python: Path) -> None:
    """Write the file for the root file system at `root`, whose compiled library is at `library` in it.

    Raises subprocess.CalledProcessError when the guest can't be imported.
    """
    target = root / library.relative_to("/") / _BOOT
    command = [str(python), "-I", "-S", "-B", "-c", _WRITE, str(root), str(library), str(target)]
    subprocess.run(command, capture_output=True, text=True, check=True)

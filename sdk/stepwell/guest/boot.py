"""`python -s -P -S -B …/stepwell/guest/boot.pyc`: a guest in gVisor, with the host's socket as fd 0.

It imports what `loader/sandbox/boot_modules.py` put into one file beside this one: under gVisor, where a file system
call is dear, to look for 130 modules and to open them took most of a boot. Whatever is imported later is looked for as
ever. Nothing may be imported here before the file is read, but what the interpreter has built in.
"""

import gc
import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourcelessFileLoader, spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

MODULES_SUFFIX = ".modules"
"""In place of this module's own: the file that has, by marshal, each module's path, and its code or None; by name."""


class BootLoader(SourcelessFileLoader):
    """Loads a module's file, of which the code is here already."""

    def __init__(self, name: str, path: str, code: "CodeType") -> None:
        super().__init__(name, path)
        self._code: CodeType | None = code

    def get_code(self, fullname: str) -> "CodeType | None":
        code, self._code = self._code, None
        return code or super().get_code(fullname)


class BootFinder:
    """Finds the file's modules, each once."""

    def __init__(self, modules: dict[str, "tuple[str, CodeType | None]"]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self._modules:
            return None
        file, code = self._modules.pop(name)
        loader = ExtensionFileLoader(name, file) if code is None else BootLoader(name, file, code)
        return spec_from_file_location(name, file, loader=loader)


def boot() -> None:
    """Import the guest from the file, and run it."""
    gc.disable()
    with open(__file__.removesuffix(".pyc") + MODULES_SUFFIX, "rb", 0) as file:
        finder = BootFinder(marshal.loads(file.read()))
    sys.meta_path.insert(0, finder)
    from stepwell.guest.connection import take_socket
    from stepwell.guest.runtime import main

    sys.meta_path.remove(finder)
    gc.freeze()
    gc.enable()
    main(take_socket())


if __name__ == "__main__":
    boot()

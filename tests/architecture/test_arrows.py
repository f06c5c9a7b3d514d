"""Imports go where the architecture says, and `import stepwell` loads the authoring API alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.architecture.arrows import ARROWS, Arrow, imports, is_in, wrong_imports
from tests.architecture.sources import PACKAGES, ROOT, Source, written

MODULES = [source for source in written(*PACKAGES) if source.is_python]
# Loading any of these would slow every guest's start, or ask of an author's environment what authors don't need.
NOT_FOR_AUTHORS = ("stepwell.client", "stepwell.cli", "stepwell.testing", "stepwell.v1", "stepwell.guest")


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow.says)
def test_imports_stay_within(arrow: Arrow) -> None:
    assert any(arrow.applies(source.module) for source in MODULES), "no module is left that this speaks of"
    assert [line for source in MODULES for line in wrong_imports(arrow, source)] == []


@pytest.mark.parametrize(
    ("path", "text", "arrow"),
    [
        ("sdk/stepwell/engine/fold.py", "import time", 0),
        ("sdk/stepwell/engine/fold.py", "def f():\n    from datetime import datetime", 0),
        ("sdk/stepwell/engine/fold.py", "from ..journal import store", 0),
        ("sdk/stepwell/engine/__init__.py", "from ..journal import store", 0),
        ("sdk/stepwell/engine/fold.py", "from stepwell import frames", 0),
        ("sdk/stepwell/durations.py", "import grpc", 1),
        ("sdk/workers/__init__.py", "from stepwell.client import connect", 1),
        ("sdk/stepwell/guest/main.py", "from stepwell import v1", 1),
        ("sdk/stepwell/guest/main.py", "from stepwell.engine import fold", 2),
        ("control_plane/deploys.py", "from loader.sandbox import port", 3),
        ("control_plane/deploys.py", "from loader import pool", 3),
        ("loader/bundles/store.py", "import loader.sandbox.port", 4),
    ],
)
def test_a_wrong_import_is_found(path: str, text: str, arrow: int) -> None:
    assert len(wrong_imports(ARROWS[arrow], Source(path, text))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sdk/stepwell/engine/fold.py", "from stepwell.names import TenantId\nfrom . import records\nimport struct"),
        ("data_plane/node.py", "import time"),
        ("sdk/stepwell/client/calls.py", "import grpc"),
        ("control_plane/deploys.py", "from loader.bundles.store import BundleStore"),
    ],
)
def test_a_right_import_is_let_through(path: str, text: str) -> None:
    assert [line for arrow in ARROWS for line in wrong_imports(arrow, Source(path, text))] == []


def test_relative_imports_are_named_in_full() -> None:
    module = Source(
        "sdk/stepwell/engine/fold.py", "from . import records\nfrom .steps import begin\nfrom ...x import y"
    )
    assert [name for _, name in imports(module)] == [
        "stepwell.engine.records",
        "stepwell.engine.steps.begin",
        "x.y",
    ]


@pytest.mark.parametrize("statement", ["import stepwell", "import workers"])
def test_importing_the_authoring_api_loads_nothing_else(statement: str) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "sdk")!r})
before = set(sys.modules)
{statement}
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps(loaded))
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(ran.stdout)
    assert any(is_in(name, "stepwell") for name in loaded)
    assert [name for name in loaded if is_in(name, *NOT_FOR_AUTHORS)] == []
    ours = {"stepwell", "workers", *sys.stdlib_module_names}
    assert [name for name in loaded if name.split(".")[0] not in ours] == []

"""What a source must pass before it is built: lint rules over its syntax tree, and its own unit tests."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepwell import NonRetryableError

import workspace

LINE_LENGTH_MAX = 100


def lint(folder: Path) -> list[str]:
    """Every finding as `file:line: what`; none is best."""
    found = []
    for path in workspace.files(folder):
        name = path.relative_to(folder).as_posix()
        text = path.read_text(encoding="utf-8")
        found += [f"{name}:{line}: {what}" for line, what in sorted({*_long_lines(text), *_findings(ast.parse(text))})]
    return found


def _long_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE_LENGTH_MAX:
            yield number, f"longer than {LINE_LENGTH_MAX} characters"


def _findings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    if ast.get_docstring(tree) is None and tree.body:
        yield 1, "no docstring"
    imported: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "catches everything, even KeyboardInterrupt"
        elif isinstance(node, ast.FunctionDef) and any(isinstance(d, ast.List | ast.Dict) for d in node.args.defaults):
            yield node.lineno, f"{node.name} has a default that its calls share"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imported.update({(alias.asname or alias.name).split(".")[0]: node.lineno for alias in node.names})
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in imported.keys() - used:
        yield imported[name], f"{name} is imported and not used"


def unit_tests(folder: Path) -> dict[str, Any]:
    """Runs the repository's own tests. Raises with their output when one fails."""
    ran = subprocess.run(
        [
            sys.executable,
            "-B",
            "-m",
            "unittest",
            "discover",
            "--verbose",
            "--start-directory",
            "tests",
            "--top-level-directory",
            ".",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    count = re.search(r"^Ran (\d+) test", ran.stderr, re.MULTILINE)
    if ran.returncode != 0 or count is None or int(count[1]) == 0:
        raise NonRetryableError(f"unit tests failed:\n{ran.stderr[-3000:]}")
    passed = re.findall(r"^(test_\w+) .*\.\.\. ok$", ran.stderr, re.MULTILINE)
    return {"ran": int(count[1]), "passed": sorted(passed)}

"""House rules that a machine can check. Each says what it wants, with text that breaks it and text that doesn't."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.architecture.sources import PACKAGES, SERVER_PACKAGES, Source

LINES_MAX = 400
VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"})
# Spelt in halves, so that this file keeps its own rule.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
CLOCKS_AND_DICE = frozenset(
    "time.time time.time_ns time.monotonic time.monotonic_ns time.clock_gettime time.sleep "
    "datetime.now datetime.utcnow datetime.datetime.now uuid.uuid4 "
    "os.urandom secrets.token_bytes secrets.token_hex secrets.token_urlsafe "
    "random.random random.randint random.choice random.uniform random.randbytes".split()
)


@dataclass(frozen=True, slots=True)
class Rule:
    """`finds` gives (line, what) for each place that breaks it; bad breaks it exactly once, good never."""

    says: str
    finds: Callable[[Source], Iterator[tuple[int, str]]]
    bad: Source
    good: Source


def _too_long(source: Source) -> Iterator[tuple[int, str]]:
    lines = source.text.count("\n")
    if source.is_python and lines > LINES_MAX:
        yield lines, f"{lines} lines"


def _unfinished(source: Source) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if UNFINISHED.search(line):
            yield number, line.strip()


def _vague(source: Source) -> Iterator[tuple[int, str]]:
    if source.is_python:
        for part in source.path.removesuffix(".py").split("/"):
            if part.lstrip("_") in VAGUE_NAMES:
                yield 1, part


def _unexplained(source: Source) -> Iterator[tuple[int, str]]:
    code = source.is_python and source.lies_in(*PACKAGES, "scripts", "bench") and source.text.strip()
    if code and ast.get_docstring(ast.parse(source.text)) is None:
        yield 1, "no docstring"


def _calls(source: Source) -> Iterator[tuple[int, str]]:
    """What is called, as written: `loop.create_task`, `self.random.random`."""
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def _loose_tasks(source: Source) -> Iterator[tuple[int, str]]:
    if source.lies_in(*SERVER_PACKAGES):
        for line, called in _calls(source):
            owner, _, attribute = called.rpartition(".")
            loose = attribute == "create_task" and ("asyncio" in owner or "loop" in owner)
            if loose or called in ("create_task", "ensure_future", "asyncio.ensure_future"):
                yield line, called


def _ambient(source: Source) -> Iterator[tuple[int, str]]:
    if source.lies_in(*SERVER_PACKAGES) and not source.lies_in("stepwell_server"):
        for line, called in _calls(source):
            if called in CLOCKS_AND_DICE:
                yield line, f"{called}()"


def _skips(source: Source) -> Iterator[tuple[int, str]]:
    if source.lies_in("tests"):
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail", "importorskip"):
                yield node.lineno, node.attr


RULES = (
    Rule(
        f"a module has at most {LINES_MAX} lines",
        _too_long,
        bad=Source("data_plane/node.py", "x = 1\n" * (LINES_MAX + 1)),
        good=Source("data_plane/node.py", "x = 1\n" * LINES_MAX),
    ),
    Rule(
        "what is unfinished is an issue, not a comment",
        _unfinished,
        bad=Source("proto/stepwell/v1/tenants.proto", "// TO" + "DO: more\n"),
        good=Source("docs/cli.md", "What to do next\n"),
    ),
    Rule(
        "a module's name says what is inside",
        _vague,
        bad=Source("rpc/utils.py", ""),
        good=Source("rpc/limits.py", ""),
    ),
    Rule(
        "a module opens with why it exists",
        _unexplained,
        bad=Source("rpc/limits.py", "x = 1\n"),
        good=Source("rpc/limits.py", '"""Caps on what a caller may send."""\n'),
    ),
    Rule(
        "a task belongs to a TaskGroup",
        _loose_tasks,
        bad=Source("rpc/server.py", "import asyncio\nasyncio.create_task(serve())\n"),
        good=Source("rpc/server.py", "group.create_task(serve())\n"),
    ),
    Rule(
        "clocks and chance come in through constructors",
        _ambient,
        bad=Source("cluster/tokens.py", "import time\nnow = time.time()\n"),
        good=Source("cluster/tokens.py", "now = self._clock()\nsum(self.random.random() for _ in range(3))\n"),
    ),
    Rule(
        "a test that can't run fails",
        _skips,
        bad=Source("tests/unit/test_x.py", "import pytest\n\n@pytest.mark.skip\ndef test_x(): ...\n"),
        good=Source("tests/unit/test_x.py", "def test_x(): assert skip()\n"),
    ),
)

"""The tests of docs/testing-workflows.md pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "testing-workflows.md"
BLOCK = re.compile(r"^<!-- test -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_its_examples_pass(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == len(re.findall(r"^```python$", text, re.MULTILINE)) > 0
    for number, block in enumerate(blocks):
        (tmp_path / f"test_{number}.py").write_text(block, encoding="utf-8")
    plugins = ["-p", "stepwell.testing.plugin", "-p", "no:asyncio"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "-W", "error", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert f"{text.count('def test_')} passed" in ran.stdout

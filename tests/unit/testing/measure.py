"""How long a test with a workflow of ten steps takes: `python -m tests.unit.testing.measure`."""

from __future__ import annotations

from time import perf_counter

from stepwell.testing import Workflows
from tests.unit.testing.programs import TenSteps

TESTS = 300


def main() -> None:
    for _ in range(20):
        once()
    began = perf_counter()
    for _ in range(TESTS):
        once()
    each_s = (perf_counter() - began) / TESTS
    print(f"ten steps: {each_s * 1000:.1f} ms, {1 / each_s:.0f} tests a second")


def once() -> None:
    with Workflows() as workflows:
        assert workflows.start(TenSteps).result() == list(range(10))


if __name__ == "__main__":
    main()

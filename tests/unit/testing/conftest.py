"""The kit's fixture, also where the wheel with its entry point is not installed."""

from stepwell.testing.plugin import workflows

__all__ = ["workflows"]

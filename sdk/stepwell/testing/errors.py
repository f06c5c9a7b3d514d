"""What the testing kit raises of its own, so that a test fails with the reason."""

from __future__ import annotations


class WorkflowTestError(AssertionError):
    """The test waits for what can't come, or asks for what can't be. It says which instance, what it does, and what
    the test could do."""


class KitFault(Exception):
    """A fault of Stepwell's, not of the workflow under test."""


class NotRepeatedWarning(UserWarning):
    """A rerun with a crash did not come to the record that the first run wrote: the test does not do the same each
    time, such as when threads race."""

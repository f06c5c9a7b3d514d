"""The testing kit for authors: workflows in memory, in milliseconds, decided by the server's own engine.

`Workflows` starts instances of a class and skips time; with pytest, a test takes it as the fixture `workflows`.
`crash_at_every_record` reruns a test with a crash after each record. Loaded on first use, since pytest loads the
plugin beside it wherever Stepwell is installed. See docs/testing-workflows.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.testing.crashes import crash_at_every_record
    from stepwell.testing.errors import KitFault, NotRepeatedWarning, WorkflowTestError
    from stepwell.testing.instance import InstanceUnderTest, Rollback, StepState
    from stepwell.testing.modifiers import Modifiers
    from stepwell.testing.workflows import Workflows

_PLACES = {
    "InstanceUnderTest": "instance",
    "KitFault": "errors",
    "Modifiers": "modifiers",
    "NotRepeatedWarning": "errors",
    "Rollback": "instance",
    "StepState": "instance",
    "WorkflowTestError": "errors",
    "Workflows": "workflows",
    "crash_at_every_record": "crashes",
}

__all__ = [
    "InstanceUnderTest",
    "KitFault",
    "Modifiers",
    "NotRepeatedWarning",
    "Rollback",
    "StepState",
    "WorkflowTestError",
    "Workflows",
    "crash_at_every_record",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'stepwell.testing' has no {name!r}")
    from importlib import import_module

    return getattr(import_module(f"stepwell.testing.{_PLACES[name]}"), name)

"""docs/errors.md says of each error what its class says: reason, class, code, whether to send it again, what it did."""

from __future__ import annotations

import ast
import builtins
import re

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # the wheel has no stubs

from stepwell import errors as tree
from stepwell.cli.hints import BY_REASON
from stepwell.client.errors import code_of, status_of
from stepwell.errors import ApiError, StepwellError, WorkflowError
from stepwell.guest.bodies import FINAL
from tests.architecture.contracts import reasons
from tests.architecture.sources import ROOT, SERVER_PACKAGES, written
from tests.architecture.tables import Row, rows

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
FROM_SERVER = rows(PAGE, "From the server")
FROM_CALLER = rows(PAGE, "From the client and the command")
IN_WORKFLOW = rows(PAGE, "Inside a workflow")
ENDINGS = rows(PAGE, "What ends or pauses an instance")


def below(kind: type[StepwellError]) -> list[type[StepwellError]]:
    """The classes of the SDK; what a server's packages and tests add is their own."""
    classes = [each for each in kind.__subclasses__() if each.__module__.split(".")[0] == "stepwell"]
    return [found for each in classes for found in (each, *below(each))]


def of_api() -> dict[str, type[ApiError]]:
    """By reason; every module that has one is loaded."""
    assert reasons()
    return {kind.reason: kind for kind in below(ApiError) if issubclass(kind, ApiError)}


def word(cell: str) -> str:
    """What a cell sets as code first."""
    match = re.search(r"`([^`]+)`", cell)
    assert match is not None, cell
    return match[1]


def retryable(kind: type[ApiError]) -> str:
    """As the page puts it; when to come again is what RetryInfo says."""
    if not kind.retryable:
        return "no"
    for detail in status_of(kind("x")).details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return f"yes, after {shown(info.retry_delay)}"
    return "yes"


def shown(delay: Duration) -> str:
    ms = delay.ToMilliseconds()
    return f"{ms // 1000} s" if ms % 1000 == 0 else f"{ms} ms"


def test_every_reason_is_on_the_page_once() -> None:
    named = [word(row["reason"]) for row in (*FROM_SERVER, *FROM_CALLER)]
    assert sorted(named) == sorted(of_api())


@pytest.mark.parametrize("row", FROM_SERVER, ids=lambda row: word(row["reason"]))
def test_what_comes_from_the_server_is_told_as_it_is(row: Row) -> None:
    kind = of_api()[word(row["reason"])]
    assert row["class, gRPC code"] == f"`{kind.__name__}`, {code_of(kind('x')).name}"
    assert row["retryable"] == retryable(kind)
    assert row["committed"] == kind.committed
    assert kind.__module__ == tree.__name__


@pytest.mark.parametrize("row", FROM_CALLER, ids=lambda row: word(row["reason"]))
def test_what_the_caller_finds_out_is_told_as_it_is(row: Row) -> None:
    kind = of_api()[word(row["reason"])]
    assert word(row["class"]) == kind.__name__
    assert row["retryable"] == ("yes" if kind.retryable else "no")
    assert row["committed"] == kind.committed
    assert kind.__module__ != tree.__name__


def test_every_error_of_workflows_is_on_the_page_once() -> None:
    raised = [word(row["class"]) for row in IN_WORKFLOW]
    assert len(set(raised)) == len(raised)
    ends = {word(row["type"]) for row in ENDINGS}
    assert {*raised, *ends} >= {kind.__name__ for kind in below(WorkflowError)}
    assert set(raised) & ends == set()


@pytest.mark.parametrize("row", IN_WORKFLOW, ids=lambda row: word(row["class"]))
def test_what_a_workflow_meets_is_told_as_it_is(row: Row) -> None:
    kind = getattr(tree, word(row["class"]))
    assert issubclass(kind, WorkflowError)
    builtin = [base.__name__ for base in kind.__bases__ if base.__name__ in vars(builtins)]
    assert re.findall(r"\(an? `(\w+)`\)", row["class"]) == builtin
    assert (row["is the step tried again?"] == "no") == (kind in FINAL)


def test_a_hint_of_the_command_is_for_a_reason_that_there_is() -> None:
    assert set(BY_REASON) - set(of_api()) == set()


def named_by_the_server() -> set[str]:
    """The types of errors that the server itself gives to instances."""
    return {
        str(node.args[1].value)
        for source in written(*SERVER_PACKAGES)
        if source.is_python
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Failure" and len(node.args) > 1
        if ast.unparse(node.args[0]) == "'stepwell.errors'" and isinstance(node.args[1], ast.Constant)
    }


def test_what_the_server_gives_as_an_instances_error_is_of_the_tree_and_on_the_page() -> None:
    named = named_by_the_server()
    assert named >= {"SandboxDiedError", "NodeDiedError", "DeterminismError"}
    ends = {word(row["type"]) for row in ENDINGS}
    assert named - ends == set()
    assert all(issubclass(getattr(tree, name), StepwellError) for name in ends)
    assert {word(row["then"]) for row in ENDINGS} == {"errored", "paused"}

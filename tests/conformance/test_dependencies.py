"""How a step gets results of others: by the names of its parameters, or by `depends`."""

from __future__ import annotations

from tests.conformance.calls import ONE_SERVER, Calls

pytestmark = ONE_SERVER


async def test_a_parameter_named_like_a_step_gets_its_result_and_runs_it_first(calls: Calls) -> None:
    assert await calls.output("dependencies.by_parameter") == ["one", "two", "final_step"]


async def test_a_parameter_named_like_a_steps_function_gets_its_result(calls: Calls) -> None:
    assert await calls.output("dependencies.by_function") == 42


async def test_a_dependency_that_has_run_is_not_run_again(calls: Calls) -> None:
    assert await calls.output("dependencies.run_once") == [["left of first", "right of first"], ["first"]]


async def test_a_step_that_is_called_again_runs_again(calls: Calls) -> None:
    assert await calls.output("dependencies.called_again") == ["first", "first"]


async def test_a_dependency_that_failed_is_run_again(calls: Calls) -> None:
    assert await calls.output("dependencies.failed_one") == ["not yet", "now"]


async def test_concurrent_runs_dependencies_at_once(calls: Calls) -> None:
    assert await calls.output("dependencies.meeting", concurrent=True) == ["met", "met"]


async def test_without_concurrent_they_run_one_after_the_other(calls: Calls) -> None:
    assert await calls.output("dependencies.meeting", concurrent=False) == ["alone", "met"]


async def test_depends_gives_results_in_its_own_order(calls: Calls) -> None:
    assert await calls.output("dependencies.by_position") == 30


async def test_depends_is_given_by_its_name(calls: Calls) -> None:
    failure = await calls.failure("dependencies.positional_depends")
    assert failure.type == "TypeError"


async def test_depends_of_the_wrong_length_is_a_type_error(calls: Calls) -> None:
    failure = await calls.failure("dependencies.too_few")
    assert failure.type == "StepDefinitionError"
    assert "none for the parameter 'two'" in failure.message


async def test_an_unknown_parameter_is_a_type_error(calls: Calls) -> None:
    failure = await calls.failure("dependencies.unknown")
    assert failure.type == "StepDefinitionError"
    assert "no step is called 'card'" in failure.message


async def test_a_parameter_with_a_default_and_no_such_step_keeps_it(calls: Calls) -> None:
    assert await calls.output("dependencies.defaulted") == "4242"


async def test_ctx_is_the_context_even_where_a_step_is_called_so(calls: Calls) -> None:
    assert await calls.output("dependencies.context_first") == "look"


async def test_the_latest_declaration_of_a_name_is_the_one_depended_on(calls: Calls) -> None:
    assert await calls.output("dependencies.declared_again") == "new"

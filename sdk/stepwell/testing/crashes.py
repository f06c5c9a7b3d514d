"""Crash at every boundary: a test is rerun with a crash after each record that its first run wrote.

The first run has no crash and counts records. Each further one gets a fresh `Workflows` whose node dies right after
that record is durable, before anything behind it is done: bodies in flight are lost, instances are loaded again.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, overload

from stepwell.testing.errors import NotRepeatedWarning, WorkflowTestError
from stepwell.testing.host import JournalRecord
from stepwell.testing.workflows import Workflows

CRASHES_MAX: Final = 300
"""Reruns of one test: one that writes more records fails, rather than leaving some of them out unasked."""

Test = TypeVar("Test", bound=Callable[..., Any])


@overload
def crash_at_every_record(test: Test) -> Test: ...
@overload
def crash_at_every_record(*, crashes_max: int = CRASHES_MAX, every: int = 1) -> Callable[[Test], Test]: ...


def crash_at_every_record(
    test: Callable[..., Any] | None = None, *, crashes_max: int = CRASHES_MAX, every: int = 1
) -> Any:
    """Rerun the test with a crash after each record, or after each `every`-th one.

    The test takes `workflows`. Its other fixtures are set up once for all reruns, so what a run changes it makes
    itself. A failure names the record; `--stepwell-crash-at N` reruns that one alone.
    """
    if test is None:
        return lambda decorated: crash_at_every_record_of(decorated, crashes_max, every)
    return crash_at_every_record_of(test, crashes_max, every)


def crash_at_every_record_of(test: Callable[..., Any], crashes_max: int, every: int) -> Callable[..., Any]:
    """The test, rerun so."""
    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def rerun_async(*args: Any, **kwargs: Any) -> None:
            reruns = _Reruns(args, kwargs, crashes_max, every)
            for run_args, run_kwargs in reruns.each():
                with reruns.watched():
                    await test(*run_args, **run_kwargs)

        return rerun_async

    @functools.wraps(test)
    def rerun(*args: Any, **kwargs: Any) -> None:
        reruns = _Reruns(args, kwargs, crashes_max, every)
        for run_args, run_kwargs in reruns.each():
            with reruns.watched():
                test(*run_args, **run_kwargs)

    return rerun


class _Watched:
    """Tells of the crash in what a rerun raises. The first failure ends the test."""

    def __init__(self, run: Workflows, expected: JournalRecord | None, total: int, rerun_with: str) -> None:
        self._run = run
        self._expected = expected
        self._total = total
        self._rerun_with = rerun_with

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, tb: Any) -> None:
        if self._expected is None:
            return
        if error is not None:
            at = self._run.crash or self._expected
            error.add_note(
                f"stepwell: this failed with a crash after {at} (the first run, without one, wrote {self._total} "
                f"records and passed). To rerun just this: {self._rerun_with} {at.number}"
            )
        elif self._run.crash is None:
            warnings.warn(
                f"there was no crash after {self._expected}: this rerun did not write so many records, so the test "
                "does not do the same each time",
                NotRepeatedWarning,
                stacklevel=3,
            )


class _Reruns:
    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], crashes_max: int, every: int) -> None:
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Workflows)]
        if len(given) != 1:
            raise TypeError("a test below @crash_at_every_record takes the fixture `workflows`, once")
        self._first = given[0]
        self._args, self._kwargs = args, kwargs
        self._crashes_max, self._every = crashes_max, every
        self._run: Workflows = self._first
        self._expected: JournalRecord | None = None

    def each(self) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments of the first run, then of each rerun."""
        first = self._first
        yield self._args, self._kwargs
        records = first.records[self._every - 1 :: self._every]
        if first.only_crash is not None:
            records = [record for record in first.records if record.number == first.only_crash]
            if not records:
                raise WorkflowTestError(f"there is no record {first.only_crash}: the test wrote {len(first.records)}")
        elif not records:
            raise WorkflowTestError("the test wrote no record to crash after: it started no workflow")
        elif len(records) > self._crashes_max:
            raise WorkflowTestError(
                f"the test would be rerun {len(records)} times, over crashes_max of {self._crashes_max}; raise it, or "
                "crash after each tenth record alone, by every=10"
            )
        for record in records:
            with first.afresh(record.number) as self._run:
                self._expected = record
                yield self._changed(self._args), self._changed(self._kwargs)

    def watched(self) -> _Watched:
        return _Watched(self._run, self._expected, len(self._first.records), self._first.rerun_with)

    def _changed(self, given: Any) -> Any:
        if isinstance(given, dict):
            return {name: self._run if value is self._first else value for name, value in given.items()}
        return tuple(self._run if value is self._first else value for value in given)

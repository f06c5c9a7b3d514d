from __future__ import annotations

import json
import subprocess
import tracemalloc
from typing import Any

import msgspec
import pytest

from loader.messages import GuestError
from stepwell.errors import NonRetryableError, StepError, StepTimeoutError
from stepwell.frames import ENVELOPE_BYTES_MAX
from stepwell.guest.failures import described, rebuilt


class Declined(ValueError):
    """An author's own, whose arguments are not its text."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code

    def __str__(self) -> str:
        return f"declined with {self.code}"


class Nameless(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def there_and_back(error: BaseException) -> Exception:
    text = described(error)
    msgspec.json.decode(text, type=GuestError)
    return rebuilt(json.loads(text))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        KeyError("missing"),
        FileNotFoundError(2, "No such file", "x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        Declined(4, "no"),
        NonRetryableError("never", "Name"),
        StepTimeoutError("late"),
        subprocess.CalledProcessError(2, ["false"]),
        json.JSONDecodeError("bad", "x", 0),
    ],
)
def test_an_exception_comes_back_as_its_own_class_with_its_text(error: Exception) -> None:
    back = there_and_back(error)
    assert isinstance(back, type(error))
    assert str(back) == str(error)
    assert type(back).__name__ == type(error).__name__


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SystemExit(2), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration("x"), "StopIteration"),
        (type("Local", (Exception,), {"__module__": "no.such.module"})("x"), "Local"),
        (ExceptionGroup("several", [ValueError(1)]), "ExceptionGroup"),
        (StepError("again", "Its.Name"), "Its.Name"),
    ],
)
def test_what_cant_be_raised_as_itself_is_a_step_error_with_its_name(error: BaseException, name: str) -> None:
    back = there_and_back(error)
    assert type(back) is StepError
    assert (back.type, str(back)) == (name, str(error))


def test_causes_are_kept_four_deep_and_circles_end() -> None:
    error: Exception = ValueError(0)
    for number in range(1, 8):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    back: Any = there_and_back(error)
    texts = []
    while back is not None:
        texts.append(str(back))
        back = back.__cause__
    assert texts == ["7", "6", "5", "4", "3"]

    circle, other = ValueError("a"), ValueError("b")
    circle.__cause__, other.__cause__ = other, circle
    assert str(there_and_back(circle).__cause__) == "b"


def test_the_first_of_a_group_counts_as_its_cause() -> None:
    back = there_and_back(ExceptionGroup("several", [ValueError("first"), ValueError("second")]))
    assert (str(back), str(back.__cause__)) == ("several (2 sub-exceptions)", "first")


def test_a_context_counts_as_cause_unless_it_was_suppressed() -> None:
    def fail(suppress: bool) -> Exception:
        try:
            try:
                raise KeyError("inner")
            except KeyError as inner:
                raise ValueError("outer") from (None if suppress else inner)
        except ValueError as error:
            return error

    assert isinstance(there_and_back(fail(False)).__cause__, KeyError)
    assert there_and_back(fail(True)).__cause__ is None


def test_the_traceback_comes_back_as_a_note() -> None:
    try:
        raise ValueError("here")
    except ValueError as error:
        back = there_and_back(error)
    assert 'raise ValueError("here")' in back.__notes__[0]


@pytest.mark.parametrize("text", ["x" * 10**6, "\x00" * 10**6, "\U0001f600" * 10**5, "\ud800" * 10**5])
def test_any_text_fits_into_an_envelope(text: str) -> None:
    error = ValueError(text)
    for _ in range(6):
        following = ValueError(text)
        following.__cause__ = error
        error = following
    described_error = described(error)
    assert len(described_error) < ENVELOPE_BYTES_MAX - 1000
    assert msgspec.json.decode(described_error, type=GuestError).message


def test_an_exception_whose_text_fails_is_described_all_the_same() -> None:
    assert "ZeroDivisionError" in json.loads(described(Nameless()))[2]


def harm(*_: object) -> Any:
    raise SystemExit("a method of an author's class")


class Harmful(Exception):
    """Each name that a describer may ask for does harm instead."""

    __str__ = __repr__ = __hash__ = __eq__ = __reduce__ = harm
    __class__ = __cause__ = __context__ = __traceback__ = __notes__ = __suppress_context__ = property(harm)


class HarmfulText(str):
    __str__ = __len__ = __getitem__ = encode = harm  # type: ignore[assignment]


class Odd(Exception):
    def __str__(self) -> str:
        return HarmfulText("a text of its own class")


def test_an_exception_that_harms_whoever_looks_at_it_is_described_by_its_class() -> None:
    cause = ValueError("beneath")
    error = Harmful()
    BaseException.__dict__["__cause__"].__set__(error, cause)
    module, name, message, _, inner = json.loads(described(error))
    assert (module, name, inner[1:3]) == (__name__, "Harmful", ["ValueError", "beneath"])
    assert message == "(its text can't be had: SystemExit)"
    assert json.loads(described(Odd()))[2] == "a text of its own class"
    back = there_and_back(error)
    assert (type(back), str(back.__cause__)) == (StepError, "beneath")


def test_a_class_that_cant_even_be_named_is_described() -> None:
    class Nameless(type):
        def __getattribute__(cls, name: str) -> Any:
            harm()

    error = Nameless("X", (Exception,), {})()
    assert "can't be described" in json.loads(described(error))[2]


def test_no_more_is_made_of_a_long_text_than_is_kept() -> None:
    error = ValueError("x" * 50_000_000)
    error.__notes__ = ["y" * 50_000_000] * 1000
    tracemalloc.start()
    try:
        described(error)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000

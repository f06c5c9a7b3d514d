"""Exceptions to the ERROR arrays of `stepwell.frames`, and back.

An exception that comes back is of its own class where that can be imported, built without calling `__init__`, since
its arguments were not kept; its text is what was recorded. All else becomes a StepError. What is found depends on
names alone, never on what happens to be imported, so that a replay finds the same.

An author's class may do anything when it is asked for its text or its cause: describing it never raises, and takes no
more of a text than is kept.
"""

from __future__ import annotations

import builtins
import itertools
import sys
import traceback
from json.encoder import encode_basestring_ascii
from types import TracebackType
from typing import Any, Final

from stepwell.errors import StepError
from stepwell.frames import ENVELOPE_BYTES_MAX

CAUSES_MAX: Final = 4
NAME_LENGTH_MAX: Final = 256
MESSAGE_LENGTH_MAX: Final = 4096
TRACEBACK_LENGTH_MAX: Final = 16_384
_FRAMES_MAX: Final = 50
_NOTES_MAX: Final = 8
_BOUNDS: Final = ((MESSAGE_LENGTH_MAX, TRACEBACK_LENGTH_MAX), (2048, 4096), (256, 256))
"""Lengths to try, until the whole array fits into an envelope."""

_native: Final[dict[str, Any]] = vars(BaseException) | vars(BaseExceptionGroup)
_CAUSE, _CONTEXT, _SUPPRESSED, traceback_of, _MEMBERS = [
    _native[name].__get__
    for name in ("__cause__", "__context__", "__suppress_context__", "__traceback__", "exceptions")
]

_NOT_DESCRIBED: Final = '["builtins","Exception","(an exception of a class that can\'t be described)","",null]'

_ours: Final = __file__.rsplit("/", 2)[0] + "/"


class Bundle:
    """Where the tenant's files are, so that texts can name them as the tenant does."""

    prefix = "\0"


def described(error: BaseException) -> str:
    """The exception as ERROR, in JSON. Never raises."""
    text = _NOT_DESCRIBED
    try:
        for message_max, traceback_max in _BOUNDS:
            text = _described(error, CAUSES_MAX, message_max, traceback_max, set())
            if len(text) <= ENVELOPE_BYTES_MAX - 8192:
                break
    except BaseException:
        return _NOT_DESCRIBED
    return text


def _described(error: BaseException, causes: int, message_max: int, traceback_max: int, seen: set[int]) -> str:
    seen.add(id(error))
    cause = _cause_of(error)
    inner = "null"
    if cause is not None and causes and id(cause) not in seen:
        inner = _described(cause, causes - 1, message_max, traceback_max, seen)
    kind = type(error)
    name = kind.__qualname__
    if issubclass(kind, StepError):
        step_error: Any = error
        name = f"StepError:{step_error.type}" if step_error.type else name
    texts = (
        _text(kind.__module__, NAME_LENGTH_MAX),
        _text(name, NAME_LENGTH_MAX),
        _text(error, message_max),
        _bounded(_traceback_of(error), traceback_max),
    )
    return f"[{','.join([encode_basestring_ascii(text) for text in texts])},{inner}]"


def _cause_of(error: BaseException) -> BaseException | None:
    """What Python itself knows, whatever the class has under these names."""
    found: BaseException | None = _CAUSE(error)
    if found is None and not _SUPPRESSED(error):
        found = _CONTEXT(error)
    if found is None and issubclass(type(error), BaseExceptionGroup):
        found = _MEMBERS(error)[0]
    return found


def message_of(error: BaseException) -> str:
    """The exception's text, whatever its class does when asked for it; of a longer one, as much as an ERROR keeps."""
    return _text(error, MESSAGE_LENGTH_MAX)


def _text(value: object, length_max: int) -> str:
    try:
        return _bounded(str.__str__(str(value)), length_max)
    except BaseException as problem:
        return f"(its text can't be had: {type(problem).__name__[:80]})"


def _bounded(text: str, length_max: int) -> str:
    """Cut before anything is made of it: it may be as long as memory allows."""
    shown = text[:length_max].encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= length_max and len(text) <= length_max else f"{shown[: length_max - 1]}…"


def _traceback_of(error: BaseException) -> str:
    """The author's frames, the innermost last, and the exception's notes."""
    try:
        frames = [
            frame
            for frame in traceback.extract_tb(traceback_of(error), -_FRAMES_MAX * 2)
            if not frame.filename.startswith(_ours) and not frame.filename.startswith("<frozen ")
        ]
        lines = traceback.format_list(frames[-_FRAMES_MAX:])
        lines += traceback.format_exception_only(error) if issubclass(type(error), SyntaxError) else []
        notes = getattr(error, "__notes__", ())
        lines += [f"{_text(note, MESSAGE_LENGTH_MAX)}\n" for note in itertools.islice(notes, _NOTES_MAX)]
        text = "".join(lines).replace(Bundle.prefix, "")
    except BaseException as problem:
        return f"(the traceback can't be had: {type(problem).__name__[:80]})"
    return text if len(text) <= TRACEBACK_LENGTH_MAX else "…" + text[-TRACEBACK_LENGTH_MAX + 1 :]


def place_of(error: BaseException) -> str:
    """Where in the bundle it went wrong, as "file, line n: "; empty when nowhere there."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename.removeprefix(Bundle.prefix)}, line {error.lineno}: "
    place, tb = "", error.__traceback__
    while isinstance(tb, TracebackType):
        filename = tb.tb_frame.f_code.co_filename
        if filename.startswith(Bundle.prefix):
            place = f"{filename.removeprefix(Bundle.prefix)}, line {tb.tb_lineno}: "
        tb = tb.tb_next
    return place


def rebuilt(description: Any) -> Exception:
    """The exception that was described. Always one that may be raised in a coroutine."""
    module, name, message, text, cause = description
    kind = _class_named(module, name)
    error: Exception | None = None
    if kind is not None:
        error = _without_init(kind, message)
    if error is None:
        error = StepError(message, name.removeprefix("StepError:"))
    try:
        return _completed(error, text, cause)
    except Exception:  # its class minds
        return _completed(StepError(message, name.removeprefix("StepError:")), text, cause)


def _completed(error: Exception, text: str, cause: Any) -> Exception:
    if text:
        error.add_note(f"In the step:\n{text.rstrip()}")
    if cause is not None:
        error.__cause__ = rebuilt(cause)
    return error


def _class_named(module: str, name: str) -> type[Exception] | None:
    if "<" in name or ":" in name:
        return None
    found: Any = builtins
    if module != "builtins":
        try:
            __import__(module)
            found = sys.modules[module]
        except Exception:
            return None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    return None if issubclass(found, (StopIteration, StopAsyncIteration, StepError)) else found


def _without_init(kind: type[Exception], message: str) -> Exception | None:
    native: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    try:
        error: Any = native.__new__(kind, message)
        error.args = (message,)
        if message_of(error) != message:
            error = native.__new__(_as_recorded(kind), message)
            error.args = (message,)
        return error if isinstance(error, Exception) and message_of(error) == message else None
    except Exception:
        return None


_shown: Final[dict[type, type]] = {}


def _as_recorded(kind: type[Exception]) -> type[Exception]:
    """A subclass whose text is its first argument: for classes that make their text of what was not kept."""
    if kind not in _shown:
        members = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__str__": _first_argument}
        _shown[kind] = type(kind.__name__, (kind,), members)
    return _shown[kind]


def _first_argument(error: BaseException) -> str:
    return str(error.args[0])

"""Why a sandbox ended or its code failed, in words for the code's author."""

from __future__ import annotations

import signal

from loader.limits import REASON_LENGTH_MAX
from loader.messages import GuestError
from stepwell.frames import EXIT_THREADS_STUCK


def end_of(status: int) -> str:
    """How its process ended, for the author."""
    if status == EXIT_THREADS_STUCK:
        return "too many of its steps that are plain functions ran out of time and still run; have them end in time"
    if status < 0:
        return f"its process ended with signal {-status}"
    if status > 128 and (name := signal.strsignal(status - 128)):
        return f"its process was ended by signal {status - 128} ({name})"
    return f"its process ended with status {status}"


def describe(error: GuestError) -> str:
    """A tenant's error as text for that tenant: bounded, without control characters but line breaks."""
    text = f"{error.type}: {error.message}" if error.message else error.type
    if error.traceback:
        text = f"{text}\n{error.traceback}"
    shown = "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in text[:REASON_LENGTH_MAX])
    return shown.rstrip()

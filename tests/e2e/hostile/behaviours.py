"""What a hostile tenant does, by behaviour, and how each of its instances must end: in words that its author can use.

The workflows are in `bundles/hostile`, one for each way to behave badly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stepwell.v1 import instances_pb2 as pb

COMPLETE, ERRORED, PAUSED = (
    pb.INSTANCE_STATUS_COMPLETE,
    pb.INSTANCE_STATUS_ERRORED,
    pb.INSTANCE_STATUS_PAUSED,
)


@dataclass(frozen=True, slots=True)
class Way:
    """One workflow, and the only ends that it may have: by status, the error's type and words in its message."""

    workflow: str
    ends: tuple[tuple[int, str, str], ...]
    kind: str = ""
    is_terminated: bool = False
    """From outside, as soon as it runs."""

    @property
    def id(self) -> str:
        return f"{self.workflow}-{self.kind}" if self.kind else self.workflow

    def wrong(self, instance: pb.Instance) -> str:
        """What is not as it must be; empty when all is."""
        error = instance.error
        for status, type, words in self.ends:
            if instance.status == status and re.fullmatch(type, error.type) and re.search(words, error.message):
                return ""
        name = pb.InstanceStatus.Name(instance.status)
        return f"{self.id} ended as {name} {error.type!r}: {error.message[:1000]!r}"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Ways to do one bad thing, tried together."""

    name: str
    ways: tuple[Way, ...]
    apart: bool = False
    """Each in a sandbox of its own, since it would change what its neighbours there do."""


def completes(workflow: str, kind: str = "") -> Way:
    return Way(workflow, ((COMPLETE, "", ""),), kind)


def errors(workflow: str, type: str, words: str, kind: str = "") -> Way:
    return Way(workflow, ((ERRORED, type, words),), kind)


def dies(workflow: str, words: str) -> Way:
    """Its sandbox dies with it, again and again, until it is given up."""
    return errors(workflow, "SandboxDiedError", words)


def diverges(workflow: str, words: str) -> Way:
    """Its journal has what its code does not do: it is paused with both."""
    return Way(workflow, ((PAUSED, "DeterminismError", words),))


def is_terminated(workflow: str) -> Way:
    """By the caller, whatever it does about that."""
    return Way(workflow, ((pb.INSTANCE_STATUS_TERMINATED, "", ""),), is_terminated=True)


def floods(workflow: str, *ends: Way) -> Way:
    """It says when it has flooded for long enough, unless its lies end it before."""
    return either(errors(workflow, "FloodEnded", "over"), *ends)


def either(*ways: Way) -> Way:
    """Whichever comes first."""
    return Way(ways[0].workflow, tuple(end for way in ways for end in way.ends), ways[0].kind)


ENDED = r"its process ended with"
CUT = r"closed its connection|its process ended"
ILLEGAL = r"sent an illegal frame"
BROKE = r"broke the protocol"
STALLED = r"event loop"
OVERDUE = r"ran past its timeout and did not stop"
MEMORY = r"memory"
EXCEPTIONS = ("KeyboardInterrupt", "SystemExit", "GeneratorExit", "CancelledError", "Own")

BEHAVIOURS = (
    Behaviour("exits", (
        errors("sys-exit", "SystemExit", "^3$"),
        errors("sys-exit-in-step", "SystemExit", "^4$"),
        dies("os-exit", r"its process ended with status 0"),
        dies("os-exit-in-step", r"its process ended with status 7"),
        dies("abort", r"ended by signal 6"),
        dies("kill-itself", r"ended by signal 9"),
        dies("exec", CUT),
    )),
    Behaviour("kills all that it can see", (
        either(dies("kill-everybody", STALLED), dies("kill-everybody", CUT),
               errors("kill-everybody", "StepTimeoutError", "2000 ms")),
    )),
    Behaviour("writes to every descriptor", (
        dies("write-to-all", ILLEGAL),
        dies("close-all", CUT),
        either(completes("read-from-all"), dies("read-from-all", f"{ILLEGAL}|{CUT}|{STALLED}")),
    )),
    Behaviour("sends rubbish", (
        dies("rubbish", ILLEGAL),
        dies("not-json", ILLEGAL),
        dies("huge-frame", ILLEGAL),
        dies("long-number", ILLEGAL),
        dies("deep-envelope", ILLEGAL),
        dies("deep-error", ILLEGAL),
    )),
    Behaviour("begins frames that never end", (
        dies("half-frame", f"{STALLED}|{ILLEGAL}"),
        dies("half-frame-and-silence", f"{STALLED}|{ILLEGAL}"),
    ), apart=True),
    Behaviour("floods logs", (floods("flood-of-logs"),)),
    Behaviour("floods large logs", (floods("flood-of-large-logs"),)),
    Behaviour("floods frames without consequence", (
        floods("flood-of-idles"),
        floods("flood-of-pongs"),
        floods("flood-for-nobody"),
    )),
    Behaviour("floods results", (
        floods("flood-of-results", dies("flood-of-results", BROKE), diverges("flood-of-results", "forged")),
        floods("flood-of-large-results", dies("flood-of-large-results", BROKE)),
    )),
    Behaviour("floods failures, sleeps, waits and timers", (
        floods("flood-of-failures", dies("flood-of-failures", BROKE), diverges("flood-of-failures", "forged")),
        floods("flood-of-sleeps", diverges("flood-of-sleeps", "forged")),
        floods("flood-of-waits-and-cancels", dies("flood-of-waits-and-cancels", BROKE)),
        floods("flood-of-timers", diverges("flood-of-timers", "timer")),
    )),
    Behaviour("claims what it was not asked for", (
        diverges("result-twice", "twice"),
        dies("attempt-nobody-asked-for", BROKE),
        dies("closes-itself", BROKE),
        dies("greets-again", ILLEGAL),
        dies("loads-again", ILLEGAL),
        errors("claims-for-all", "ClaimsMade", "all were claimed"),
        completes("result-that-is-not-json"),
    )),
    Behaviour("does not read", (dies("never-reads", STALLED),)),
    Behaviour("returns what is deep or huge", (
        errors("deep-result", "StepValueError", "nested more than 200 deep"),
        either(errors("huge-result", "StepValueError", "over the limit of 1048576"),
               errors("huge-result", "StepTimeoutError", "2000 ms")),
        either(errors("huge-output", "StepValueError", "over the limit of 1048576"), dies("huge-output", STALLED)),
        errors("huge-number", "StepValueError", "more than 3,900 digits"),
        errors("endless-result", "StepValueError", "does it contain itself"),
    )),
    Behaviour("returns hostile objects", (
        errors("hostile-result", "BaseException", "of a tenant's object"),
        errors("hostile-keys", "BaseException", "of a tenant's object"),
        errors("hostile-output", "BaseException", "of a tenant's object"),
        errors("hostile-step-name", "BaseException", "of a tenant's object"),
        errors("hostile-config", "BaseException", "of a tenant's object"),
        errors("long-step-name", "StepDefinitionError", "1 to 256 characters, this one 10000000"),
    )),
    Behaviour("raises hostile errors", (
        errors("hostile-error-in-step", "(StepError:)?HostileError", "can't be had"),
        errors("hostile-error-in-run", "HostileError", "can't be had"),
        errors("huge-error-text", "HugeErrorText.run.<locals>.Long", "^long "),
        errors("error-text-that-is-none", "(odd)+.*", "can't be had: TypeError"),
        errors("causes-in-a-circle", "ValueError", "one of a circle"),
        errors("causes-without-end", "ExceptionGroup", "group 199999"),
        errors("deep-traceback", "RecursionError", "maximum recursion depth"),
    )),
    Behaviour("allocates without end", (
        either(dies("allocates", MEMORY), errors("allocates", "StepTimeoutError", "2000 ms")),
        dies("allocates-in-run", MEMORY),
        either(dies("shares-memory", MEMORY), errors("shares-memory", "StepTimeoutError", "2000 ms")),
        either(errors("allocates-at-once", "MemoryError", ""), dies("allocates-at-once", MEMORY)),
    )),
    Behaviour("forks", (
        either(dies("forks", f"{MEMORY}|{STALLED}"), errors("forks", "StepTimeoutError", "2000 ms")),
        either(dies("forks-and-allocates", f"{MEMORY}|{STALLED}"),
               errors("forks-and-allocates", "StepTimeoutError", "2000 ms")),
    ), apart=True),
    Behaviour("starts threads that never end", (
        either(errors("starts-threads", "RuntimeError", "can't start new thread"),
               errors("starts-threads", "StepTimeoutError", "2000 ms")),
        either(dies("steps-that-never-end", "still run"), errors("steps-that-never-end", "StepTimeoutError", "20 ms")),
    ), apart=True),
    Behaviour("fills /tmp", (
        errors("fills-tmp", "OSError", "No space left on device"),
        either(errors("files-without-end", "StepTimeoutError", "2000 ms"), dies("files-without-end", MEMORY),
               errors("files-without-end", "OSError", "No space left on device")),
    ), apart=True),
    Behaviour("opens files without end", (
        errors("open-without-end", "OSError", "Too many open files"),
        either(dies("pipes-without-end", f"{MEMORY}|{STALLED}"),
               errors("pipes-without-end", "StepTimeoutError", "2000 ms")),
    ), apart=True),
    Behaviour("prints without end", (
        errors("prints", "StepTimeoutError", "2000 ms"),
        errors("prints-raw", "StepTimeoutError", "2000 ms"),
        dies("prints-in-run", f"{STALLED}|{MEMORY}"),
    ), apart=True),
    Behaviour("spins in run", (
        dies("spins-in-run", STALLED),
        errors("spins-on-sleep-zero", "WorkflowStalledError", "spins"),
    )),
    Behaviour("spins in a finally", (dies("spins-in-finally", STALLED),)),
    Behaviour("spins in steps", (
        dies("spins-in-step", STALLED),
        errors("spins-in-thread", "StepTimeoutError", "300 ms"),
        either(errors("spins-in-many-threads", "StepTimeoutError", "300 ms"),
               dies("spins-in-many-threads", f"{STALLED}|still run")),
    ), apart=True),
    Behaviour("blocks its loop", (
        dies("blocks-the-loop", STALLED),
        dies("blocks-in-run", STALLED),
        dies("holds-the-interpreter", STALLED),
        dies("stops-itself", STALLED),
    ), apart=True),
    Behaviour("ignores cancellation", (
        dies("ignores-cancellation", OVERDUE),
        is_terminated("ignores-cancellation-in-run"),
    ), apart=True),
    Behaviour("branches without end", (
        either(dies("thousands-of-branches", f"{MEMORY}|{STALLED}"),
               errors("thousands-of-branches", "StepDefinitionError", "over the limit of 10000")),
    )),
    Behaviour("patches the runtime", (
        either(dies("patches-the-runtime", CUT), errors("patches-the-runtime", ".*", "")),
        either(dies("patches-the-runtimes-classes", CUT), errors("patches-the-runtimes-classes", ".*", "")),
        errors("patches-json", "TypeError", ""),
        dies("patches-asyncio", CUT),
        dies("patches-builtins", CUT),
        dies("empties-everything", f"{CUT}|{STALLED}|{BROKE}|{OVERDUE}"),
        errors("traces-everything", "Own", "patched"),
    ), apart=True),
    Behaviour("raises what is no Exception", (
        *(errors("raises-in-run", kind, "raised in run", kind) for kind in EXCEPTIONS),
        *(errors("raises-in-step", kind, "raised in a step", kind) for kind in EXCEPTIONS),
        *(errors("raises-in-thread", kind, "raised in a thread", kind) for kind in EXCEPTIONS),
        *(errors("raises-in-finally", kind, "raised by finally", kind) for kind in EXCEPTIONS),
        errors("raises-in-run", "RuntimeError", "raised StopIteration", "StopIteration"),
        errors("raises-in-step", "RuntimeError", "raised StopIteration", "StopIteration"),
        completes("raises-in-callbacks"),
    )),
)  # fmt: skip

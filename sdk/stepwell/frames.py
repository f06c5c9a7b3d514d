"""The wire between a host and the guest in its sandbox, spoken by both sides.

One duplex stream socket carries frames. A frame is two big-endian 32-bit lengths, an envelope (a JSON array whose first
element names the message) and a payload (bytes that the host passes on and never parses: UTF-8 JSON of the tenant's, or
log text). An illegal frame ends the sandbox, and nothing else. Standard library only: guests import this.

A *completion* is what `run` waits for: a step's result or failure, a fired sleep or timer, an event, a wait's timeout.
Its key is (kind, name, count). Completions reach the guest in journal order, and enter `run`'s scheduler one at a time,
the next only when nothing is ready there, so that a replay meets them exactly as the first run did.

`ERROR` below is `[module, class, message, traceback, ERROR or null]`; `at`, `due` and the like are ms since the epoch.
`act` is the activation's number, unique in its sandbox. `[]` marks the payload.

Guest to host
    ["hello", protocol, runtime, python]
        First, when the guest is ready for a bundle.
    ["loaded"]
        The bundle was imported and every entrypoint found.
    ["unloadable", ERROR]
        It was not.
    ["started", act, name, count, attempt, timeout, kind]
        An attempt's body runs; left out when it ended within the same flush. Here and below,
        kind "do" is left out.
    ["result", act, name, count, attempt, elapsed_us, kind] [JSON]
        An attempt succeeded.
    ["failed", act, name, count, attempt, elapsed_us, retryable, limit, delay, backoff, ERROR, kind]
        An attempt failed; limit is the number of retries, delay in ms, before the backoff.
    ["sleep", act, name, count, duration or null, until or null]
        Exactly one is given, in ms.
    ["wait", act, name, count, type, timeout or null]
        null waits for ever. Of a child's end the type is "workflow/id".
    ["timer", act, count, when]
        asyncio's own timers in `run`; kind "timer", name "".
    ["cancel", act, kind, name, count]
        `run` no longer waits for this key.
    ["call", act, number, name, count, ordinal, binding, method, id, type, kind, options] [JSON]
        A step's body calls an instance of a bound workflow: "create" (the payload is its params), "get", "status",
        "pause", "resume", "restart", "cancel", "terminate", "delete" or "sendEvent" (of that type, with the payload).
        `ordinal` is from 1 within its attempt: the same call of another attempt is the same call. `options`, with which
        every kind is said, are left out where they say nothing: [success, error, rollback, [kind, name, count] or
        null], a create's retention, each in ms or null, whether a terminate rolls back, and the step that a restart is
        from.
    ["idle", act, entered]
        After `entered` completions nothing is ready and no body runs: only time, an event or a retry can go on.
    ["quiet", act, hold]
        Answers the "hold" of that number: no body runs any more. One that crossed a later "hold" is stale.
    ["returned", act] [JSON]
        `run` returned.
    ["raised", act, ERROR, rolled_back, ERROR or null]
        `run` raised. The rest is left out where no step had a rollback handler; else rolled_back is true, and the error
        that of the handler that failed for good.
    ["mismatch", act, position, expected, got]
        Replay and journal differ, at that completion, from 0.
    ["replayed", act, next]
        Of a "replay": the code does what its journal says; `next` tells people what `run` does after that.
    ["closed", act]
        Answers "stop", and follows "returned", "raised", "mismatch" and "replayed": nothing of this activation runs any
        more.
    ["pong"]
        Answers "ping".
    ["log", act, name, count, attempt, stream] [text]
        What the author printed: stream 1 or 2; name "" and count 0 in `run`; act 0 outside of instances.

Host to guest
    ["load", path, [entrypoint, ...], {name: value}, {limit: number}, {name: workflow}]
        The bundle is at path; then vars, limits as `guest.limits.Limits` names them, and bindings.
    ["start", act, entrypoint, about, recorded, [[kind, name, count], ...]] [JSON params]
        `about` is {id, uid, workflow, created, started, now, stepsMax}; `started` is the time of the first activation,
        the same in all that follow: `run`'s clock begins there. `stepsMax` is the workflow's own limit, null for none.
        Of an instance that a schedule created it has `schedule: [cron, scheduled]` too.
        The next `recorded` completions of this activation are the journal's; no body starts before they have entered.
        The list names what is open: asked for before and still to come. An open step's next attempt waits for "go"; an
        open sleep, wait or timer is not asked for again.
    ["replay", act, entrypoint, about, recorded, [[kind, name, count], ...], ended] [JSON params]
        As "start", of a journal that is only compared with the code: no body runs, nothing is asked for, and what `run`
        prints is dropped. Once the completions have entered, the guest says "mismatch" or "replayed". `ended` is
        "returned" or "raised" where the journal says that `run` did, else empty.
    ["completion", act, kind, name, count, at, outcome, detail] [JSON]
        outcome, detail and payload are one of
        "value", null, the result of a step that this activation did not run
        "held", null: the result that this guest sent is durable
        "error", ERROR: the step failed for good
        "fired", null: a sleep or a timer
        "event", [type, timestamp], the event's payload
        "timeout", null: no event came in time
        "cancelled", the reason: `run` is to be cancelled where it stands; kind "cancel", name "", count 1
        "terminate", null: `run` ends here, by a call; kind "rollback", name ""
    ["answer", act, number, ERROR or null] [JSON]
        Answers the "call" of that number, with its answer or with what it failed with.
    ["go", act, kind, name, count, attempt]
        Start this attempt of an open step or rollback.
    ["hold", act, hold]
        Start no more bodies; say "quiet" with this number when none runs. Numbers rise within an activation, from 1.
    ["release", act]
        Undo "hold".
    ["stop", act]
        Cancel what runs, drop the instance, say "closed".
    ["ping"]
        Say "pong": whether the event loop still turns.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

PROTOCOL: Final = 4

EXIT_THREADS_STUCK: Final = 197
"""How a guest's process ends itself, to be started afresh, when too many threads of plain functions can't be ended. No
status that programs use, so that nobody's own exit is taken for it."""

HEADER: Final = struct.Struct(">II")

ENVELOPE_BYTES_MAX: Final = 192 * 1024
"""Enough for an error with its bounded texts and causes; not for data, which is payload."""

PAYLOAD_BYTES_MAX: Final = 1024 * 1024
"""A step's result, an event's payload, params, output: 1 MiB, as Cloudflare's."""


TOLD_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 64 * 1024
"""Of a payload that a host sends: an output, within what is said of an instance."""


class FrameError(Exception):
    """The other side sent what no frame can be."""


def frame(envelope: bytes, payload: bytes = b"") -> bytes:
    """The bytes of one frame. Its parts are within their limits: the sender has seen to it."""
    return HEADER.pack(len(envelope), len(payload)) + envelope + payload


class FrameReader:
    """Cuts a byte stream into frames; holds at most one incomplete frame, and what was not asked for."""

    def __init__(self, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._payload_bytes_max = payload_bytes_max

    def feed(self, data: bytes, frames_max: int = sys.maxsize) -> list[tuple[bytes, bytes]]:
        """Take the next bytes; return the (envelope, payload) of each frame that is whole now, in order; of more than
        `frames_max`, the first ones.

        Raises FrameError when a length is over its limit, before the bytes it announces are awaited.
        """
        buffer = self._buffer
        buffer += data
        frames: list[tuple[bytes, bytes]] = []
        at, end = 0, len(buffer)
        while len(frames) < frames_max and end - at >= HEADER.size:
            envelope_size, payload_size = HEADER.unpack_from(buffer, at)
            if envelope_size > ENVELOPE_BYTES_MAX or payload_size > self._payload_bytes_max:
                raise FrameError(f"a frame of {envelope_size} + {payload_size} bytes is over the limit")
            body = at + HEADER.size
            middle = body + envelope_size
            last = middle + payload_size
            if last > end:
                break
            frames.append((bytes(buffer[body:middle]), bytes(buffer[middle:last])))
            at = last
        if at:
            del buffer[:at]
        return frames

"""What `run` may not do, because doing it again on a replay would come out differently: the world is for steps.

asyncio's own ways are refused by its loop; those that go around it (socket, subprocess, threading) by an audit
hook, which looks only while a scheduler is being drained in the thread that drains it. A thread that a step may start
prints as that step does.
"""

from __future__ import annotations

import sys
import threading
from asyncio import SelectorEventLoop
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NoReturn

from stepwell.errors import RunRestrictionError
from stepwell.guest.logs import printing_alike
from stepwell.guest.loop import GuestLoop
from stepwell.guest.scheduler import drained

_LOOP_METHODS: Final = {
    "a thread": ("run_in_executor", "set_default_executor", "call_soon_threadsafe"),
    "a subprocess": ("subprocess_exec", "subprocess_shell"),
    "a socket": (
        "create_connection",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "create_datagram_endpoint",
        "connect_accepted_socket",
        "getaddrinfo",
        "getnameinfo",
        "sock_accept",
        "sock_connect",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_recvfrom_into",
        "sock_sendall",
        "sock_sendto",
        "sock_sendfile",
        "sendfile",
        "start_tls",
    ),
    "a file descriptor": (
        "add_reader",
        "add_writer",
        "remove_reader",
        "remove_writer",
        "connect_read_pipe",
        "connect_write_pipe",
    ),
    "a signal handler": ("add_signal_handler", "remove_signal_handler"),
    "an event loop of its own": (
        "run_forever",
        "run_until_complete",
        "stop",
        "close",
        "shutdown_asyncgens",
        "shutdown_default_executor",
        "set_task_factory",
    ),
}

_EVENTS: Final = {
    "socket.__new__": "a socket",
    "socket.connect": "a socket",
    "socket.getaddrinfo": "a socket",
    "socket.gethostbyname": "a socket",
    "subprocess.Popen": "a subprocess",
    "os.system": "a subprocess",
    "os.posix_spawn": "a subprocess",
    "os.exec": "a subprocess",
    "os.fork": "a subprocess",
    "os.forkpty": "a subprocess",
}


def refuse(what: str) -> NoReturn:
    """Raise the error that says what to do instead."""
    raise RunRestrictionError(
        f"run used {what}, which a replay could not repeat; do it in a step: below @step.do(), or by step.call()"
    )


def install() -> None:
    """Refuse these things from now on, in this process. Once."""
    for what, names in _LOOP_METHODS.items():
        for name in names:
            setattr(GuestLoop, name, _refused_in_run(what, name))
    sys.addaudithook(_audit)
    threading._start_new_thread = _start_new_thread  # type: ignore[attr-defined]


def _refused_in_run(what: str, name: str) -> Callable[..., Any]:
    ordinary = getattr(SelectorEventLoop, name)

    @wraps(ordinary)
    def method(self: GuestLoop, *args: Any, **kwargs: Any) -> Any:
        if drained() is not None:
            refuse(what)
        return ordinary(self, *args, **kwargs)

    return method


_start_thread: Final = threading._start_new_thread  # type: ignore[attr-defined]


def _audit(event: str, args: object) -> None:
    if drained() is not None and event in _EVENTS:
        refuse(_EVENTS[event])


def _start_new_thread(function: Callable[..., object], *args: Any) -> Any:
    if drained() is not None:
        refuse("a thread")
    return _start_thread(printing_alike(function), *args)

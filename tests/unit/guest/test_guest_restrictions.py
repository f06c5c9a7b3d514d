from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stepwell.errors import RunRestrictionError
from tests.replay.fake_host import FakeHost

pytestmark = pytest.mark.usefixtures("in_guest")

_ASYNC: list[tuple[str, Callable[[], Any]]] = [
    ("a thread", lambda: asyncio.to_thread(print)),
    ("a thread", lambda: asyncio.get_running_loop().run_in_executor(None, print)),
    ("a subprocess", lambda: asyncio.create_subprocess_exec("true")),
    ("a subprocess", lambda: asyncio.create_subprocess_shell("true")),
    ("a socket", lambda: asyncio.open_connection("localhost", 1)),
    ("a socket", lambda: asyncio.start_server(lambda *_: None, "localhost", 1)),
    ("a socket", lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1)),
]

_PLAIN: list[tuple[str, Callable[[], Any]]] = [
    ("a socket", socket.socket),
    ("a socket", lambda: socket.getaddrinfo("localhost", 1)),
    ("a subprocess", lambda: subprocess.run(["true"])),
    ("a subprocess", lambda: os.system("true")),
    ("a subprocess", lambda: os.fork()),
    ("a thread", lambda: threading.Thread(target=print).start()),
    ("a thread", lambda: asyncio.get_running_loop().call_soon_threadsafe(print)),
    ("a file descriptor", lambda: asyncio.get_running_loop().add_reader(0, print)),
    ("a signal handler", lambda: asyncio.get_running_loop().add_signal_handler(1, print)),
    ("an event loop of its own", lambda: asyncio.get_running_loop().stop()),
]


@pytest.mark.parametrize(("what", "do"), _ASYNC + _PLAIN)
def test_run_may_not_touch_the_world_and_hears_what_to_do_instead(what: str, do: Callable[[], Any]) -> None:
    class Main:
        async def run(self, event: Any, step: Any) -> None:
            result = do()
            if hasattr(result, "__await__"):
                await result

    host = FakeHost(Main).begin()
    assert host.outcome is not None
    assert host.outcome[0] == "raised"
    module, name, message = host.outcome[1]
    assert (module, name) == ("stepwell.errors", RunRestrictionError.__name__)
    assert message.startswith(f"run used {what}, which a replay could not repeat; do it in a step")


def test_outside_of_run_all_of_it_is_allowed() -> None:
    socket.socket().close()
    done = threading.Event()
    thread = threading.Thread(target=done.set)
    thread.start()
    thread.join()
    assert done.is_set()
    assert subprocess.run(["true"], check=False).returncode == 0

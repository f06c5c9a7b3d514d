"""What authors print in a whole guest: once, and tagged with who printed it."""

from __future__ import annotations

from pathlib import Path

from loader import messages
from tests.replay.guest_process import GuestProcess
from tests.unit.guest.running import logs, run, write


def test_prints_are_tagged_with_who_printed_them(guest: GuestProcess, bundle: Path) -> None:
    run(
        guest,
        bundle,
        "print('in run')",
        "@step.do()",
        "async def one(): print('in one', end='')",
        "@step.do()",
        "def two(): print('in two', file=sys.stderr)",
        "await one(); await two()",
    )
    assert logs(guest) == [("", 0, 1, "in run\n"), ("one", 1, 1, "in one"), ("two", 1, 2, "in two\n")]


def test_threads_that_a_step_starts_print_as_the_step_does(guest: GuestProcess, bundle: Path) -> None:
    run(
        guest,
        bundle,
        "@step.do()",
        "def one():",
        "    import threading",
        "    thread = threading.Thread(target=print, args=('in a thread',)); thread.start(); thread.join()",
        "@step.do()",
        "async def two():",
        "    from concurrent.futures import ThreadPoolExecutor",
        "    with ThreadPoolExecutor() as pool: list(pool.map(print, ['in a pool']))",
        "@step.do()",
        "def three(): print('in a body')",
        "await one(); await two(); await three()",
    )
    assert logs(guest) == [
        ("one", 1, 1, "in a thread\n"),
        ("two", 1, 1, "in a pool\n"),
        ("three", 1, 1, "in a body\n"),
    ]


def test_prints_of_run_are_not_sent_again_on_a_replay(guest: GuestProcess, bundle: Path) -> None:
    guest.load(
        write(bundle, "print('a')", "await step.sleep('x', 1)", "print('b')", "await step.sleep('y', 1)"), "main:Main"
    )
    guest.start(recorded=1)
    guest.complete(messages.Sleep(1, "x", 1, 1, None), "fired")
    guest.serve()
    assert logs(guest) == [("", 0, 1, "b\n")]


def test_prints_before_what_was_asked_for_already_are_not_sent_again(guest: GuestProcess, bundle: Path) -> None:
    lines = ("print('a')", "await step.sleep('x', 1)", "print('b')", "await step.sleep('y', 1)", "print('c')")
    guest.load(write(bundle, *lines), "main:Main")
    guest.start(recorded=1, opened=[("sleep", "y", 1)])
    guest.complete(messages.Sleep(1, "x", 1, 1, None), "fired")
    guest.complete(messages.Sleep(1, "y", 1, 1, None), "fired")
    assert isinstance(guest.serve()[0], messages.Returned)
    assert logs(guest) == [("", 0, 1, "c\n")]

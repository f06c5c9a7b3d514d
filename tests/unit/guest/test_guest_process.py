"""A whole guest, in a process, spoken to over its socket."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from loader import messages
from stepwell.frames import EXIT_THREADS_STUCK, HEADER
from tests.replay.guest_process import GuestProcess
from tests.unit.guest.running import logs, of, run, write


def test_a_guest_says_hello_first_with_protocol_and_versions(guest: GuestProcess) -> None:
    hello, _ = guest.seen[0]
    assert (hello.protocol, hello.runtime.split()[0], hello.python.split(".")[:2]) == (4, "stepwell", ["3", "11"])


def test_everything_at_once_from_start_to_closed(guest: GuestProcess, bundle: Path) -> None:
    (bundle / "parts.py").write_text("def double(x):\n    return 2 * x\n")
    last, output = run(
        guest,
        bundle,
        "from parts import double",
        "@step.do()",
        "async def one(): return 1",
        "@step.do('two', config={'retries': {'limit': 1, 'delay': 0}})",
        "def two(one, ctx):",
        "    if ctx.attempt == 1: raise ValueError('again')",
        "    return one + 1",
        "await step.sleep('nap', '1 second')",
        "async with asyncio.timeout(5):",
        "    news = await step.wait_for_event('news', 'kind')",
        "return [await two(), await step.call('x', double, 4), news.payload, self.env.GREETING]",
        variables={"GREETING": "hello"},
    )
    assert (type(last).__name__, output) == ("Returned", b'[2,8,"event","hello"]')


@pytest.mark.parametrize(
    ("text", "type_name", "says"),
    [
        ("class Main:\n  def f(:\n    pass\n", "SyntaxError", "main.py, line 2: "),
        ("import nothing_like_it\n", "ModuleNotFoundError", "main.py, line 1: No module named 'nothing_like_it'"),
        ("x = 1\n1 / 0\n", "ZeroDivisionError", "main.py, line 2: division by zero"),
        ("raise SystemExit(1)\n", "SystemExit", "main.py, line 1: 1"),
        ("class Main: pass\n", "ImportError", "Main is no subclass of WorkflowEntrypoint; those are: none"),
        (
            "from stepwell import WorkflowEntrypoint\nclass Order(WorkflowEntrypoint): pass\n",
            "ImportError",
            "main has no 'Main'; its workflows are: Order",
        ),
    ],
)
def test_a_bundle_that_cant_be_loaded_says_where_and_why(
    guest: GuestProcess, bundle: Path, text: str, type_name: str, says: str
) -> None:
    (bundle / "main.py").write_text(text)
    unloadable = guest.load(bundle, "main:Main")
    assert isinstance(unloadable, messages.Unloadable)
    assert unloadable.error.type == type_name
    assert says in unloadable.error.message
    assert str(bundle) not in unloadable.error.traceback


def test_an_entrypoint_whose_module_is_missing_is_told_so(guest: GuestProcess, bundle: Path) -> None:
    assert (
        guest.load(bundle, "no.such:Main").error.message == "entrypoint 'no.such:Main': the bundle has no module 'no'"
    )


def test_both_import_names_work(guest: GuestProcess, bundle: Path) -> None:
    (bundle / "main.py").write_text(
        "from workers import WorkflowEntrypoint, WorkerEntrypoint, Response, env\n"
        "from workers.workflows import NonRetryableError\n"
        "GREETING = env.GREETING\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request): return Response('x')\n"
        "class Main(WorkflowEntrypoint):\n"
        "    async def run(self, event, step):\n"
        "        @step.do()\n"
        "        async def fail(): raise NonRetryableError('never')\n"
        "        try: await fail()\n"
        "        except NonRetryableError as error: return [str(error), GREETING]\n"
    )
    assert isinstance(guest.load(bundle, "main:Main", variables={"GREETING": "hi"}), messages.Loaded)
    guest.start()
    assert guest.serve()[1] == b'["never","hi"]'
    assert [each.retryable for each in of(guest, "Failed")] == [False]


def test_an_async_body_is_cancelled_at_its_timeout(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "@step.do('slow', config={'timeout': 30, 'retries': {'limit': 1, 'delay': 0}})",
        "async def slow():",
        "    try: await asyncio.sleep(60)",
        "    finally: print('cleaned up')",
        "try: await slow()",
        "except StepTimeoutError as error: return str(error)",
    )
    assert output.decode() == "\"step 'slow': attempt 2 ran longer than its timeout of 30 ms\""
    assert logs(guest) == [("slow", number, 1, "cleaned up\n") for number in (1, 2)]
    assert [(each.attempt, each.timeout_ms) for each in of(guest, "Started")] == [(1, 30), (2, 30)]


def test_a_thread_is_left_behind_at_its_timeout_and_its_late_result_dropped(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "late = threading.Event()",
        "@step.do('slow', config={'timeout': 30, 'retries': {'limit': 0}})",
        "def slow(): late.wait(); return 'late'",
        "try: await slow()",
        "except TimeoutError as error: pass",
        "@step.do()",
        "def free(): late.set(); return 'in time'",
        "return await free()",
    )
    assert output == b'"in time"'
    assert len(of(guest, "Result")) == 1


def test_too_many_abandoned_threads_end_the_guest_saying_why(guest: GuestProcess, bundle: Path) -> None:
    lines = [
        "@step.do('stuck', config={'timeout': 20, 'retries': {'limit': 9, 'delay': 0}})",
        "def stuck(): threading.Event().wait()",
        "await stuck()",
    ]
    with suppress(EOFError, BrokenPipeError):  # as the host reads, or as it writes, while the last words wait for it
        run(guest, bundle, *lines, abandonedThreads=2)
    with pytest.raises(EOFError):
        guest.until("nothing more")
    assert "started afresh" in logs(guest)[-1][3]
    assert guest.process.wait(20) == EXIT_THREADS_STUCK


def test_a_blocking_function_stops_nobody_else(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "freed = threading.Event()",
        "@step.do()",
        "def blocks(): return freed.wait(20)",
        "@step.do()",
        "async def frees(): freed.set()",
        "return (await asyncio.gather(blocks(), frees()))[0]",
    )
    assert output == b"true"


def test_plain_functions_over_the_limit_of_threads_wait_their_turn(guest: GuestProcess, bundle: Path) -> None:
    lines = ["def body(n): return n", "return await asyncio.gather(*[step.call(f's{n}', body, n) for n in range(20)])"]
    _, output = run(guest, bundle, *lines, threads=2)
    assert output == b"[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]"


def test_a_body_may_use_the_ordinary_loop_threads_and_subprocesses(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "@step.do()",
        "async def busy():",
        "    inner = asyncio.create_task(asyncio.sleep(0, 'task'))",
        "    child = await asyncio.create_subprocess_exec('echo', 'out', stdout=asyncio.subprocess.PIPE)",
        "    out, _ = await child.communicate()",
        "    async with asyncio.timeout(20):",
        "        return [await inner, out.decode(), await asyncio.to_thread(lambda: 'thread')]",
        "return await busy()",
    )
    assert output == b'["task","out\\n","thread"]'


def test_a_body_that_exits_fails_its_step_and_the_guest_lives_on(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "async def leave(): sys.exit(3)",
        "async def leaves_by_task():",
        "    asyncio.create_task(leave())",
        "    for _ in range(3): await asyncio.sleep(0)",
        "    return 'lives'",
        "try: await step.call('a', leave, config={'retries': {'limit': 0}})",
        "except StepError as error: return [error.type, str(error), await step.call('b', leaves_by_task)]",
    )
    assert output == b'["SystemExit","3","lives"]'


def test_a_body_whose_error_harms_whoever_looks_at_it_fails_its_step(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "class Harmful(Exception):",
        "    def harm(*_): raise SystemExit",
        "    __str__ = __repr__ = harm",
        "    __class__ = __traceback__ = __cause__ = property(harm)",
        "@step.do('fails', config={'retries': {'limit': 0}})",
        "async def fails(): raise Harmful",
        "try: await fails()",
        "except Exception as error: return type(error).__name__",
    )
    assert [each.error.type for each in of(guest, "Failed")] == ["Main.run.<locals>.Harmful"]
    assert output == b'"StepError"'


def test_run_that_exits_ends_its_instance_and_the_guest_lives_on(guest: GuestProcess, bundle: Path) -> None:
    guest.load(write(bundle, "if event.payload: sys.exit(3)", "return 'lives'"), "main:Main")
    guest.start(act=1, params=b"true")
    assert guest.serve(1)[0].error.type == "SystemExit"
    guest.start(act=2)
    assert guest.serve(2)[1] == b'"lives"'


def test_instances_of_one_guest_do_not_meet(guest: GuestProcess, bundle: Path) -> None:
    lines = ["async def body(n): return n", "return [await step.call('x', body, n + event.payload) for n in range(3)]"]
    guest.load(write(bundle, *lines), "main:Main")
    for act in range(1, 51):
        guest.start(act=act, params=b"%d" % (act * 10))
    outputs, closed = {}, 0
    while closed < 50:
        message, payload = guest.next()
        if isinstance(message, messages.Result):
            guest.complete(message, "held")
        elif isinstance(message, messages.Returned):
            outputs[message.act] = payload
        closed += isinstance(message, messages.Closed)
    assert outputs == {act: b"[%d,%d,%d]" % (act * 10, act * 10 + 1, act * 10 + 2) for act in range(1, 51)}


def test_started_is_left_out_for_a_body_that_ends_at_once(guest: GuestProcess, bundle: Path) -> None:
    run(guest, bundle, "async def quick(): return 1", "return await step.call('quick', quick)")
    assert of(guest, "Started") == []
    assert len(of(guest, "Result")) == 1


def test_stop_cancels_what_runs_and_says_closed(guest: GuestProcess, bundle: Path) -> None:
    lines = [
        "@step.do()",
        "async def endless():",
        "    try: await asyncio.Event().wait()",
        "    finally: print('cancelled')",
        "try: await endless()",
        "finally: print('not seen: it may go on elsewhere')",
    ]
    guest.load(write(bundle, *lines), "main:Main")
    guest.start()
    guest.until("Started")
    guest.send(messages.order("stop", 1))
    guest.until("Closed")
    assert [text for *_, text in logs(guest)] == ["cancelled\n"]
    guest.send(messages.order("stop", 1))
    guest.until("Closed")


def test_each_attempt_gets_its_own_arguments(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "@step.do()",
        "async def items(): return [1]",
        "@step.do(config={'retries': {'limit': 3, 'delay': 0}})",
        "async def grows(items, ctx):",
        "    items.append(2)",
        "    if ctx.attempt < 3: raise ValueError",
        "    return items",
        "return [await grows(), await items()]",
    )
    assert output == b"[[1,2],[1]]"


def test_a_child_has_neither_the_socket_nor_a_way_to_it(guest: GuestProcess, bundle: Path) -> None:
    _, output = run(
        guest,
        bundle,
        "def look():",
        "    read, write = os.pipe()",
        "    if os.fork() == 0:",
        "        found = [fd for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')",
        "                 and 'socket' in os.readlink(f'/proc/self/fd/{fd}')]",
        "        parent = [fd for fd in found if int(fd) >= 100]",
        "        os.write(write, repr(parent).encode()); os._exit(0)",
        "    os.wait()",
        "    return os.read(read, 100).decode() + repr(sys.stdin.read())",
        "return await step.call('look', look)",
    )
    assert output == b"\"[]''\""


def test_raw_writes_go_to_the_log_pipe_and_not_to_the_host(guest: GuestProcess, bundle: Path) -> None:
    run(guest, bundle, "os.write(1, b'raw 1\\n'); os.write(2, b'raw 2\\n')")
    assert os.read(guest.output_fd, 100) == b"raw 1\nraw 2\n"


def test_a_guest_ends_when_its_host_does(guest: GuestProcess) -> None:
    assert guest.close() == 0


def test_an_illegal_frame_ends_the_guest(guest: GuestProcess) -> None:
    guest.send(HEADER.pack(1 << 30, 0))
    assert guest.process.wait(20) == 70


def test_a_flood_waits_for_a_host_that_does_not_read(guest: GuestProcess, bundle: Path) -> None:
    lines = [
        "async def big(n): return 'x' * 900_000",
        "return len(await asyncio.gather(*[step.call('x', big, n) for n in range(12)]))",
    ]
    guest.load(write(bundle, *lines), "main:Main")
    guest.start()
    assert guest.serve()[1] == b"12"


def test_sets_of_text_iterate_alike_even_if_the_host_forgot_to_fix_the_seed(bundle: Path) -> None:
    outputs = set()
    for seed in (None, "0"):
        with GuestProcess(hash_seed=seed) as guest:
            outputs.add(run(guest, bundle, "return list({'alpha', 'beta', 'gamma', 'delta', 'epsilon'})")[1])
    assert len(outputs) == 1


def test_randomness_is_seeded_anew_when_the_bundle_arrives(bundle: Path) -> None:
    numbers = set()
    for _ in range(2):
        with GuestProcess() as guest:
            numbers.add(run(guest, bundle, "import random", "return random.random()")[1])
    assert len(numbers) == 2


def test_an_interrupt_does_not_end_a_guest(guest: GuestProcess, bundle: Path) -> None:
    guest.load(write(bundle, "return 'lives'"), "main:Main")
    guest.process.send_signal(signal.SIGINT)
    guest.start()
    assert guest.serve()[1] == b'"lives"'

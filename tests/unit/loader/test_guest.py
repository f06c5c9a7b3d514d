"""The host's end of a conversation, with the test as the guest."""

from __future__ import annotations

import asyncio
import os

import pytest

from loader import messages
from loader.guest import Guest, GuestDiedError
from loader.messages import ActivationMessage, Idle, Result
from stepwell.errors import BundleRefusedError
from stepwell.frames import EXIT_THREADS_STUCK, HEADER, frame
from tests.unit.loader.conversation import LOADED, MANIFEST, Ear, loaded, result
from tests.unit.loader.fake_sandbox import HELLO, FakeSandbox


async def test_a_bundle_is_loaded_after_the_greeting(guest: Guest, sandbox: FakeSandbox) -> None:
    sandbox.say(HELLO)
    await guest.greet(5_000)
    loading = asyncio.ensure_future(guest.load("/bundle", MANIFEST, {"steps": 9}))
    [(envelope, _)] = await sandbox.heard()
    assert envelope == b'["load","/bundle",["main:Order"],{"a":"b"},{"steps":9},{}]'
    sandbox.say(LOADED)
    await loading
    assert guest.alive


async def test_messages_go_to_the_activation_they_name_and_payloads_pass_untouched(
    guest: Guest, sandbox: FakeSandbox
) -> None:
    await loaded(guest, sandbox)
    one, two = Ear(), Ear()
    first, second = guest.open(one), guest.open(two)
    sandbox.say(result(first, b"{not json"), result(second), frame(f'["idle",{first},0]'.encode()))
    await one.something.wait()
    assert one.heard == [(Result(first, "a", 1, 1, 5), b"{not json"), (Idle(first, 0), b"")]
    assert two.heard == [(Result(second, "a", 1, 1, 5), b"1")]
    assert (one.batches, two.batches) == (1, 1)


async def test_what_comes_for_a_closed_activation_is_dropped(guest: Guest, sandbox: FakeSandbox) -> None:
    await loaded(guest, sandbox)
    closed, open_ = Ear(), Ear()
    act = guest.open(closed)
    guest.close(act)
    sandbox.say(result(act), result(99), result(guest.open(open_)))
    await open_.something.wait()
    assert closed.heard == []
    assert len(open_.heard) == 1


async def test_frames_of_one_turn_are_written_together_and_in_order(guest: Guest, sandbox: FakeSandbox) -> None:
    for act in range(3):
        guest.send(messages.order("release", act))
    await asyncio.sleep(0)
    data = sandbox.guest.recv(1 << 16)
    assert data == b"".join(messages.order("release", act) for act in range(3))


async def test_frames_for_a_full_socket_wait_and_arrive_whole(guest: Guest, sandbox: FakeSandbox) -> None:
    sent = [frame(b'["x"]', bytes([n]) * 400_000) for n in range(20)]
    for each in sent:
        guest.send(each)
    await asyncio.sleep(0)
    assert guest.outgoing_bytes > 0
    guest.send(frame(b'["last"]'))
    frames = await sandbox.heard(21)
    assert [payload[:1] for _, payload in frames] == [bytes([n]) for n in range(20)] + [b""]
    await guest.drain()
    assert guest.outgoing_bytes == 0


async def test_a_guest_that_does_not_read_is_ended_at_the_limit(sandbox: FakeSandbox) -> None:
    guest = Guest(sandbox, outgoing_bytes_max=1 << 20)
    guest.send(frame(b"[]", b"x" * (1 << 20)))
    assert "unread" in await guest.death


ILLEGAL = {
    "garbage": b"\xff" * 64,
    "oversized": HEADER.pack(10, 1 << 30),
    "no json": frame(b"["),
    "no message": frame(b'["unheard-of",1]'),
    "wrong type": frame(b'["result","one","a",1,1,5]', b"1"),
    "too many fields": frame(b'["idle",1,0,7]'),
    "negative": frame(b'["idle",-1,0]'),
    "huge number": frame(b'["idle",1' + b"0" * 5000 + b",0]"),
    "bad text": frame(b'["result",1,"\xff",1,1,5]'),
    "deep": frame(b'["raised",1,' + b'["","","","",' * 9_000 + b"null" + b"]" * 9_000 + b"]"),
    "second hello": HELLO,
    "second loaded": LOADED,
}


@pytest.mark.parametrize("bad", ILLEGAL.values(), ids=ILLEGAL.keys())
async def test_an_illegal_frame_ends_that_sandbox_only_and_tells_why_once(
    guest: Guest, sandbox: FakeSandbox, bad: bytes
) -> None:
    await loaded(guest, sandbox)
    other_sandbox = FakeSandbox()
    other, ear = Guest(other_sandbox), Ear()
    act = guest.open(ear)
    sandbox.say(result(act), bad, result(act))
    reason = await guest.death
    assert "illegal frame" in reason
    await ear.something.wait()
    await asyncio.sleep(0)
    assert ear.deaths == [reason]
    assert len(ear.heard) == (0 if bad in (ILLEGAL["garbage"], ILLEGAL["oversized"]) else 1)
    assert sandbox.kills >= 1
    assert other.alive
    other_sandbox.close()
    await other.death


async def test_an_activations_message_before_the_bundle_is_loaded_is_illegal(
    guest: Guest, sandbox: FakeSandbox
) -> None:
    sandbox.say(HELLO, result(1))
    assert "before the bundle was loaded" in await guest.death


async def test_another_protocol_is_refused_at_the_greeting(guest: Guest, sandbox: FakeSandbox) -> None:
    sandbox.say(frame(b'["hello",999,"x","y"]'))
    with pytest.raises(GuestDiedError, match="protocol 999"):
        await guest.greet(5_000)


async def test_a_guest_that_says_nothing_is_given_up(guest: Guest) -> None:
    with pytest.raises(GuestDiedError, match="hello within 1 ms"):
        await guest.greet(1)


async def test_the_first_reason_stays_and_death_is_told_after_the_call(guest: Guest, sandbox: FakeSandbox) -> None:
    ear = Ear()
    guest.open(ear)
    guest.kill("first")
    guest.kill("second")
    assert ear.deaths == []
    await ear.something.wait()
    assert ear.deaths == ["first"]
    assert guest.death.result() == "first"
    with pytest.raises(GuestDiedError, match="first"):
        guest.open(ear)
    guest.send(b"goes nowhere")


async def test_the_guests_own_end_is_a_death(guest: Guest, sandbox: FakeSandbox) -> None:
    sandbox.guest.close()
    assert await guest.death == "it closed its connection"


async def test_a_process_that_ends_says_how_although_its_connection_closes_before(
    guest: Guest, sandbox: FakeSandbox
) -> None:
    sandbox.guest.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert guest.alive
    sandbox.exited.set_result(128 + 6)
    assert await guest.death == "its process was ended by signal 6 (Aborted)"


async def test_the_end_of_the_process_is_a_death_with_its_status(guest: Guest, sandbox: FakeSandbox) -> None:
    sandbox.exited.set_result(5)
    assert await guest.death == "its process ended with status 5"


async def test_a_process_that_has_to_be_killed_after_its_connection_closed_may_have_met_a_limit(
    guest: Guest, sandbox: FakeSandbox
) -> None:
    sandbox.cause = "it used more than its 5 MiB of memory"
    sandbox.guest.close()
    assert await guest.death == "it used more than its 5 MiB of memory"
    assert sandbox.kills >= 1


async def test_how_a_process_ended_says_more_than_that_its_connection_did(guest: Guest, sandbox: FakeSandbox) -> None:
    guest.open(ear := Ear())
    sandbox.guest.close()
    guest.resume_reading(object())
    sandbox.cause = "it used more than its 5 MiB of memory"
    while guest.usable:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert guest.alive
    with pytest.raises(GuestDiedError, match="its end is awaited"):
        guest.open(Ear())
    sandbox.exited.set_result(-9)
    await ear.something.wait()
    assert ear.deaths == ["it used more than its 5 MiB of memory"]


async def test_a_guest_that_ends_itself_for_its_stuck_threads_is_known_by_its_status(
    guest: Guest, sandbox: FakeSandbox
) -> None:
    sandbox.exited.set_result(EXIT_THREADS_STUCK)
    assert "plain functions ran out of time and still run" in await guest.death
    os.close(sandbox.guest_output)


async def test_a_frame_that_never_ends_is_no_sign_of_life(sandbox: FakeSandbox) -> None:
    guest = Guest(sandbox, loop_stall_ms=200)
    await loaded(guest, sandbox)
    guest.open(Ear())
    sandbox.say(HEADER.pack(2, 1_000_000) + b"[]")
    async with asyncio.timeout(10):
        while guest.alive:
            sandbox.say(b"x")
            await asyncio.sleep(0.01)
    assert "event loop stood still" in guest.death.result()


async def test_paused_reading_holds_messages_back(guest: Guest, sandbox: FakeSandbox) -> None:
    await loaded(guest, sandbox)
    ear = Ear()
    act = guest.open(ear)
    guest.hold_reading("one")
    guest.hold_reading("two")
    guest.resume_reading("one")
    sandbox.say(result(act))
    await asyncio.to_thread(lambda: None)
    assert ear.heard == []
    guest.resume_reading("two")
    await ear.something.wait()
    assert len(ear.heard) == 1


async def test_a_bundle_that_cannot_be_imported_is_refused_in_its_authors_words(
    guest: Guest, sandbox: FakeSandbox
) -> None:
    sandbox.say(HELLO)
    loading = asyncio.ensure_future(guest.load("/bundle", MANIFEST, {}))
    await sandbox.heard()
    sandbox.say(frame(b'["unloadable",["builtins","NameError","main.py:3: no \\u001b[31mname","",null]]'))
    with pytest.raises(BundleRefusedError) as caught:
        await loading
    assert "NameError: main.py:3: no \ufffd[31mname" in caught.value.message
    assert not guest.alive


async def test_an_import_without_end_is_refused(guest: Guest, sandbox: FakeSandbox) -> None:
    with pytest.raises(BundleRefusedError, match=r"took over 0\.001 s"):
        await guest.load("/bundle", MANIFEST, {}, timeout_ms=1)
    assert not guest.alive


async def test_a_handler_that_raises_ends_the_guest_since_its_state_is_unknown(
    guest: Guest, sandbox: FakeSandbox
) -> None:
    class Broken(Ear):
        def on_message(self, message: ActivationMessage, payload: bytes) -> None:
            raise RuntimeError("a fault of ours")

    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    await loaded(guest, sandbox)
    sandbox.say(result(guest.open(Broken())))
    assert "the host failed" in await guest.death
    assert len(reports) == 1


async def test_a_guest_that_stays_silent_is_ended_but_not_while_it_is_not_read(sandbox: FakeSandbox) -> None:
    guest, ear, holder = Guest(sandbox, loop_stall_ms=40), Ear(), object()
    await loaded(guest, sandbox)
    guest.open(ear)
    guest.hold_reading(holder)
    assert set(await sandbox.heard(8)) == {(b'["ping"]', b"")}
    assert guest.alive
    guest.resume_reading(holder)
    assert (await guest.death).startswith("its event loop stood still for over 0.04 s")


async def test_a_guest_that_answers_lives_until_nothing_runs_in_it(sandbox: FakeSandbox) -> None:
    guest = Guest(sandbox, loop_stall_ms=2_000)
    await loaded(guest, sandbox)
    act = guest.open(Ear())
    for _ in range(6):
        await sandbox.heard()
        sandbox.say(frame(b'["pong"]'))
    guest.close(act)
    assert guest.alive
    guest.kill("the test is over")

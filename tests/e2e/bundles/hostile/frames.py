"""Speaks with the host over the guest's own connection: rubbish, too much of what is legal, and what is not its own."""

import asyncio
import time

import wire

from stepwell import WorkflowEntrypoint

ONCE = {"retries": {"limit": 0, "delay": 0}, "timeout": "2 seconds"}
FLOOD_S = 2
ERROR = ["builtins", "Forged", "x" * 4096, "x" * 16384, None]


class Speaker(WorkflowEntrypoint):
    """Runs `speak` in a thread, then has nothing to wait for but its death."""

    async def run(self, event, step):
        act = wire.activation(event["instanceId"])
        await step.call("speak", lambda: self.speak(act), config=ONCE)
        await step.wait_for_event("never", "never", timeout=None)

    def speak(self, act):
        raise NotImplementedError


class Rubbish(Speaker):
    def speak(self, act):
        wire.write(b"\xff" * 100_000)


class NotJson(Speaker):
    def speak(self, act):
        wire.write(wire.frame(b"\x00\xffnot json"))


class DeepEnvelope(Speaker):
    def speak(self, act):
        wire.write(wire.frame(b"[" * 190_000))


class DeepError(Speaker):
    """Causes of causes, as many as an envelope takes."""

    def speak(self, act):
        inner = "null"
        for _ in range(9_000):
            inner = f'["m","T","","",{inner}]'
        wire.write(wire.frame(f'["raised",{act},{inner}]'.encode()))


class LongNumber(Speaker):
    def speak(self, act):
        wire.write(wire.frame(b'["idle",%d,%b]' % (act, b"9" * 190_000)))


class HugeFrame(Speaker):
    """Announces four gigabytes, and begins to send them."""

    def speak(self, act):
        wire.write(b"\xff\xff\xff\xff\xff\xff\xff\xff" + b"x" * (1 << 20))


class HalfFrame(Speaker):
    """Begins a frame, and leaves it to whatever the guest says next to end it."""

    def speak(self, act):
        wire.write(wire.frame(["returned", act], b'"x"' * 300_000)[:-10_000], wire.seize())
        del wire.connection()._write


class HalfFrameAndSilence(Speaker):
    """Begins a frame, and lets nobody end it."""

    def speak(self, act):
        wire.write(wire.frame(["returned", act], b'"x"' * 300_000)[:-1], wire.seize())
        time.sleep(10_000)


class Flood(Speaker):
    """The same again and again, as fast as it is taken, for a while; then the end."""

    def speak(self, act):
        taken, batch = wire.seize(), self.batch(act)
        end = time.monotonic() + FLOOD_S
        while time.monotonic() < end:
            wire.write(batch, taken)
        wire.write(wire.frame(["raised", act, ["flood", "FloodEnded", "the flood is over", "", None]]), taken)

    def batch(self, act):
        raise NotImplementedError


class FloodOfLogs(Flood):
    def batch(self, act):
        return b"".join(wire.frame(["log", act, "s", 1, 1, 1 + n % 2], b"%d\n" % n) for n in range(2000))


class FloodOfLargeLogs(Flood):
    def batch(self, act):
        return wire.frame(["log", act, "s", 1, 1, 1], b"x\n" * (1 << 19))


class FloodOfIdles(Flood):
    """Legal at any time, and of no consequence."""

    def batch(self, act):
        return wire.frame(["idle", act, 10_000]) * 5000


class FloodOfPongs(Flood):
    """Signs of life that nobody asked for."""

    def batch(self, act):
        return wire.frame(["pong"]) * 5000


class FloodForNobody(Flood):
    """Frames of an activation that there is not, which are dropped."""

    def batch(self, act):
        return wire.frame(["result", 2**52, "s", 1, 1, 1], b"0" * 100) * 2000


class FloodOfRecords(Speaker):
    """What `run` never asked for, number by number: as many records as are taken in a while."""

    def speak(self, act):
        taken = wire.seize()
        end = time.monotonic() + FLOOD_S
        for number in range(1, 1_000_000):
            if time.monotonic() > end:
                break
            wire.write(self.frames(act, number), taken)
        wire.write(wire.frame(["raised", act, ["flood", "FloodEnded", "the flood is over", "", None]]), taken)

    def frames(self, act, number):
        raise NotImplementedError


class FloodOfResults(FloodOfRecords):
    def frames(self, act, number):
        return wire.frame(["result", act, "forged", number, 1, 1], b'"forged"')


class FloodOfLargeResults(FloodOfRecords):
    def frames(self, act, number):
        return wire.frame(["result", act, "forged", number, 1, 1], b'"%b"' % (b"x" * 1_000_000))


class FloodOfFailures(FloodOfRecords):
    def frames(self, act, number):
        return wire.frame(["failed", act, "forged", number, 1, 1, True, 10_000, 0, "constant", ERROR])


class FloodOfSleeps(FloodOfRecords):
    def frames(self, act, number):
        return wire.frame(["sleep", act, "forged", number, 1, None])


class FloodOfWaitsAndCancels(FloodOfRecords):
    def frames(self, act, number):
        return wire.frame(["wait", act, "forged", number, "go", None]) + wire.frame(
            ["cancel", act, "waitForEvent", "forged", number]
        )


class FloodOfTimers(FloodOfRecords):
    def frames(self, act, number):
        return wire.frame(["timer", act, number, 0])


class ResultTwice(Speaker):
    def speak(self, act):
        for _ in range(2):
            wire.say("result", act, "twice", 1, 1, 1, payload=b"1")


class ResultThatIsNotJson(Speaker):
    """The host passes payloads on unread: what comes of it is for readers to bear."""

    def speak(self, act):
        wire.say("returned", act, payload=b"\xff\x00 not JSON \x1b[31m")
        time.sleep(10_000)


class ClaimsForAll(Speaker):
    """Every activation number that may be another's."""

    def speak(self, act):
        for other in [*range(200), 2**31, 2**53]:
            if other != act:
                wire.say("result", other, "stolen", 1, 1, 1, payload=b'"stolen"')
                wire.say("returned", other, payload=b'"stolen"')
                wire.say("raised", other, ERROR)
        wire.say("raised", act, ["builtins", "ClaimsMade", "all were claimed", "", None])
        time.sleep(10_000)


class AttemptNobodyAskedFor(Speaker):
    def speak(self, act):
        wire.say("started", act, "forged", 1, 7, 1000)


class ClosesItself(Speaker):
    def speak(self, act):
        wire.say("closed", act)


class GreetsAgain(Speaker):
    def speak(self, act):
        wire.say("hello", 1, "stepwell 9", "3.99")


class LoadsAgain(Speaker):
    def speak(self, act):
        wire.say("loaded")


class NeverReads(Speaker):
    """Leaves what the host says in its buffers, and has it say much: large results, sent back on each replay."""

    async def run(self, event, step):
        for _ in range(40):
            await step.call("large", lambda: "x" * 1_000_000, config=ONCE)
        act = wire.activation(event["instanceId"])
        await step.call("speak", lambda: self.speak(act), config=ONCE)
        await asyncio.sleep(3600)

    def speak(self, act):
        wire.connection()._loop.call_soon_threadsafe(time.sleep, 10_000)
        time.sleep(10_000)

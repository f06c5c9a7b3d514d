"""The floor's guest: instances that do nothing but have each step made durable, one round trip a step.

Runs inside a sandbox on the standard library alone. A message is a length and a JSON array: the host sends
["run", instance, steps] and ["ok", number, ...]; the guest sends [number, instance, step, result].
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from typing import Any

LENGTH = struct.Struct(">I")


def pack(message: object) -> bytes:
    body = json.dumps(message).encode()
    return LENGTH.pack(len(body)) + body


def unpack(buffer: bytearray) -> list[Any]:
    """Take every whole message off the buffer's front."""
    messages, at = [], 0
    while at + LENGTH.size <= len(buffer):
        end = at + LENGTH.size + LENGTH.unpack_from(buffer, at)[0]
        if end > len(buffer):
            break
        messages.append(json.loads(buffer[at + LENGTH.size : end]))
        at = end
    del buffer[:at]
    return messages


class Guest:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.durable: dict[int, asyncio.Future[None]] = {}
        self.number = 0
        self.unsent: list[bytes] = []
        self.received = bytearray()
        self.running: set[asyncio.Task[None]] = set()

    def send(self) -> None:
        data = b"".join(self.unsent)
        self.unsent.clear()
        while data:
            data = data[os.write(1, data) :]

    def step(self, instance: int, name: str, result: object) -> asyncio.Future[None]:
        self.number += 1
        if not self.unsent:
            self.loop.call_soon(self.send)
        self.unsent.append(pack([self.number, instance, name, result]))
        future = self.durable[self.number] = self.loop.create_future()
        return future

    async def run(self, instance: int, steps: int) -> None:
        total = 0
        for number in range(steps):
            await self.step(instance, f"step {number}", number)
            total += number
        await self.step(instance, "end", total)

    def receive(self) -> None:
        data = os.read(0, 65536)
        if not data:
            os._exit(0)
        self.received += data
        for kind, number, *rest in unpack(self.received):
            if kind == "ok":
                self.durable.pop(number).set_result(None)
            else:
                task = self.loop.create_task(self.run(number, rest[0]))
                self.running.add(task)
                task.add_done_callback(self.running.discard)


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.add_reader(0, Guest(loop).receive)
    os.write(1, b"!")
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(main())

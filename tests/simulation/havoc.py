"""The hand that breaks things: machines crash, stop, stand still, are cut off, clocks jump. In the end it mends all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.machine import Machine

if TYPE_CHECKING:
    from tests.simulation.world import World

EVERY_S: Final = 4.0
"""Between two disasters, on the average."""


class Havoc:
    def __init__(self, world: World) -> None:
        self._world = world
        self._over = False

    async def wreak(self) -> None:
        """Until `mend`."""
        world = self._world
        while not self._over:
            await asyncio.sleep(world.random.expovariate(1 / (EVERY_S * world.pace)))
            if not self._over:
                self._strike(world.random.choice(list(world.machines.values())))

    def mend(self) -> None:
        """Everything works, from here on."""
        self._over = True
        for machine in self._world.machines.values():
            machine.connected = machine.hears_control = True
            machine.lag_s = machine.process.skew_s = 0.0
            if not machine.alive:
                machine.start()
            elif machine.process.paused:
                machine.process.resume()

    def cut_the_power(self) -> None:
        """All machines at once: what goes on after that does so by what is durable."""
        for machine in self._world.machines.values():
            self._note("machine lost its power", machine)
            machine.crash()
            self._later(1.0, self._start, machine)

    def _strike(self, machine: Machine) -> None:
        world, process = self._world, machine.process
        if not machine.alive:
            return
        strikes = world.circumstances.strikes
        match world.random.choices(list(strikes), list(strikes.values()))[0]:
            case "crash":
                self._note("machine crashed", machine)
                machine.crash()
                self._later(world.random.expovariate(1 / 3), self._start, machine)
            case "stop":
                self._note("machine stopped in good order", machine)
                world.loop.world.spawn(self._restarted(machine))
            case "stand still":
                self._note("machine stood still", machine)
                process.pause()
                self._later(world.random.choice((0.3, 3.0, 8.0, 11.0, 15.0, 30.0)), process.resume)
            case "cut off":
                self._note("machine cut off", machine)
                machine.connected = False
                self._later(world.random.choice((0.5, 4.0, 12.0, 30.0)), self._connect, machine)
            case "cut off from etcd":
                self._note("machine cut off from etcd alone", machine)
                machine.hears_control = False
                self._later(world.random.choice((4.0, 12.0, 30.0)), self._connect, machine)
            case "lag":
                self._note("what a machine wrote lagged", machine)
                machine.lag_s = world.random.random() * world.cassandra.faults.client_timeout_s
                self._later(world.random.choice((1.0, 4.0, 12.0)), self._connect, machine)
            case "clock":
                self._note("clock jumped", machine)
                process.skew_s = world.random.uniform(-world.skew_s, world.skew_s)

    def _note(self, what: str, machine: Machine) -> None:
        self._world.fault(what, machine.process.name)

    def _later(self, delay_s: float, call: Callable[..., None], *of: Machine) -> None:
        self._world.loop.call_later(delay_s, call, *of, context=self._world.loop.world.context)

    def _start(self, machine: Machine) -> None:
        if not machine.alive:
            machine.start()

    def _connect(self, machine: Machine) -> None:
        machine.connected = machine.hears_control = True
        machine.lag_s = 0.0

    async def _restarted(self, machine: Machine) -> None:
        await machine.stop()
        await asyncio.sleep(1)
        self._start(machine)

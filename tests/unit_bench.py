"""Amaranth's simulator for one unit, kept running over all examples of a property."""

import abc
from collections import deque

from amaranth.lib import wiring
from amaranth.sim import Simulator

__all__ = ["UnitBench"]


class UnitBench(abc.ABC):
    """One elaborated unit. Making a simulator takes longer than most jobs, so tests share it, and
    jobs follow one another without a reset, as on the chip.
    """

    def __init__(self, dut: wiring.Component) -> None:
        self.dut = dut
        self._queue: deque = deque()
        self._results: deque = deque()
        self._simulator = Simulator(dut)
        self._simulator.add_clock(1e-8)
        self._simulator.add_testbench(self._testbench, background=True)

    @abc.abstractmethod
    async def task(self, ctx, *arguments):
        """What :meth:`run` does, in the simulator."""

    def run(self, *arguments):
        """Run :meth:`task` and return, or raise, what it does."""
        self._queue.append(arguments)
        while not self._results:
            self._simulator.advance()
        result = self._results.popleft()
        if isinstance(result, Exception):
            raise result
        return result

    async def _testbench(self, ctx) -> None:
        while True:
            while not self._queue:
                await ctx.tick()
            try:
                self._results.append(await self.task(ctx, *self._queue.popleft()))
            except Exception as error:  # of the task: raised again by `run`, where the test waits
                self._results.append(error)

"""The inputs that ListOffers finds and offers, while their places are still being made out."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from tangente.golden.config import preset
from tangente.golden.flow import GROUP
from tangente.rtl.list_offers import ListOffers

CONFIG = preset("digits")


def _offered(activations: np.ndarray, base: int, wait: int) -> list[int]:
    """The inputs that are offered to be ranked, ``wait`` cycles after their scan begins."""
    dut, bits = ListOffers(CONFIG), CONFIG.element_bits
    pairs = np.zeros((4096, 2), np.int64)
    pairs[base:base + -(-activations.size // 2)].reshape(-1)[:activations.size] = activations
    offered: list[int] = []

    async def bench(ctx) -> None:
        ctx.set(dut.job.p, activations.size)
        ctx.set(dut.job.g_base, base)
        ctx.set(dut.tiles, 1)
        ctx.set(dut.valid, 1)
        asked = [0, 0]
        taken = [0, 0]
        for cycle in range(wait + 2 * activations.size + 20):
            ctx.set(dut.scan, cycle == 0)
            ctx.set(dut.rank, cycle == wait)
            first = asked[0] & -GROUP
            ctx.set(dut.group, sum((int(value) & (1 << bits) - 1) << bits * e for e, value in
                                   enumerate(pairs[first:first + GROUP].reshape(-1))))
            ctx.set(dut.taken, taken[0])
            asked = [asked[1], ctx.get(dut.pair_address)]
            issued = ctx.get(dut.issue)
            taken = [taken[1], issued]
            if issued:
                ctx.set(dut.place, ctx.get(dut.offer.place))
                offered.append(2 * ctx.get(dut.placed.pair) + ctx.get(dut.offer.odd))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return offered


@pytest.mark.parametrize("wait", [5, 6, 7, 8, 20, 200])
@pytest.mark.parametrize("density", [0, 0.03, 0.1, 0.4, 1])
def test_inputs_are_offered_as_they_become_known(density: float, wait: int) -> None:
    rng = np.random.default_rng(int(100 * density) + wait)
    for size, base in ((90, 3), (1, 7), (17, 0)):
        live = rng.random(size) < density
        activations = np.where(live, rng.integers(1, 255, size), -rng.integers(0, 255, size))
        assert _offered(activations, base, wait) == np.flatnonzero(live).tolist()

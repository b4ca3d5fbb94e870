"""The ladder's last rungs: the same net, corpus, first weights and order on the integer machine, by
plain SGD: golden's model of it, or the compiled RTL, bit for bit the same.

An input is a byte, 256ths; a weight has 16 bits, an activation eight; an output error is cut at 1.
Registers are the machine's: of neurons, a weight's derivative being its neuron's times its input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tangente.golden.config import preset
from tangente.golden.isa import LOGIT_FRACTION
from tangente.host.compiler import compile_network
from tangente.host.device import open_device
from tangente.host.options import Options
from tangente.host.session import Session, ddr_bytes
from tangente.host.trainer import LOSS_UNITS

from .corpus import Corpus
from .network import Floats, History, places
from .run import Run

__all__ = ["Trained", "as_bytes", "options_of", "train_integers"]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training on the machine leaves.

    Members
    -------
    history : as of the other rungs; the weights are real numbers, in their order.
    memory : the weight and the bias memory, the bits themselves.
    cycles : clock cycles of the training, without tests.
    """

    history: History
    memory: tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]
    cycles: int


def as_bytes(x: Floats) -> npt.NDArray[np.uint8]:
    """Inputs in [0, 1) as 256ths."""
    return np.minimum(np.rint(x * 256), 255).astype(np.uint8)


def options_of(run: Run, device: str = "golden", size: str = "tiny", algorithm: str = "dpfm"
               ) -> Options:
    """The machine's options of ``run``.

    Raises
    ------
    ValueError
        If the run asks for what the machine does not do.
    """
    if (run.slope, run.update) != ("right", "sgd"):
        raise ValueError("the machine trains slope='right', update='sgd', not "
                         f"{run.slope!r}, {run.update!r}")
    # Its gradient is that of half the squared error.
    return Options(device=device, preset=size, dataset="corpus", layers=run.layers,
                   algorithm=algorithm, registers=run.registers, activation="sigmoid", loss="mse",
                   batch=run.batch, lr=2 * run.rate, lr_decay=0.0, epochs=run.epochs,
                   seed=run.seed)


def train_integers(run: Run, device: str = "golden", size: str = "tiny", algorithm: str = "dpfm",
                   report: Callable[[str], None] | None = None) -> Trained:
    """Train as ``run`` says.

    Parameters
    ----------
    device : "golden", or "sim" for the compiled RTL.
    size : preset of the engine.
    algorithm : "dpfm" with registers of neurons, or "bp".
    report : called with a line before each long step of a compilation.

    Raises
    ------
    ValueError
        As :func:`options_of`.
    """
    options = options_of(run, device, size, algorithm)
    corpus = Corpus.of(run)
    compiled = compile_network(options)
    network = compiled.network
    batches = -(-len(corpus.x) // run.batch)
    x, val_x = as_bytes(corpus.x), as_bytes(corpus.val_x)
    losses, val_losses, cycles = [], [], 0
    with open_device(device, preset(size), ddr_bytes=ddr_bytes(compiled, batches),
                     report=report) as engine:
        session = Session(compiled, engine, chunk_batches=batches)
        matrices = [corpus.weights[own[:, :-1]].T for own in places(run.layers)]
        session.upload(network.pack(matrices), network.initial()[1], run.seed)
        assert options.lr is not None
        rate = network.scales.rate(options.lr)
        for order in corpus.orders:
            counters = session.train(x[order], corpus.y[order, None], rate)
            cycles += counters.cycles
            losses.append(counters.loss * LOSS_UNITS["mse"] / len(order))
            outputs = session.predict(val_x)[:, 0] / (1 << LOGIT_FRACTION)
            val_losses.append(float(np.mean((outputs - corpus.val_y) ** 2)))
        memory = session.download()
    parts = [np.hstack([network.weights(memory[0], layer).T,
                        network.biases(memory[1], layer)[:, None]]) for layer in network.layers]
    weights = np.concatenate([part.ravel() for part in parts])
    return Trained(History(np.array(losses), np.array(val_losses), weights), memory, cycles)

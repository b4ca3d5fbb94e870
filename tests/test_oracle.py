"""Gradients of compiled programs against float64: autograd, finite differences, and each other.

The engine's gradient is read from what a program does to 16-bit weights: their change over the
learning rate. It differs from the exact one by rounding only; :func:`bounds` adds the roundings up.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from tangente.golden.config import Config, preset
from tangente.golden.registers import SATURATIONS
from tangente.host.compiler import Compiled
from tangente.host.golden_device import GoldenDevice
from tangente.host.network import Network
from tangente.host.options import Options
from tangente.host.session import Session, ddr_bytes

torch = pytest.importorskip("torch", reason="torch, the float64 oracle, is missing")

CONFIG = preset("tiny")
BATCH = 6
#: A large rate makes the weights' own resolution small against the gradient.
LR = BATCH / 4


def options_of(algorithm: str, layers: tuple[int, ...], activation: str = "relu",
               **more) -> Options:
    return Options(preset="tiny", algorithm=algorithm, layers=layers, registers=0, batch=BATCH,
                   lr=LR, lr_decay=0.0, activation=activation, **more)


def step(options: Options, matrices: list[np.ndarray], images: np.ndarray,
         labels: np.ndarray,
         config: Config = CONFIG) -> tuple[list[np.ndarray], list[np.ndarray], Session]:
    """Summed gradients of weights and biases that one update shows.

    Feedback alignment's matrices in memory are those of :func:`fixed`.
    """
    network = Network(options, config)
    compiled = Compiled(network)
    session = Session(compiled, GoldenDevice(config, ddr_bytes=ddr_bytes(compiled, 1)),
                      chunk_batches=1)
    before = network.pack(matrices, fixed(options)), np.zeros((config.bias_pairs, 2, 2), np.int16)
    session.upload(*before, 0)
    assert options.lr is not None
    rate = network.scales.rate(options.lr)
    counters = session.train(images, labels, rate)
    saturated = dict(zip(SATURATIONS, counters.saturations))
    assert not any(saturated.values()), f"the case must not saturate: {saturated}"
    after = session.download()
    factor = rate.mantissa / 256 * 2.0 ** -rate.shift
    weights = [(network.weights(before[0], layer) - network.weights(after[0], layer)) / factor
               for layer in network.layers]
    biases = [-network.biases(after[1], layer) / factor for layer in network.layers]
    return weights, biases, session


def fixed(options: Options) -> list[np.ndarray]:
    """Matrices of feedback alignment, from the second layer on; none if none are stored."""
    rng = np.random.default_rng(11)
    shapes = list(zip(options.layers, options.layers[1:]))[1:]
    return [rng.normal(0, math.sqrt(1 / shape[1]), shape)
            for shape in shapes if options.feedback == "memory"]


def forward(matrices: list[np.ndarray], images: np.ndarray, activation: str):
    """Float64 forward pass; returns parameters, pre-activations, activations and summed loss."""
    weights = [torch.tensor(matrix, dtype=torch.float64, requires_grad=True) for matrix in matrices]
    biases = [torch.zeros(matrix.shape[1], dtype=torch.float64, requires_grad=True)
              for matrix in matrices]
    a = torch.tensor(images / 256.0)
    sums, activations = [], [a]
    for weight, bias in zip(weights, biases):
        z = a @ weight + bias
        sums.append(z)
        a = torch.relu(z) if activation == "relu" else torch.sigmoid(z)
        activations.append(a)
    return weights, biases, sums, activations


def exact(matrices: list[np.ndarray], images: np.ndarray, labels: np.ndarray, activation: str,
          loss_name: str = "softmax"):
    """Float64 gradients and the tensors that the bound needs."""
    weights, biases, sums, activations = forward(matrices, images, activation)
    for z in sums:
        z.retain_grad()
    if loss_name == "mse":
        loss = torch.nn.functional.mse_loss(sums[-1], torch.tensor(labels), reduction="sum") / 2
    else:
        loss = torch.nn.functional.cross_entropy(sums[-1], torch.tensor(labels), reduction="sum")
    loss.backward()
    return ([w.grad.numpy() for w in weights], [b.grad.numpy() for b in biases],
            [z.grad.numpy() for z in sums], [a.detach().numpy() for a in activations])


def forward_errors(options: Options, matrices: list[np.ndarray]) -> list[float]:
    """Largest errors of z, layer by layer, that rounding activations and z can make."""
    scales = Network(options, CONFIG).scales
    sigmoid = options.activation == "sigmoid"
    result, a = [], 0.0
    for layer, matrix in enumerate(matrices):
        z = np.abs(matrix).sum(0).max() * a + 2.0 ** -11
        result.append(z)
        # A rounding of z to the table's step and the table's own error, or one to the activation.
        a = (z + 2.0 ** -7) / 4 + 1.01 / 256 if sigmoid else z + 2.0 ** -(
            scales.activation(layer) + 1)
    return result


def bounds(options: Options, matrices: list[np.ndarray], errors: list[np.ndarray],
           activations: list[np.ndarray], feedback: list[np.ndarray] | None = None,
           ) -> tuple[list[float], list[float]]:
    """Bounds of the errors of each layer's summed gradients of weights and of biases.

    Output: the softmax changes by at most half of what its logits do; the exponentials' table has
    steps of 1/256 bit (0.0054 relative for the ratio, on p (1 - p) <= 1/4); a squared error's
    derivative changes as the logit; one rounding to an element.
    Hidden: weights times the errors of errors, errors times the errors of slopes (sigmoid:
    derivative of the slope at most 0.1 and its table step), roundings of the sum and the element.
    Weights: error times input, summed over the batch, and half a weight quantum over the rate.
    Errors come back through the weights, or through ``feedback``.
    """
    scales = Network(options, CONFIG).scales
    sigmoid = options.activation == "sigmoid"
    rate = scales.rate(LR)
    factor = rate.mantissa / 256 * 2.0 ** -rate.shift
    z_errors = forward_errors(options, matrices)
    last = len(matrices) - 1
    # The mantissa is folded into the elements; dividing by it enlarges their roundings.
    enlarge = 256 / rate.mantissa
    e = [0.0] * len(matrices)
    e[last] = z_errors[last] if options.loss == "mse" else z_errors[last] / 2 + 0.0054 / 4
    e[last] += 2.0 ** -(scales.error(last) + 1) * enlarge
    for layer in range(last, 0, -1):
        back = np.abs((feedback or matrices)[layer])
        slope = 0.25 + 2.0 ** -11 if sigmoid else 1.0
        e[layer - 1] = back.sum(1).max() * e[layer] * slope
        e[layer - 1] += (2.0 ** -(scales.error(layer - 1) + 1)) * (1.25 if sigmoid else 1) * enlarge
        if sigmoid:
            through = (np.abs(errors[layer]) @ back.T).max()
            e[layer - 1] += through * (0.1 * z_errors[layer - 1] + 1.01 / 256 + 2.0 ** -10)
    weights, biases = [], []
    for layer in range(len(matrices)):
        x = np.abs(activations[layer]).max()
        dx = 0.0
        if layer:
            z = z_errors[layer - 1]
            dx = ((z + 2.0 ** -7) / 4 + 1.01 / 256 if sigmoid
                  else z + 2.0 ** -(scales.activation(layer - 1) + 1))
        d = np.abs(errors[layer]).max()
        quantum = 2.0 ** -scales.weight(layer) / 2 / factor
        weights.append(BATCH * (x * e[layer] + (d + e[layer]) * dx) + quantum)
        biases.append(BATCH * e[layer] + 2.0 ** -13 / factor)
    return weights, biases


def case(options: Options, seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Weights that are codes, and a batch that :func:`_clear` accepts."""
    network = Network(options, CONFIG)
    shapes = list(zip(options.layers, options.layers[1:]))
    for attempt in range(50):
        rng = np.random.default_rng((seed, attempt))
        # Small enough for hidden errors below 1/2; mostly positive, so that ReLUs are on.
        matrices = [rng.choice((-0.7, 0.7), shape, p=(0.3, 0.7)) * rng.uniform(0.5, 1, shape)
                    / math.sqrt(shape[1]) for shape in shapes]
        memory = network.pack(matrices)
        matrices = [network.weights(memory, layer) for layer in network.layers]
        images = (255 * rng.random((1000, options.layers[0])) ** 2).astype(np.uint8)
        chosen = images[_clear(options, matrices, images)][:BATCH]
        if len(chosen) == BATCH:
            return matrices, chosen, rng.integers(0, options.layers[-1], BATCH)
    raise AssertionError("no weights found whose ReLUs are away from their kinks")


def _clear(options: Options, matrices: list[np.ndarray], images: np.ndarray) -> np.ndarray:
    """Samples none of whose ReLUs is within rounding of its kink, and that reach the outputs."""
    if options.activation == "sigmoid":
        return np.ones(len(images), bool)
    scales = Network(options, CONFIG).scales
    _, _, sums, activations = forward(matrices, images, "relu")
    result = (activations[-2] > 0).any(1).numpy()
    for z, error in zip(sums[:-1], forward_errors(options, matrices)):
        size = np.abs(z.detach().numpy())
        # A slope is one where the *rounded* activation is not zero. Where all inputs are off, the
        # sum is exactly zero on either side.
        limit = error + 2.0 ** -(scales.activation(0) + 1)
        result &= ((size == 0) | (size > limit)).all(1)
    return result


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("layers", [(7, 5, 3), (6, 5, 4, 3), (6, 3, 3, 3, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_backpropagation_is_the_gradient(layers: tuple[int, ...], activation: str,
                                         seed: int) -> None:
    options = options_of("bp", layers, activation)
    matrices, images, labels = case(options, seed)
    weights, biases, _ = step(options, matrices, images, labels)
    true_weights, true_biases, errors, activations = exact(matrices, images, labels, activation)
    weight_bounds, bias_bounds = bounds(options, matrices, errors, activations)
    for layer in range(len(matrices)):
        assert np.abs(weights[layer] - true_weights[layer]).max() <= weight_bounds[layer]
        assert np.abs(biases[layer] - true_biases[layer]).max() <= bias_bounds[layer]
    # The bound is a worst case; the direction must be nearly right, too.
    assert cosine(weights, true_weights) > 0.98


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("algorithm", ["bp", "dpfm"])
@pytest.mark.parametrize("layers", [(4, 5, 5, 1), (6, 5, 3)])
def test_squared_error_has_its_gradient(layers: tuple[int, ...], algorithm: str,
                                        activation: str) -> None:
    """Against PyTorch's MSELoss: of the sum over outputs and samples, halved."""
    options = options_of(algorithm, layers, activation, loss="mse")
    matrices, images, labels = case(options, 0)
    logits = forward(matrices, images, activation)[2][-1].detach().numpy()
    # So near that no error saturates, and targets that the engine holds exactly.
    offsets = np.random.default_rng(5).uniform(-0.4, 0.4, logits.shape)
    targets = np.rint((logits + offsets) * 1024) / 1024
    weights, biases, _ = step(options, matrices, images, targets)
    true_weights, true_biases, errors, activations = exact(matrices, images, targets, activation,
                                                           "mse")
    assert cosine(weights, true_weights) > 0.98
    if algorithm == "bp":
        weight_bounds, bias_bounds = bounds(options, matrices, errors, activations)
        for layer in range(len(matrices)):
            assert np.abs(weights[layer] - true_weights[layer]).max() <= weight_bounds[layer]
            assert np.abs(biases[layer] - true_biases[layer]).max() <= bias_bounds[layer]


def aligned(matrices: list[np.ndarray], feedback: list[np.ndarray], images: np.ndarray,
            labels: np.ndarray, activation: str):
    """As :func:`exact` by feedback alignment: Lillicrap et al. 2016, equation 2, by hand."""
    _, _, errors, activations = exact(matrices, images, labels, activation)
    errors = [*errors]
    for layer in range(len(matrices) - 1, 0, -1):
        a = activations[layer]
        slope = a * (1 - a) if activation == "sigmoid" else a > 0
        errors[layer - 1] = errors[layer] @ feedback[layer].T * slope
    return ([a.T @ error for a, error in zip(activations, errors)],
            [error.sum(0) for error in errors], errors, activations)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("layers", [(7, 5, 3), (6, 5, 4, 3), (6, 5, 5, 4, 3)])
@pytest.mark.parametrize("feedback", ["memory", "lfsr"])
def test_feedback_alignment(feedback: str, layers: tuple[int, ...], activation: str) -> None:
    # Few neurons' fixed matrices are large: errors within +-2.
    options = options_of("fa", layers, activation, feedback=feedback,
                         scales=((1, 5, 7),) * (len(layers) - 1))
    matrices, images, labels = case(options, 1)
    weights, biases, session = step(options, matrices, images, labels)
    network = session.compiled.network
    memory, _ = session.download()
    back = [network.feedback(memory, layer) for layer in network.layers]
    for matrix, stored in zip(fixed(options), back[1:]):
        np.testing.assert_allclose(stored, matrix, atol=2.0 ** -15)
    if feedback == "lfsr":
        assert {abs(value) for matrix in back for value in matrix.ravel()} == {0.5}
    true_weights, true_biases, errors, activations = aligned(matrices, back, images, labels,
                                                             activation)
    weight_bounds, bias_bounds = bounds(options, matrices, errors, activations, back)
    for layer in range(len(matrices)):
        assert np.abs(weights[layer] - true_weights[layer]).max() <= weight_bounds[layer]
        assert np.abs(biases[layer] - true_biases[layer]).max() <= bias_bounds[layer]
    assert cosine(weights, true_weights) > 0.98
    true_bp, _, _, _ = exact(matrices, images, labels, activation)
    assert cosine(weights[:1], true_bp[:1]) < 0.9, "it is not the gradient"


def test_autograd_is_the_finite_difference() -> None:
    options = options_of("bp", (6, 5, 4, 3), "sigmoid")
    matrices, images, labels = case(options, 3)
    true_weights, _, _, _ = exact(matrices, images, labels, "sigmoid")

    def loss(weights: list[np.ndarray]) -> float:
        a = images / 256.0
        for matrix in weights[:-1]:
            a = 1 / (1 + np.exp(-(a @ matrix)))
        z = a @ weights[-1]
        return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).sum())

    for layer, matrix in enumerate(matrices):
        for index in np.ndindex(matrix.shape):
            high, low = ([m.copy() for m in matrices] for _ in range(2))
            high[layer][index] += 1e-5
            low[layer][index] -= 1e-5
            difference = (loss(high) - loss(low)) / 2e-5
            assert difference == pytest.approx(true_weights[layer][index], abs=1e-8)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("layers", [(7, 5, 3), (6, 5, 4, 3), (6, 3, 3, 3, 3)])
def test_all_registers_give_backpropagation(layers: tuple[int, ...], activation: str) -> None:
    """Within the rounding of registers: half a unit at each layer that a derivative passes."""
    options = options_of("bp", layers, activation)
    matrices, images, labels = case(options, 5)
    bp, _, session = step(options, matrices, images, labels)
    dpfm, _, _ = step(options_of("dpfm", layers, activation), matrices, images, labels)
    _, _, errors, activations = exact(matrices, images, labels, activation)
    scales = session.compiled.network.scales
    rate = scales.rate(LR)
    factor, enlarge = rate.mantissa / 256 * 2.0 ** -rate.shift, 256 / rate.mantissa
    slope = 0.25 if activation == "sigmoid" else 1.0
    half = 2.0 ** -(scales.register + 1)
    output_error = np.abs(errors[-1]).sum(1).max()
    unit = 2.0 ** -scales.error(0) * enlarge * 1.25
    register, passed = half, 0.0
    differences = [2.0 ** -scales.weight(0) / factor]
    for layer in range(len(matrices) - 2, -1, -1):
        # BP rounds the errors at each layer, DPFM the registers at each and the errors once.
        passed = passed * slope * np.abs(matrices[layer + 1]).sum(1).max() + unit
        difference = register * output_error + passed
        differences.insert(0, BATCH * difference * np.abs(activations[layer]).max()
                           + 2.0 ** -scales.weight(layer) / factor)
        register = register * slope * np.abs(matrices[layer]).sum(0).max() + half
        register = max(register, half * (1 + slope * np.abs(matrices[-1]).sum(0).max()))
    for layer in range(len(matrices)):
        assert np.abs(bp[layer] - dpfm[layer]).max() <= differences[layer]
    assert cosine(bp, dpfm) > 0.99


@pytest.mark.parametrize("layers", [(7, 6, 4), (6, 5, 4, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_all_registers_are_backpropagation_bit_for_bit(layers: tuple[int, ...], seed: int) -> None:
    """Where no register and no hidden error needs rounding, no bit may differ."""
    rng = np.random.default_rng(seed)
    matrices = [rng.integers(-50, 91, shape) / 256 for shape in zip(layers, layers[1:])]
    if len(layers) == 3:
        # Registers hold multiples of 1/128; errors of at most 2 in all stay below 1/2.
        matrices[1] = rng.integers(-30, 31, layers[1:]) / 128
    else:
        matrices[1] = rng.choice((-0.125, 0.0, 0.125, 0.125), layers[1:3])
        # One output each: a hidden error is half an output error.
        chosen = np.arange(layers[3]) == rng.integers(0, layers[3], layers[2])[:, None]
        matrices[2] = chosen * rng.choice((-0.5, 0.5), layers[2])[:, None]
    images = rng.integers(0, 256, (BATCH, layers[0])).astype(np.uint8)
    labels = rng.integers(0, layers[-1], BATCH)
    runs = [step(options_of(algorithm, layers), matrices, images, labels)
            for algorithm in ("bp", "dpfm")]
    for one, other in zip(runs[0][0] + runs[0][1], runs[1][0] + runs[1][1]):
        np.testing.assert_array_equal(one, other)
    assert runs[0][0][-1].any()


def cosine(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Cosine between two gradients of all layers."""
    a, b = (np.concatenate([layer.ravel() for layer in gradient]) for gradient in (one, other))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))

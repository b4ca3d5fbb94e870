"""study: symbolic, Python, NumPy, Numba, each against the one before; the first against SymPy."""

from __future__ import annotations

import dataclasses
import re

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tangente.bench import ladder
from tangente.study.arrays import Arrays, prune
from tangente.study.compiled import Compiled, train_run
from tangente.study.corpus import Corpus
from tangente.study.network import places, step, train
from tangente.study.plain import Plain
from tangente.study.run import SHAPES, Run
from tangente.study.symbolic import Symbolic, program

NET = SHAPES[61]
COUNTS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 60, 61, 64])


def numbers(shape, low, high):
    return hnp.arrays(np.float64, shape, elements=st.floats(low, high, width=32))


@st.composite
def problems(draw, layers=NET):
    """Weights and a batch."""
    samples = draw(st.integers(1, 4))
    count = int(places(layers)[-1][-1][-1]) + 1
    return (draw(numbers(count, -2, 2)), draw(numbers((samples, layers[0]), 0, 1)),
            draw(numbers(samples, 0, 4)))


def random_problem(seed, layers=NET, samples=6):
    generator = np.random.default_rng(seed)
    count = int(places(layers)[-1][-1][-1]) + 1
    return (generator.normal(0, 1, count), generator.random((samples, layers[0])),
            generator.random(samples))


def test_places():
    assert [part.shape for part in places(NET)] == [(5, 5), (5, 6), (1, 6)]
    assert np.array_equal(np.concatenate([p.ravel() for p in places(NET)]), np.arange(61))
    assert places(SHAPES[45])[-1][-1][-1] == 44


# Ladder 1 against SymPy.

def test_the_symbolic_rules_are_sympys_derivatives():
    """As expressions, of a small net: the difference of both is identically zero."""
    net = program((2, 2, 1))
    loss = net.composed(net.loss)
    for weight, derivative in zip(net.weights, net.gradient):
        assert sympy.simplify(net.composed(derivative) - sympy.diff(loss, weight)) == 0


def test_the_symbolic_form_is_sympys_gradient_of_the_whole_net():
    """Of the net itself, at a point with thirty digits."""
    net = program(NET)
    weights, x, y = random_problem(1, samples=1)
    loss = net.composed(net.loss)
    wanted = sympy.lambdify((net.weights, net.inputs, net.target),
                            [loss, *(sympy.diff(loss, w) for w in net.weights)], "mpmath", cse=True)
    with mpmath.workdps(30):
        exact = wanted([mpmath.mpf(w) for w in weights], [mpmath.mpf(v) for v in x[0]],
                       mpmath.mpf(y[0]))
    value, gradient = Symbolic(NET).gradient(weights, x, y)
    np.testing.assert_allclose([value, *gradient], np.array(exact, float), rtol=1e-12, atol=1e-14)


# Each rung against the one before.

@pytest.fixture(scope="module")
def symbolic():
    """SymPy takes a while to write the function."""
    return Symbolic(NET)


@settings(max_examples=25, deadline=None)
@given(problem=problems())
def test_python_against_symbolic(symbolic, problem):
    plain = Plain(NET)
    for one, other in zip(symbolic.gradient(*problem), plain.gradient(*problem)):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)
    assert plain.loss(*problem) == pytest.approx(symbolic.loss(*problem), rel=1e-13)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), keep=COUNTS, slope=st.sampled_from(["right", "original"]))
def test_numpy_against_python(seed, keep, slope):
    """Random weights: no two derivatives are so near that another order of sums decides."""
    problem = random_problem(seed)
    for one, other in zip(Plain(NET, keep, slope).gradient(*problem),
                          Arrays(NET, keep, slope).gradient(*problem)):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-13)
    assert Arrays(NET).loss(*problem) == pytest.approx(Plain(NET).loss(*problem), rel=1e-13)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), keep=COUNTS, slope=st.sampled_from(["right", "original"]),
       layers=st.sampled_from([NET, SHAPES[45], (3, 2, 1), (2, 1), (1, 3, 2, 4, 1)]))
def test_numba_against_numpy(seed, keep, slope, layers):
    problem = random_problem(seed, layers)
    for one, other in zip(Arrays(layers, keep, slope).gradient(*problem),
                          Compiled(layers, keep, slope).gradient(*problem)):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-13)
    assert Compiled(layers).loss(*problem) == pytest.approx(Arrays(layers).loss(*problem),
                                                            rel=1e-13)


@settings(max_examples=60, deadline=None)
@given(weights=hnp.arrays(np.float64, 61, elements=st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])),
       x=hnp.arrays(np.float64, (3, 4), elements=st.sampled_from([0.0, 0.5, 1.0])), keep=COUNTS)
def test_numba_is_python_bit_for_bit(weights, x, keep):
    """Also among ties and zeros: both sum in one order."""
    y = x.sum(1)
    loss, gradient = Plain(NET, keep).gradient(weights, x, y)
    other_loss, other = Compiled(NET, keep).gradient(weights, x, y)
    assert loss == other_loss
    assert np.array_equal(gradient, other)


@given(values=hnp.arrays(np.float64, (3, 9), elements=st.sampled_from(
    [0.0, 5e-324, -5e-324, 1.0, -1.0, 2.0])), keep=st.integers(0, 10))
def test_pruned_arrays(values, keep):
    from tangente.golden.autofore import largest

    pruned = values.copy()
    prune(pruned, keep)
    for row, before in zip(pruned, values):
        held = dict(largest(enumerate(before.tolist()), keep))
        assert row.tolist() == [held.get(i, 0.0) for i in range(9)]


def test_numba_against_pytorchs_autograd():
    weights, x, y = random_problem(5)
    flat = torch.tensor(weights, requires_grad=True)
    values = torch.tensor(x)
    for layer, own in enumerate(places(NET)):
        matrix = flat[torch.tensor(own)]
        values = values @ matrix[:, :-1].T + matrix[:, -1]
        values = torch.sigmoid(values) if layer < 2 else values
    loss = ((values[:, 0] - torch.tensor(y)) ** 2).mean()
    loss.backward()
    value, gradient = Compiled(NET).gradient(weights, x, y)
    assert value == pytest.approx(loss.item(), rel=1e-14)
    np.testing.assert_allclose(gradient, flat.grad.numpy(), rtol=1e-12, atol=1e-15)


# Whole trainings.

@pytest.mark.parametrize("run", [
    Run(samples=25, registers=3, epochs=3), Run(samples=50, registers=0, epochs=2, update="sgd"),
    Run(samples=30, registers=8, epochs=2, slope="original", parameters=45, batch=7)],
    ids=["pruned", "sgd", "original"])
def test_one_call_trains_as_the_others_do(run):
    history = train_run(run)
    settings_ = (run.layers, run.registers, run.slope)
    for form in (Plain(*settings_), Compiled(*settings_)):
        other = train(run, form)
        assert other.weights.tobytes() == history.weights.tobytes()
        np.testing.assert_allclose(other.loss, history.loss, rtol=1e-14)
        np.testing.assert_allclose(other.val_loss, history.val_loss, rtol=1e-13)
    other = train(run, Arrays(*settings_))
    np.testing.assert_allclose(other.weights, history.weights, rtol=1e-11, atol=1e-13)
    assert train_run(run).weights.tobytes() == history.weights.tobytes()


def test_registers_for_all_are_all():
    runs = [train_run(Run(samples=50, registers=registers, epochs=20)) for registers in (0, 61, 64)]
    for run in runs[1:]:
        assert run.val_loss.tobytes() == runs[0].val_loss.tobytes()
    fewer = train_run(Run(samples=50, registers=32, epochs=20))
    assert fewer.val_loss.tobytes() != runs[0].val_loss.tobytes()


def test_pytorchs_loop_ends_where_ours_does():
    run = Run(samples=50, registers=0, epochs=5, update="sgd", rate=0.1)
    ours, theirs = train_run(run), ladder.torch_run(run)
    np.testing.assert_allclose(theirs.weights, ours.weights, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(theirs.loss, ours.loss, rtol=1e-12)
    np.testing.assert_allclose(theirs.val_loss, ours.val_loss, rtol=1e-12)
    with pytest.raises(ValueError, match="^" + re.escape(
            "another library trains registers=0, slope='right', update='sgd', not 16, 'right', "
            "'max-normalised'") + "$"):
        ladder.torch_run(Run())


@pytest.mark.usefixtures("tiny_library")
def test_the_benchmark_prints_every_rung(capsys, tmp_path):
    page = tmp_path / "workshop.md"
    page.write_text("<!-- ladder:begin -->\n<!-- ladder:end -->\n")
    ladder.main(["--samples", "10", "--epochs", "2", "--write", str(tmp_path)])
    printed = capsys.readouterr().out
    for name in [*ladder.RUNGS, *ladder.MACHINES, "PyTorch"]:
        assert re.search(rf"^\| {re.escape(name)} \| \d+\.\d{{3}} s \|", printed, re.M)
        assert name in page.read_text()


# Corpus, update, configuration.

def test_what_is_drawn_does_not_depend_on_registers_slope_or_update():
    run = Run(samples=50, epochs=4, seed=3)
    corpus = Corpus.of(run)
    assert corpus.x.shape == (40, 4)
    assert corpus.val_y.shape == (10,)
    assert np.array_equal(corpus.y, corpus.x.sum(1))
    for other in (dataclasses.replace(run, registers=2, slope="original", update="sgd"),
                  dataclasses.replace(run, epochs=9), dataclasses.replace(run, parameters=45)):
        again = Corpus.of(other)
        assert np.array_equal(corpus.x, again.x)
        assert np.array_equal(corpus.orders, again.orders[:4])
    assert not np.array_equal(corpus.x, Corpus.of(dataclasses.replace(run, seed=4)).x)
    assert all(sorted(order) == list(range(40)) for order in corpus.orders)
    assert not np.array_equal(corpus.orders[0], corpus.orders[1])


def test_first_weights_are_glorots():
    drawn = np.stack([Corpus.of(Run(samples=5, epochs=1, seed=seed)).weights
                      for seed in range(200)])
    for own, (inputs, outputs) in zip(places(NET), zip(NET, NET[1:])):
        limit = np.sqrt(6 / (inputs + outputs))
        assert (drawn[:, own[:, -1]] == 0).all()
        assert 0.97 * limit < np.abs(drawn[:, own[:, :-1]]).max() <= limit


def test_45_weights_are_the_net_whose_bias_lies_over_a_neuron():
    """The workshop's matrices were 5 x 5, with the biases in the last neuron's column."""
    full, live = (Corpus.of(Run(samples=20, epochs=1, parameters=p)) for p in (61, 45))
    rows = np.random.default_rng(0).normal(size=3)
    values = np.hstack([full.x, np.ones((16, 1))])
    narrow = full.x
    for layer, own in enumerate(places(NET)):
        matrix = full.weights[own][:, :-1][:, :5 if layer else 4]
        biases = np.full((len(own), 1), rows[layer])
        # The column of biases replaces the last hidden neuron's, and a one its value.
        values = values @ np.hstack([matrix[:, :4], biases]).T
        mine = live.weights[places(SHAPES[45])[layer]].copy()
        mine[:, -1] = rows[layer]
        narrow = narrow @ mine[:, :-1].T + mine[:, -1]
        if layer < 2:
            values, narrow = 1 / (1 + np.exp(-values)), 1 / (1 + np.exp(-narrow))
            values[:, 4] = 1
    np.testing.assert_allclose(narrow, values, rtol=1e-13)


def test_updates():
    weights = np.array([1.0, 2.0, 3.0])
    step(weights, np.array([0.5, -4.0, 0.0]), "max-normalised", 0.01)
    np.testing.assert_allclose(weights, [1 - 0.00125, 2.01, 3], rtol=1e-15)
    step(weights, np.zeros(3), "max-normalised", 0.01)
    np.testing.assert_allclose(weights, [1 - 0.00125, 2.01, 3], rtol=1e-15)
    step(weights, np.array([0.0, 1.0, 0.0]), "sgd", 0.01)
    np.testing.assert_allclose(weights, [1 - 0.00125, 2.0, 3], rtol=1e-15)


def test_a_gradient_of_zeros_ends_nothing_in_numba_either():
    """A net that is right has nothing to learn: no division by its largest derivative."""
    run = Run(samples=20, epochs=2, seed=1)
    from tangente.study import compiled

    corpus = Corpus.of(run)
    y = Compiled(NET)._layers, np.array([compiled._value(
        np.array(NET), corpus.weights, row, np.empty(5), np.empty(5)) for row in corpus.x])
    weights, losses, val_losses = corpus.weights.copy(), np.empty(2), np.empty(2)
    compiled._train(y[0], weights, corpus.x, y[1], corpus.x, y[1], corpus.orders, 10, 0, False,
                    True, 0.01, losses, val_losses)
    assert weights.tobytes() == corpus.weights.tobytes()
    assert losses.tolist() == val_losses.tolist() == [0, 0]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"slope": "steep"}, "slope must be one of right, original, not 'steep'"),
    ({"update": "adam"}, "update must be one of max-normalised, sgd, not 'adam'"),
    ({"parameters": 62}, "parameters must be one of 61, 45, not 62"),
    ({"samples": 4}, "samples must be at least 5, not 4"),
    ({"registers": -1}, "registers must be at least 0, not -1"),
    ({"seed": -1}, "seed must be at least 0, not -1"),
    ({"epochs": 0}, "epochs must be at least 1, not 0"),
    ({"batch": 0}, "batch must be at least 1, not 0"),
    ({"rate": 0.0}, "rate must be above 0, not 0.0"),
])
def test_wrong_runs(arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Run(**arguments)

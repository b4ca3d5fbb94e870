"""study/cost.py: closed forms against runs that count, whose gradients are PyTorch's."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangente.__main__ import main
from tangente.study import cost_page
from tangente.study.arrays import Arrays
from tangente.study.cost import ALGORITHMS, cost, neuron_registers, weight_registers
from tangente.study.counting import BALANCE, COUNTED, EPSILON, SIGMA, Net

LAYERS = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple)


def batch_of(layers, count, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, layers[0]))
    return x, np.eye(layers[-1])[draw.integers(0, layers[-1], count)]


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=15, deadline=None)
@given(layers=LAYERS, count=st.integers(2, 4), keep=st.integers(0, 20))
def test_closed_forms_are_what_runs_count(name, layers, count, keep):
    meter, _ = COUNTED[name](Net(layers), *batch_of(layers, count), keep)
    assert meter.cost() == cost(name, layers, batch=count, keep=keep)


@settings(max_examples=15, deadline=None)
@given(layers=LAYERS, count=st.integers(1, 3), keep=st.integers(0, 20))
def test_lazy_offers_are_never_more(layers, count, keep):
    net, (x, y) = Net(layers), batch_of(layers, count)
    meter, _ = COUNTED["DPFM, weight registers, lazy"](net, x, y, keep)
    naive = cost("DPFM, weight registers, naive", layers, batch=count, keep=keep)
    lazy = meter.cost()
    assert lazy.offers <= naive.offers
    assert lazy.products <= naive.products
    assert lazy.register_writes <= naive.register_writes
    if keep == 0:
        assert (lazy.offers, lazy.products) == (naive.offers, naive.products)


def test_lazy_offers_leave_candidates_out():
    layers = (12, 8, 8, 2)
    meter, _ = COUNTED["DPFM, weight registers, lazy"](Net(layers), *batch_of(layers, 5), 3)
    assert meter.cost().offers < 0.7 * cost("DPFM, weight registers, naive", layers, batch=5,
                                            keep=3).offers


def torch_gradients(net, loss_of):
    """Of ``loss_of(matrices, biases)``."""
    matrices = [torch.tensor(m, dtype=torch.float64, requires_grad=True) for m in net.matrices]
    biases = [torch.tensor(b, dtype=torch.float64) for b in net.biases]
    loss_of(matrices, biases).backward()
    return [m.grad.numpy() for m in matrices]


def squared_error(x, y):
    def loss(matrices, biases):
        values = torch.tensor(x)
        for layer, (matrix, bias) in enumerate(zip(matrices, biases)):
            values = values @ matrix.T + bias
            values = torch.sigmoid(values) if layer < len(matrices) - 1 else values
        return ((values - torch.tensor(y)) ** 2).sum() / 2
    return loss


@pytest.mark.parametrize("name", ["BP", "DPFM, weight registers, naive",
                                  "DPFM, weight registers, lazy", "DPFM, neuron registers"])
@pytest.mark.parametrize("layers", [(3, 4, 2), (2, 3, 4, 2), (5, 2)])
def test_with_all_registers_every_gradient_is_pytorchs(name, layers):
    x, y = batch_of(layers, 3)
    _, gradients = COUNTED[name](Net(layers), x, y, 0)
    for ours, theirs in zip(gradients, torch_gradients(Net(layers), squared_error(x, y))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("keep", [1, 3, 8, 16])
def test_pruned_gradients_are_the_ladders(keep):
    """Half the squared error of three samples is 3/2 of the mean."""
    net, (x, _) = Net((4, 5, 5, 1)), batch_of((4, 5, 5, 1), 3)
    y = np.array([[0.5], [1.5], [1.0]])
    flat = np.concatenate([np.hstack([m, np.array(b)[:, None]]).ravel()
                           for m, b in zip(net.matrices, net.biases)])
    _, wanted = Arrays(net.layers, keep).gradient(flat, x, y[:, 0])
    _, gradients = COUNTED["DPFM, weight registers, naive"](net, x, y, keep)
    parts = [wanted[:25].reshape(5, 5), wanted[25:55].reshape(5, 6), wanted[55:].reshape(1, 6)]
    for ours, part in zip(gradients, parts):
        np.testing.assert_allclose(ours, 1.5 * part[:, :-1], rtol=1e-11, atol=1e-13)


def test_feedback_alignment_with_the_weights_themselves_is_backpropagation():
    layers = (3, 4, 5, 2)
    x, y = batch_of(layers, 3)
    net = Net(layers)
    net.feedback = [[row.copy() for row in matrix] for matrix in net.matrices]
    _, aligned = COUNTED["FA"](net, x, y)
    _, wanted = COUNTED["BP"](Net(layers), x, y)
    _, other = COUNTED["FA"](Net(layers), x, y)
    for a, b in zip(aligned, wanted):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    assert not np.allclose(other[0], wanted[0])


def test_synthetic_gradients_train_the_outputs_by_the_error_and_the_rest_by_a_guess():
    layers = (3, 4, 2)
    x, y = batch_of(layers, 5)
    net, before = Net(layers), Net(layers)
    _, gradients = COUNTED["SG"](net, x, y)
    _, wanted = COUNTED["BP"](Net(layers), x, y)
    np.testing.assert_allclose(gradients[-1], wanted[-1], rtol=1e-12)
    # The guess: two squares with a ReLU between, drawn as the program draws them.
    draw = np.random.default_rng(1)
    first, labels, second = (draw.normal(0, 0.5, shape) for shape in ((4, 4), (4, 2), (4, 4)))
    a = 1 / (1 + np.exp(-(x @ np.array(before.matrices[0]).T + before.biases[0])))
    guess = np.maximum(a @ first.T + y @ labels.T, 0) @ second.T
    np.testing.assert_allclose(gradients[0], (guess * a * (1 - a)).T @ x, rtol=1e-11)
    np.testing.assert_allclose(np.array(net.matrices[0]),
                               np.array(before.matrices[0]) - 0.1 * np.array(gradients[0]))


def test_hsic_is_pytorchs_gradient_of_each_layers_own_loss():
    layers = (3, 4, 5, 2)
    x, y = batch_of(layers, 6)

    def dependence(values):
        m, width = values.shape
        gaps = ((values[:, None] - values[None]) ** 2).sum(-1)
        kernel = torch.exp(-gaps / (2 * SIGMA**2 * width))
        centre = torch.eye(m, dtype=torch.float64) - 1 / m
        kernel = centre @ kernel @ centre
        return kernel @ torch.linalg.inv(kernel + EPSILON * m * torch.eye(m, dtype=torch.float64))

    def loss(matrices, biases):
        r_x, r_y = dependence(torch.tensor(x)), dependence(torch.tensor(y))
        values, total = torch.tensor(x), 0
        for matrix, bias in zip(matrices, biases):
            z = values.detach() @ matrix.T + bias
            z = (z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + 1e-5)
            values = torch.relu(z)
            r_h = dependence(values)
            total = total + (r_h * r_x.T).sum() - BALANCE * (r_h * r_y.T).sum()
        return total

    _, gradients = COUNTED["HSIC"](Net(layers), x, y)
    for ours, theirs in zip(gradients, torch_gradients(Net(layers), loss)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * np.abs(theirs).max())


def test_registers_that_are_held():
    assert weight_registers((4, 5, 5, 1), 0) == [5, 31, 61]
    assert weight_registers((4, 5, 5, 1), 16) == [5, 16, 16]
    assert neuron_registers((4, 5, 5, 1), 0) == [0, 5, 10]
    assert neuron_registers((4, 5, 5, 1), 8) == [0, 5, 8]


def test_a_net_by_hand():
    """2-1-1, one sample: three products forward, an error back, slope and product with it, three
    gradients; five weights and biases are changed."""
    assert cost("BP", (2, 1, 1), batch=1).products == 3 + 1 + 2 + 3 + 5
    assert cost("inference", (784, 100, 100, 10), batch=1).products == 89_400


@pytest.mark.parametrize(("arguments", "message"), [
    (("SGD", (2, 1)), "algorithm must be one of inference, BP, FA, SG, HSIC, DPFM, weight "
     "registers, naive, DPFM, neuron registers, not 'SGD'"),
    (("BP", (2,)), "layers must be two or more widths of at least 1, not 2"),
    (("BP", (2, 0, 1)), "layers must be two or more widths of at least 1, not 2-0-1"),
])
def test_wrong_questions(arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        cost(*arguments)


def test_break_even():
    """4-5-5-1, K = 16: 30 reads a sample are saved for 236 products more."""
    naive, = (row for row in cost_page.rows((4, 5, 5, 1)) if "naive" in row.algorithm)
    assert cost_page.break_even(naive) == pytest.approx((392.1 - 156.1) / 30)
    bp = cost_page.rows((4, 5, 5, 1))[1]
    assert cost_page.break_even(bp) is None


def test_the_command(capsys, tmp_path):
    assert main(["study", "cost", "--layers", "4-5-5-1", "--registers", "16,all", "--lazy",
                 "--json", str(tmp_path / "cost.json")]) == 0
    printed = capsys.readouterr().out
    assert "| BP |  | 156 | 85 | 0 | 0 | 0 | 0 | 10 |  |" in printed
    assert "| DPFM, weight registers, naive | all | 587 |" in printed
    assert printed.count("lazy") == 2
    assert len(json.loads((tmp_path / "cost.json").read_text())) == 8 + 3
    assert main(["study", "cost", "--batch", "0"]) == 2
    assert capsys.readouterr().err == "tangente: error: --batch must be at least 1, not 0\n"
    with pytest.raises(SystemExit):
        main(["study", "cost", "--layers", "wide"])
    assert "must be widths joined by dashes, such as 64-32-10, not 'wide'" in \
        capsys.readouterr().err


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(cost_page, "_OURS", (6, 4, 4, 2))
    names = ("small", "large", "registers", "thesis")
    (tmp_path / "cost.md").write_text("".join(
        f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in names))
    assert main(["study", "cost", "--write", str(tmp_path)]) == 0
    text = (tmp_path / "cost.md").read_text()
    for line in ("| 6-4-4-2, batch 10 | K |", "| 3 x 100 |", "| 4-5-5-1, batch 10 | K |"):
        assert line in text
    assert (tmp_path / "cost.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "cost.json").read_text())[0]["algorithm"] == "inference"

"""golden/autofore: values and derivatives against SymPy, finite differences and PyTorch; registers
against the toper; errors word for word."""

from __future__ import annotations

import math
import operator
import re
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
import sympy
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tangente.golden.autofore import (
    AutoFore,
    ConstantError,
    ForeignVariableError,
    Variable,
    largest,
)
from tangente.golden.toper import Toper

X, Y = sympy.symbols("x y", real=True)


def reals(low=-4.0, high=4.0):
    return st.floats(low, high, allow_nan=False)


POSITIVE = reals(0.05, 4.0)
AWAY = reals().filter(lambda v: abs(v) > 0.05)
#: Each operator: on variables, as an expression, and where its operands may lie.
UNARY = {
    "neg": (operator.neg, -X, reals()),
    "pos": (operator.pos, X, reals()),
    "sin": (Variable.sin, sympy.sin(X), reals()),
    "cos": (Variable.cos, sympy.cos(X), reals()),
    "exp": (Variable.exp, sympy.exp(X), reals()),
    "log": (Variable.log, sympy.log(X), POSITIVE),
    "tanh": (Variable.tanh, sympy.tanh(X), reals(-20, 20)),
    "sigmoid": (Variable.sigmoid, 1 / (1 + sympy.exp(-X)), reals(-50, 50)),
    "relu": (Variable.relu, sympy.Max(X, 0), AWAY),
    "abs": (abs, sympy.Abs(X), AWAY),
    "x + 2": (lambda x: x + 2, X + 2, reals()),
    "2 + x": (lambda x: 2 + x, 2 + X, reals()),
    "x - 2": (lambda x: x - 2, X - 2, reals()),
    "1 - x": (lambda x: 1 - x, 1 - X, reals()),
    "3 x": (lambda x: 3 * x, 3 * X, reals()),
    "x 3": (lambda x: x * 3, X * 3, reals()),
    "x / 4": (lambda x: x / 4, X / 4, reals()),
    "2 / x": (lambda x: 2 / x, 2 / X, AWAY),
    "x ** 3": (lambda x: x**3, X**3, reals()),
    "x ** -2": (lambda x: x**-2, X**-2, AWAY),
    "x ** 0.5": (lambda x: x**0.5, X ** sympy.Rational(1, 2), POSITIVE),
    "x ** 0": (lambda x: x**0, sympy.Integer(1), reals()),
    "x ** 1": (lambda x: x**1, X, reals()),
    "2 ** x": (lambda x: 2**x, 2**X, reals()),
    "x ** x": (lambda x: x**x, X**X, POSITIVE),
    "x x": (lambda x: x * x, X * X, reals()),
    "x / x": (lambda x: x / x, sympy.Integer(1), AWAY),
    "dot with itself": (lambda x: x.graph.dot([x, 2, x], [x, x, 3]), X**2 + 5 * X, reals()),
}
BINARY = {
    "+": (operator.add, X + Y, reals(), reals()),
    "-": (operator.sub, X - Y, reals(), reals()),
    "*": (operator.mul, X * Y, reals(), reals()),
    "/": (operator.truediv, X / Y, reals(), AWAY),
    "**": (operator.pow, X**Y, POSITIVE, reals()),
    "dot": (lambda x, y: x.graph.dot([x, y, 2], [y, y, x]), X * Y + Y**2 + 2 * X, reals(), reals()),
    "mixed": (lambda x, y: (x * y).sin() / (1 + y * y) - x.sigmoid() ** 2,
              sympy.sin(X * Y) / (1 + Y**2) - (1 / (1 + sympy.exp(-X))) ** 2, reals(), reals()),
}


@cache
def exact(expression, *by):
    """The expression's derivative as a function that computes 40 digits."""
    derivative = sympy.diff(expression, *by) if by else expression
    derivative = derivative.subs(sympy.DiracDelta(X), 0)
    return sympy.lambdify((X, Y), derivative, "mpmath")


def close(value, wanted, scale=1e-12):
    wanted = float(wanted)
    return math.isclose(value, wanted, rel_tol=scale, abs_tol=scale)


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_one_operand_against_sympy_and_finite_differences(name, data):
    function, expression, domain = UNARY[name]
    x = data.draw(domain)
    graph = AutoFore(order=2)
    w = graph.val(x).derivable()
    result = function(w)
    with mpmath.workdps(40):
        assert close(result.value, exact(expression)(mpmath.mpf(x), 0))
        assert close(result.get(w), exact(expression, X)(mpmath.mpf(x), 0))
        assert close(result.get2(w, w), exact(expression, X, X)(mpmath.mpf(x), 0), 1e-11)
    step = 1e-5 * max(1, abs(x))
    above, below = (function(AutoFore().val(x + sign * step)).value for sign in (1, -1))
    assert result.get(w) == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_two_operands_against_sympy_and_finite_differences(name, data):
    function, expression, *domains = BINARY[name]
    x, y = (data.draw(domain) for domain in domains)
    graph = AutoFore(order=2)
    weights = [graph.val(x).derivable(), graph.val(y).derivable()]
    result = function(*weights)
    with mpmath.workdps(40):
        at = mpmath.mpf(x), mpmath.mpf(y)
        assert close(result.value, exact(expression)(*at), 1e-11)
        for i, by in enumerate((X, Y)):
            assert close(result.get(weights[i]), exact(expression, by)(*at), 1e-11)
            for j, and_by in enumerate((X, Y)):
                assert close(result.get2(weights[i], weights[j]),
                             exact(expression, by, and_by)(*at), 1e-10)
    for i in range(2):
        values = []
        for sign in (1, -1):
            moved = [x, y]
            moved[i] += sign * 1e-6
            plain = AutoFore()
            values.append(function(*(plain.val(v) for v in moved)).value)
        scale = 1 + max(map(abs, values))
        assert result.get(weights[i]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4,
                                                       abs=1e-7 * scale / 1e-2)


@pytest.mark.parametrize(("function", "torched"), [
    (Variable.relu, torch.relu), (abs, torch.abs), (Variable.sigmoid, torch.sigmoid),
    (Variable.tanh, torch.tanh)])
@pytest.mark.parametrize("x", [0.0, -0.0, 36.0, -36.0, 800.0, -800.0, 5e-324])
def test_where_slopes_end_as_in_pytorch(function, torched, x):
    w = AutoFore().val(x).derivable()
    tensor = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    wanted = torched(tensor)
    wanted.backward()
    result = function(w)
    assert result.value == pytest.approx(wanted.item(), rel=1e-15, abs=0)
    # PyTorch's s (1 - s) loses what is below 1e-16 of 1.
    assert result.get(w) == pytest.approx(tensor.grad.item(), rel=1e-15, abs=3e-16)


def test_slopes_do_not_cancel_far_out():
    graph = AutoFore()
    w = graph.val(40).derivable()
    assert w.sigmoid().get(w) == pytest.approx(math.exp(-40), rel=1e-15)
    assert w.tanh().get(w) == pytest.approx(4 * math.exp(-80), rel=1e-15)


LEAVES = st.integers(0, 3).map(lambda i: ("weight", i)) | reals(-2, 2).map(lambda c: ("val", c))
TREES = st.recursive(LEAVES, lambda inner: st.one_of(
    st.tuples(st.sampled_from(["sin", "cos", "tanh", "sigmoid", "neg"]), inner),
    st.tuples(st.sampled_from(["add", "sub", "mul", "bounded"]), inner, inner)), max_leaves=12)


def evaluate(tree, weights, constant, torched):
    kind, *rest = tree
    if kind == "weight":
        return weights[rest[0]]
    if kind == "val":
        return constant(rest[0])
    operands = [evaluate(part, weights, constant, torched) for part in rest]
    if kind == "bounded":
        cos = torch.cos if torched else Variable.cos
        return operands[0] / (2 + cos(operands[1]))
    if len(operands) == 2:
        return getattr(operator, kind)(*operands)
    if kind == "neg":
        return -operands[0]
    return getattr(torch if torched else Variable, kind)(operands[0])


@settings(max_examples=40, deadline=None)
@given(tree=TREES, values=st.lists(reals(-2, 2), min_size=4, max_size=4))
def test_random_programs_against_pytorch(tree, values):
    graph = AutoFore(order=2)
    weights = [graph.val(v).derivable() for v in values]
    result = evaluate(tree, weights, graph.val, False)
    start = torch.tensor(values, dtype=torch.float64)

    def program(w):
        # The sum with nothing gives every weight a path, which autograd asks for.
        return 0 * (w * w).sum() + evaluate(
            tree, w, lambda c: torch.tensor(c, dtype=torch.float64), True)

    assert result.value == pytest.approx(program(start).item(), rel=1e-12, abs=1e-12)
    if result._constant:
        with pytest.raises(ConstantError, match="is a constant: no weight went into it"):
            graph.gradient(result)
        return
    # A product of many values beyond 1 has a scale of its own.
    gradient = torch.autograd.functional.jacobian(program, start).numpy()
    hessian = torch.autograd.functional.hessian(program, start).numpy()
    assume(np.abs(hessian).max() < 1e6)
    np.testing.assert_allclose(graph.gradient(result), gradient, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(graph.hessian(result), hessian, rtol=1e-9, atol=1e-9)


# The workshop's own example, and its interface.

def test_the_example_of_the_page_that_the_workshop_cites():
    graph = AutoFore()
    a, b = graph.val(2).derivable(), graph.val(1).derivable()
    e = (a + b) * (b + 1)
    assert (e.value, e.get(a), e.get(b)) == (6, 2, 5)


def test_weights_are_values_to_be_set_and_deltas_to_be_summed():
    graph = AutoFore(seed=3)
    place, drawn = graph.var(), graph.param(-0.5, 0.5)
    assert (place.value, place.id, drawn.id, drawn.delta) == (0, None, 0, 0)
    assert place.derivable() is place
    assert place.derivable().id == 1
    assert graph.weights == [drawn, place]
    assert -0.5 <= drawn.value <= 0.5
    assert AutoFore(seed=3).param(-0.5, 0.5).value == drawn.value
    place.value = 4
    loss = (place - 1) ** 2
    place.delta += loss.get(place)
    place.value -= 0.5 * place.delta
    assert (place.value, place.delta) == (1, 6)
    assert loss.get(drawn) == 0


def test_comparisons_are_of_values():
    graph = AutoFore()
    one, two = graph.val(1), graph.val(2).derivable()
    assert one < two
    assert one <= 1
    assert two > 1.5
    assert 2 >= one
    assert two == 2
    assert one != two
    assert not one == "1"
    assert one != "1"
    assert bool(one)
    assert not graph.var()
    assert max(one, two) is two
    assert float(two) == 2
    assert len({one, two, graph.val(1)}) == 3
    with pytest.raises(TypeError, match="'>' not supported"):
        max(one, "2")


def test_numbers_of_other_kinds():
    graph = AutoFore()
    w = graph.val(Fraction(1, 2)).derivable()
    for three in (3, 3.0, np.float64(3), np.float32(3), np.int64(3), Fraction(3)):
        assert (three * w).get(w) == 3
        assert isinstance(three * w, Variable)
        assert (three - w).get(w) == -1
        assert (three / w).get(w) == -12
    for wrong in ("3", None, 1j):
        for operation in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
            for operands in ((w, wrong), (wrong, w)):
                with pytest.raises(TypeError, match=r"unsupported operand|can only concatenate|"
                                                    r"multiply sequence by non-int"):
                    operation(*operands)
    assert sum([w, w, 1]).get(w) == 2
    assert repr(w) == "Variable(0.5, id=0)"
    assert repr(graph.val(1)) == "Variable(1.0)"


# Registers.

NASTY = st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1.0, -1.0, 1.0 + 2**-52, 2.0, -2.0,
                         math.inf, -math.inf])


@given(values=st.lists(NASTY | st.floats(allow_nan=False), max_size=40), keep=st.integers(0, 45))
def test_registers_hold_the_largest(values, keep):
    held = largest(enumerate(values), keep)
    wanted = [i for i in np.argsort(-np.abs(values), kind="stable") if values[i] != 0]
    assert [i for i, _ in held] == wanted[:keep or None]
    assert all(v == values[i] for i, v in held)
    # What is dropped is no larger than anything that is held.
    if keep and len(wanted) > keep:
        assert len(held) == keep
        assert abs(held[-1][1]) >= abs(values[wanted[keep]])


@settings(deadline=None)
@given(values=st.lists(st.integers(-255, 255) | st.sampled_from([0, 7, -7]), max_size=30),
       keep=st.integers(1, 16))
def test_registers_are_the_topers(values, keep):
    toper = Toper(keep)
    for identity, value in enumerate(values):
        toper.offer(identity, value)
    assert largest(enumerate(values), keep) == toper.entries()


@given(values=st.lists(NASTY.filter(math.isfinite), min_size=1, max_size=30),
       keep=st.integers(1, 35))
def test_a_neuron_is_pruned_once_with_its_bias(values, keep):
    pruned, dense = AutoFore(keep), AutoFore(keep, dense=True)
    results = []
    for graph in (pruned, dense):
        weights = [graph.val(1).derivable() for _ in range(len(values) + 1)]
        results.append(graph.neuron(weights[:-1], values, weights[-1]))
        # No operator prunes.
        assert len((graph.dot(weights[:-1], values) + weights[-1]).registers) == \
            sum(v != 0 for v in values) + 1
    # The bias, whose derivative is one, is the last id.
    everything = [*values, 1.0]
    assert results[0].registers == largest(enumerate(everything), keep)
    assert results[1].registers == largest(enumerate(everything), 0)
    assert results[0].value == results[1].value
    held = {identity for identity, _ in results[0].registers}
    for weight in pruned.weights:
        assert results[0].get(weight) == (everything[weight.id] if weight.id in held else 0)


def test_pruning_changes_only_what_it_is_asked_of():
    graph = AutoFore(1)
    a, b = graph.val(3).derivable(), graph.val(2).derivable()
    product = a * b
    before = product + 0
    assert product.pruning() is product
    assert product.registers == [(1, 3)]
    assert before.registers == [(1, 3), (0, 2)]
    assert product.get(a) == 0


def test_a_derivative_that_is_no_number_has_no_register():
    graph = AutoFore(2)
    w = graph.val(1).derivable()
    with pytest.raises(ValueError, match="^the derivative by weight 0 is not a number$"):
        (math.inf * w - math.inf * w).pruning()
    with pytest.raises(ValueError, match="^keep must be at least 0, not -1$"):
        largest([], -1)


def test_the_originals_slope():
    graph = AutoFore(slope="original")
    for x in (-30.0, -1.0, 0.0, 2.0, 30.0):
        w = graph.val(x).derivable()
        s = 1 / (1 + math.exp(-x))
        assert w.sigmoid().value == pytest.approx(s, rel=1e-15)
        assert w.sigmoid().get(w) == pytest.approx(1 / (4 * math.cosh(s / 2) ** 2), rel=1e-14)
        assert 0.196 < w.sigmoid().get(w) <= 0.25


# Second derivatives.

def test_newtons_step_ends_a_quadratic():
    graph = AutoFore(order=2, seed=1)
    x, y = graph.param(-3, 3), graph.param(-3, 3)

    def loss():
        return (x - 1) ** 2 + 3 * (x + 2 * y - 5) ** 2

    start = np.array([x.value, y.value])
    step = graph.newton(loss())
    np.testing.assert_allclose([x.value, y.value], [1, 2], rtol=1e-12)
    np.testing.assert_allclose(step, [1, 2] - start, rtol=1e-12)
    np.testing.assert_allclose(graph.gradient(loss()), 0, atol=1e-10)


def test_newtons_steps_find_a_small_nets_minimum():
    graph = AutoFore(order=2)
    a, b = graph.val(0.4).derivable(), graph.val(0.3).derivable()
    data = [(x / 4, math.tanh(1.3 * x / 4 - 0.2)) for x in range(-4, 5)]
    for _ in range(8):
        loss = sum(((a * x + b).tanh() - y) ** 2 for x, y in data)
        graph.newton(loss)
    assert (a.value, b.value) == (pytest.approx(1.3, abs=1e-9), pytest.approx(-0.2, abs=1e-9))


def test_a_direction_without_curvature():
    graph = AutoFore(order=2)
    x, y = graph.val(1).derivable(), graph.val(1).derivable()
    with pytest.raises(ValueError, match="^" + re.escape(
            "the Hessian is singular: some direction has no curvature; give a damping above 0")
            + "$"):
        graph.newton((x + y) ** 2)
    graph.newton((x + y) ** 2, damping=1.0)
    assert [x.value, y.value] == pytest.approx([1 - 4 / 5] * 2)


# Errors.

@pytest.mark.parametrize(("arguments", "message"), [
    ({"pruning": -1}, "pruning must be at least 0, not -1"),
    ({"order": 3}, "order must be 1 or 2, not 3"),
    ({"slope": "steep"}, "slope must be one of right, original, not 'steep'"),
    ({"order": 2, "pruning": 4}, "order=2 needs pruning=0 or dense=True, not pruning=4"),
    ({"order": 2, "slope": "original"},
     'order=2 needs slope="right": the original slope is no derivative'),
])
def test_wrong_graphs(arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        AutoFore(**arguments)


def both():
    one, other = AutoFore(), AutoFore()
    return one.val(2).derivable(), other.val(3).derivable()


FOREIGN = "Variable(3.0, id=0) is a variable of another AutoFore"
WRONG = {
    "a weight of another graph": (lambda w, v: w.get(v), ForeignVariableError, FOREIGN),
    "an operand of another graph": (lambda w, v: w + v, ForeignVariableError, FOREIGN),
    "compared with another graph": (lambda w, v: w == v, ForeignVariableError, FOREIGN),
    "dot over two graphs": (lambda w, v: w.graph.dot([w], [v]), ForeignVariableError, FOREIGN),
    "gradient of another graph": (lambda w, v: w.graph.gradient(v), ForeignVariableError, FOREIGN),
    "by a constant": (lambda w, v: w.get(w.graph.val(1)), ConstantError,
                      "Variable(1.0) is no weight: call derivable() before it is used"),
    "by what was computed": (lambda w, v: w.get(w * w), ConstantError,
                             "Variable(4.0) is no weight: call derivable() before it is used"),
    "of a constant": (lambda w, v: (w.graph.val(1) + 1).get(w), ConstantError,
                      "Variable(2.0) is a constant: no weight went into it"),
    "gradient of a constant": (lambda w, v: w.graph.gradient(w.graph.dot([1], [2])), ConstantError,
                               "Variable(2.0) is a constant: no weight went into it"),
    "a weight that was computed": (lambda w, v: (w * 2).derivable(), ConstantError,
                                   "only val and var make weights, and Variable(4.0) was computed"),
    "second of order 1": (lambda w, v: w.get2(w, w), ValueError,
                          "second derivatives need AutoFore(order=2)"),
    "log of zero": (lambda w, v: (w - 2).log(), ValueError, "log needs a value above 0, not 0.0"),
    "division by zero": (lambda w, v: 1 / (w - 2), ZeroDivisionError, "1.0 / 0.0 has no value"),
    "a complex power": (lambda w, v: (-w) ** 0.5, ValueError, "-2.0 ** 0.5 is not real"),
    "a power of zero": (lambda w, v: (w - 2) ** -1, ZeroDivisionError, "0.0 ** -1.0 has no value"),
    "an infinite slope": (lambda w, v: (w - 2) ** 0.5, ZeroDivisionError,
                          "0.0 ** 0.5 has a derivative without a value"),
    "a power by a weight": (lambda w, v: (w - 3) ** w, ValueError,
                            "a derivable exponent needs a base above 0, not -1.0"),
    "exp": (lambda w, v: (w * 400).exp(), OverflowError, "exp(800.0) is beyond float64"),
    "dot of lengths": (lambda w, v: w.graph.dot([w], [1, 2]), ValueError,
                       "dot needs equal lengths, not 1 and 2"),
    "dot of words": (lambda w, v: w.graph.dot([w], ["a"]), TypeError,
                     "dot needs numbers and variables, not Variable(2.0, id=0) and 'a'"),
    "param": (lambda w, v: w.graph.param(1, 0), ValueError,
              "param needs low <= high, not 1 and 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_named(name):
    action, kind, message = WRONG[name]
    with pytest.raises(kind, match="^" + re.escape(message) + "$"):
        action(*both())


def test_powers_of_zero_that_have_values():
    graph = AutoFore(order=2)
    zero, two = graph.val(0).derivable(), graph.val(2).derivable()
    assert [(zero**n).get(zero) for n in (0, 1, 2, 3)] == [0, 1, 0, 0]
    assert [(zero**n).get2(zero, zero) for n in (0, 1, 2, 3)] == [0, 0, 2, 0]
    assert (0**two).value == (0**two).get(two) == 0

"""A value with its derivatives, and the operators that carry both along."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Union

from .registers import largest

if TYPE_CHECKING:
    from .graph import AutoFore

__all__ = ["ConstantError", "ForeignVariableError", "Operand", "Variable"]

#: What operators take beside a variable: a real number.
Operand = Union["Variable", float]


class ConstantError(ValueError):
    """A derivative of, or by, something that depends on no weight or is none."""


class ForeignVariableError(ValueError):
    """A variable of another graph: its weights' numbers mean others here."""


class Variable:
    """A number and its derivatives; made by :class:`~tangente.golden.autofore.AutoFore`.

    Operators: ``+ - * / **`` with numbers on either side, unary ``-`` and ``+``, ``abs()``, and
    comparisons, which compare values; the functions are methods. None of them prunes.

    Members
    -------
    value : the number; a weight's may be set between passes.
    delta : a weight's, free for the user: the gradient that a batch sums up. 0 at first.
    graph : whose variable it is.
    id : a weight's number, from 0 in order of :meth:`derivable`; None for others.
    """

    __slots__ = ("_constant", "_first", "_leaf", "_second", "delta", "graph", "id", "value")

    # NumPy's scalars leave `scalar * variable` to __rmul__.
    __array_ufunc__ = None

    def __init__(self, graph: AutoFore, value: float) -> None:
        self.graph = graph
        self.value = value
        self.delta = 0.0
        self.id: int | None = None
        self._first: dict[int, float] = {}
        self._second: dict[tuple[int, int], float] = {}
        self._constant = self._leaf = True

    def __repr__(self) -> str:
        name = "" if self.id is None else f", id={self.id}"
        return f"Variable({self.value!r}{name})"

    # Weights and derivatives.

    def derivable(self) -> Variable:
        """Make this a weight, by which others have derivatives, and return it.

        Raises
        ------
        ConstantError
            If it was computed: only what `val` or `var` made can become a weight.
        """
        if not self._leaf:
            raise ConstantError(f"only val and var make weights, and {self!r} was computed")
        if self.id is None:
            self.id = self.graph._enrol(self)
            self._first[self.id] = 1.0
            self._constant = False
        return self

    def get(self, weight: Variable) -> float:
        """d self / d weight; 0 also where pruning has dropped it.

        Raises
        ------
        ConstantError
            If ``weight`` is no weight, or no weight went into this variable.
        ForeignVariableError
            If ``weight`` is another graph's.
        """
        return self._first.get(self._number(weight), 0.0)

    def get2(self, weight: Variable, other: Variable) -> float:
        """d2 self / d weight d other, of a graph of order 2.

        Raises
        ------
        ConstantError, ForeignVariableError
            As :meth:`get`.
        ValueError
            If the graph's order is 1.
        """
        if self.graph.order < 2:
            raise ValueError("second derivatives need AutoFore(order=2)")
        i, j = self._number(weight), self._number(other)
        return self._second.get((min(i, j), max(i, j)), 0.0)

    def _number(self, weight: Variable) -> int:
        if weight.graph is not self.graph:
            raise ForeignVariableError(f"{weight!r} is a variable of another AutoFore")
        if weight.id is None:
            raise ConstantError(f"{weight!r} is no weight: call derivable() before it is used")
        if self._constant:
            raise ConstantError(f"{self!r} is a constant: no weight went into it")
        return weight.id

    @property
    def registers(self) -> list[tuple[int, float]]:
        """(id of the weight, derivative), by falling magnitude, ties by id, without zeros."""
        return largest(self._first.items(), 0)

    def pruning(self) -> Variable:
        """Keep the graph's K derivatives of largest magnitude (all if K is 0), and return self.

        For a neuron, once, on its sum of products with its bias, before the activation (the
        workshop's place).

        Raises
        ------
        ValueError
            If a derivative is not a number.
        """
        if self.graph.prunes:
            self._first = dict(largest(self._first.items(), self.graph.pruning))
        return self

    # The chain rule, once for one operand and once for two.

    def _chain(self, value: float, slope: float, curvature: Callable[[], float]) -> Variable:
        """f(self), where f's value, first and second derivative are these."""
        result = Variable(self.graph, value)
        result._leaf, result._constant = False, self._constant
        first = self._first
        result._first = {i: slope * g for i, g in first.items()}
        if self.graph.order > 1 and first:
            second, curve = result._second, curvature()
            for pair, h in self._second.items():
                second[pair] = slope * h
            for i, g in first.items():
                for j, k in first.items():
                    if i <= j:
                        second[i, j] = second.get((i, j), 0.0) + curve * g * k
        return result

    def _chain2(self, other: Variable, value: float, slopes: tuple[float, float],
                curvatures: Callable[[], tuple[float, float, float]]) -> Variable:
        """f(self, other), with f's derivatives (a, b) and (aa, ab, bb)."""
        result = Variable(self.graph, value)
        result._leaf, result._constant = False, self._constant and other._constant
        first = result._first = {i: slopes[0] * g for i, g in self._first.items()}
        for i, g in other._first.items():
            first[i] = first[i] + slopes[1] * g if i in first else slopes[1] * g
        if self.graph.order > 1 and first:
            second, (aa, ab, bb) = result._second, curvatures()
            for operand, slope in zip((self, other), slopes):
                for pair, h in operand._second.items():
                    second[pair] = second.get(pair, 0.0) + slope * h
            for i in first:
                a_i, b_i = self._first.get(i, 0.0), other._first.get(i, 0.0)
                for j in first:
                    if i <= j:
                        a_j, b_j = self._first.get(j, 0.0), other._first.get(j, 0.0)
                        second[i, j] = (second.get((i, j), 0.0) + aa * a_i * a_j
                                        + ab * (a_i * b_j + a_j * b_i) + bb * b_i * b_j)
        return result

    def _operand(self, other: object) -> Variable | None:
        """``other`` as a variable of this graph; None if it is no number."""
        if isinstance(other, Variable):
            if other.graph is not self.graph:
                raise ForeignVariableError(f"{other!r} is a variable of another AutoFore")
            return other
        return Variable(self.graph, float(other)) if isinstance(other, numbers.Real) else None

    # Arithmetic.

    def __add__(self, other: Operand) -> Variable:
        b = self._operand(other)
        if b is None:
            return NotImplemented
        return self._chain2(b, self.value + b.value, (1.0, 1.0), _no_curvatures)

    def __radd__(self, other: Operand) -> Variable:
        a = self._operand(other)
        return NotImplemented if a is None else a + self

    def __sub__(self, other: Operand) -> Variable:
        b = self._operand(other)
        if b is None:
            return NotImplemented
        return self._chain2(b, self.value - b.value, (1.0, -1.0), _no_curvatures)

    def __rsub__(self, other: Operand) -> Variable:
        a = self._operand(other)
        return NotImplemented if a is None else a - self

    def __mul__(self, other: Operand) -> Variable:
        b = self._operand(other)
        if b is None:
            return NotImplemented
        return self._chain2(b, self.value * b.value, (b.value, self.value),
                            lambda: (0.0, 1.0, 0.0))

    def __rmul__(self, other: Operand) -> Variable:
        a = self._operand(other)
        return NotImplemented if a is None else a * self

    def __truediv__(self, other: Operand) -> Variable:
        b = self._operand(other)
        if b is None:
            return NotImplemented
        if b.value == 0:
            raise ZeroDivisionError(f"{self.value!r} / {b.value!r} has no value")
        value, divisor = self.value / b.value, b.value
        return self._chain2(b, value, (1 / divisor, -value / divisor),
                            lambda: (0.0, -1 / divisor / divisor, 2 * value / divisor / divisor))

    def __rtruediv__(self, other: Operand) -> Variable:
        a = self._operand(other)
        return NotImplemented if a is None else a / self

    def __pow__(self, other: Operand) -> Variable:
        b = self._operand(other)
        if b is None:
            return NotImplemented
        return _power(self, b) if b._constant else _variable_power(self, b)

    def __rpow__(self, other: Operand) -> Variable:
        a = self._operand(other)
        return NotImplemented if a is None else a**self

    def __neg__(self) -> Variable:
        return self._chain(-self.value, -1.0, _no_curvature)

    def __pos__(self) -> Variable:
        return self._chain(self.value, 1.0, _no_curvature)

    # Comparisons, of values. Hashed by identity: a weight's value changes.

    def __eq__(self, other: object) -> bool:
        b = self._operand(other)
        return NotImplemented if b is None else self.value == b.value

    def __lt__(self, other: Operand) -> bool:
        b = self._operand(other)
        return NotImplemented if b is None else self.value < b.value

    def __le__(self, other: Operand) -> bool:
        b = self._operand(other)
        return NotImplemented if b is None else self.value <= b.value

    def __gt__(self, other: Operand) -> bool:
        b = self._operand(other)
        return NotImplemented if b is None else self.value > b.value

    def __ge__(self, other: Operand) -> bool:
        b = self._operand(other)
        return NotImplemented if b is None else self.value >= b.value

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return self.value != 0

    def __float__(self) -> float:
        return float(self.value)

    # Functions.

    def sin(self) -> Variable:
        """Sine; the value is in radians."""
        value = math.sin(self.value)
        return self._chain(value, math.cos(self.value), lambda: -value)

    def cos(self) -> Variable:
        """Cosine; the value is in radians."""
        value = math.cos(self.value)
        return self._chain(value, -math.sin(self.value), lambda: -value)

    def exp(self) -> Variable:
        """e to the power of this.

        Raises
        ------
        OverflowError
            Above 709.78, where float64 ends.
        """
        try:
            value = math.exp(self.value)
        except OverflowError:
            raise OverflowError(f"exp({self.value!r}) is beyond float64") from None
        return self._chain(value, value, lambda: value)

    def log(self) -> Variable:
        """Natural logarithm.

        Raises
        ------
        ValueError
            If the value is not above 0.
        """
        x = self.value
        if not x > 0:
            raise ValueError(f"log needs a value above 0, not {x!r}")
        return self._chain(math.log(x), 1 / x, lambda: -1 / x / x)

    def tanh(self) -> Variable:
        """Hyperbolic tangent."""
        value = math.tanh(self.value)
        small = math.exp(-2 * abs(self.value))
        # 1 - value**2 without its cancellation where value is nearly 1.
        slope = 4 * small / ((1 + small) * (1 + small))
        return self._chain(value, slope, lambda: -2 * value * slope)

    def sigmoid(self) -> Variable:
        """1 / (1 + exp(-x)); its slope is s (1 - s), or the workshop's if the graph says so."""
        small = math.exp(-abs(self.value))
        value = (1.0 if self.value >= 0 else small) / (1 + small)
        if self.graph.slope == "original":
            # cosh of the sigmoid itself, where its argument belongs.
            half = math.cosh(value / 2)
            return self._chain(value, 1 / (4 * (half * half)), _no_curvature)
        # s (1 - s) without its cancellation where s is nearly 1.
        slope = small / ((1 + small) * (1 + small))
        return self._chain(value, slope, lambda: slope * (1 - 2 * value))

    def relu(self) -> Variable:
        """The larger of this and 0; the slope at 0 is 0, as PyTorch has it."""
        live = self.value > 0
        return self._chain(self.value if live else 0.0, 1.0 if live else 0.0, _no_curvature)

    def abs(self) -> Variable:
        """Magnitude; the slope at 0 is 0, as PyTorch has it."""
        sign = (self.value > 0) - (self.value < 0)
        return self._chain(abs(self.value), float(sign), _no_curvature)

    __abs__ = abs


def _no_curvature() -> float:
    return 0.0


def _no_curvatures() -> tuple[float, float, float]:
    return 0.0, 0.0, 0.0


def _real_power(base: float, exponent: float) -> float:
    """base ** exponent, or an error that names both."""
    if base < 0 and not float(exponent).is_integer():
        raise ValueError(f"{base!r} ** {exponent!r} is not real")
    if base == 0 and exponent < 0:
        raise ZeroDivisionError(f"{base!r} ** {exponent!r} has no value")
    return float(base**exponent)


def _power(base: Variable, exponent: Variable) -> Variable:
    """A power whose exponent is constant."""
    x, n = base.value, exponent.value
    value = _real_power(x, n)
    if base._constant:
        return base._chain(value, 0.0, _no_curvature)

    def derivative(factor: float, power: float) -> float:
        if factor == 0:
            return 0.0
        if x == 0 and power < 0:
            raise ZeroDivisionError(f"{x!r} ** {n!r} has a derivative without a value")
        return factor * _real_power(x, power)

    return base._chain(value, derivative(n, n - 1), lambda: derivative(n * (n - 1), n - 2))


def _variable_power(base: Variable, exponent: Variable) -> Variable:
    """A power whose exponent has derivatives: x ** n = exp(n log x)."""
    x, n = base.value, exponent.value
    if x == 0 and n > 0 and base._constant:
        return base._chain2(exponent, 0.0, (0.0, 0.0), _no_curvatures)
    if not x > 0:
        raise ValueError(f"a derivable exponent needs a base above 0, not {x!r}")
    value, log = _real_power(x, n), math.log(x)
    return base._chain2(
        exponent, value, (n * value / x, value * log),
        lambda: (n * (n - 1) * value / x / x, value / x * (1 + n * log), value * log * log))

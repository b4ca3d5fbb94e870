"""The weights that variables have derivatives by, and how many of those a neuron keeps."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .variable import ConstantError, ForeignVariableError, Operand, Variable

__all__ = ["AutoFore"]

#: How the sigmoid's slope is computed.
SLOPES = ("right", "original")


class AutoFore:
    """A set of weights, and the variables that depend on them.

    Parameters
    ----------
    pruning : K, the (weight, derivative) pairs that :meth:`Variable.pruning` keeps; 0 keeps all.
    dense : nothing is pruned, whatever K is: the same program as its own reference.
    order : 1 for first derivatives, 2 also for second ones (Hessian, Newton's step). A pruned first
        derivative would spoil the second, so order 2 needs that nothing is pruned.
    slope : "right" for the sigmoid's slope s (1 - s); "original" for the workshop's
        1 / (4 cosh(s / 2)^2), which has s where its argument belongs, lies between 0.197 and 0.25
        and never vanishes.
    seed : of :meth:`param`.

    Members
    -------
    weights : all weights; a weight's ``id`` is its place.
    prunes : whether :meth:`Variable.pruning` does anything.

    Raises
    ------
    ValueError
        If a parameter is out of range, or order 2 is to be pruned.
    """

    def __init__(self, pruning: int = 0, *, dense: bool = False, order: int = 1,
                 slope: str = "right", seed: int | None = None) -> None:
        if pruning < 0:
            raise ValueError(f"pruning must be at least 0, not {pruning!r}")
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, not {order!r}")
        if slope not in SLOPES:
            raise ValueError(f"slope must be one of {', '.join(SLOPES)}, not {slope!r}")
        self.pruning = pruning
        self.prunes = pruning > 0 and not dense
        if order == 2 and self.prunes:
            raise ValueError(f"order=2 needs pruning=0 or dense=True, not pruning={pruning!r}")
        if order == 2 and slope == "original":
            raise ValueError('order=2 needs slope="right": the original slope is no derivative')
        self.order = order
        self.slope = slope
        self.weights: list[Variable] = []
        self._random = random.Random(seed)

    def val(self, value: float) -> Variable:
        """A constant; :meth:`Variable.derivable` makes it a weight."""
        return Variable(self, float(value))

    def var(self) -> Variable:
        """As ``val(0)``: a place whose value is set later."""
        return self.val(0.0)

    def param(self, low: float, high: float) -> Variable:
        """A weight drawn uniformly from [low, high].

        Raises
        ------
        ValueError
            If ``low`` is above ``high``.
        """
        if not low <= high:
            raise ValueError(f"param needs low <= high, not {low!r} and {high!r}")
        return self.val(self._random.uniform(low, high)).derivable()

    def dot(self, left: Sequence[Operand], right: Sequence[Operand]) -> Variable:
        """The sum of the products of two sequences of equal length, summed from the first on.

        Raises
        ------
        ForeignVariableError
            If a variable is another graph's.
        ValueError
            If the lengths differ.
        """
        if len(left) != len(right):
            raise ValueError(f"dot needs equal lengths, not {len(left)} and {len(right)}")
        total = self.val(0.0)
        total._leaf = False
        for one, other in zip(left, right):
            a, b = total._operand(one), total._operand(other)
            if a is None or b is None:
                raise TypeError(f"dot needs numbers and variables, not {one!r} and {other!r}")
            if self.order > 1:
                total = total + a * b
                continue
            # As `total + a * b`, without two variables a product.
            total.value += a.value * b.value
            total._constant = total._constant and a._constant and b._constant
            first, x, w = total._first, b.value, a.value
            for i, g in a._first.items():
                first[i] = first.get(i, 0.0) + x * g
            for i, g in b._first.items():
                first[i] = first.get(i, 0.0) + w * g
        return total

    def neuron(self, weights: Sequence[Operand], inputs: Sequence[Operand],
               bias: Operand = 0.0) -> Variable:
        """A neuron before its activation: products, bias, pruning, in this order.

        Raises
        ------
        ForeignVariableError, ValueError
            As :meth:`dot`.
        """
        return (self.dot(weights, inputs) + bias).pruning()

    def gradient(self, loss: Variable) -> npt.NDArray[np.float64]:
        """The derivatives of ``loss`` by every weight, shape (weights,).

        Raises
        ------
        ConstantError, ForeignVariableError
            As :meth:`Variable.get`.
        """
        self._own(loss)
        return np.array([loss.get(weight) for weight in self.weights])

    def hessian(self, loss: Variable) -> npt.NDArray[np.float64]:
        """The second derivatives of ``loss``, shape (weights, weights), symmetric.

        Raises
        ------
        ConstantError, ForeignVariableError, ValueError
            As :meth:`Variable.get2`.
        """
        self._own(loss)
        return np.array([[loss.get2(a, b) for b in self.weights] for a in self.weights])

    def newton(self, loss: Variable, damping: float = 0.0) -> npt.NDArray[np.float64]:
        """Take Newton's step: every weight w changes by minus (H + damping I)^-1 g; returns it.

        Of a quadratic loss it is the whole way to the minimum (J. Nocedal, S. J. Wright, "Numerical
        optimization", 2006, equation 2.15). The cost grows as the square of the weights: for
        small problems.

        Raises
        ------
        ConstantError, ForeignVariableError
            As :meth:`hessian`.
        ValueError
            If the matrix is singular, or the graph's order is 1.
        """
        matrix = self.hessian(loss) + damping * np.eye(len(self.weights))
        try:
            step = np.asarray(-np.linalg.solve(matrix, self.gradient(loss)), np.float64)
        except np.linalg.LinAlgError:
            raise ValueError("the Hessian is singular: some direction has no curvature; give a "
                             "damping above 0") from None
        for weight, change in zip(self.weights, step):
            weight.value += float(change)
        return step

    def _own(self, variable: Variable) -> None:
        if variable.graph is not self:
            raise ForeignVariableError(f"{variable!r} is a variable of another AutoFore")
        if variable._constant:
            raise ConstantError(f"{variable!r} is a constant: no weight went into it")

    def _enrol(self, weight: Variable) -> int:
        self.weights.append(weight)
        return len(self.weights) - 1

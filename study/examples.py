"""The workshop's two small examples, on :mod:`tangente.golden.autofore`."""

from __future__ import annotations

import dataclasses
import random

from tangente.golden.autofore import AutoFore

__all__ = ["COEFFICIENTS", "Polynomials", "colah", "newton", "polynomials"]

#: Of the workshop's four functions of (a, b): what is to be found.
COEFFICIENTS = ((1.0, 1.0), (1.0, 2.0), (10.0, 2.0), (2.0, 5.0))


def colah() -> tuple[float, float]:
    """e = (a + b)(b + 1) at a = 2, b = 1, and de/db: 6 and 5 (C. Olah, "Calculus on computational
    graphs: backpropagation", 2015)."""
    graph = AutoFore()
    a, b = graph.val(2), graph.val(1).derivable()
    e = (a + b) * (b + 1)
    return e.value, e.get(b)


@dataclasses.dataclass(frozen=True)
class Polynomials:
    """How the system was solved.

    Members
    -------
    found : the coefficients of each function.
    steps : steps that each took.
    error : largest difference to :data:`COEFFICIENTS`.
    """

    found: tuple[tuple[float, float], ...]
    steps: tuple[int, ...]
    error: float


def _functions(seed: int) -> list[list[tuple[float, float, float]]]:
    """For each function, four points (a, b, value)."""
    draw = random.Random(seed)
    points = [(draw.random(), draw.random()) for _ in range(4)]
    return [[(a, b, c * a + d * b) for a, b in points] for c, d in COEFFICIENTS]


def _solve(seed: int, method: str, enough: float, most: int) -> Polynomials:
    found, steps = [], []
    for points in _functions(seed):
        graph = AutoFore(order=2 if method == "newton" else 1, seed=seed)
        c, d = graph.param(0, 1), graph.param(0, 1)
        for step in range(most):  # noqa: B007 - how many is told
            loss = sum(((c * a + d * b - value) ** 2 for a, b, value in points), graph.val(0))
            if loss < enough:
                break
            if method == "newton":
                graph.newton(loss)
            else:
                for weight in graph.weights:
                    weight.delta = loss.get(weight)
                for weight in graph.weights:
                    weight.value -= 0.01 * weight.delta
        else:
            raise RuntimeError(f"no solution after {most:,} steps: the squared error is still "
                               f"{loss.value:g}, not below {enough:g}")
        found.append((c.value, d.value))
        steps.append(step)
    error = max(abs(value - wanted) for pair, wanted_pair in zip(found, COEFFICIENTS)
                for value, wanted in zip(pair, wanted_pair))
    return Polynomials(tuple(found), tuple(steps), error)


def polynomials(seed: int = 0, *, enough: float = 1e-4, most: int = 200_000) -> Polynomials:
    """The workshop's system: the coefficients of four functions c a + d b from their values at four
    random points, by gradient descent with rate 0.01 until the squared error is below ``enough``.

    Raises
    ------
    RuntimeError
        If ``most`` steps are not enough.
    """
    return _solve(seed, "gradient", enough, most)


def newton(seed: int = 0, *, enough: float = 1e-12) -> Polynomials:
    """The same by Newton's steps: one each, since the error is quadratic."""
    return _solve(seed, "newton", enough, 10)

"""How sure a rate of success is: the posterior of a Bernoulli rate under a Beta prior, and its credible bounds."""

from __future__ import annotations

import math

from embodmem.errors import InvalidInput

_TINY = 1e-300
_STEPS = 300


def beta_cdf(x: float, a: float, b: float) -> float:
    """I_x(a, b), the regularised incomplete beta function: P(rate <= x) under Beta(a, b).

    The continued fraction of DLMF 8.17.22, by Lentz's method, on the side where it converges fast.
    """
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = math.exp(
        a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(a)
    )
    d = 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    c, value = 1.0, d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return min(1.0, front * value)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(q: float, a: float, b: float) -> float:
    """The x at which `beta_cdf` is q, by halving the interval until two neighbouring numbers are left."""
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if beta_cdf(middle, a, b) < q else (low, middle)
    return 0.5 * (low + high)


def success_bounds(successes: float, failures: float, credible: float, prior: float) -> tuple[float, float, float]:
    """Lower bound, mean and upper bound of a rate of success.

    Posterior Beta(prior + successes, prior + failures); the bounds are its (1 - credible) / 2 and (1 + credible) / 2
    quantiles. With prior = 1/2 that is the Jeffreys interval (Brown, Cai and DasGupta, Statistical Science 2001,
    section 3.1.2).

    Args:
        successes: How often it went well; may be discounted, so no whole number.
        failures: How often it did not.
        credible: Probability that the rate lies between the bounds, 0..1.
        prior: Both parameters of the prior, > 0.

    Raises:
        InvalidInput: A count is negative, or `credible` or `prior` is out of range.
    """
    if not (successes >= 0 and failures >= 0 and 0 < credible < 1 and prior > 0):
        raise InvalidInput(
            "success bounds: wanted counts >= 0, 0 < credible < 1 and prior > 0, got "
            f"{successes}, {failures}, {credible}, {prior}"
        )
    a, b = prior + successes, prior + failures
    tail = 0.5 * (1.0 - credible)
    return beta_quantile(tail, a, b), a / (a + b), beta_quantile(1.0 - tail, a, b)

"""The bounds of a rate of success: against scipy, and what has to hold of any."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.errors import InvalidInput
from embodmem.procedural.beta import beta_cdf, beta_quantile, success_bounds

counts = st.floats(0, 500)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.05, 600), st.floats(0.05, 600), st.floats(0.0, 1.0))
def test_distribution_as_scipy_has_it(a: float, b: float, x: float) -> None:
    special = pytest.importorskip("scipy.special")
    assert beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.3, 300), st.floats(0.3, 300), st.floats(0.01, 0.99))
def test_quantile_is_the_inverse(a: float, b: float, q: float) -> None:
    assert beta_cdf(beta_quantile(q, a, b), a, b) == pytest.approx(q, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(counts, counts, st.floats(0.5, 0.99), st.floats(0.3, 3.0))
def test_bounds_hold_the_mean_and_narrow(s: float, f: float, credible: float, prior: float) -> None:
    lower, mean, upper = success_bounds(s, f, credible, prior)
    assert 0 <= lower < upper <= 1 and 0 < mean < 1
    if s >= 1 and f >= 1:
        assert lower < mean < upper
    better = success_bounds(s + 1, f, credible, prior)
    worse = success_bounds(s, f + 1, credible, prior)
    assert better[0] >= lower and better[2] >= upper  # a success never lowers, a failure never raises
    assert worse[0] <= lower and worse[2] <= upper
    wider = success_bounds(s, f, 0.5 * (1 + credible), prior)
    assert wider[0] <= lower and wider[2] >= upper
    mirrored = success_bounds(f, s, credible, prior)
    assert mirrored[0] == pytest.approx(1 - upper, abs=1e-9)


def test_jeffreys_interval_of_the_literature() -> None:
    # Brown, Cai and DasGupta (2001), table 5: 95 %, n = 10, x = 0 before their change at the ends is [0, 0.217].
    assert success_bounds(0, 10, 0.95, 0.5)[2] == pytest.approx(0.217, abs=5e-4)


@pytest.mark.parametrize("bad", [(-1, 0, 0.9, 0.5), (0, -1, 0.9, 0.5), (0, 0, 1.0, 0.5), (0, 0, 0.9, 0.0)])
def test_what_is_refused(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(InvalidInput, match="success bounds: wanted"):
        success_bounds(*bad)

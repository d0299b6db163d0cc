"""The error functions of the reference against the standard library's, number by number."""

import math

import numpy as np
import pytest
from dlreference import special

POINTS = np.concatenate(
    [
        np.linspace(-7.0, 7.0, 2801),
        np.random.default_rng(309).uniform(-1.2, 1.2, 1000),
        10.0 ** np.linspace(-300.0, -1.0, 300),
        [0.0, 1.0, -1.0, np.nextafter(1.0, 2.0)],
    ]
)


def test_erf():
    expected = [math.erf(x) for x in POINTS]
    np.testing.assert_allclose(special.erf(POINTS), expected, rtol=5e-16, atol=0)


def test_erfc():
    points = np.concatenate([POINTS, np.linspace(7.0, 26.0, 1000)])
    np.testing.assert_allclose(special.erfc(points), [math.erfc(x) for x in points], rtol=1e-15, atol=0)


def test_normal_cdf_keeps_relative_precision_in_the_left_tail():
    points = np.linspace(-37.0, 8.0, 500)
    expected = [0.5 * math.erfc(-x / math.sqrt(2.0)) for x in points]
    np.testing.assert_allclose(special.normal_cdf(points), expected, rtol=1e-15, atol=0)


def test_ends_of_the_line():
    with np.errstate(all="raise", under="ignore"):
        assert special.erf([np.inf, -np.inf, 1e300]).tolist() == [1.0, -1.0, 1.0]
        assert special.erfc([np.inf, -np.inf, 1e300]).tolist() == [0.0, 2.0, 0.0]
    assert np.isnan(special.erf(np.nan))
    assert np.isnan(special.erfc(np.nan))
    assert math.copysign(1.0, special.erf(-0.0)) == -1.0


@pytest.mark.parametrize("shape", [(), (0,), (2, 1, 3)])
def test_shapes_are_kept(shape):
    assert special.erf(np.zeros(shape)).shape == shape
    assert special.erfc(np.zeros(shape)).shape == shape

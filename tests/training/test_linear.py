"""The linear map: planted maps, a second implementation of its choice, what cannot be fitted."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fpray.errors import UserError
from fpray.training.linear import PENALTIES, LinearMap

RNG = np.random.default_rng(5)


def test_a_linear_map_is_found():
    source = RNG.standard_normal((80, 5)) * [1, 10, 0.1, 3, 0]  # one dimension never moves
    turn, shift = RNG.standard_normal((5, 8)), RNG.standard_normal(8)
    target = source @ turn + shift
    found = LinearMap.fit(source[:60], target[:60])
    np.testing.assert_allclose(found(source[60:]), target[60:], atol=0.01)
    noise = RNG.standard_normal(target.shape)
    assert LinearMap.fit(source, noise).penalty > 1e3 * found.penalty  # where there is nothing, it is shrunk


def test_the_penalty_is_the_best_by_leaving_out():
    source = RNG.standard_normal((25, 10))
    target = source @ RNG.standard_normal((10, 3)) + 2 * RNG.standard_normal((25, 3))
    scaled = (source - source.mean(axis=0)) / source.std(axis=0)
    unit = np.square(np.linalg.svd(scaled, compute_uv=False)).mean()

    def left_out(penalty):
        errors = []
        for row in range(25):
            model = Ridge(penalty).fit(np.delete(scaled, row, 0), np.delete(target, row, 0))
            errors.append(target[row] - model.predict(scaled[[row]]))
        return np.square(errors).mean()

    found = LinearMap.fit(source, target)
    assert found.penalty == pytest.approx(min(PENALTIES * unit, key=left_out))
    theirs = Ridge(found.penalty).fit(scaled, target)
    np.testing.assert_allclose(found(source), theirs.predict(scaled), atol=1e-5)


@pytest.mark.parametrize(('source', 'target', 'part'), [
    (np.ones((2, 3)), np.ones((2, 4)), '3 pictures or more'),
    (np.ones((5, 3)), np.ones((4, 3)), '3 pictures'),
    (np.full((5, 3), np.nan), np.ones((5, 3)), 'not finite'),
])
def test_impossible_maps_are_refused(source, target, part):
    with pytest.raises(UserError, match=part):
        LinearMap.fit(source, target)

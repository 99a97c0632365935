"""What MLflow's table of runs compares of each study."""

import pytest

from fpray.metrics.rate import Rate
from fpray.studies import sections
from fpray.studies.run import _metrics


def _rate(value):
    return Rate(value, (value - 0.1, value + 0.1), 0.0, 10, 5).as_dict()


def test_an_inversion_is_compared_by_who_gets_in_and_nothing_unmeasured_is_logged():
    nothing = Rate(None, (None, None), 0.01, 10, 5, note='not resolvable').as_dict()
    own = sections.acceptance(_rate(0.44), _rate(0.12), _rate(0.32), _rate(0.59))
    results = {'primary': sections.primary('asked', 'attack', _rate(0.9), nothing, _rate(0.4), acceptance=own),
               'controls': {'placebo': sections.control(_rate(0.5), ''), 'rehearsal': sections.not_available('no people')}}
    found = _metrics(results)
    assert {name: value for name, value in found.items() if not name.endswith(('_low', '_high'))} == {
        'auc': 0.9, 'auc_minus_placebo': 0.4, 'placebo': 0.5, 'acceptance_own': 0.44, 'acceptance_strangers': 0.12,
        'acceptance_difference': 0.32, 'acceptance_genuine': 0.59}
    assert found['acceptance_own_low'] == pytest.approx(0.34) and len(found) == 21


def test_an_inference_is_compared_by_its_accuracy():
    results = {'primary': sections.primary('asked', 'attack', _rate(0.9), _rate(0.6), _rate(0.4), accuracy=_rate(0.8)),
               'controls': {}}
    assert {'accuracy', 'accuracy_low', 'tpr_at_fpr_1pct', 'auc'} <= set(_metrics(results))

"""What the dashboards read: the gauges that a run emits. Prometheus sees `fpray_x` as `ray_fpray_x` after some 10 s."""

from __future__ import annotations

from functools import cache
from typing import Any

import ray
from ray.util import metrics

# name: (meaning and unit, tags); Ray takes ASCII alone
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    'fpray_images_seen': ('Training images seen so far', ('stage', 'trial')),
    'fpray_images_per_second': ('Training speed, images/s over all workers', ('stage', 'trial')),
    'fpray_loss': ('Loss at the last report', ('stage', 'trial', 'loss')),
    'fpray_inception_score': ('Inception Score by the in-domain scoring network', ('stage', 'trial')),
    'fpray_frechet_distance': ('Frechet distance on the scoring network\'s features', ('stage', 'trial')),
    'fpray_auc': ('AUC of an attack, members against non-members', ('stage', 'attack')),
    'fpray_queries_seen': ('Queries scored so far', ('stage',)),
    'fpray_queries_per_second': ('Scoring speed, queries/s over all actors', ('stage',)),
    'fpray_stages_done': ('Stages of the plan that are done', ()),
}


def emit(name: str, value: float, **tags: Any) -> None:
    """Sets a gauge of this process's Ray; without a Ray nothing listens and nothing happens.

    Args:
        name: a key of `GAUGES`.
        value: in the unit that `GAUGES` gives.
        tags: of those that `GAUGES` gives; one left out is ''.

    Raises:
        KeyError: an unknown gauge or tag.
    """
    keys = GAUGES[name][1]
    if unknown := set(tags) - set(keys):
        raise KeyError(f'{name} has no tag {sorted(unknown)}')
    if ray.is_initialized():
        _gauge(name).set(float(value), {key: str(tags.get(key, '')) for key in keys})


@cache
def _gauge(name: str) -> metrics.Gauge:
    meaning, keys = GAUGES[name]
    return metrics.Gauge(name, meaning, keys)

"""Prometheus sees what a run emits."""

import time
import urllib.request

import pytest

from fpray.distributed.gauges import GAUGES, emit


def test_names_are_well_formed():
    for name, (meaning, tags) in GAUGES.items():
        assert name.startswith('fpray_') and name.islower() and meaning and isinstance(tags, tuple)


def test_unknown_names_and_tags_are_refused():
    with pytest.raises(KeyError):
        emit('fpray_nothing', 1)
    with pytest.raises(KeyError, match='no tag'):
        emit('fpray_auc', 1, colour='red')


def test_a_gauge_arrives(ray):
    emit('fpray_auc', 0.75, stage='attack', attack='logan')
    address = next(node for node in ray.nodes() if node['Alive'])
    url = f'http://{address["NodeManagerAddress"]}:{address["MetricsExportPort"]}/metrics'
    end, lines = time.monotonic() + 40, []
    while not lines and time.monotonic() < end:
        time.sleep(0.5)
        text = urllib.request.urlopen(url, timeout=5).read().decode()
        lines = [line for line in text.splitlines() if line.startswith('ray_fpray_auc{')]
    assert lines and 'attack="logan"' in lines[0] and float(lines[0].split()[-1]) == 0.75

"""Every expression of a dashboard or an alarm asks for metrics that Ray or a job really exports."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from fpray.distributed.cluster import local_cluster, submit
from fpray.distributed.gauges import GAUGES

ROOT = Path(__file__).resolve().parents[1]
GRAFANA = ROOT / 'dashboards/grafana'
BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(GRAFANA.glob('*.json'))}
RULES = yaml.safe_load((ROOT / 'dashboards/prometheus/rules.yml').read_text())
# Ray's own metrics that the dashboards may use; the slow test finds them in a live Ray.
RAYS_OWN = {'ray_actors', 'ray_component_rss_bytes', 'ray_node_cpu_count', 'ray_node_cpu_utilization',
            'ray_node_mem_total', 'ray_node_mem_used', 'ray_object_store_memory', 'ray_running_jobs'}
RAYS_LABELS = {'SessionName', 'WorkerId', 'Component', 'Location', 'State'}
WORDS = {'and', 'or', 'unless', 'Inf', 'max', 'sum', 'count'}  # that may stand without a bracket behind


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every panel and every alarm."""
    for name, board in BOARDS.items():
        for panel in board['panels']:
            yield from ((f'{name}: {panel["title"]}', target['expr']) for target in panel['targets'])
    for rule in (rule for group in RULES['groups'] for rule in group['rules']):
        yield rule['alert'], rule['expr']


def parsed(promql: str) -> tuple[set[str], set[str]]:
    """The metric names of an expression, and the labels of its matchers and groupings."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', '', promql)
    matchers = ' '.join(re.findall(r'\{([^}]*)\}', bare))
    bare = re.sub(r'\{[^}]*\}', '', bare)
    grouping = r'\b(?:by|on)\s*\(([^)]*)\)'
    labels = re.findall(r'(\w+)\s*[=!]', matchers) + re.findall(r'\w+', ' '.join(re.findall(grouping, bare)))
    names = re.findall(r'\b[a-zA-Z_]\w*\b(?!\s*\()', re.sub(grouping, '', bare))
    return set(names) - WORDS, set(labels)


def menus(board: dict) -> list[tuple[str, str]]:
    """(metric, label) of each menu of a dashboard that asks Prometheus."""
    queries = [menu['query']['query'] for menu in board['templating']['list'] if menu['type'] == 'query']
    pairs = [re.findall(r'^label_values\((\w+)(?:\{.*\})?, (\w+)\)$', query) for query in queries]
    assert all(pairs), queries
    return [pair[0] for pair in pairs]


def asked() -> set[str]:
    """Every metric that a dashboard, a menu or an alarm asks for."""
    in_menus = {metric for board in BOARDS.values() for metric, _ in menus(board)}
    return in_menus.union(*(parsed(promql)[0] for _, promql in expressions()))


@pytest.mark.parametrize(('promql', 'names', 'labels'), [
    ('max by (stage) (ray_fpray_auc{state=~"ray_x"}) or vector(0)', {'ray_fpray_auc'}, {'stage', 'state'}),
    ('sum(rate(a_total{x!="b"}[5m])) / on (ip, id) b_used > 0.5', {'a_total', 'b_used'}, {'x', 'ip', 'id'}),
    ('a != a or abs(a) == Inf', {'a'}, set()),
])
def test_an_expression_is_read(promql: str, names: set[str], labels: set[str]) -> None:
    assert parsed(promql) == (names, labels)


@pytest.mark.parametrize(('where', 'promql'), list(expressions()))
def test_expressions_use_gauges_that_exist(where: str, promql: str) -> None:
    names, labels = parsed(promql)
    assert names and names <= RAYS_OWN | {f'ray_{name}' for name in GAUGES}, where
    tags = {tag for name in names - RAYS_OWN for tag in GAUGES[name.removeprefix('ray_')][1]}
    assert labels <= RAYS_LABELS | tags, where


def test_every_gauge_is_on_a_dashboard() -> None:
    assert {f'ray_{name}' for name in GAUGES} | RAYS_OWN == asked()


def test_every_gauge_is_set_somewhere() -> None:
    sources = [*(ROOT / 'fpray').rglob('*.py'), *(ROOT / 'jobs').rglob('*.py')]
    text = '\n'.join(path.read_text() for path in sources if path.name != 'gauges.py')
    assert [name for name in GAUGES if f"'{name}'" not in text] == []


def test_rays_metrics_take_the_descriptions() -> None:
    """Ray refuses a description with other letters when the gauge is made, in the middle of a run."""
    assert [name for name, (meaning, _) in GAUGES.items() if not meaning.isascii()] == []


@pytest.mark.parametrize('name', BOARDS)
def test_dashboards_are_whole(name: str) -> None:
    board = BOARDS[name]
    ids = [panel['id'] for panel in board['panels']]
    assert board['uid'].startswith('fpray-') and len(ids) == len(set(ids))
    assert all(panel['title'] and panel['description'] and panel['targets'] for panel in board['panels'])
    tags = {tag for _, tags in GAUGES.values() for tag in tags}
    assert all(label in {'SessionName', *tags} for _, label in menus(board))
    cells = [(x, y) for p in (panel['gridPos'] for panel in board['panels'])
             for x in range(p['x'], p['x'] + p['w']) for y in range(p['y'], p['y'] + p['h'])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24, 'panels lie on each other'


def test_grafana_and_prometheus_find_each_other() -> None:
    source = yaml.safe_load((GRAFANA / 'provisioning/datasources/fpray.yml').read_text())['datasources'][0]
    assert source['type'] == 'prometheus'
    for board in BOARDS.values():
        menu = next(m for m in board['templating']['list'] if m['type'] == 'datasource')
        assert menu['current']['value'] == source['uid']
        assert all(panel['datasource']['uid'] == f'${{{menu["name"]}}}' for panel in board['panels'])
    config = yaml.safe_load((ROOT / 'dashboards/prometheus/prometheus.yml').read_text())
    assert all((ROOT / 'dashboards/prometheus' / name).is_file() for name in config['rule_files'])
    files = config['scrape_configs'][0]['file_sd_configs'][0]['files']
    assert [Path(name).name for name in files] == ['prom_metrics_service_discovery.json']


EXPORT = """
import sys, time, urllib.request
import ray
from fpray.distributed import gauges
from fpray.distributed.cluster import connect

connect({'address': 'local', 'cpus': 1})
for name, (_, tags) in gauges.GAUGES.items():
    gauges.emit(name, 0.5, **{tag: 'x' for tag in tags})
actor = ray.remote(type('Idle', (), {})).remote()
node, wanted, text, end = ray.nodes()[0], set(sys.argv[1:]), '', time.monotonic() + 60
while time.monotonic() < end and not all(f'\\n{name}{{' in text for name in wanted):
    time.sleep(0.5)
    try:
        address = f'http://{node["NodeManagerAddress"]}:{node["MetricsExportPort"]}/metrics'
        text = urllib.request.urlopen(address, timeout=5).read().decode()
    except OSError:
        continue
print(text)
"""


@pytest.mark.slow
def test_a_live_ray_exports_what_is_asked() -> None:
    command = [sys.executable, '-c', EXPORT, *sorted(asked())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    exported: dict[str, set[str]] = {}
    for name, labels in re.findall(r'^(\w+)\{(.*)\} ', done.stdout, re.MULTILINE):
        exported.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    assert asked() <= set(exported)
    for name, (_, tags) in GAUGES.items():
        assert {*tags, 'SessionName', 'WorkerId'} <= exported[f'ray_{name}']


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_real_run_sets_every_gauge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Prometheus would see of the main job, found as Prometheus finds it."""
    monkeypatch.setenv('RAY_metrics_report_interval_ms', '1000')  # a smoke run's workers live for seconds
    command = ['python', 'jobs/mia_sweep.py', '--preset', 'smoke', '--store', str(tmp_path / 'store'), '--no-mlflow']
    seen: set[str] = set()
    shown: list[str] = []
    with local_cluster(cpus=2) as cluster, ThreadPoolExecutor(1) as pool:
        run = pool.submit(submit, cluster.jobs, command, working_dir=ROOT, token=cluster.token, write=shown.append)
        while not run.done():
            for target in targets(cluster.folder / 'prom_metrics_service_discovery.json'):
                seen |= set(re.findall(r'^ray_(fpray_\w+)\{', scraped(target), re.MULTILINE))
            time.sleep(0.5)
    assert run.result() == 0, ''.join(shown)[-2000:]
    assert seen == set(GAUGES)


def targets(discovery: Path) -> list[str]:
    """The 'host:port' of every node by Ray's service discovery; none while its file is missing or half-written."""
    try:
        return [target for node in json.loads(discovery.read_text()) for target in node['targets']]
    except (OSError, ValueError):
        return []


def scraped(target: str) -> str:
    """The metrics page of a node; empty while it does not answer."""
    try:
        with urllib.request.urlopen(f'http://{target}/metrics', timeout=5) as page:
            return str(page.read().decode())
    except OSError:
        return ''

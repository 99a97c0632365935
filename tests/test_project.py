"""The files around the package: lock, packaging, Makefile, cluster, and what README promises."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

from fpray.distributed.plan import SEAT

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())
README = (ROOT / 'README.md').read_text()
MAKEFILE = (ROOT / 'Makefile').read_text()
CLUSTER = yaml.safe_load((ROOT / 'cluster.yaml').read_text())


def plain(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r'[-_.]+', '-', name).lower()


LOCK = {plain(name): version for name, version in
        (line.split('==') for line in (ROOT / 'requirements.lock').read_text().split())}


# Modules of the extras, which need not be installed, and their distributions.
OF_EXTRAS = {'cv2': ['opencv-contrib-python-headless'], 'pyfing': ['pyfing'],
             'fingerprint_recognition': ['fingerprint-recognition']}


def test_the_lock_holds_names_and_versions_only() -> None:
    lines = (ROOT / 'requirements.lock').read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r'[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+', line)] == []
    assert len(lines) == len(LOCK), 'a package is pinned twice'


def test_the_lock_pins_what_the_project_asks_for() -> None:
    asked = PYPROJECT['project']['dependencies'] + PYPROJECT['project']['optional-dependencies']['dev']
    for requirement in [*asked, *PYPROJECT['build-system']['requires']]:
        name, bound = re.match(r'([\w.-]+)(?:\[.*\])?>=([\d.]+)', requirement).groups()  # type: ignore[union-attr]
        pinned = LOCK[plain(name)]
        assert [int(n) for n in re.findall(r'\d+', pinned)] >= [int(n) for n in bound.split('.')], requirement
    assert LOCK['numpy'].startswith('1.'), 'compressai wants numpy below 2'


def test_the_project_asks_for_what_it_imports() -> None:
    distributions = importlib.metadata.packages_distributions()
    sources = [*(ROOT / 'fpray').rglob('*.py'), *(ROOT / 'jobs').rglob('*.py')]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    foreign = {name.split('.')[0] for name in names} - set(sys.stdlib_module_names) - {'fpray'}
    extras = PYPROJECT['project']['optional-dependencies']
    requirements = [*PYPROJECT['project']['dependencies'], *extras['fingerprint'], *extras['matcher']]
    asked = {plain(re.match(r'[\w.-]+', line)[0]) for line in requirements}  # type: ignore[index]
    makers = {name: distributions.get(name, OF_EXTRAS.get(name, [])) for name in foreign}
    assert {name for name in foreign if asked.isdisjoint(map(plain, makers[name]))} == set()


def test_the_environment_is_the_locks() -> None:
    installed = {name: importlib.metadata.version(name) for name in LOCK}
    assert installed == LOCK


def test_the_package_carries_its_data() -> None:
    """The report's template and the results' schema must travel in a wheel as they do in a checkout."""
    patterns = PYPROJECT['tool']['setuptools']['package-data']['fpray.reports']
    carried = {p for pattern in patterns for p in (ROOT / 'fpray/reports').glob(pattern)}
    others = {p for p in (ROOT / 'fpray').rglob('*') if p.is_file() and p.suffix not in ('.py', '.pyc')}
    assert others == carried
    assert any(p.name.endswith('.schema.json') for p in carried)


def test_readme_names_the_targets_that_exist() -> None:
    targets = set(re.findall(r'^([a-z-]+):', MAKEFILE, re.MULTILINE))
    assert {'env', 'audit', 'test', 'test-slow', 'lint', 'types', 'bench', 'ui', 'clean'} <= targets
    assert set(re.findall(r'`make ([a-z-]+)', README)) <= targets
    assert {'audit', 'test'} <= set(re.findall(r'^make ([a-z-]+)', README, re.MULTILINE))


def test_readme_draws_every_room() -> None:
    rooms = {p.stem for p in (ROOT / 'fpray').iterdir() if not p.stem.startswith('_')}
    assert [room for room in rooms if not re.search(rf'^ +{room}(/|\.py) ', README, re.MULTILINE)] == []


def test_readme_uses_flags_that_exist() -> None:
    """Every flag of README belongs to a program that it shows, and each program still knows it."""
    known = {'--working-dir'}  # of `ray job submit`
    for program in (['jobs/mia_sweep.py'], ['jobs/codec_audit.py'], ['jobs/model_inference.py'],
                    ['jobs/model_inference.py', 'identify'], ['jobs/embedding_inversion.py'], ['-m', 'fpray.data.scan'],
                    ['-m', 'fpray.metrics.verification']):
        shown = subprocess.run([sys.executable, *program, '--help'], cwd=ROOT, capture_output=True, text=True,
                               env={**os.environ, 'PYTHONPATH': str(ROOT)}, check=True).stdout
        known |= set(re.findall(r'(?<![\w.-])--[a-z][\w.-]*', shown))
    assert set(re.findall(r'(?<![\w.-])--[a-z][\w.-]*', README)) <= known


def test_makefile_refuses_an_old_python(tmp_path: Path) -> None:
    for name in ('Makefile', 'requirements.lock', 'pyproject.toml'):
        shutil.copy(ROOT / name, tmp_path)
    tools = tmp_path / 'bin'
    tools.mkdir()
    for name in ('python3', 'python3.11', 'python'):
        (tools / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
        (tools / name).chmod(0o755)
    path = f'{tools}:/usr/bin:/bin'
    done = subprocess.run(['make', 'env'], cwd=tmp_path, env={'PATH': path}, capture_output=True, text=True)
    assert done.returncode == 2
    assert 'needs Python 3.11' in done.stdout and '3.9.2' in done.stdout
    assert not (tmp_path / '.venv').exists()


def test_ci_runs_lint_and_types_before_the_tests() -> None:
    script = ROOT / '.ci/run'
    assert os.access(script, os.X_OK)
    assert re.findall(r'^make (\S+)', script.read_text(), re.MULTILINE) == ['lint', 'types', 'test']


def test_cluster_file_is_valid() -> None:
    schema = json.loads((Path(ray.__file__).parent / 'autoscaler/ray-schema.json').read_text())
    jsonschema.validate(CLUSTER, schema)


def test_cluster_head_takes_no_work_and_workers_are_spot() -> None:
    types = dict(CLUSTER['available_node_types'])
    head = types.pop(CLUSTER['head_node_type'])
    assert head['resources'] == {'CPU': 0, 'GPU': 0}
    assert 'InstanceMarketOptions' not in head['node_config'], 'a head that is taken back ends every job'
    assert {min(1, node['resources']['GPU']) for node in types.values()} == {0, 1}
    for name, node in types.items():
        assert node['resources']['CPU'] > 0 and node['resources'][SEAT] > 0, name
        assert node['min_workers'] == 0 < node['max_workers'], f'{name} does not scale down to nothing'
        assert node['node_config']['InstanceMarketOptions'] == {'MarketType': 'spot'}, name


def test_cluster_installs_the_lock() -> None:
    images = [CLUSTER['docker']['image'], *(t['docker']['worker_image'] for t in
                                            CLUSTER['available_node_types'].values() if 'docker' in t)]
    assert all(i.startswith(f'rayproject/ray:{LOCK["ray"]}-py311') for i in images)
    remote = next(there for there, here in CLUSTER['file_mounts'].items() if here == 'requirements.lock')
    assert any(remote in command for command in CLUSTER['setup_commands'])
    assert any(f's3fs=={LOCK["fsspec"]}' in command for command in CLUSTER['setup_commands'])


@pytest.mark.parametrize(('name', 'travels'), [
    ('fpray/errors.py', True), ('fpray/data/config.py', True), ('fpray/reports/results.schema.json', True),
    ('jobs/submit.py', True), ('requirements.lock', True),
    ('.git', False), ('.venv', False), ('runs', False), ('tests', False), ('fpray/__pycache__', False),
])
def test_a_submitted_job_carries_the_code_and_nothing_else(name: str, travels: bool) -> None:
    """By Ray's own reading of both files. A folder is left out as such, or Ray walks through all of it."""
    excludes = get_excludes_from_ignore_files(ROOT, include_gitignore=True)
    assert any(exclude(ROOT / name) for exclude in excludes) != travels

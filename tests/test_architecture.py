"""Imports go down the floors, heavy libraries keep to their rooms, registries resolve."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    'errors': 0, 'store': 0, 'data': 0, 'models': 0, 'metrics': 0,
    'training': 1,
    'attacks': 2, 'defences': 2, 'reports': 2,
    'distributed': 3, 'tracking': 3,
    'studies': 4,
}
OPEN_TO_ALL = {'errors', 'store'}
ONLY_IN = {'ray': {'distributed', 'jobs'}, 'mlflow': {'tracking', 'jobs'}}
LIGHT = sorted(p for p in (ROOT / 'fpray').rglob('*.py') if p.name in ('__init__.py', 'config.py'))
SOURCES = sorted([*(ROOT / 'fpray').rglob('*.py'), *(ROOT / 'jobs').rglob('*.py')])
ENTRY = re.compile(r'fpray(\.\w+)+:\w+')


def dotted(path: Path) -> str:
    """The name under which Python imports a file of the project."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def room_of(module: str) -> str:
    """'data' of 'fpray.data.splits', 'jobs' of 'jobs.mia_sweep', '' of 'fpray' itself."""
    parts = module.split('.')
    return parts[0] if parts[0] != 'fpray' else ''.join(parts[1:2])


def imported(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Every module that a source text imports, at any depth of nesting, relative names resolved."""
    package = module.split('.') if is_package else module.split('.')[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split('.') if node.module else [])]
            yield from ('.'.join([*base, name.name]) for name in node.names)


def faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """What the imports of one file break; an empty list where they keep to the rules."""
    mine, found = room_of(module), []
    for name in imported(source, module, is_package):
        top = name.split('.')[0]
        if mine not in ONLY_IN.get(top, {mine}):
            found.append(f'{module} imports {name}: {top} belongs in {" and ".join(sorted(ONLY_IN[top]))}')
        theirs = room_of(name) if top == 'fpray' else ''
        if mine == 'jobs' or theirs not in FLOORS or theirs in OPEN_TO_ALL or theirs == mine:
            continue
        if not mine or FLOORS[theirs] >= FLOORS[mine]:
            found.append(f'{module} imports {name}: {mine or "fpray"} lies not above {theirs}')
    return found


@pytest.mark.parametrize('path', SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    module = dotted(path)
    assert room_of(module) in {*FLOORS, 'jobs', ''}, f'{path.name}: README knows no such room'
    assert faults(path.read_text(), module, path.name == '__init__.py') == []


@pytest.mark.parametrize(('source', 'module'), [
    ('import ray', 'fpray.training.loop'),
    ('def f():\n    from ray import train', 'fpray.studies.audit'),
    ('from mlflow.tracking import MlflowClient', 'fpray.distributed.plan'),
    ('from fpray.studies import audit', 'fpray.attacks.nearest'),
    ('from fpray import training', 'fpray.models.gan'),
    ('from ..data import splits', 'fpray.metrics.people'),
    ('import fpray.tracking', 'fpray.distributed.train'),
    ('from fpray.data import LAYOUTS', 'fpray'),
])
def test_a_breach_is_seen(source: str, module: str) -> None:
    assert len(faults(source, module)) == 1


@pytest.mark.parametrize(('source', 'module'), [
    ('import ray', 'fpray.distributed.cluster'),
    ('import ray, mlflow\nfrom fpray.studies import audit', 'jobs.mia_sweep'),
    ('from fpray.errors import UserError\nfrom fpray.store import Stage', 'fpray.data.splits'),
    ('from . import gan\nfrom fpray.models.config import GeneratorConfig', 'fpray.models.scorer'),
    ('import raytracer\nfrom fpray.metrics import rate', 'fpray.reports.html'),
])
def test_what_is_allowed_passes(source: str, module: str) -> None:
    assert faults(source, module) == []


def test_configurations_import_no_heavy_library() -> None:
    """`--help` and `--dry-run` read these modules, and `import torch` alone takes over a second."""
    names = [dotted(p) for p in LIGHT]
    code = (f'import importlib, sys\nfor name in {names!r}:\n    importlib.import_module(name)\n'
            '    heavy = {"torch", "ray", "mlflow", "matplotlib", "sklearn"} & set(sys.modules)\n'
            '    assert not heavy, f"{name} imports {heavy}"')
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def registries() -> list[tuple[str, str, str]]:
    """(package, key, 'module:name') of each such entry in a literal dict of a package's `__init__`."""
    entries = []
    for path in (p for p in LIGHT if p.name == '__init__.py'):
        for node in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Dict)):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(value, ast.Constant) and ENTRY.fullmatch(str(value.value)):
                    entries.append((dotted(path), ast.unparse(key) if key else '**', str(value.value)))
    return entries


@pytest.mark.parametrize(('package', 'key', 'entry'), registries())
def test_registry_entries_resolve(package: str, key: str, entry: str) -> None:
    module, name = entry.split(':')
    assert hasattr(importlib.import_module(module), name), f'{key} of {package}: {module} has no {name}'


def test_layouts_and_attacks_are_registries() -> None:
    keys = {key.strip('\'"') for _, key, _ in registries()}
    assert keys >= {'casia-v5', 'fvc', 'socofing', 'polyu', 'folder', 'pattern', 'shadow', 'nearest'}

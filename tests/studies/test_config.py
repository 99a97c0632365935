"""Configurations of an audit: the presets, what they refuse, and that reading them loads nothing heavy."""

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fpray.attacks import ATTACKS
from fpray.data.config import DataConfig
from fpray.errors import UserError
from fpray.models.config import discriminator_layers, generator_layers
from fpray.store import canonical_json
from fpray.studies.config import (
    PRESETS,
    AuditConfig,
    GeneratorQueryConfig,
    ScoringConfig,
    SearchConfig,
    Settings,
    ShadowConfig,
    VictimConfig,
    architecture,
    for_pictures,
    with_absolute_paths,
)
from fpray.training.config import GanConfig

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = r'--victim\.samples, --data\.members and --data\.nonmembers together'
HEAVY = ('torch', 'ray', 'mlflow', 'optuna', 'sklearn', 'matplotlib', 'pandas', 'scipy')


# Presets


@pytest.mark.parametrize('name', PRESETS)
def test_every_preset_is_a_whole_audit(name: str) -> None:
    config = PRESETS[name]()
    assert config == PRESETS[name]() and PRESETS[name]() is not config, 'each call makes one of its own'
    assert config.attacks == tuple(ATTACKS) and config.seed is None and not config.owner
    assert config.split.headline in config.split.sizes and (PRESETS[name].__doc__ or '').strip(), 'the help shows it'
    assert min(config.split.nonmembers, config.split.placebo, config.split.rehearsal, config.split.headline) >= 10, \
        'a verdict needs ten people a side'
    assert config.split.placebo == config.split.rehearsal == config.split.headline, 'controls of the same recipe and size'
    assert config.victim.draws >= config.shadow.matching.samples, 'equal counts of samples on both sides of a match'
    canonical_json(config)  # a key can be made of it


def test_desk_is_laid_out_as_it_must_be() -> None:
    config = PRESETS['desk']()
    assert len(config.split.sizes) == 3 and config.shadow.count == 3 and config.shadow.others == 1
    assert config.data.size == 64 and config.search.trials >= 6 and config.search.mode == 'rounds'
    each = config.search.trials // config.search.rounds
    assert config.search.rounds * (each - max(1, round(config.search.keep * each))) >= 2, 'at least two trials lose'


def test_paper_has_the_sources_sizes_and_networks() -> None:
    config = PRESETS['paper']()
    assert config.split.sizes == (50, 100, 200, 400) and config.split.nonmembers == 100
    assert (config.data.fingers, config.data.impressions) == (8, 3)
    assert dict(zip(config.split.sizes, config.query.pictures, strict=True)) == {50: 1600, 100: 3200, 200: 4000, 400: 4000}
    assert config.query.real == (50, 2000) and config.asked(200) == 4000 and config.asked(7) == 0
    victim, shadow = config.victim.gan, config.shadow.gan
    assert victim.generator.family == victim.discriminator.family == 'thesis'
    assert victim.generator.image == victim.discriminator.image == (356, 328)
    assert (victim.smoothing, shadow.smoothing) == (0.0, 0.2), 'Fig. 4.5: only the shadow is smoothed'


@pytest.mark.parametrize(('fields', 'words'), [
    ({'pictures': (3, 4)}, r'--query\.pictures 3: half of them are members'),
    ({'pictures': (-2, 4)}, r'--query\.pictures -2: out of range'),
    ({'pictures': (4,)}, r'--query\.pictures 4 for --split\.sizes 6 10; give one number a size'),
    ({'real': (5, 0)}, r'--query\.real 5 0; give people and pictures, or 0 0'),
    ({'real': (11, 20)}, r'--query\.real 11 people, --split\.nonmembers is 10')])
def test_numbers_of_query_pictures_that_cannot_be_are_refused(fields: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(PRESETS['smoke'](), query=GeneratorQueryConfig(**fields))


# Speed of --help


def _loaded(code: str) -> list[str]:
    """The heavy libraries that a piece of code loads, in a fresh Python."""
    code += f'\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120, cwd=ROOT,
                          env=os.environ | {'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split() if done.stdout.strip() else []


def test_help_loads_no_heavy_library() -> None:
    code = """
import contextlib, io
from fpray.studies.cli import parse
from fpray.studies.config import PRESETS
with contextlib.redirect_stdout(io.StringIO()) as said:
    try:
        parse(['--help'], PRESETS, 'words of the job')
    except SystemExit as end:
        assert end.code in (0, None), end.code
text = ' '.join(said.getvalue().split())
for word in ('words of the job', '--preset', '--shadow.count', '--data.root', '--report.show-images', '--dry-run'):
    assert word in text, word
"""
    assert _loaded(code) == []
    assert _loaded('import torch') == ['torch'], 'the check itself sees what is loaded'


def test_a_plan_is_parsed_without_a_heavy_library() -> None:
    code = """
from fpray.studies.cli import parse
from fpray.studies.config import PRESETS
assert parse(['--preset', 'smoke', '--seed', '4', '--dry-run'], PRESETS, '').config.seed == 4
"""
    assert _loaded(code) == []


# The family of networks


def test_architecture_sets_widths_by_two_numbers() -> None:
    made = architecture(GanConfig(lr_g=3e-4), 3, 64)
    assert made.generator.widths == (64, 64, 32, 16) and made.discriminator.widths == (32, 64, 128, 128)
    assert made.lr_g == 3e-4, 'what is not varied stays'
    assert architecture(GanConfig(), 2, 32).generator.widths == (32, 32, 16)
    assert architecture(GanConfig(), 2, 32).discriminator.widths == (16, 32, 64)
    assert architecture(GanConfig(), 5, 16).generator.widths == (16, 16, 8, 8, 8, 8), 'never under 8 channels'


@pytest.mark.parametrize('blocks', [1, 2, 3, 4])
@pytest.mark.parametrize('width', [16, 32, 48, 64])
def test_architecture_keeps_the_discriminator_wide_and_normalised(blocks: int, width: int) -> None:
    made = architecture(GanConfig(), blocks, width)
    generator, discriminator = made.generator, made.discriminator
    assert len(generator.widths) == blocks + 1 == len(discriminator.widths), 'one convolution more than blocks'
    assert max(discriminator.widths) <= 2 * width and max(generator.widths) == width
    assert discriminator.widths[-1] >= (width if blocks < 2 else 2 * width), 'wide against the generator'
    assert generator.norm == discriminator.norm == 'batch'
    maps = [layer.shape[1] for layer in generator_layers(generator) if layer.name.startswith('conv')]
    assert maps[-1] == 64 and discriminator_layers(discriminator)[-1].name == 'dense'


def test_for_pictures_changes_the_pictures_alone() -> None:
    base = architecture(GanConfig(lr_d=1e-3, smoothing=0.1), 2, 32)
    made = for_pictures(base, (48, 96), 3)
    for network in (made.generator, made.discriminator):
        assert network.image == (48, 96) and network.channels == 3
    back = for_pictures(made, (64, 64), 1)
    assert back == base and made.lr_d == 1e-3 and made.smoothing == 0.1


# Bad values


@pytest.mark.parametrize(('make', 'flag'), [
    (lambda: ScoringConfig(classes='nosuch'), '--scorer.classes'),  # type: ignore[arg-type]
    (lambda: ScoringConfig(holdout=0.0), '--scorer.holdout'),
    (lambda: ScoringConfig(holdout=1.0), '--scorer.holdout'),
    (lambda: VictimConfig(draws=99), '--victim.draws'),
    (lambda: ShadowConfig(count=0), '--shadow.count'),
    (lambda: ShadowConfig(count=True), '--shadow.count'),
    (lambda: ShadowConfig(others=0), '--shadow.others'),
    (lambda: ShadowConfig(course=-1), '--shadow.course'),
    (lambda: ShadowConfig(count=2.0), '--shadow.count'),  # type: ignore[arg-type]
    (lambda: SearchConfig(mode='nosuch'), '--search.mode'),  # type: ignore[arg-type]
    (lambda: SearchConfig(trials=0), '--search.trials'),
    (lambda: SearchConfig(rounds=0), '--search.rounds'),
    (lambda: SearchConfig(trials=2, rounds=3), '--search.rounds'),
    (lambda: SearchConfig(rung=0.0), '--search.rung'),
    (lambda: SearchConfig(keep=1.5), '--search.keep'),
    (lambda: SearchConfig(blocks=()), '--search.blocks'),
    (lambda: SearchConfig(lr_g=()), '--search.lr_g'),  # type: ignore[arg-type]
    (lambda: Settings(actors=-1), '--actors'),
    (lambda: Settings(cpus=-1), '--cpus'),
    (lambda: Settings(checkpoint_seconds=0.0), '--checkpoint-seconds'),
])
def test_a_value_out_of_range_names_its_flag(make, flag: str) -> None:
    with pytest.raises(UserError) as fault:
        make()
    assert flag in str(fault.value) and '\n' not in str(fault.value) and fault.value.mend


@pytest.mark.parametrize(('changes', 'words'), [
    ({'attacks': ('shadow', 'nosuch')}, "--attacks: unknown attack 'nosuch'"),
    ({'attacks': ('white-box', 'nearest')}, '--attacks without shadow'),
    ({'attacks': ()}, '--attacks without shadow'),
    ({'seed': -1}, '--seed -1'),
    ({'seed': True}, '--seed True'),
    ({'seed': 1.5}, '--seed 1.5'),
])
def test_an_audit_refuses_what_it_cannot_run(changes: dict, words: str) -> None:
    with pytest.raises(UserError) as fault:
        replace(PRESETS['smoke'](), **changes)
    assert str(fault.value).startswith(words)


def _owner(**data: str) -> AuditConfig:
    base = PRESETS['smoke']()
    return replace(base, data=replace(base.data, **data), victim=replace(base.victim, samples='made'))


def test_an_owners_folders_come_together() -> None:
    owner = _owner(members='in', nonmembers='out', layout='fvc')
    assert owner.owner and not PRESETS['smoke']().owner
    with pytest.raises(UserError, match=TOGETHER):
        _owner()
    with pytest.raises(UserError, match=TOGETHER):
        replace(PRESETS['smoke'](), data=DataConfig(members='in', nonmembers='out'))
    with pytest.raises(UserError, match=r'--data\.members without --data\.nonmembers'):
        _owner(members='in')
    with pytest.raises(UserError, match=r'--data\.root beside --victim\.samples'):
        _owner(members='in', nonmembers='out', root='set')


def test_the_controls_can_be_drawn_as_the_victim_is() -> None:
    base = PRESETS['smoke']()
    with pytest.raises(UserError, match=r'--victim\.draws 100 is below --shadow\.matching\.samples 128'):
        replace(base, victim=replace(base.victim, draws=100),
                shadow=replace(base.shadow, matching=replace(base.shadow.matching, samples=128)))


# Paths


@pytest.mark.parametrize('name', ['root', 'members', 'nonmembers', 'reference'])
def test_a_folder_has_no_address(name: str) -> None:
    paths = {'members': 'in', 'nonmembers': 'out'} if 'members' in name else {'root': 'set'}
    data = DataConfig(**{**paths, name: 's3://bucket/x'}, layout='fvc')
    with pytest.raises(UserError, match=rf'--data\.{name} s3://bucket/x is an address'):
        base = PRESETS['smoke']()
        replace(base, data=data, victim=replace(base.victim, samples='made' if data.members else ''))


def test_other_people_are_added_to_a_set() -> None:
    with pytest.raises(UserError, match=r'--data\.reference without --data\.root'):
        replace(PRESETS['smoke'](), data=DataConfig(reference='others'))


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = PRESETS['smoke']()
    named = replace(base, data=replace(base.data, root='pictures', reference='/shared/others'))
    full = with_absolute_paths(named, ('victim.samples',))
    assert full.data.root == str(tmp_path / 'pictures') and full.data.reference == '/shared/others'
    assert full.data.members == full.data.nonmembers == full.victim.samples == '', 'what is not named stays empty'
    assert with_absolute_paths(full, ('victim.samples',)) == full
    assert asdict(replace(full, data=base.data)) == asdict(base), 'nothing else changes'
    owner = with_absolute_paths(_owner(members='in', nonmembers='../out'), ('victim.samples',))
    assert (owner.data.members, owner.data.nonmembers) == (str(tmp_path / 'in'), str(tmp_path.parent / 'out'))
    assert owner.victim.samples == str(tmp_path / 'made')

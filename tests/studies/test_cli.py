"""The command line of a study: presets, saved files and flags, and one clear line for whatever is wrong with them."""

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fpray.errors import UserError
from fpray.store import canonical_json
from fpray.studies.cli import Command, flat, merged, parse
from fpray.studies.config import PRESETS, AuditConfig, ReportSettings, Settings

HELP = 'A job for these tests.'


def ask(*arguments: str) -> Command[AuditConfig]:
    """A command line as the job reads it."""
    return parse(arguments, PRESETS, HELP)


def refused(*arguments: str) -> str:
    """The one line with which a command line is refused."""
    with pytest.raises(UserError) as fault:
        ask(*arguments)
    line = str(fault.value)
    assert '\n' not in line and 'Traceback' not in line and len(line) < 500 and not set('╭│╰─') & set(line), line
    return line


@pytest.fixture
def saved(tmp_path: Path):
    """Writes a file and gives its path: text and bytes as they are, anything else as JSON."""
    def write(content: Any, name: str = 'config.json') -> str:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)
    return write


# What is asked for


def test_nothing_asked_is_the_desk_preset() -> None:
    command = ask()
    assert command == Command(PRESETS['desk'](), Settings(), ReportSettings(), 'desk', False)


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_alone_is_that_preset(name: str) -> None:
    command = ask('--preset', name)
    assert command.config == PRESETS[name]() and command.preset == name
    assert ask(f'--preset={name}').config == command.config


def test_flags_override_fields_at_any_depth() -> None:
    command = ask('--preset', 'smoke', '--seed', '7', '--shadow.count', '5', '--victim.gan.lr-g', '1e-3',
                  '--victim.loop.images', '999', '--split.sizes', '4', '8', '--split.headline', '8',
                  '--data.layout', 'fvc', '--data.root', '/pictures', '--search.mode', 'off',
                  '--attacks', 'shadow', 'nearest', '--victim.random-draw', '--data.skip-bad')
    config = command.config
    assert (config.seed, config.shadow.count, config.victim.gan.lr_g, config.victim.loop.images) == (7, 5, 1e-3, 999)
    assert config.split.sizes == (4, 8) and config.data.layout == 'fvc' and config.data.root == '/pictures'
    assert config.search.mode == 'off' and config.attacks == ('shadow', 'nearest')
    assert config.victim.random_draw and config.data.skip_bad
    rest = flat(PRESETS['smoke']())
    changed = {name for name, value in flat(config).items() if value != rest[name]}
    assert changed == {'seed', 'shadow.count', 'victim.gan.lr_g', 'victim.loop.images', 'split.sizes', 'split.headline',
                       'data.layout', 'data.root', 'search.mode', 'attacks', 'victim.random_draw', 'data.skip_bad'}


def test_settings_and_report_stand_beside_the_configuration() -> None:
    command = ask('--preset', 'smoke', '--store', '/runs', '--actors', '3', '--no-mlflow', '--checkpoint-seconds', '5',
                  '--report.show-images', '--dry-run')
    assert command.settings == Settings(store='/runs', actors=3, checkpoint_seconds=5.0, mlflow=False)
    assert command.report == ReportSettings(show_images=True)
    assert command.dry_run and command.config == PRESETS['smoke'](), 'no number depends on them'


def test_help_is_printed_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        ask('--help')
    said = capsys.readouterr().out
    assert end.value.code in (0, None) and HELP in said
    for name in PRESETS:
        assert f'{name}:' in said
    assert '--shadow.count' in said and '--victim.gan.lr-g' in said and '--dry-run' in said


# Saved configurations


@pytest.mark.parametrize('name', PRESETS)
@pytest.mark.parametrize('base', PRESETS)
def test_a_saved_configuration_comes_back_whole(name: str, base: str, saved) -> None:
    path = saved(json.dumps(asdict(PRESETS[name]()), indent=1))
    command = ask('--preset', base, '--config', path)
    assert command.config == PRESETS[name](), 'whatever preset it is laid over'
    assert canonical_json(command.config) == canonical_json(PRESETS[name]()), 'and hashed as it was'


def test_a_partial_file_overrides_what_it_names(saved) -> None:
    path = saved({'shadow': {'count': 5}, 'split': {'sizes': [4, 8], 'headline': 8}, 'seed': 9,
                  'victim': {'gan': {'generator': {'noise': 7}}}})
    config = ask('--preset', 'smoke', '--config', path).config
    rest = flat(PRESETS['smoke']())
    assert {name: value for name, value in flat(config).items() if value != rest[name]} == {
        'shadow.count': 5, 'split.sizes': (4, 8), 'split.headline': 8, 'seed': 9, 'victim.gan.generator.noise': 7}
    assert ask('--config', path, '--seed', '3', '--preset', 'smoke').config.seed == 3, 'a flag goes over the file'


def test_numbers_of_a_file_keep_their_kind(saved) -> None:
    assert ask('--config', saved({'victim': {'gan': {'lr_g': 1}}})).config.victim.gan.lr_g == 1.0
    assert ask('--config', saved({'seed': None})).config.seed is None
    for value, field in ((True, 'seed'), ('3', 'seed'), (2.5, 'seed')):
        assert field in refused('--config', saved({field: value})), f'{value!r} is no whole number'
    assert 'data.skip_bad' in refused('--config', saved({'data': {'skip_bad': 'yes'}}))
    assert 'shadow.count' in refused('--config', saved({'shadow': {'count': None}}))


def test_merged_names_the_file_and_leaves_its_arguments_alone() -> None:
    config, changes = PRESETS['smoke'](), {'seed': 4, 'data': {'size': 96}}
    made = merged(config, changes, 'a.json')
    assert (made.seed, made.data.size) == (4, 96) and config == PRESETS['smoke']()
    assert changes == {'seed': 4, 'data': {'size': 96}}
    with pytest.raises(UserError, match=r'--config a\.json: unknown field data\.gan'):
        merged(config, {'data': {'gan': 3}}, 'a.json')


def test_flat_lists_every_field_once() -> None:
    found = flat(PRESETS['smoke']())
    assert found['split.sizes'] == (6, 10) and found['victim.gan.discriminator.norm'] == 'batch' and found['seed'] is None
    assert all(not isinstance(value, dict) for value in found.values()) and len(found) > 80


# What is refused


@pytest.mark.parametrize(('arguments', 'words'), [
    (('--data.nosuch', '3'), '--data.nosuch'),
    (('--data.nosuch=3',), '--data.nosuch'),
    (('--shadow.coun', '3'), '--shadow.coun'),
    (('stray',), 'stray'),
    (('--preset', 'nosuch'), "unknown preset 'nosuch'"),
    (('--preset',), '--preset'),
    (('--seed', 'many'), 'many'),
    (('--seed', '-1'), '--seed -1'),
    (('--seed', '1.5'), '--seed'),
    (('--data.size', 'many'), '--data.size'),
    (('--data.layout', 'nosuch'), "unknown layout 'nosuch'"),
    (('--victim.gan.loss', 'nosuch'), '--victim.gan.loss'),
    (('--shadow.count', '0'), '--shadow.count 0'),
    (('--split.sizes', '3', '2'), '--split.sizes 3 2'),
    (('--split.headline', '7'), '--split.headline 7'),
    (('--attacks', 'nosuch'), "unknown attack 'nosuch'"),
    (('--attacks', 'nearest'), '--attacks without shadow'),
    (('--search.rounds', '99'), '--search.rounds 99'),
    (('--actors', '-2'), '--actors -2'),
    (('--store',), '--store'),
    (('--victim.samples', 'made'), '--data.members'),
])
def test_a_bad_flag_is_named_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(*arguments)


@pytest.mark.parametrize(('name', 'content', 'words'), [
    ('broken.json', '{"a":', ('broken.json', 'JSON')),
    ('odd.json', {'nosuch': 1}, ('odd.json', 'nosuch')),
    ('deep.json', {'victim': {'gan': {'nosuch': 1}}}, ('deep.json', 'victim.gan.nosuch')),
    ('pickle.json', b'\x80\x04K\x01.', ('pickle.json', 'JSON')),
    ('zero.json', b'', ('zero.json', 'JSON')),
    ('list.json', [1], ('list.json', 'object')),
    ('word.json', {'seed': 'many'}, ('word.json', 'seed')),
    ('negative.json', {'seed': -1}, ('--seed -1',)),
    ('section.json', {'data': 3}, ('section.json', 'data')),
    ('group.json', {'split': {'sizes': 3}}, ('group.json', 'split.sizes')),
    ('headline.json', {'split': {'sizes': [5, 6]}}, ('--split.headline',)),
    ('nan.json', '{"victim": {"gan": {"lr_g": NaN}}}', ('lr_g',)),
    ('choice.json', {'search': {'mode': 'nosuch'}}, ('choice.json', 'search.mode')),
])
def test_a_bad_file_is_named_in_one_line(name: str, content: Any, words: tuple[str, ...], saved) -> None:
    line = refused('--config', saved(content, name))
    assert all(word in line for word in words), line


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert 'none.json' in refused('--config', str(tmp_path / 'none.json'))
    assert str(tmp_path) in refused('--config', str(tmp_path))


def test_no_file_can_run_anything(saved, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / 'ran',)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        refused('--config', saved(pickle.dumps(Touch(), protocol), 'pickle.json'))
    assert not (tmp_path / 'ran').exists()

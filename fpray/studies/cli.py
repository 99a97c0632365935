"""The command line of a study: a preset or a saved file, any field of it overridden by a flag. No torch."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from fpray.errors import EXIT_CODE, UserError
from fpray.studies.config import ReportSettings, Settings

Config = TypeVar('Config')


@dataclass(frozen=True)
class Command(Generic[Config]):
    """What a command line asks for."""

    config: Config
    settings: Settings
    report: ReportSettings
    preset: str
    dry_run: bool


def parse(arguments: Sequence[str], presets: Mapping[str, Callable[[], Config]], description: str,
          default: str = 'desk') -> Command[Config]:
    """Reads a command line; prints the help and exits for --help.

    Args:
        arguments: without the script's name.
        presets: name -> function of its full configuration.
        description: first lines of the help.
        default: the preset where none is named.

    Raises:
        UserError: an unknown flag, preset or field, a value of the wrong type or out of range, a file that cannot be read.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument('--preset', default=default)
    first.add_argument('--config', default='')
    try:
        chosen, rest = first.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UserError(f'{error}', 'see --help') from None
    if chosen.preset not in presets:
        raise UserError(f'--preset: unknown preset {chosen.preset!r}', f'choose one of {", ".join(presets)}')
    config = presets[chosen.preset]()
    if chosen.config:
        config = merged(config, _read(Path(chosen.config)), chosen.config)
    made = _flags(type(config), config, rest, description + _presets_help(presets))
    return Command(made.config, made.settings, made.report, chosen.preset, made.dry_run)


def _presets_help(presets: Mapping[str, Callable[[], Any]]) -> str:
    lines = [f'  {name}: {(make.__doc__ or "").strip()}' for name, make in presets.items()]
    return '\n\n--preset NAME chooses what the flags override:\n' + '\n'.join(lines) + \
        '\n--config FILE starts from a saved configuration instead.'


def _flags(kind: Any, config: Any, rest: Sequence[str], description: str) -> Any:
    """The rest of the command line over a configuration, by tyro; its boxed complaints become one line."""
    whole = Annotated[kind, tyro.conf.arg(name='')]

    @dataclass(frozen=True)
    class Flags:
        config: whole
        settings: Annotated[Settings, tyro.conf.arg(name='')]
        report: ReportSettings
        dry_run: bool = False
        """Print the whole plan and run nothing."""

    # names of this function's own are out of reach of annotations kept as text
    Flags.__annotations__.update(config=whole, settings=Annotated[Settings, tyro.conf.arg(name='')], report=ReportSettings,
                                 dry_run=bool)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Flags, args=list(rest), default=Flags(config, Settings(), ReportSettings()),
                            description=description, prog=Path(sys.argv[0]).name)
    except SystemExit as end:
        if end.code != EXIT_CODE:
            raise
        raise UserError(one_line(said.getvalue()), 'see --help') from None


def one_line(box: str) -> str:
    """The words of a boxed complaint, up to where it goes on to list similar flags."""
    words = ' '.join(re.sub(r'[─-╿]+', ' ', box).split())
    words = re.sub(r'^(Parsing error|Unrecognized options|Required options|Invalid input)\s*', '', words)
    asides = r'\s+(?:Perhaps you meant|Similar|Argument helptext|Full helptext|For full helptext|In \S+ --help)'
    return re.split(asides, words)[0][:300].strip() or 'the command line cannot be read'


def _read(path: Path) -> dict[str, Any]:
    """A saved configuration: JSON alone, so that no file can run anything."""
    mend = 'give the config.json that a run left'
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(f'--config {path}: {error.strerror}', mend) from None
    except UnicodeDecodeError:
        raise UserError(f'--config {path} is no JSON (not UTF-8 text)', mend) from None
    except ValueError as error:
        raise UserError(f'--config {path} is no JSON: {error}', mend) from None
    if not isinstance(found, dict):
        raise UserError(f'--config {path} holds no object', mend)
    return found


def merged(config: Config, changes: Mapping[str, Any], where: str) -> Config:
    """A configuration with the fields of a saved one over it.

    Raises:
        UserError: an unknown field, or a value of another type than the field's, naming it.
    """
    from pydantic import TypeAdapter, ValidationError

    base = asdict(config)  # type: ignore[call-overload]
    _overlay(base, changes, where, '')
    try:
        return TypeAdapter(type(config)).validate_json(json.dumps(base), strict=True)  # strict: true is no 1, '3' no 3
    except ValidationError as error:
        fault = error.errors()[0]
        place = '.'.join(str(part) for part in fault['loc'])
        raise UserError(f'--config {where}: field {place}: {fault["msg"]}', 'mend that value') from None


def _overlay(base: dict[str, Any], changes: Mapping[str, Any], where: str, prefix: str) -> None:
    for name, value in changes.items():
        if name not in base:
            raise UserError(f'--config {where}: unknown field {prefix}{name}', f'known here: {", ".join(base)}')
        if isinstance(base[name], dict) and isinstance(value, Mapping):
            _overlay(base[name], value, where, f'{prefix}{name}.')
        else:
            base[name] = value


def flat(value: Any, prefix: str = '') -> dict[str, Any]:
    """A configuration as 'section.field' -> value, as MLflow's parameters and a dry run list it."""
    if not is_dataclass(value) or isinstance(value, type):
        return {prefix: value}
    found: dict[str, Any] = {}
    for each in fields(value):
        found |= flat(getattr(value, each.name), f'{prefix}.{each.name}' if prefix else each.name)
    return found


def run_job(presets: Mapping[str, Callable[[], Any]], study: str, script: str, description: str) -> None:
    """What a job's script does: parses, runs a study (or prints its plan), says where the report is, and exits.

    Args:
        presets: name -> function of its full configuration.
        study: 'module:NAME' of a `fpray.studies.run.Study`, imported after --help has been answered.
        script: the script's path in the project, for "how to rerun".
        description: first lines of the help.
    """
    try:
        _run(presets, study, script, description, sys.argv[1:])
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(presets: Mapping[str, Callable[[], Any]], study: str, script: str, description: str,
         arguments: Sequence[str]) -> None:
    command = parse(arguments, presets, description)
    from fpray.studies.run import dry_run, prepare, run  # torch and Ray come in here

    module, name = study.split(':')
    found = getattr(importlib.import_module(module), name)
    if command.dry_run:
        print(dry_run(found, *prepare(found, command.config, command.settings)))
        return
    outcome = run(found, command.config, command.settings, command.report, preset=command.preset,
                  command=['python', script, *arguments])
    print('\n' + '\n'.join([outcome.verdict, *outcome.summary]))
    print(f'\nreport:  {outcome.report}\nresults: {outcome.results}')
    if outcome.ui:
        print(f'MLflow:  {outcome.ui}')

"""results.json: the one file that a study writes and every report reads, strictly as results.schema.json."""

import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from fpray.errors import UserError

SCHEMA_VERSION = 1
DIGITS = 6  # significant digits kept of a float: far finer than any interval, and rounding keeps their order


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of results.json, as a dictionary."""
    return json.loads((resources.files(__package__) / 'results.schema.json').read_text(encoding='utf-8'))


def plain(value: Any, where: str = 'results') -> Any:
    """The same value in JSON's own types, floats rounded to six significant digits.

    Args:
        value: dictionaries, sequences, numbers, strings, None, numpy scalars and arrays, or anything with
            `as_dict()` such as `fpray.metrics.rate.Rate`.
        where: name of the value in messages.

    Raises:
        ValueError: a NaN or an infinity; null with a note is the way to say "not measured".
        TypeError: a value that JSON cannot hold.
    """
    if hasattr(value, 'as_dict'):
        value = value.as_dict()
    elif hasattr(value, 'tolist'):  # numpy scalars and arrays, without importing numpy
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f'{where} is {value}: write null and a note where there is no number')
        return float(f'{value:.{DIGITS}g}')
    if isinstance(value, Mapping):
        return {str(key): plain(item, f'{where}.{key}') for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f'{where}[{i}]') for i, item in enumerate(value)]
    raise TypeError(f'{where} is a {type(value).__name__}, which results.json cannot hold')


def faults(results: Mapping[str, Any]) -> list[str]:
    """What the schema finds wrong, one line each, empty when all is well or jsonschema is not installed."""
    try:
        import jsonschema
    except ImportError:
        return []
    validator = jsonschema.Draft202012Validator(schema())
    found = [(error.json_path, error.message[:300]) for error in validator.iter_errors(results)]
    return [f'{where}: {what}' for where, what in sorted(found)]


def write_results(results: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Write results.json and give back exactly what was written.

    Args:
        results: as results.schema.json describes; Rate objects and numpy values are welcome (see `plain`).
        path: the file to write; its folder is made.

    Returns:
        The results in JSON's own types, rounded: what `load(path)` returns.

    Raises:
        ValueError: NaN or infinity, or a breach of the schema (the message lists the first five).
        TypeError: a value that JSON cannot hold.
    """
    clean = plain(results)
    wrong = faults(clean)
    if wrong:
        raise ValueError('results break results.schema.json:\n' + '\n'.join(wrong[:5]))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(clean, indent=1, ensure_ascii=False, allow_nan=False) + '\n', encoding='utf-8')
    return clean


def load(path: str | Path) -> dict[str, Any]:
    """Read a results.json again.

    Raises:
        UserError: the file is missing, no JSON, holds NaN, has another schema version or breaks the schema.
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text(encoding='utf-8'), parse_constant=_refuse)
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}',
                        'give the results.json that a study wrote') from None
    except ValueError as error:
        raise UserError(f'{path} is not a results.json: {error}',
                        'run the study again, its stages are kept') from None
    version = results.get('schema_version') if isinstance(results, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(f'{path} has schema version {version}, this fpray reads {SCHEMA_VERSION}',
                        'run the study again with this version')
    wrong = faults(results)
    if wrong:
        raise UserError(f'{path} breaks the results schema at {wrong[0]}',
                        'run the study again with this version')
    return results


def _refuse(constant: str) -> float:
    raise ValueError(f'it holds {constant}')

"""Images of people with an identity and an impression number: readers of known layouts, the stand-in, splits.

A new layout is one file (or one function in `layouts.py`) and one line here. The strings keep `--help` free
of heavy imports.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fpray.errors import UserError

if TYPE_CHECKING:
    from fpray.data.layouts import Place

LAYOUTS: dict[str, str] = {
    'casia-v5': 'fpray.data.layouts:casia_v5',
    'fvc': 'fpray.data.layouts:fvc',
    'socofing': 'fpray.data.layouts:socofing',
    'polyu': 'fpray.data.layouts:polyu',
    'orl': 'fpray.data.layouts:orl',
    'lfw': 'fpray.data.layouts:lfw',
    'folder': 'fpray.data.layouts:folder',
    'pattern': 'fpray.data.layouts:pattern',
}


def load_layout(name: str, expression: str = '') -> Callable[[PurePosixPath], Place | None]:
    """The function that reads a picture's relative path as a `Place`, or as None where the name does not fit.

    Args:
        name: a key of `LAYOUTS`.
        expression: the regular expression of the layout `pattern`; the other layouts take none.

    Raises:
        UserError: the layout is unknown.
    """
    if name not in LAYOUTS:
        raise UserError(f'unknown layout {name!r}', f'known layouts: {", ".join(LAYOUTS)}')
    module, function = LAYOUTS[name].split(':')
    layout = getattr(importlib.import_module(module), function)
    return functools.partial(layout, expression=expression) if name == 'pattern' else layout

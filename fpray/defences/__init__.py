"""Defences: what an owner can do so that a codec gives away less. A new defence is one file and one line in DEFENCES."""

from importlib import import_module

from fpray.defences.config import Defence
from fpray.errors import UserError

DEFENCES = {
    'twin': 'fpray.defences.twin:twin',
    'stand-in': 'fpray.defences.training:stand_in',
    'early-stop': 'fpray.defences.training:early_stop',
    'regularised': 'fpray.defences.training:regularised',
    'dp-sgd': 'fpray.defences.training:dp_sgd',
}


def load_defence(name: str) -> Defence:
    """The defence entered under this name in DEFENCES. Raises UserError for an unknown name."""
    if name not in DEFENCES:
        raise UserError(f'unknown defence {name!r}', f'choose one of {", ".join(DEFENCES)}')
    module, attribute = DEFENCES[name].split(':')
    defence: Defence = getattr(import_module(module), attribute)
    return defence

"""Attacks: what an adversary does with a black box. A new attack is one file and one line in ATTACKS."""

from importlib import import_module

from fpray.attacks.threat import Attack
from fpray.errors import UserError

ATTACKS = {
    'shadow': 'fpray.attacks.discriminator:shadow',
    'white-box': 'fpray.attacks.discriminator:white_box',
    'nearest': 'fpray.attacks.nearest:nearest',
    'nearest-calibrated': 'fpray.attacks.nearest:nearest_calibrated',
}


def load_attack(name: str) -> Attack:
    """The attack entered under this name in ATTACKS. Raises UserError for an unknown name."""
    if name not in ATTACKS:
        raise UserError(f'unknown attack {name!r}', f'choose one of {", ".join(ATTACKS)}')
    module, attribute = ATTACKS[name].split(':')
    attack: Attack = getattr(import_module(module), attribute)
    return attack

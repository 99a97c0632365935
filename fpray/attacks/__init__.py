"""Attacks: what an adversary does with a black box. A new attack is one file and one line in a table here."""

from importlib import import_module

from fpray.attacks.threat import Attack
from fpray.errors import UserError

ATTACKS = {
    'shadow': 'fpray.attacks.discriminator:shadow',
    'white-box': 'fpray.attacks.discriminator:white_box',
    'nearest': 'fpray.attacks.nearest:nearest',
    'nearest-calibrated': 'fpray.attacks.nearest:nearest_calibrated',
}
CODEC_ATTACKS = {
    'rate-distortion': 'fpray.attacks.compression:rate_distortion',
    'rate': 'fpray.attacks.compression:rate',
    'distortion': 'fpray.attacks.compression:distortion',
    'psnr': 'fpray.attacks.compression:psnr',
    'calibrated': 'fpray.attacks.compression:calibrated',
    'calibrated-png': 'fpray.attacks.compression:calibrated_png',
    'calibrated-jpeg': 'fpray.attacks.compression:calibrated_jpeg',
    'bands': 'fpray.attacks.compression:bands',
    'lira': 'fpray.attacks.compression:lira',
    'rmia': 'fpray.attacks.compression:rmia',
}


def load_attack(name: str) -> Attack:
    """The attack entered under this name in one of the tables here. Raises UserError for an unknown name."""
    entries = ATTACKS | CODEC_ATTACKS | EXTRACTOR_ATTACKS
    if name not in entries:
        raise UserError(f'unknown attack {name!r}', f'choose one of {", ".join(entries)}')
    module, attribute = entries[name].split(':')
    attack: Attack = getattr(import_module(module), attribute)
    return attack


EXTRACTOR_ATTACKS = {
    'compact': 'fpray.attacks.compactness:compact',
}

# Model inference: each entry is a fpray.attacks.threat.InferenceAttack
INFERENCE_ATTACKS = {
    'auxiliary': 'fpray.attacks.model_inference:auxiliary',
    'linear': 'fpray.attacks.model_inference:linear',
    'nearest': 'fpray.attacks.model_inference:nearest',
}

# Inversion: each entry is a fpray.attacks.threat.InversionAttack
INVERSION_ATTACKS = {
    'reconstructor': 'fpray.attacks.inversion:reconstructor',
    'mean': 'fpray.attacks.inversion:mean',
    'nearest': 'fpray.attacks.inversion:nearest',
    'direct': 'fpray.attacks.inversion:direct_search',
}

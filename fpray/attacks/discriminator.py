"""Attacks that read a discriminator's raw output: LOGAN's black box by shadows, and its white box.

A shadow's discriminator learns to tell the victim's samples from its own generator's; what it takes for the
victim's is more member-like (Hayes et al. 2019; thesis, chapter 5). Shadows are trained elsewhere: here their
outputs become scores.
"""

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fpray.attacks.threat import SHADOW, WHITE_BOX, Attack
from fpray.errors import UserError
from fpray.metrics.membership import rank_average


def shadow_scores(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """The rank average of several shadow discriminators: no shadow's scale outweighs another's.

    Args:
        outputs: one (N,) array a shadow, raw outputs on the same N pictures in the same order, larger = more
            like the victim's samples.

    Returns: (N,) float64 in (0, 1), larger = more member-like; ties take the midrank.

    Raises UserError: no shadow, different lengths, or values that are not finite (a shadow that diverged).
    """
    return np.asarray(rank_average(_checked(outputs)), dtype=np.float64)


def white_box_score(own_output: np.ndarray) -> np.ndarray:
    """The victim's own discriminator as the score (LOGAN, white-box attack): an upper bound.

    Args, errors: as `shadow_scores`, for one (N,) array. Returns: (N,) float64, larger = more member-like.
    """
    return _checked([own_output])[0]


def load_discriminator(
    config: Path | str, weights: Path | str, batch: int = 64, threads: int = 1
) -> Callable[[np.ndarray], np.ndarray]:
    """A saved discriminator as a function of pictures; a `partial` of this travels to an actor.

    Args:
        config: JSON file of a DiscriminatorConfig's fields.
        weights: its state dict as torch.save wrote it; read with weights_only, so that it can run no code.
        batch: pictures at a time, always as many (the last batch is padded), so that scores do not hang on
            the order of the queries.
        threads: of torch, while it scores.

    Returns: a function of (N, C, H, W) uint8 pictures to (N,) float64 raw outputs, on the CPU in eval mode.

    Raises UserError: a file cannot be read, or the weights do not fit the configuration.
    """
    import torch  # only an actor needs it: the scores above are made of plain arrays

    from fpray.models.config import DiscriminatorConfig
    from fpray.models.gan import build_discriminator
    from fpray.training.adversarial import score

    try:
        fields = json.loads(Path(config).read_text())
        state = torch.load(weights, map_location='cpu', weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, pickle.UnpicklingError) as fault:
        raise UserError(f'cannot read the discriminator: {fault}', 'name a finished training') from fault
    # JSON knows no tuples
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    discriminator = build_discriminator(DiscriminatorConfig(**fields))
    try:
        discriminator.load_state_dict(state)
    except RuntimeError as fault:
        raise UserError(f'{weights} does not fit {config}', 'give the two files of one training') from fault
    return lambda pixels: score(discriminator, pixels, batch, threads)


def _checked(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs as float64 arrays of one length, all finite."""
    arrays = [np.asarray(one, dtype=np.float64) for one in outputs]
    if not arrays or any(one.shape != (len(arrays[0]),) or len(one) == 0 for one in arrays):
        raise UserError(f'discriminator outputs of shapes {[one.shape for one in arrays]}',
                        'give one value a picture, for the same pictures from each discriminator')
    for number, one in enumerate(arrays, 1):
        bad = int(np.sum(~np.isfinite(one)))
        if bad:
            raise UserError(f'discriminator {number} of {len(arrays)} gave {bad} outputs that are not finite',
                            'its training diverged: leave it out, or train it at a smaller learning rate')
    return arrays


shadow = Attack(SHADOW, shadow_scores)
white_box = Attack(WHITE_BOX, white_box_score)

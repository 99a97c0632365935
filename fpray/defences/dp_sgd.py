"""DP-SGD for a codec with the person as its unit: with or without any one person, the codec is nearly the same.

Abadi et al. 2016 (Algorithm 1) protect one picture; a person has many. Here, as in McMahan et al. 2018 (Algorithm 1),
what is sampled, clipped and counted is the person: independent coins decide who takes part in a step, the gradient of
all of a person's drawn pictures is clipped as one, Gaussian noise goes on the sum over people, and the sum is divided
by the number of people expected, which does not hang on who came. Clipping and noise are Opacus' DPOptimizer
(Yousefpour et al. 2021), epsilon is by its accountant.

What epsilon speaks of: the weights, and all that is computed from them alone, against an adversary who may know
everybody else. Neighbouring sets differ by one person added or removed; the number of people is public. It holds for
whoever does not know the seed, from which coins and noise can be drawn again, and says nothing of the losses reported
along the training, which are the private pictures' own. Noise is ordinary floating point, without Opacus' guard
against attacks on its last bits (secure_mode).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from opacus.accountants import RDPAccountant
from opacus.optimizers import DPOptimizer
from torch import Tensor

from fpray.data.images import to_float
from fpray.defences.config import PrivateConfig
from fpray.errors import UserError
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import Batch
from fpray.training.rate_distortion import CodecLearner, rate_distortion


def epsilon(private: PrivateConfig, people: int, steps: int) -> float:
    """The person-level epsilon of a training, at `private.delta`; an upper bound.

    By Opacus' RDP accountant (Mironov, Talwar & Zhang 2019). Its PRV accountant is about a tenth lower, but takes
    seconds at an epsilon of 100 and does not end at thousands, where a weak defence may well be.

    Args:
        private: noise, expected people, delta.
        people: in the training set.
        steps: that have been taken.

    Returns:
        Epsilon; 0 before the first step, infinity without noise.

    Raises:
        UserError: fewer people than a step expects, or a delta that would allow to give one of them away outright.
    """
    rate = private.rate(people)
    if private.delta * people >= 1:
        raise UserError(f'private.delta {private.delta:g} for {people} people', f'give less than {1 / people:g}')
    if steps == 0 or private.noise == 0:
        return 0.0 if steps == 0 else math.inf
    accountant = RDPAccountant()
    accountant.history = [(private.noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # the best order is the first or the last: still a bound
        return float(accountant.get_epsilon(private.delta))


class PrivateCodecLearner(CodecLearner):
    """A learned codec in person-level DP-SGD; a `fpray.training.loop.Learner`.

    It ignores the batches that the loop hands it and draws people and pictures itself, from the step's generator:
    a pass over the data in order, as the loop makes it, is not the sampling that epsilon counts on. `loop.batch` only
    says how far a step counts (`PrivateConfig.batch`). `RateDistortionConfig.clip` is not used.

    The quantiles of the entropy bottleneck have an optimiser of their own without noise: their loss asks where the
    learned densities end and sees no picture, so that they are computed from private weights alone. The same holds for
    the entropy coder's tables, Adam's moments and weight decay.

    Args:
        config: the codec, lmbda, rates, crop.
        private: noise, clip, people and pictures a step.
        loop: device, memory order.
        seed: of the first weights, at least 0.
        pixels: (N, C, H, W) uint8, may be a memory map.
        rows: (n,) the rows of `pixels` to train on; None: all.
        people: the person of each training row, n in the order of `rows`.
        device: overrides the loop's choice.

    Raises:
        UserError: fewer people than a step expects; more than one worker; see also `CodecLearner`.
        ValueError: not as many people as rows, or a batch of the loop other than what a step is expected to see.
    """

    def __init__(
        self,
        config: RateDistortionConfig,
        private: PrivateConfig,
        loop: LoopConfig,
        seed: int,
        pixels: np.ndarray,
        rows: np.ndarray | None,
        people: Sequence[str] | np.ndarray,
        *,
        device: torch.device | None = None,
    ) -> None:
        if loop.workers != 1:
            raise UserError(f'loop.workers {loop.workers}: private training has one worker', 'give 1')
        if loop.batch != private.batch:
            raise ValueError(f'loop.batch {loop.batch}, but a step is expected to see {private.batch} pictures')
        rows = np.arange(len(pixels)) if rows is None else np.asarray(rows)
        if len(people) != len(rows):
            raise ValueError(f'{len(people)} people for {len(rows)} rows')
        super().__init__(config, loop, seed, device=device)
        self.private, self.pixels = private, pixels
        names, of = np.unique(np.asarray(people), return_inverse=True)
        self.rows_of = [rows[of == person] for person in range(len(names))]
        self.rate = private.rate(len(self.rows_of))
        self.private_optimiser = DPOptimizer(
            self.optimiser,
            noise_multiplier=private.noise,
            max_grad_norm=private.clip,
            expected_batch_size=private.people,
        )
        self.private_optimiser.attach_step_hook(_lay_out)

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One private step of the codec, one of its quantiles.

        Args:
            batch: not looked at.
            noise: decides who takes part, which pictures, the codec's own noise and that of privacy.

        Returns:
            As `CodecLearner.step`, means over the people drawn; where none was drawn, `aux` alone.
        """
        self.codec.train()
        found = [self._gradient(rows, noise) for rows in self.draw(noise)]
        for place, weight in enumerate(self.weights):
            each = [gradient[place] for gradient, _ in found]
            weight.grad_sample = torch.stack(each) if each else weight.new_zeros((0, *weight.shape))
        secret = int(torch.randint(2**63 - 1, (), generator=noise))
        self.private_optimiser.generator = torch.Generator(self.device).manual_seed(secret)
        self.private_optimiser.step()
        self.private_optimiser.zero_grad(set_to_none=True)
        means = {name: torch.stack([losses[name] for _, losses in found]).mean() for name in found[0][1]} if found else {}
        return {**means, 'aux': self._aux_step().detach()}

    def draw(self, noise: torch.Generator) -> list[np.ndarray]:
        """Who takes part in a step: for each person drawn, rows of some of their pictures, without replacement."""
        coins = torch.rand(len(self.rows_of), generator=noise, dtype=torch.float64).numpy()
        return [self._some(self.rows_of[person], noise) for person in np.flatnonzero(coins < self.rate)]

    def _some(self, rows: np.ndarray, noise: torch.Generator) -> np.ndarray:
        return rows[torch.randperm(len(rows), generator=noise).numpy()[: self.private.pictures]]

    def _gradient(self, rows: np.ndarray, noise: torch.Generator) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """One person's gradient, of the mean loss of these pictures, and the losses; both detached."""
        pixels = to_float(torch.from_numpy(np.array(self.pixels[rows])).to(self.device))
        pixels = self._cropped(pixels, noise)
        with self.codec.noise_from(lambda values: self._uniform(values, noise)):
            losses = rate_distortion(pixels, self.codec(pixels), self.config.lmbda)
        gradient = torch.autograd.grad(losses['loss'], self.weights)
        return gradient, {name: value.detach() for name, value in losses.items()}


def _lay_out(optimiser: DPOptimizer) -> None:
    """Gradients in their weights' memory order, without which torch's fused AdamW on a CPU mixes them up silently."""
    for weight in optimiser.params:
        weight.grad = torch.empty_like(weight).copy_(weight.grad)

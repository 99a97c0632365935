"""Adversarial training: the losses of a GAN, its step, and what is asked of its networks afterwards (samples, scores).

The losses are in their standard form. (The thesis, section 4.1.2, prints the discriminator's term for generated
pictures as L_G; it belongs to L_D, as in its own listing, Fig. 4.5.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fpray.data.images import to_uint8
from fpray.errors import UserError
from fpray.models.gan import (
    Discriminator,
    Generator,
    MinibatchDiscrimination,
    build_discriminator,
    build_generator,
)
from fpray.training.config import GanConfig, LoopConfig, Loss
from fpray.training.loop import SAMPLES, WEIGHTS, Batch, asked, derive, padded, pick_device
from fpray.training.parallel import (
    average_gradients,
    mean_over_workers,
    own_rows,
    rows_of_workers,
    synchronise,
    world_size,
)


class IdentityNetwork(Protocol):
    """What the identity loss needs: features that are alike for pictures of one finger. A `Scorer` is one."""

    def features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, d), differentiable."""


def discriminator_loss(loss: Loss, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """The discriminator's loss, without the gradient penalty; a scalar.

    Args:
        loss: bce: -log s(real) - log(1 - s(fake)), s the sigmoid (Goodfellow et al. 2014, eq. 1), real pictures
            labelled 1 - smoothing; lsgan: ((real - 1 + smoothing)^2 + fake^2) / 2 (Mao et al. 2017, eq. 9); wgan,
            wgan-gp: fake - real (Arjovsky et al. 2017); hinge: max(0, 1 - real) + max(0, 1 + fake) (Lim & Ye 2017).
            Means.
        real, fake: (N,) raw outputs on training pictures and on generated ones.
        smoothing: one-sided, 0 to 1.
    """
    if loss == 'bce':
        on_real = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing))
        return on_real + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    if loss == 'lsgan':
        return ((real - (1 - smoothing)).square().mean() + fake.square().mean()) / 2
    if loss == 'hinge':
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return fake.mean() - real.mean()


def generator_loss(loss: Loss, fake: Tensor) -> Tensor:
    """The generator's loss on (N,) raw outputs for its pictures; a scalar.

    bce: -log s(fake), the non-saturating form; lsgan: (fake - 1)^2 / 2; wgan, wgan-gp, hinge: -fake. Means.
    """
    if loss == 'bce':
        return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    if loss == 'lsgan':
        return (fake - 1).square().mean() / 2
    return -fake.mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """WGAN-GP's penalty: mean of (|gradient at x|_2 - 1)^2, x = mix real + (1 - mix) fake (Gulrajani et al. 2017, eq.
    3).

    Args:
        discriminator: (N, C, H, W) to (N,).
        real, fake: (N, C, H, W).
        mix: (N, 1, 1, 1) in [0, 1].
    """
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def total_variation(pixels: Tensor) -> Tensor:
    """Mean absolute difference of vertical neighbours plus that of horizontal ones; (N, C, H, W) to a scalar.

    Finger-GAN's sum over a picture's pixels (Minaee & Abdolrashidi 2018), as means, so that a weight fits any size.
    """
    return pixels.diff(dim=2).abs().mean() + pixels.diff(dim=3).abs().mean()


def feature_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Feature matching: squared distance between the two mean features (Salimans et al. 2016, section 3.1), a value.

    (N, d) each to a scalar: the paper's squared norm divided by d, so that a weight fits any network.
    """
    return (mean_over_workers(real.mean(dim=0)) - mean_over_workers(fake.mean(dim=0))).square().mean()


def identity_similarity(features: Tensor) -> Tensor:
    """Mean cosine similarity over the pairs of different rows, (N, d) to a scalar in [-1, 1]; N at least 2.

    Low where the pictures of a batch show different fingers: the aim of Mistry, Engelsma & Jain (2020), section 3.
    """
    unit = F.normalize(rows_of_workers(features), dim=1)
    count = len(unit)
    return (unit.sum(dim=0).square().sum() - unit.square().sum()) / (count * (count - 1))


class GanLearner:
    """A GAN in training; a `fpray.training.loop.Learner`.

    Args:
        config: networks and losses.
        loop: device, precision, memory order, compilation.
        seed: of the first weights, at least 0.
        identity: the network of the identity loss; needed where its weight is above 0. It is held still.
        device: overrides the loop's choice (a worker with a GPU of its own).

    Raises:
        UserError: no identity network for the identity loss, or no GPU where one is asked for.
    """

    def __init__(
        self,
        config: GanConfig,
        loop: LoopConfig,
        seed: int,
        *,
        identity: IdentityNetwork | None = None,
        device: torch.device | None = None,
    ) -> None:
        if config.identity and identity is None:
            raise UserError('gan.identity: the identity loss needs an identity network', 'give 0, or a network')
        self.config, self.loop, self.identity = config, loop, identity
        self.device = device or pick_device(loop.device)
        self.steps = 0
        self.generator: Generator = self._place(build_generator(config.generator, derive(seed, WEIGHTS, 0)))
        self.discriminator: Discriminator = self._place(
            build_discriminator(config.discriminator, derive(seed, WEIGHTS, 1))
        )
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if config.ema else None
        self.optimiser_g = self._adam(self.generator, config.lr_g)
        self.optimiser_d = self._adam(self.discriminator, config.lr_d)
        self._generate: Callable[[Tensor], Tensor] = self.generator
        self._features: Callable[[Tensor], Tensor] = self.discriminator.features
        if loop.compile:  # the modules themselves stay plain: samples and scores do not hang on the compiler
            self._generate, self._features = torch.compile(self._generate), torch.compile(self._features)

    @property
    def sampler(self) -> Generator:
        """The generator whose samples count: the average where there is one."""
        return self.generator if self.average is None else self.average

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One step of the discriminator, and of the generator at every `d_steps`-th; see `Learner`.

        Returns:
            loss_d, loss_g and their added terms; real and fake: the discriminator's mean outputs.
        """
        real = batch if isinstance(batch, Tensor) else batch[0]
        latent = self._slice(torch.randn, len(real), self.config.generator.noise, noise=noise)
        mix = self._slice(torch.rand, len(real), 1, 1, 1, noise=noise) if self.config.loss == 'wgan-gp' else None
        self.steps += 1
        generator_too = self.steps % self.config.d_steps == 0
        with torch.set_grad_enabled(generator_too), self._precision():
            fake = self._generate(latent).float()
        if self.config.update == 'simultaneous' and generator_too:
            return self._simultaneous(real, fake, mix)
        losses = self._discriminator_step(real, fake.detach(), mix)
        return losses | self._generator_step(real, fake) if generator_too else losses

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimisers, average and number of steps; the tensors are the live ones, not copies."""
        return {
            'steps': self.steps,
            'generator': self.generator.state_dict(),
            'discriminator': self.discriminator.state_dict(),
            'average': self.average.state_dict() if self.average is not None else None,
            'optimiser_g': self.optimiser_g.state_dict(),
            'optimiser_d': self.optimiser_d.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a learner with the same configuration."""
        self.steps = state['steps']
        self.generator.load_state_dict(state['generator'])
        self.discriminator.load_state_dict(state['discriminator'])
        if self.average is not None:
            self.average.load_state_dict(state['average'])
        self.optimiser_g.load_state_dict(state['optimiser_g'])
        self.optimiser_d.load_state_dict(state['optimiser_d'])

    def _simultaneous(self, real: Tensor, fake: Tensor, mix: Tensor | None) -> dict[str, Tensor]:
        """Both gradients from one pass over the generated pictures: an eighth less work than one after the other."""
        leaf = fake.detach().requires_grad_()
        features_real, features_fake = self._look(real), self._look(leaf)
        terms_g = self._generator_terms(features_real.detach(), features_fake)
        (at_pictures,) = torch.autograd.grad(self._total(terms_g, 'loss_g'), leaf, retain_graph=True)
        losses_d, total_d = self._discriminator_terms(features_real, features_fake, real, fake.detach(), mix)
        self._update_discriminator(total_d)
        terms_picture = self._picture_terms(fake)
        self._update_generator((fake * at_pictures).sum() + self._total(terms_picture))
        return losses_d | _detached(terms_g | terms_picture)

    def _discriminator_step(self, real: Tensor, fake: Tensor, mix: Tensor | None) -> dict[str, Tensor]:
        """Real and generated pictures in two passes: each has batch statistics of its own (Radford et al. 2016)."""
        losses, total = self._discriminator_terms(self._look(real), self._look(fake), real, fake, mix)
        self._update_discriminator(total)
        return losses

    def _generator_step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        with _still(self.discriminator):
            features_real = self._look(real) if self.config.feature_matching else None
            terms = self._generator_terms(features_real, self._look(fake)) | self._picture_terms(fake)
            self._update_generator(self._total(terms, 'loss_g'))
        return _detached(terms)

    def _discriminator_terms(
        self, features_real: Tensor, features_fake: Tensor, real: Tensor, fake: Tensor, mix: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses to report, and the sum to descend."""
        out_real, out_fake = self.discriminator.judge(features_real), self.discriminator.judge(features_fake)
        total = discriminator_loss(self.config.loss, out_real, out_fake, self.config.smoothing)
        losses = {'loss_d': total, 'real': out_real.mean(), 'fake': out_fake.mean()}
        if mix is not None:
            losses['penalty'] = gradient_penalty(self.discriminator, real, fake, mix)  # float32 whatever `amp`
            total = total + self.config.penalty * losses['penalty']
        return _detached(losses), total

    def _generator_terms(self, features_real: Tensor | None, features_fake: Tensor) -> dict[str, Tensor]:
        """The generator's terms that look through the discriminator."""
        terms = {'loss_g': generator_loss(self.config.loss, self.discriminator.judge(features_fake))}
        if self.config.feature_matching and features_real is not None:
            terms['feature_matching'] = feature_distance(features_real, features_fake)
        return terms

    def _picture_terms(self, fake: Tensor) -> dict[str, Tensor]:
        """The generator's terms that look at its pictures directly."""
        terms = {}
        if self.config.total_variation:
            terms['total_variation'] = total_variation(fake)
        if self.config.identity and self.identity is not None:
            terms['identity'] = identity_similarity(self.identity.features(fake))
        return terms

    def _total(self, terms: dict[str, Tensor], unweighted: str = '') -> Tensor:
        """The weighted sum of terms named as their weights in the configuration; 0 for none."""
        weighted = [
            value if name == unweighted else getattr(self.config, name) * value for name, value in terms.items()
        ]
        return torch.stack(weighted).sum() if weighted else torch.zeros((), device=self.device)

    def _update_discriminator(self, total: Tensor) -> None:
        weights = list(self.discriminator.parameters())
        self.optimiser_d.zero_grad(set_to_none=True)
        total.backward(inputs=weights)
        average_gradients(weights)
        self.optimiser_d.step()
        if self.config.loss == 'wgan':
            with torch.no_grad():
                for weight in weights:
                    weight.clamp_(-self.config.clip, self.config.clip)

    def _update_generator(self, total: Tensor) -> None:
        self.optimiser_g.zero_grad(set_to_none=True)
        total.backward()
        average_gradients(self.generator.parameters())
        self.optimiser_g.step()
        if self.average is not None:
            self._follow(self.average)

    @torch.no_grad()
    def _follow(self, average: Generator) -> None:
        """The average moves towards the generator; BatchNorm's statistics, averages already, are taken over."""
        move = get_ema_multi_avg_fn(self.config.ema)
        move(list(average.parameters()), list(self.generator.parameters()), 0)
        for kept, new in zip(average.buffers(), self.generator.buffers(), strict=True):
            kept.copy_(new)

    def _look(self, pixels: Tensor) -> Tensor:
        with self._precision():
            return self._features(pixels)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.loop.amp == 'bf16')

    def _slice(self, draw: Callable[..., Tensor], count: int, *shape: int, noise: torch.Generator) -> Tensor:
        """This worker's rows of random numbers drawn for the whole batch."""
        return own_rows(draw(world_size() * count, *shape, generator=noise)).to(self.device)

    def _place(self, network: Any) -> Any:
        order = torch.channels_last if self.loop.channels_last else torch.contiguous_format
        return synchronise(network).to(self.device).to(memory_format=order)

    def _adam(self, network: nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), rate, self.config.betas, fused=True)


def sample(generator: Generator, n: int, seed: int, batch: int = 64, threads: int = 1) -> np.ndarray:
    """Pictures from a generator in eval mode.

    Picture i hangs on (seed, i) alone: the first pictures of a longer draw are the same, bit for bit. With another
    `batch` the noise is the same and a gray level may differ by one.

    Args:
        generator: on any device; its mode is restored.
        n: number of pictures.
        seed: at least 0.
        batch: pictures at a time.
        threads: on a CPU; part of what the last bits hang on.

    Returns:
        (n, C, H, W) uint8.

    Raises:
        UserError: the generator's pictures are not finite: its training diverged.
    """
    config = generator.config
    pictures = np.empty((n, config.channels, *config.image), dtype=np.uint8)
    with asked(generator, threads) as device:
        for first in range(0, n, batch):
            latent = _latent(seed, range(first, first + batch), config.noise)
            try:
                drawn = to_uint8(generator(latent.to(device)))
            except ValueError as fault:
                raise UserError(
                    'the generator draws pictures that are not finite: its training diverged',
                    'train it with lower learning rates',
                ) from fault
            pictures[first : first + batch] = drawn[: n - first].cpu().numpy()
    return pictures


def score(discriminator: Discriminator, pixels: np.ndarray, batch: int = 64, threads: int = 1) -> np.ndarray:
    """A discriminator's raw outputs in eval mode, larger = more like its training pictures.

    Pictures pass in batches of one size, the last one padded, so that a picture's score is the same, bit for bit,
    whatever the other pictures and their order; another `batch` changes it by less than 1e-5 of the scores' size.

    Args:
        discriminator: on any device; its mode is restored.
        pixels: (N, C, H, W) uint8, may be a memory map.
        batch: pictures at a time.
        threads: on a CPU; part of what the last bits hang on.

    Returns:
        (N,) float64.
    """
    scores = np.empty(len(pixels), dtype=np.float64)
    with asked(discriminator, threads) as device:
        for first, part in padded(pixels, batch, device):
            scores[first : first + batch] = discriminator(part)[: len(pixels) - first].double().cpu().numpy()
    return scores


def _latent(seed: int, indices: range, length: int) -> Tensor:
    """(len(indices), length) standard normal noise, each row drawn from (seed, its index)."""
    rows = [
        np.random.default_rng([seed, SAMPLES, index]).standard_normal(length, dtype=np.float32) for index in indices
    ]
    return torch.from_numpy(np.stack(rows))


@contextmanager
def _still(discriminator: Discriminator) -> Iterator[None]:
    """Hold a discriminator still while the generator learns through it: no weight gradients, no running statistics.

    So the running statistics count real and generated pictures alike, as they do in a simultaneous step.
    """
    tracking = [
        module for module in discriminator.modules() if isinstance(module, nn.BatchNorm2d | MinibatchDiscrimination)
    ]
    momenta = [module.momentum for module in tracking]
    discriminator.requires_grad_(False)
    for module in tracking:
        module.momentum = 0.0
    try:
        yield
    finally:
        discriminator.requires_grad_(True)
        for module, momentum in zip(tracking, momenta, strict=True):
            module.momentum = momentum


def _detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in terms.items()}

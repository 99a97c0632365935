"""Training a learned codec for rate and distortion, and what is asked of it afterwards: bits, errors, reconstructions.

MSE is on the scale of gray levels, 0 to 255, everywhere: lmbda * MSE is lmbda * 255^2 * MSE on [0, 1], CompressAI's way
to write the same loss.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.models.codec import Codec, build_codec
from fpray.models.config import CodecConfig
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import WEIGHTS, Batch, asked, derive, padded, pick_device
from fpray.training.parallel import average_gradients, own_rows, rank, world_size

CONFIG, WEIGHTS_FILE = 'codec.json', 'codec.pt'
KEY_DIGITS = 16


def information(likelihoods: dict[str, Tensor]) -> Tensor:
    """Bits of each picture, (N,): -log2 of the likelihood, summed over the symbols of all latents."""
    return -torch.stack([each.log2().flatten(1).sum(dim=1) for each in likelihoods.values()]).sum(dim=0)


def rate_distortion(x: Tensor, found: dict[str, Any], lmbda: float) -> dict[str, Tensor]:
    """The loss of a learned codec, bpp + lmbda * MSE (Balle et al. 2018, eq. 6, MSE on the scale of gray levels).

    Args:
        x: (N, C, H, W) pictures in [-1, 1].
        found: the codec's answer; see `Codec.forward`.
        lmbda: weight of the error, bits a pixel for one squared gray level.

    Returns:
        loss; bpp, bits for a pixel of the picture, padding not counted as pixels; mse, 0 to 255^2. Means, scalars.
    """
    height, width = x.shape[-2:]
    bpp = information(found['likelihoods']).mean() / (height * width)
    mse = (found['x_hat'] - x).square().mean() * 127.5**2
    return {'loss': bpp + lmbda * mse, 'bpp': bpp, 'mse': mse}


class CodecLearner:
    """A learned codec in training; a `fpray.training.loop.Learner`.

    Args:
        config: the codec, lmbda, rates, crop.
        loop: device, memory order.
        seed: of the first weights, at least 0.
        device: overrides the loop's choice (a worker with a GPU of its own).

    Raises:
        UserError: mixed precision or compilation, which the codec's densities do not allow; no GPU where one is asked
            for.
    """

    def __init__(
        self, config: RateDistortionConfig, loop: LoopConfig, seed: int, *, device: torch.device | None = None
    ) -> None:
        if loop.amp != 'no' or loop.compile:
            raise UserError('a codec trains in float32 and uncompiled', 'leave loop.amp and loop.compile as they are')
        self.config, self.loop = config, loop
        self.device = device or pick_device(loop.device)
        order = torch.channels_last if loop.channels_last else torch.contiguous_format
        self.codec: Codec = build_codec(config.codec, derive(seed, WEIGHTS)).to(self.device).to(memory_format=order)
        quantiles = self.codec.entropy_bottleneck.quantiles
        self.weights = [weight for weight in self.codec.parameters() if weight is not quantiles]
        self.optimiser = torch.optim.AdamW(self._groups(), config.lr, fused=True)
        self.optimiser_aux = torch.optim.Adam([quantiles], config.aux_lr, fused=True)

    def step(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """One step of the codec, one of its quantiles; see `Learner`.

        Returns:
            loss, bpp, mse: see `rate_distortion`; aux: how far the quantiles are from their places.
        """
        pixels = self._cropped(batch if isinstance(batch, Tensor) else batch[0], noise)
        self.codec.train()
        with self.codec.noise_from(lambda values: self._uniform(values, noise)):
            losses = rate_distortion(pixels, self.codec(pixels), self.config.lmbda)
        self.optimiser.zero_grad(set_to_none=True)
        losses['loss'].backward(inputs=self.weights)
        average_gradients(self.weights)
        nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        self.optimiser.step()
        losses['aux'] = self._aux_step()
        return {name: value.detach() for name, value in losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Weights and both optimisers; the tensors are the live ones, not copies."""
        return {
            'codec': self.codec.state_dict(),
            'optimiser': self.optimiser.state_dict(),
            'optimiser_aux': self.optimiser_aux.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a learner with the same configuration."""
        self.codec.load_state_dict(state['codec'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.optimiser_aux.load_state_dict(state['optimiser_aux'])

    def _groups(self) -> list[dict[str, Any]]:
        """Kernels decay; biases, and the parameters of GDN and of the densities, for which 0 is no rest, do not."""
        kernels = {
            id(layer.weight) for layer in self.codec.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        }
        return [
            {'params': [weight for weight in self.weights if (id(weight) in kernels) == decays], 'weight_decay': decay}
            for decays, decay in ((True, self.config.weight_decay), (False, 0.0))
        ]

    def _aux_step(self) -> Tensor:
        """The quantiles follow the densities; they hang on no picture, so that all workers take the same step."""
        aux = self.codec.aux_loss()
        self.optimiser_aux.zero_grad(set_to_none=True)
        aux.backward()
        self.optimiser_aux.step()
        return aux

    def _uniform(self, values: Tensor, noise: torch.Generator) -> Tensor:
        """Noise in [-0.5, 0.5] for this worker's values, out of what is drawn for the whole batch."""
        axis = 0 if values.dim() == 4 else 2  # where the pictures are: see Codec.noise_from
        shape, count = list(values.shape), values.shape[axis]
        shape[axis] = world_size() * count
        drawn = torch.rand(shape, generator=noise) - 0.5
        return drawn.narrow(axis, rank() * count, count).to(values.device)

    def _cropped(self, pixels: Tensor, noise: torch.Generator) -> Tensor:
        """Square crops at places drawn for the whole batch, a picture one; whole pictures without `crop`."""
        side, (height, width) = self.config.crop, pixels.shape[-2:]
        if not side:
            return pixels
        if side > min(height, width):
            raise UserError(
                f'rate_distortion.crop {side}: pictures are {height} x {width} px', f'give at most {min(height, width)}'
            )
        count = len(pixels)
        shares = own_rows(torch.rand(world_size() * count, 2, generator=noise))
        corners = (shares * torch.tensor([height - side + 1, width - side + 1])).long().tolist()
        crops = [
            picture[:, top : top + side, left : left + side]
            for picture, (top, left) in zip(pixels, corners, strict=True)
        ]
        return torch.stack(crops)


@dataclass(frozen=True)
class Measured:
    """What a codec makes of N pictures."""

    bits: np.ndarray
    """(N,) float64: information content of the bitstream, bits."""
    mse: np.ndarray
    """(N,) float64: mean squared error, 0 to 255^2."""
    reconstructions: np.ndarray
    """(N, C, H, W) float32, 0 to 255, not rounded."""


def measure(codec: Codec, pixels: np.ndarray, batch: int = 16, threads: int = 1) -> Measured:
    """Rate and distortion of pictures, each as its decoded bitstream has it.

    The codec's quantiles are those of its bitstreams: a codec in training is measured on an updated copy. Pictures
    pass in batches of one size, the last one padded, so that a picture's numbers do not hang on the others.

    Args:
        codec: on any device; its mode is restored.
        pixels: (N, C, H, W) uint8 of any size, may be a memory map.
        batch: pictures at a time.
        threads: on a CPU; part of what the last bits hang on.

    Returns:
        See `Measured`.
    """
    codec = finished(codec)
    bits, mse = np.empty(len(pixels)), np.empty(len(pixels))
    reconstructions = np.empty(pixels.shape, dtype=np.float32)
    with asked(codec, threads) as device:
        for first, part in padded(pixels, batch, device):
            last = min(first + batch, len(pixels))
            found = codec(part)
            likelihoods = {name: each.double() for name, each in found['likelihoods'].items()}
            bits[first:last] = information(likelihoods)[: last - first].cpu().numpy()
            reconstructions[first:last] = ((found['x_hat'] + 1) * 127.5)[: last - first].cpu().numpy()
            errors = reconstructions[first:last].astype(np.float64) - pixels[first:last]
            mse[first:last] = np.square(errors).mean(axis=(1, 2, 3))
    return Measured(bits, mse, reconstructions)


def finished(codec: Codec) -> Codec:
    """The codec with an entropy coder's tables: itself, or an updated copy of one that has none."""
    if len(codec.entropy_bottleneck.quantized_cdf):
        return codec
    codec = copy.deepcopy(codec)
    codec.update()
    return codec


def save_codec(codec: Codec, folder: Path) -> None:
    """A codec, ready to compress, as codec.json (its configuration) and codec.pt (its state)."""
    state = {name: value.cpu().contiguous() for name, value in finished(codec).state_dict().items()}
    (folder / CONFIG).write_text(json.dumps(asdict(codec.config), indent=1) + '\n')
    torch.save(state, folder / WEIGHTS_FILE)


def load_codec(folder: Path | str) -> Codec:
    """The codec that `save_codec` wrote, in eval mode on the CPU.

    Raises:
        UserError: there is none, or its files cannot be read.
    """
    folder, mend = Path(folder), 'name a folder of a trained codec'
    try:
        codec = build_codec(CodecConfig(**json.loads((folder / CONFIG).read_text(encoding='utf-8'))))
        codec.load_state_dict(torch.load(folder / WEIGHTS_FILE, map_location='cpu', weights_only=True))
    except FileNotFoundError as fault:
        raise UserError(f'{folder} holds no codec: {fault.filename} is missing', mend) from None
    except UserError:
        raise
    except Exception as fault:  # torch and json name a dozen kinds for a damaged file
        why = ' '.join(str(fault).split())[:100]
        raise UserError(f'the codec in {folder} cannot be read ({why})', mend) from fault
    return codec.eval()


def codec_key(folder: Path | str) -> str:
    """Which codec a bitstream belongs to: 16 hexadecimal digits, of sha256 of codec.pt and codec.json."""
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, CONFIG):
        digest.update((Path(folder) / name).read_bytes())
    return digest.hexdigest()[:KEY_DIGITS]

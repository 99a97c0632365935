"""Learned codecs: CompressAI's hyperprior models for gray or colour pictures of any size.

A codec sees floats in [-1, 1] as all networks here do; inside, as in CompressAI, pictures are in [0, 1] and their sides
multiples of 64. Its estimate of the rate and its bitstream speak of the same quantised latent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpray.models.config import CodecConfig

with warnings.catch_warnings():
    warnings.simplefilter('ignore', FutureWarning)  # torch's, about what CompressAI imports
    from compressai.entropy_models import EntropyBottleneck, GaussianConditional
    from compressai.layers import GDN
    from compressai.models.google import MeanScaleHyperprior, ScaleHyperprior, get_scale_table
    from compressai.models.utils import conv, deconv

MULTIPLE = 64  # px; four halvings of the picture, two more of its latent
SCALES = 256  # of the Gaussian coder, from 0.11 to 256: 3 % apart
Draw = Callable[[Tensor], Tensor]


def build_codec(config: CodecConfig, seed: int = 0) -> Codec:
    """A fresh codec, weights drawn from `seed`: (N, C, H, W) in [-1, 1] to CompressAI's dict, see `Codec.forward`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = Codec(config) if config.family == 'scale' else MeanScaleCodec(config)
    return codec.to(memory_format=torch.channels_last)


class _DrawnNoise:
    """An entropy model whose training noise, uniform in [-0.5, 0.5], may come from a function instead of torch's own.

    The function gets the values that the noise is added to: (N, C, H, W) from the latent, (C, 1, N * H * W) from the
    entropy bottleneck.
    """

    draw: Draw | None = None

    def quantize(self, inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        """See CompressAI's EntropyModel."""
        if mode == 'noise' and self.draw is not None:
            return inputs + self.draw(inputs)
        return super().quantize(inputs, mode, means)  # type: ignore[misc]


class _Bottleneck(_DrawnNoise, EntropyBottleneck):
    pass


class _Conditional(_DrawnNoise, GaussianConditional):
    """The Gaussian coder with a finer table of scales than CompressAI's, each scale by the nearest of the table.

    CompressAI's 64 levels, rounded up, cost a third of the bits where nearly every symbol is 0. A picture's coder gets
    the rows of the table that it uses: handing over all takes longer than coding.
    """

    def build_indexes(self, scales: Tensor) -> Tensor:
        """(N, C, H, W) scales to the rows of the nearest scales, by ratio."""
        between = (self.scale_table[:-1] * self.scale_table[1:]).sqrt()
        return torch.bucketize(scales.contiguous(), between).int()

    def compress(self, inputs: Tensor, indexes: Tensor, means: Tensor | None = None) -> list[bytes]:
        """See CompressAI's EntropyModel."""
        symbols, (rows, *tables) = self.quantize(inputs, 'symbols', means), self._used(indexes)
        encode = self.entropy_coder.encode_with_indexes
        return [
            encode(one.flatten().tolist(), places.flatten().tolist(), *tables)
            for one, places in zip(symbols, rows, strict=True)
        ]

    def decompress(
        self, strings: list[bytes], indexes: Tensor, dtype: torch.dtype = torch.float, means: Tensor | None = None
    ) -> Tensor:
        """See CompressAI's EntropyModel."""
        rows, *tables = self._used(indexes)
        decode = self.entropy_coder.decode_with_indexes
        symbols = [
            decode(string, places.flatten().tolist(), *tables) for string, places in zip(strings, rows, strict=True)
        ]
        return self.dequantize(torch.tensor(symbols, device=indexes.device).view(indexes.shape), means, dtype)

    def _used(self, indexes: Tensor) -> tuple[Tensor, Any, Any, Any]:
        """Rows of a smaller table in place of `indexes`; the table's distributions, their lengths and offsets."""
        used, rows = indexes.unique(return_inverse=True)
        lengths = self.cdf_length[used]
        cdf = self.quantized_cdf[used, : int(lengths.max())]
        return rows, cdf.tolist(), lengths.tolist(), self.offset[used].tolist()


class Codec(ScaleHyperprior):
    """The scale hyperprior (Balle et al. 2018, section 3, CompressAI's bmshj2018-hyperprior); see `CodecConfig`."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(N=config.n, M=config.m)
        self.config = config
        self.entropy_bottleneck, self.gaussian_conditional = _Bottleneck(config.n), _Conditional(None)
        self.g_a[0], self.g_s[-1] = conv(config.channels, config.n), deconv(config.n, config.channels)
        if config.dropout:
            for transform in (self.g_a, self.g_s):
                for place, layer in enumerate(transform):
                    if isinstance(layer, GDN):
                        transform[place] = nn.Sequential(layer, nn.Dropout2d(config.dropout))

    def forward(self, x: Tensor) -> dict[str, Any]:
        """CompressAI's contract, in training with noise for quantisation, else on the quantised latent.

        Args:
            x: (N, C, H, W) in [-1, 1], of any size.

        Returns:
            x_hat: (N, C, H, W) in [-1, 1], in training not clipped; likelihoods: of each latent's every symbol, 'y'
            and 'z', whose -log2 sum is the information content of the padded picture's bitstream.
        """
        found = super().forward(_enter(x))
        x_hat = _leave(found['x_hat'], x.shape[-2:])
        return {'x_hat': x_hat if self.training else x_hat.clamp(-1, 1), 'likelihoods': found['likelihoods']}

    @torch.no_grad()
    def compress(self, x: Tensor) -> dict[str, Any]:
        """Bitstreams, in eval mode and after `update`; one picture at a time, so that none hangs on the others.

        Args:
            x: (N, C, H, W) in [-1, 1], of any size.

        Returns:
            strings: two lists of N bitstreams, of y and of z; shape: (height, width) of z.
        """
        encode = super().compress
        each = [encode(_enter(x[row : row + 1])) for row in range(len(x))]
        return {
            'strings': [[one['strings'][part][0] for one in each] for part in range(2)],
            'shape': tuple(each[0]['shape']),
        }

    @torch.no_grad()
    def decompress(self, strings: list[list[bytes]], shape: tuple[int, int], size: tuple[int, int]) -> dict[str, Tensor]:
        """Undoes `compress`, one picture at a time.

        Args:
            strings, shape: what `compress` gave.
            size: height and width of the pictures, px.

        Returns:
            x_hat: (N, C, H, W) in [-1, 1].
        """
        decode = super().decompress
        each = [decode([[y], [z]], shape)['x_hat'] for y, z in zip(*strings, strict=True)]
        return {'x_hat': _leave(torch.cat(each), size)}

    def update(self, scale_table: Tensor | None = None, force: bool = True, update_quantiles: bool = True) -> bool:
        """Make the entropy coder's tables from the weights; before it by bisection the quantiles that they rest on.

        Adam moves a quantile by `aux_lr` a step at most, so that after a short training the tables would end where
        the latent does not, and what lies outside costs a multiple of its information content.
        """
        table = get_scale_table(levels=SCALES) if scale_table is None else scale_table
        return super().update(table, force, update_quantiles)

    @contextmanager
    def noise_from(self, draw: Draw) -> Iterator[None]:
        """Take the noise of training from a function; see `_DrawnNoise`."""
        self.entropy_bottleneck.draw = self.gaussian_conditional.draw = draw
        try:
            yield
        finally:
            self.entropy_bottleneck.draw = self.gaussian_conditional.draw = None


class MeanScaleCodec(Codec, MeanScaleHyperprior):
    """The mean-scale hyperprior (Minnen et al. 2018, without its context model; CompressAI's mbt2018-mean)."""


def _enter(x: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], the last row and column repeated down and to the right up to multiples of 64 px."""
    below, right = (-side % MULTIPLE for side in x.shape[-2:])
    if below or right:
        x = F.pad(x, (0, right, 0, below), mode='replicate')
    return ((x + 1) / 2).contiguous(memory_format=torch.channels_last)


def _leave(x_hat: Tensor, size: tuple[int, ...]) -> Tensor:
    """[0, 1] to [-1, 1], without what was added."""
    return x_hat[..., : size[0], : size[1]] * 2 - 1

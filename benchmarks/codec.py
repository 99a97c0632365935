"""Training and scoring a learned codec: ours, gray, beside CompressAI's own in colour with a plain loop, in one run.

    python benchmarks/codec.py [--n 32 --m 48 --side 64 --batch 16 --steps 40 --pictures 320 --repeats 3]

Both are the mean-scale hyperprior of one width on the same pictures, float32, one thread; the peer gets them as three
equal channels in [0, 1], as it must. Its loop is that of CompressAI's example: two Adams, loss and auxiliary loss,
gradients clipped to 1; its scoring the plain forward pass in eval mode, rate and error a picture. Ours are the loop and
the measuring that the audit uses. Rounds are interleaved, so that a busy machine slows all alike.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
import tyro

from fpray.models.codec import build_codec
from fpray.models.config import CodecConfig
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import Pictures, numerics, train
from fpray.training.rate_distortion import CodecLearner, finished, measure

with warnings.catch_warnings():
    warnings.simplefilter('ignore', FutureWarning)
    from compressai.models.google import MeanScaleHyperprior

WARM = 3  # steps before the clock


@dataclass(frozen=True)
class Options:
    """Sizes of the comparison."""

    n: int = 32
    """Channels of the transforms."""
    m: int = 48
    """Channels of the latent."""
    side: int = 64
    """Side of a picture, px."""
    batch: int = 16
    """Pictures a step."""
    steps: int = 40
    """Training steps a round."""
    pictures: int = 320
    """Pictures scored a round."""
    repeats: int = 3
    """Rounds; medians are printed."""


def train_ours(options: Options, pixels: np.ndarray) -> float:
    """Training pictures a second of the audit's loop."""
    config = RateDistortionConfig(CodecConfig(n=options.n, m=options.m))
    loop = LoopConfig(images=(WARM + options.steps) * options.batch, batch=options.batch,
                      report_every=options.batch, snapshot_every=0)
    times: list[float] = []
    train(loop, CodecLearner(config, loop, 0), Pictures(pixels), 0,
          on_progress=lambda _: bool(times.append(time.perf_counter())))
    return options.steps * options.batch / (times[-1] - times[WARM - 1])


def train_peer(options: Options, colour: torch.Tensor) -> float:
    """Training pictures a second of the peer in a plain loop."""
    torch.manual_seed(0)
    model = MeanScaleHyperprior(options.n, options.m).train()
    weights = [weight for name, weight in model.named_parameters() if not name.endswith('.quantiles')]
    optimiser = torch.optim.Adam(weights, 1e-3)
    aux_optimiser = torch.optim.Adam([model.entropy_bottleneck.quantiles], 1e-2)
    start = 0.0
    for step in range(WARM + options.steps):
        if step == WARM:
            start = time.perf_counter()
        x = colour[torch.randint(len(colour), (options.batch,))]
        optimiser.zero_grad()
        aux_optimiser.zero_grad()
        found = model(x)
        bits = sum(-likelihood.log2().sum() for likelihood in found['likelihoods'].values())
        loss = bits / (len(x) * options.side**2) + 0.01 * 255**2 * torch.nn.functional.mse_loss(found['x_hat'], x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        model.aux_loss().backward()
        aux_optimiser.step()
    return options.steps * options.batch / (time.perf_counter() - start)


def score_ours(options: Options, pixels: np.ndarray) -> float:
    """Pictures a second of the audit's measuring."""
    codec = finished(build_codec(CodecConfig(n=options.n, m=options.m)))
    return rate(options, lambda: measure(codec, pixels[: options.pictures], options.batch))


def score_peer(options: Options, colour: torch.Tensor) -> float:
    """Pictures a second of the peer's forward pass, bits and squared error a picture."""
    model = MeanScaleHyperprior(options.n, options.m).eval()

    def run() -> None:
        for x in colour[: options.pictures].split(options.batch):
            found = model(x)
            for likelihood in found['likelihoods'].values():
                likelihood.log2().flatten(1).sum(dim=1)
            (found['x_hat'].clamp(0, 1) - x).square().mean(dim=(1, 2, 3))

    with torch.inference_mode():
        return rate(options, run)


def rate(options: Options, method: Callable[[], object]) -> float:
    """Pictures a second of the second call."""
    method()
    start = time.perf_counter()
    method()
    return options.pictures / (time.perf_counter() - start)


def main(options: Options) -> None:
    """Print the four rates and the two ratios."""
    pixels = np.random.default_rng(0).integers(0, 256, (options.pictures, 1, options.side, options.side), dtype=np.uint8)
    colour = torch.from_numpy(pixels).float().div(255).expand(-1, 3, -1, -1).contiguous()
    rates: dict[str, list[tuple[float, float]]] = {'training': [], 'scoring': []}
    with numerics(1):
        for _ in range(options.repeats):
            rates['training'].append((train_ours(options, pixels), train_peer(options, colour)))
            rates['scoring'].append((score_ours(options, pixels), score_peer(options, colour)))
    print(f'mean-scale hyperprior ({options.n}, {options.m}), {options.side} px, batch {options.batch}, one thread, '
          f'{options.repeats} rounds')
    for name, pairs in rates.items():
        ours, peer = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(a / b for a, b in pairs)
        print(f'{name:9} ours, gray {ours:8,.0f} pictures/s ({1000 * options.batch / ours:.0f} ms a batch); '
              f'peer, colour {peer:8,.0f} ({1000 * options.batch / peer:.0f} ms); {ratio:.2f} x')


if __name__ == '__main__':
    main(tyro.cli(Options, description=__doc__))

"""Inversion at equal wall time: our reconstructor, our search in the input, ART's MIFace, judged by who gets in.

    python benchmarks/inversion.py [--fingers 1000 --target-images 60000 --images 20000 --seconds 0]

Synthetic stand-in fingers, 64 px, one thread, one run. A target and a judge of another family and other people are
trained first, uncounted. Then the clock runs: the reconstructor is trained on other people's pictures and asked for one
template of each victim; the two searches get as much time for the same templates, each from the mean training picture.
The peer (adversarial-robustness-toolbox, extra `peers`) inverts classifiers; its classifier says, for each picture of
a batch, how near the picture's vector is to the stolen one of that row, (1 + cosine) / 2, and its step is the best of
four on people who are not judged, uncounted. Thresholds, FMR 1 %, are set on those people too.
"""

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from fpray.attacks.inversion import direct, mean_image, nearest_image
from fpray.data.synthetic import generate
from fpray.metrics.verification import acceptance, threshold_at_fmr
from fpray.models.config import ExtractorConfig
from fpray.models.extractors import Extractor
from fpray.training.config import LoopConfig, RecognitionConfig, ReconstructionConfig
from fpray.training.loop import Pictures, numerics, train
from fpray.training.recognition import RecognitionLearner, embed
from fpray.training.reconstruction import Embedded, ReconstructionLearner, reconstruct

with contextlib.redirect_stderr(io.StringIO()):  # ART speaks of frameworks that it does not find
    from art.attacks.inference.model_inversion import MIFace
    from art.estimators.classification import PyTorchClassifier

IMPRESSIONS, SIDE = 8, 64
SHARES = {'public': 0.3, 'attacker': 0.25, 'judge': 0.3, 'threshold': 0.075, 'victims': 0.075}  # of the fingers
LEARNING_RATES = (0.1, 1.0, 10.0, 100.0)
Group = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Options:
    """Sizes of the comparison."""

    fingers: int = 1000
    """Fingers in all, of one person each, with 8 impressions."""
    target_images: int = 60_000
    """Pictures that the target and the judge see in training."""
    images: int = 20_000
    """Pictures that the reconstructor sees in training, which sets everyone's time."""
    batch: int = 32
    """Pictures a step of the reconstructor."""
    rows: int = 25
    """Pictures that the searches work on at a time."""
    seed: int = 0
    """Of everything."""
    config: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    """The reconstructor and its losses; without layers, the target's activations."""


def groups(options: Options) -> dict[str, Group]:
    """Pictures and finger numbers of each group; no finger is in two."""
    pixels, _ = generate(options.seed, range(options.fingers), 1, IMPRESSIONS, SIDE)
    finger, found, first = np.repeat(np.arange(options.fingers), IMPRESSIONS), {}, 0
    for name, share in SHARES.items():
        last = first + round(share * options.fingers)
        kept = (finger >= first) & (finger < last)
        found[name], first = (pixels[kept], finger[kept] - first), last
    return found


def recogniser(family: str, group: Group, options: Options, seed: int) -> Extractor:
    """A trained network of a small family."""
    pixels, finger = group
    loop = LoopConfig(images=options.target_images, snapshot_every=0)
    learner = RecognitionLearner(RecognitionConfig(ExtractorConfig(family)), loop, seed, int(finger.max()) + 1)
    train(loop, learner, Pictures(pixels, labels=finger), seed, on_progress=lambda _: False)
    return learner.extractor.eval().requires_grad_(False)


def ours(options: Options, network: Extractor, known: np.ndarray, stolen: np.ndarray) -> np.ndarray:
    """Train a reconstructor on the attacker's pictures, and ask it."""
    layers = options.config.layers or tuple(name for name in network.layers if name.endswith('.1'))
    shape = replace(options.config.reconstructor, length=stolen.shape[1], image=(SIDE, SIDE))
    config = replace(options.config, reconstructor=shape, layers=layers)
    loop = LoopConfig(images=options.images, batch=options.batch, snapshot_every=0)
    data = Embedded(known, embed(network, known))
    learner = ReconstructionLearner(config, loop, options.seed, network, vector_scale=data.scale)
    train(loop, learner, data, options.seed, on_progress=lambda _: False)
    return reconstruct(learner.reconstructor, stolen)


class Nearness(nn.Module):
    """A classifier of rows: the first class's probability is how near each row's vector is to the stolen one."""

    def __init__(self, network: Extractor, wanted: np.ndarray) -> None:
        super().__init__()
        self.network, self.wanted = network, torch.from_numpy(wanted)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, 2)."""
        near = (1 + F.cosine_similarity(self.network(pixels), self.wanted)) / 2
        return torch.stack([near, 1 - near], dim=1)


def miface(network: Extractor, stolen: np.ndarray, start: np.ndarray, rows: int, seconds: float, lr: float) -> np.ndarray:
    """The peer on batches of `rows` vectors; its number of steps is what fits into the time.

    With a threshold of 1 no row of a batch ends before the others, so that rows and stolen vectors stay together.
    """
    found = []
    for first in range(0, len(stolen), rows):
        wanted = stolen[first : first + rows]
        classifier = PyTorchClassifier(Nearness(network, wanted), nn.CrossEntropyLoss(), start.shape, 2,
                                       clip_values=(-1.0, 1.0), device_type='cpu')  # fmt: skip
        begin = np.repeat(start[None].astype(np.float32) / 127.5 - 1, len(wanted), axis=0)

        def run(steps: int, classifier: PyTorchClassifier = classifier, begin: np.ndarray = begin) -> np.ndarray:
            attack = MIFace(classifier, max_iter=steps, threshold=1.0, learning_rate=lr, batch_size=rows, verbose=False)
            return attack.infer(begin.copy(), np.zeros(len(begin), dtype=np.int64))

        limit, clock = seconds * len(wanted) / len(stolen), time.perf_counter()
        run(5)
        step = (time.perf_counter() - clock) / 5
        found.append(run(max(int(limit / step) - 5, 1)))
    return np.rint((np.concatenate(found) + 1) * 127.5).clip(0, 255).astype(np.uint8)


def best_rate(network: Extractor, group: Group, start: np.ndarray, rows: int, seconds: float) -> float:
    """The peer's learning rate that comes nearest to the vectors of people who are not judged."""
    stolen = embed(network, group[0][::IMPRESSIONS])

    def nearness(lr: float) -> float:
        made = embed(network, miface(network, stolen, start, rows, seconds, lr))
        return float((unit(made) * unit(stolen)).sum(axis=1).mean())

    return max(LEARNING_RATES, key=nearness)


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, length) of norm 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def who_gets_in(made: np.ndarray, network: Extractor, victims: Group, others: Group) -> str:
    """Acceptance at FMR 1 %: the stolen picture, other impressions of the finger, other people's."""
    strangers = unit(embed(network, others[0]))
    apart = others[1][:, None] != others[1][None]
    threshold = threshold_at_fmr((strangers @ strangers.T)[apart], 0.01).value
    pixels, finger = victims
    references, probes = unit(embed(network, pixels)), unit(embed(network, made))
    similarity, owner = probes @ references.T, finger[::IMPRESSIONS]
    stolen = np.arange(len(pixels)) % IMPRESSIONS == 0
    same = (similarity[:, stolen].diagonal() >= threshold).mean()
    rates = acceptance(similarity[:, ~stolen].ravel(), np.repeat(owner, (~stolen).sum()),
                       np.tile(finger[~stolen], len(owner)), threshold)  # fmt: skip
    low, high = rates['own'].interval
    return f"{same:5.2f} {rates['own'].estimate:6.3f} ({low:.2f}-{high:.2f}) {rates['strangers'].estimate:8.3f}"


def main(options: Options) -> None:
    """Print each method's time and acceptance in the target and in the judge."""
    with numerics(1):
        data = groups(options)
        target = recogniser('small-plain', data['public'], options, options.seed + 1)
        judge = recogniser('small-residual', data['judge'], options, options.seed + 2)
        known, victims, others = data['attacker'][0], data['victims'], data['threshold']
        stolen, start = embed(target, victims[0][::IMPRESSIONS]), mean_image(known)
        clock = time.perf_counter()
        made = {'reconstructor': ours(options, target, known, stolen)}
        seconds = time.perf_counter() - clock
        rate = best_rate(target, others, start, options.rows, seconds / 8)
        methods: dict[str, Callable[[], np.ndarray]] = {
            'direct (ours)': lambda: direct(target, stolen, start=start, seconds=seconds, batch=options.rows),
            f'MIFace (ART), step {rate:g}': lambda: miface(target, stolen, start, options.rows, seconds, rate),
            'nearest': lambda: nearest_image(stolen, embed(target, known), known),
            'mean': lambda: np.repeat(start[None], len(stolen), axis=0),
        }
        times = {'reconstructor': seconds}
        for name, method in methods.items():
            clock = time.perf_counter()
            made[name] = method()
            times[name] = time.perf_counter() - clock
        print(f'{len(stolen)} templates of synthetic stand-in fingers; acceptance at FMR 1 %: the stolen picture, another '
              'impression (95 % over people), strangers')
        for name, pictures in made.items():
            print(f'{name:24} {times[name]:6.0f} s   target {who_gets_in(pictures, target, victims, others)}   judge '
                  f'{who_gets_in(pictures, judge, victims, others)}')


if __name__ == '__main__':
    main(tyro.cli(Options, description=__doc__))

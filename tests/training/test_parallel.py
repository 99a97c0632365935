"""Two workers (gloo, two processes) train as one: the same losses and weights on the same batches.

Run as a script, this file is such a worker: `test_parallel.py RANK FOLDER`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from fpray.errors import UserError
from fpray.models.config import (
    CodecConfig,
    DiscriminatorConfig,
    ExtractorConfig,
    GeneratorConfig,
    ReconstructorConfig,
    ScorerConfig,
)
from fpray.models.extractors import build_extractor
from fpray.models.gan import MinibatchDiscrimination
from fpray.models.scorer import build_scorer
from fpray.training.adversarial import GanLearner
from fpray.training.classifier import ClassifierLearner
from fpray.training.config import (
    ClassifierConfig,
    GanConfig,
    LoopConfig,
    RateDistortionConfig,
    RecognitionConfig,
    ReconstructionConfig,
)
from fpray.training.loop import Learner, Pictures, train
from fpray.training.parallel import (
    SyncedBatchNorm2d,
    any_worker,
    average,
    average_gradients,
    mean_over_workers,
    rows_of_workers,
    synchronise,
    world_size,
)
from fpray.training.rate_distortion import CodecLearner
from fpray.training.recognition import Pairs, RecognitionLearner
from fpray.training.reconstruction import Embedded, ReconstructionLearner

ROOT = Path(__file__).resolve().parents[2]
IMAGE = (16, 16)
GENERATOR = GeneratorConfig(image=IMAGE, noise=8, widths=(8, 8))
EXTRACTOR = ExtractorConfig('small-residual', length=6, image=IMAGE, width=8)
NAMES = ['bce', 'wgan-gp', 'classifier', 'codec', 'arcface', 'triplet', 'reconstruction']


def learners(loop: LoopConfig) -> dict[str, Learner]:
    """Everything that looks across a batch: BatchNorm, minibatch discrimination, feature means, identities."""
    scorer = build_scorer(ScorerConfig(image=IMAGE, widths=(4, 8)), seed=2).eval().requires_grad_(False)
    mixing = DiscriminatorConfig(image=IMAGE, widths=(8, 16), minibatch=3)
    apart = DiscriminatorConfig(image=IMAGE, widths=(16, 32), norm='group')
    bce = GanConfig(GENERATOR, mixing, feature_matching=1.0, identity=0.5, total_variation=0.1, ema=0.9)
    penalised = GanConfig(GENERATOR, apart, loss='wgan-gp', update='alternating', d_steps=2)
    return {
        'bce': GanLearner(bce, loop, 1, identity=scorer),
        'wgan-gp': GanLearner(penalised, loop, 1),
        'classifier': ClassifierLearner(
            ClassifierConfig(ScorerConfig(image=IMAGE, classes=3, widths=(4, 8))), loop, 1
        ),
        'codec': CodecLearner(RateDistortionConfig(CodecConfig(n=8, m=12), crop=12), loop, 1),
        'arcface': RecognitionLearner(
            RecognitionConfig(EXTRACTOR, 'arcface', opening=((0.4, 0.5), (1.0, 1.0))), loop, 1, 3
        ),
        'triplet': RecognitionLearner(RecognitionConfig(EXTRACTOR, 'triplet', lr=2e-3), loop, 1, 3),
        'reconstruction': ReconstructionLearner(
            ReconstructionConfig(
                ReconstructorConfig(6, IMAGE, width=8, blocks=2), layers=('stages.0.1', 'stages.2.0'), noise=0.1, shift=0.1
            ),
            loop, 1, build_extractor(EXTRACTOR, 1), vector_scale=(np.zeros(6), np.ones(6)),
        ),
    }  # fmt: skip


def batches(name: str, pixels: np.ndarray, labels: np.ndarray) -> Pictures | Pairs | Embedded:
    """What a learner of this name is trained on."""
    if name == 'triplet':
        return Pairs(pixels, labels)
    if name == 'reconstruction':
        return Embedded(pixels, np.zeros((len(pixels), 6), np.float32))  # made anew of each altered picture
    return Pictures(pixels, labels=labels if name in ('classifier', 'arcface') else None)


def outcome(rank: int, world: int) -> dict:
    """Losses at each step and the weights at the end, and single operations on known numbers."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (20, 1, *IMAGE), dtype=np.uint8), rng.integers(0, 3, 20)
    loop = LoopConfig(images=96, batch=12, report_every=12, workers=world)
    found: dict = {}
    for name, learner in learners(loop).items():
        course: list[dict[str, float]] = []
        data = batches(name, pixels, labels)
        train(
            loop,
            learner,
            data,
            4,
            on_progress=lambda one, course=course: bool(course.append(one.losses)),
            rank=rank,
            world=world,
        )
        found[name] = {'course': course, 'state': learner.state_dict()}
    stopped = train(
        loop,
        learner,
        data,
        4,
        on_progress=lambda one: rank == world - 1 and one.images_seen == 36,
        rank=rank,
        world=world,
    )
    return found | {'stopped': stopped, 'refused': refusal(loop)} | operations(rank)


def refusal(loop: LoopConfig) -> str:
    """What is said of a backbone whose normalisation is none that workers can share; '' where it is taken."""
    try:
        RecognitionLearner(RecognitionConfig(ExtractorConfig('timm/lcnet_050', image=IMAGE)), loop, 1, 3)
    except UserError as error:
        return str(error)
    return ''


def operations(rank: int) -> dict:
    """What each differentiable exchange gives and sends back, from values that tell the workers apart."""
    value = torch.tensor([1.0 + rank, 10.0], requires_grad=True)
    mean = mean_over_workers(value)
    (mean * torch.tensor([1.0, 3.0]) * (1 + rank)).sum().backward()
    rows = torch.tensor([[float(rank)]], requires_grad=True)
    gathered = rows_of_workers(rows)
    (gathered * torch.arange(1.0, len(gathered) + 1)[:, None]).sum().backward()
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([2.0 * rank, 1.0])
    average_gradients([weight])
    return {
        'mean': mean.detach(),
        'mean_gradient': value.grad,
        'rows': gathered.detach(),
        'rows_gradient': rows.grad,
        'averaged': weight.grad,
        'losses': average({'a': torch.tensor(float(rank))}),
        'any': any_worker(rank == 1, torch.device('cpu')),
        'world': world_size(),
    }


@pytest.fixture(scope='module')
def runs(tmp_path_factory) -> tuple[dict, dict, dict]:
    """The outcome of one worker alone, and of the two."""
    folder = tmp_path_factory.mktemp('workers')
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'GLOO_SOCKET_IFNAME': 'lo', 'OMP_NUM_THREADS': '1'}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], env=environment, cwd=ROOT)
        for rank in range(2)
    ]
    alone = outcome(0, 1)
    assert [worker.wait(timeout=250) for worker in workers] == [0, 0]
    return alone, *(torch.load(folder / f'{rank}.pt', weights_only=True) for rank in range(2))


@pytest.mark.parametrize('name', NAMES)
def test_two_workers_have_one_workers_losses(runs, name):
    alone, first, second = (run[name]['course'] for run in runs)
    assert len(alone) == 8
    for step, losses in enumerate(alone):
        assert first[step] == second[step]  # averaged over the workers
        assert first[step] == pytest.approx(losses, abs=1e-4, rel=1e-5)  # a codec's squared error is in the thousands


@pytest.mark.parametrize('name', NAMES)
def test_two_workers_have_one_workers_weights(runs, name):
    alone, first, second = (run[name]['state'] for run in runs)
    for part, weights in alone.items():
        if part.startswith('optimiser') or not isinstance(weights, dict):
            continue
        for key, value in weights.items():
            assert torch.equal(first[part][key], second[part][key])
            if 'num_batches' not in key:
                torch.testing.assert_close(first[part][key], value, rtol=0, atol=2e-4)


def test_exchanges_by_hand(runs):
    _, *both = runs
    for rank, run in enumerate(both):
        assert run['mean'].tolist() == [1.5, 10.0]
        assert run['mean_gradient'].tolist() == [1.5, 4.5]  # (1 + 2) / 2 times 1 and 3
        assert run['rows'].tolist() == [[0.0], [1.0]]
        assert run['rows_gradient'].tolist() == [[2.0 * (rank + 1)]]  # both workers weigh row r by r + 1
        assert run['averaged'].tolist() == [1.0, 1.0]
        assert run['losses'] == {'a': 0.5} and run['any'] is True and run['world'] == 2


def test_one_workers_wish_to_stop_ends_both(runs):
    assert [run['stopped'] for run in runs] == [36, 36, 36]


def test_alone_nothing_is_exchanged():
    value = torch.ones(2)
    assert mean_over_workers(value) is value and rows_of_workers(value) is value and world_size() == 1
    network = synchronise(nn.Sequential(nn.BatchNorm2d(2), MinibatchDiscrimination(4, 1, 1)))
    assert [type(layer) for layer in network] == [nn.BatchNorm2d, MinibatchDiscrimination]
    assert average({}) == {}


def test_synced_batchnorm_is_batchnorm():
    """Output, gradients and running statistics of torch's own layer, in training and in eval mode."""
    plain, synced = nn.BatchNorm2d(3, eps=1e-3), SyncedBatchNorm2d(3, eps=1e-3)
    nn.init.normal_(plain.weight)
    synced.load_state_dict(plain.state_dict())
    maps = torch.randn(4, 3, 5, 6) * 2 + 7
    gradients = []
    for layer in (plain, synced):
        entry = maps.clone().requires_grad_()
        layer(entry).pow(3).sum().backward()
        gradients.append((entry.grad, layer.weight.grad, layer.bias.grad))
    for own, peer in zip(*gradients, strict=True):
        torch.testing.assert_close(own, peer, rtol=1e-3, atol=1e-3)
    for name in ('running_mean', 'running_var'):
        torch.testing.assert_close(synced.get_buffer(name), plain.get_buffer(name), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(synced.eval()(maps), plain.eval()(maps), rtol=1e-4, atol=1e-4)


def test_a_backbone_whose_statistics_cannot_be_shared_wants_one_worker(runs):
    assert runs[0]['refused'] == ''
    assert all('timm/lcnet_050 cannot be trained by several workers: BatchNormAct2d' in run['refused'] for run in runs[1:])


if __name__ == '__main__':
    number, target = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group('gloo', init_method=f'file://{target}/meeting', rank=number, world_size=2)
    torch.save(outcome(number, 2), target / f'{number}.pt')
    dist.destroy_process_group()

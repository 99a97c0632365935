"""The loop: every image equally often, snapshots where asked, a resume that changes nothing, no trace left behind."""

import numpy as np
import pytest
import torch

from fpray.errors import UserError
from fpray.training.config import LoopConfig
from fpray.training.loop import Order, Pictures, derive, numerics, pick_device, train


class Recorder:
    """A learner that learns nothing and notes all that the loop gives it."""

    device = torch.device('cpu')

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.noise: list[float] = []
        self.dropout: list[float] = []
        self.threads: set[int] = set()

    def step(self, batch: torch.Tensor, noise: torch.Generator) -> dict[str, torch.Tensor]:
        pixels, labels = batch
        assert pixels.dtype == torch.float32 and pixels.min() >= -1 and pixels.max() <= 1
        self.rows += labels.tolist()
        self.noise.append(torch.rand((), generator=noise).item())
        self.dropout.append(torch.rand(()).item())
        self.threads.add(torch.get_num_threads())
        return {'loss': torch.tensor(float(len(self.noise)))}


def numbered(count: int) -> Pictures:
    return Pictures(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), labels=np.arange(count))


def run(loop: LoopConfig, learner: Recorder, count: int = 7, start: int = 0, stop_at: int | None = None):
    reports = []
    seen = train(
        loop,
        learner,
        numbered(count),
        seed=3,
        start=start,
        on_progress=lambda progress: reports.append(progress) or progress.images_seen == stop_at,
    )
    return seen, reports


def test_every_image_is_seen_equally_often():
    learner = Recorder()
    seen, _ = run(LoopConfig(images=4 * 7 * 5, batch=4), learner)  # batches of 4 straddle passes of 7
    assert seen == 140
    assert np.bincount(learner.rows).tolist() == [20] * 7
    passes = np.array(learner.rows).reshape(20, 7)
    assert (np.sort(passes) == np.arange(7)).all() and len({tuple(one) for one in passes}) > 15


def test_a_batch_may_hold_more_than_all_images():
    learner = Recorder()
    run(LoopConfig(images=30, batch=15), learner, count=4)
    assert sorted(learner.rows[:16]) == sorted([0, 1, 2, 3] * 4)


def test_the_last_batch_is_whole():
    seen, reports = run(LoopConfig(images=10, batch=4), Recorder())
    assert seen == 12 and reports[-1].images_seen == 12 and reports[-1].last


def test_snapshots_and_reports_come_where_asked():
    loop = LoopConfig(images=100, batch=4, snapshot_every=30, snapshot_at=(0.1, 0.5), report_every=8)
    _, reports = run(loop, Recorder())
    assert [one.images_seen for one in reports if one.snapshot] == [12, 32, 52, 60, 92, 100]
    assert [one.images_seen for one in reports] == sorted({*range(8, 101, 8), 12, 32, 52, 60, 92, 100})
    assert [one.last for one in reports] == [False] * (len(reports) - 1) + [True]
    assert reports[0].losses == {'loss': 1.5} and reports[0].images_per_s > 0  # steps 1 and 2
    assert reports[1].losses == {'loss': 3.0}  # since the last report


def test_a_true_answer_stops():
    seen, reports = run(LoopConfig(images=100, batch=4, snapshot_every=8), Recorder(), stop_at=16)
    assert seen == 16 and not reports[-1].last


def test_a_resume_sees_the_same_rows_and_noise():
    whole, parts = Recorder(), Recorder()
    run(LoopConfig(images=60, batch=4), whole)
    seen, _ = run(LoopConfig(images=60, batch=4, snapshot_every=20), parts, stop_at=20)
    run(LoopConfig(images=60, batch=4), parts, start=seen)
    assert (whole.rows, whole.noise, whole.dropout) == (parts.rows, parts.noise, parts.dropout)
    assert len(set(whole.noise)) == len(whole.noise)  # new noise at each step


def test_at_the_end_nothing_happens():
    seen, reports = run(LoopConfig(images=60, batch=4), Recorder(), start=60)
    assert seen == 60 and reports == []


def test_threads_are_set_inside_and_the_caller_keeps_his_own():
    before, learner = torch.get_num_threads(), Recorder()
    torch.manual_seed(8)
    expected = torch.rand(2)
    torch.manual_seed(8)
    run(LoopConfig(images=8, batch=4, threads=before + 1), learner)
    assert learner.threads == {before + 1} and torch.get_num_threads() == before
    assert torch.equal(torch.rand(2), expected)


def test_tiny_numbers_are_flushed_inside():
    tiny = torch.tensor(1e-39)
    with numerics(1):
        assert (tiny * 0.5).item() == 0
        with numerics(1):  # a snapshot's samples, drawn in the middle of a training
            pass
        assert (tiny * 0.5).item() == 0
    assert (tiny * 0.5).item() > 0


def test_order_is_drawn_from_the_seed():
    assert Order(50, 1).rows(0, 50).tolist() != Order(50, 2).rows(0, 50).tolist()
    assert Order(50, 1).rows(30, 45).tolist() == Order(50, 1).rows(0, 100)[30:75].tolist()
    assert derive(1, 2) != derive(2, 1) and 0 <= derive(10**40, 3) < 2**64


def test_rows_of_a_larger_set():
    data = Pictures(np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1), rows=np.array([2, 5, 7]))
    assert len(data) == 3 and data.batch(np.array([2, 0])).ravel().tolist() == [7, 2]


@pytest.mark.parametrize(
    ('make', 'part'),
    [
        (lambda: LoopConfig(images=0), 'at least 1'),
        (lambda: LoopConfig(batch=10, workers=4), 'multiple of 4'),
        (lambda: LoopConfig(snapshot_at=(0.5, 1.5)), 'shares'),
        (lambda: LoopConfig(amp='fp8'), 'no, bf16'),
        (lambda: Pictures(np.empty((0, 1, 8, 8), np.uint8)), 'no pictures'),
    ],
)
def test_impossible_loops_are_refused(make, part):
    with pytest.raises(UserError) as fault:
        make()
    assert part in str(fault.value)


def test_workers_must_be_as_many_as_configured():
    with pytest.raises(ValueError, match='2 workers'):
        train(LoopConfig(batch=4), Recorder(), numbered(4), 0, on_progress=lambda _: False, world=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_missing_gpu_is_said():
    with pytest.raises(UserError, match='no GPU'):
        pick_device('cuda')
    assert pick_device('auto').type == 'cpu'

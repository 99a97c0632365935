"""Black boxes: what a user's generator may return, what is refused, and that (n, seed) decides the draw."""

import pickle

import numpy as np
import pytest
import torch

from fpray.attacks.black_box import CallableGenerator, FolderGenerator, SampleFile
from fpray.errors import UserError

LEVELS = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


def uniform(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 1, 8, 8))


@pytest.mark.parametrize('answer', [
    lambda n, seed: LEVELS[:n],
    lambda n, seed: LEVELS[:n] / 255,
    lambda n, seed: LEVELS[:n] / 127.5 - 1,
    lambda n, seed: (LEVELS[:n] / 127.5 - 1)[:, 0].astype(np.float32),
    lambda n, seed: torch.tensor(LEVELS[:n] / 127.5 - 1, dtype=torch.float32, requires_grad=True),
], ids=['uint8', '[0,1]', '[-1,1]', 'without channel', 'tensor'])
def test_every_form_gives_the_same_bytes(answer) -> None:
    box = CallableGenerator(answer)
    assert box.kind == 'samples' and box.size is None
    np.testing.assert_array_equal(box.sample(20, seed=3), LEVELS[:20])


def test_three_colours_pass() -> None:
    colours = CallableGenerator(lambda n, seed: np.zeros((n, 3, 4, 5), np.uint8))
    assert colours.sample(2, 0).shape == (2, 3, 4, 5)


def test_seed_decides_and_order_of_calls_does_not() -> None:
    first, second = CallableGenerator(uniform), CallableGenerator(uniform)
    a = first.sample(5, 1)
    second.sample(7, 2)
    np.testing.assert_array_equal(a, second.sample(5, 1))
    assert (a != first.sample(5, 2)).any()


def test_one_bright_picture_does_not_change_the_scale() -> None:
    def symmetric(n: int, seed: int) -> np.ndarray:
        return np.full((n, 1, 2, 2), 0.5) if seed == 9 else uniform(n, seed)[:, :, :2, :2] * 2 - 1

    assert (CallableGenerator(symmetric).sample(1, 9) == 191).all()


@pytest.mark.parametrize(('answer', 'word'), [
    (lambda n, seed: np.zeros((n + 1, 1, 8, 8)), '17 pictures where 16'),
    (lambda n, seed: np.zeros((n, 2, 8, 8)), '16x2x8x8'),
    (lambda n, seed: np.zeros((n, 8, 8, 1)), '16x8x8x1'),
    (lambda n, seed: np.zeros((n, 64)), '16x64'),
    (lambda n, seed: None, 'a single value'),
    (lambda n, seed: np.zeros((n, 1, 8, 8), np.int64), 'int64'),
    (lambda n, seed: np.full((n, 1, 8, 8), np.nan), 'not finite'),
    (lambda n, seed: uniform(n, seed) * 255, 'outside'),
    (lambda n, seed: uniform(n, seed) * 4 - 2, 'outside'),
    (lambda n, seed: np.random.default_rng().random((n, 1, 8, 8)), 'same'),
    (lambda n, seed: uniform(n, seed) if n == 16 else uniform(n, seed)[:, :, :4], '1x4x8'),
    (lambda n, seed: uniform(n, seed) if n == 16 else LEVELS[:n], 'uint8'),
    (lambda n, seed: uniform(n, seed) * (1 if n == 16 else -1), 'outside'),
])
def test_bad_answers_are_refused_in_one_line(answer, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        CallableGenerator(answer).sample(5, 1)
    assert caught.value.mend and '\n' not in str(caught.value)


def test_a_named_scale_is_held_to() -> None:
    with pytest.raises(UserError, match=r'outside \[0, 1\]'):
        CallableGenerator(lambda n, seed: uniform(n, seed) - 0.5, scale='unit').sample(5, 1)
    dark = CallableGenerator(lambda n, seed: np.zeros((n, 1, 8, 8)), scale='symmetric').sample(2, 0)
    assert (dark == 128).all()  # as 'auto' it would be black
    with pytest.raises(UserError, match='unknown scale'):
        CallableGenerator(uniform, scale='percent')  # type: ignore[arg-type]


def test_a_folder_is_drawn_without_replacement_by_seed(tmp_path) -> None:
    np.save(tmp_path / 'samples.npy', LEVELS)
    for box in (FolderGenerator(LEVELS), SampleFile(tmp_path / 'samples.npy')):
        assert box.kind == 'samples' and box.size == 40
        everything = box.sample(40, 5)
        assert len({picture.tobytes() for picture in everything}) == 40
        np.testing.assert_array_equal(box.sample(12, 5), everything[:12])
        assert (box.sample(12, 6) != everything[:12]).any()
        with pytest.raises(UserError, match='41 generated pictures asked for, 40 given'):
            box.sample(41, 5)
    on_disk = SampleFile(tmp_path / 'samples.npy')
    np.testing.assert_array_equal(FolderGenerator(LEVELS).sample(9, 1), on_disk.sample(9, 1))


def test_boxes_travel_between_processes(tmp_path) -> None:
    np.save(tmp_path / 'samples.npy', LEVELS)
    used = CallableGenerator(uniform)
    used.sample(3, 0)
    for box in (used, CallableGenerator(uniform), SampleFile(tmp_path / 'samples.npy')):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(box)).sample(6, 2), box.sample(6, 2))


@pytest.mark.parametrize('pixels', [LEVELS[:0], LEVELS[:, 0], LEVELS / 255, np.zeros((3, 4, 8, 8), np.uint8)])
def test_what_is_no_set_of_pictures_is_refused(pixels: np.ndarray, tmp_path) -> None:
    np.save(tmp_path / 'bad.npy', pixels)
    with pytest.raises(UserError, match='generated pictures are'):
        FolderGenerator(pixels)
    with pytest.raises(UserError, match='generated pictures are'):
        SampleFile(tmp_path / 'bad.npy').sample(1, 0)


def test_a_missing_or_foreign_file_is_refused(tmp_path) -> None:
    (tmp_path / 'text.npy').write_text('hello')
    for name in ('absent.npy', 'text.npy'):
        with pytest.raises(UserError, match=name):
            SampleFile(tmp_path / name).sample(1, 0)

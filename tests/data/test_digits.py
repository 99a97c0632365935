"""MNIST files written by hand, packed and not; scikit-learn's digits under their own name; bad files in one line."""

import gzip
import struct

import numpy as np
import pytest

from fpray.data.digits import load_digits
from fpray.errors import UserError

RNG = np.random.default_rng(0)
PIXELS, LABELS = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8), np.arange(7, dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    magic = 2048 + array.ndim  # 0x08: unsigned bytes; then the number of dimensions
    return struct.pack(f'>{1 + array.ndim}i', magic, *array.shape) + array.tobytes()


def write(folder, part='train', pixels=PIXELS, labels=LABELS, packed=False, dot='-'):
    for name, array in ((f'images{dot}idx3', pixels), (f'labels{dot}idx1', labels)):
        path = folder / f'{part}-{name}-ubyte'
        if packed:
            path.with_name(f'{path.name}.gz').write_bytes(gzip.compress(idx(array)))
        else:
            path.write_bytes(idx(array))


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('dot', ['-', '.'])
def test_idx_files_come_back(tmp_path, packed, dot):
    write(tmp_path, packed=packed, dot=dot)
    pixels, labels, name, stand_in = load_digits(tmp_path)
    assert np.array_equal(pixels[:, 0], PIXELS) and np.array_equal(labels, LABELS)
    assert pixels.dtype == np.uint8 and labels.dtype == np.int64 and (name, stand_in) == ('MNIST', '')
    write(tmp_path, 't10k', PIXELS[:2, ::-1], LABELS[:2][::-1])
    both = load_digits(str(tmp_path))
    assert np.array_equal(both.pixels[7:, 0], PIXELS[:2, ::-1]) and both.labels[7:].tolist() == [1, 0]


def test_an_archive_of_arrays_is_read(tmp_path):
    np.savez(tmp_path / 'mnist.npz', x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:3], y_test=LABELS[:3])
    for where in (tmp_path, tmp_path / 'mnist.npz'):
        digits = load_digits(where)
        assert np.array_equal(digits.pixels[:, 0], np.concatenate([PIXELS, PIXELS[:3]])) and digits.name == 'MNIST'


def test_without_a_folder_scikit_learns_digits_stand_in_and_say_so():
    digits = load_digits()
    assert digits.pixels.shape == (1797, 1, 8, 8) and set(digits.labels) == set(range(10))
    assert digits.pixels.min() == 0 and digits.pixels.max() == 255
    assert 'scikit-learn' in digits.name and 'stand in for MNIST' in digits.stand_in
    large = load_digits(size=16)
    assert large.pixels.shape == (1797, 1, 16, 16)
    np.testing.assert_allclose(large.pixels.mean(axis=(1, 2, 3)), digits.pixels.mean(axis=(1, 2, 3)), atol=8)


def _labels_missing(folder):
    write(folder)
    (folder / 'train-labels-idx1-ubyte').unlink()


def _cut(folder):
    write(folder)
    path = folder / 'train-images-idx3-ubyte'
    path.write_bytes(path.read_bytes()[:-5])


def _cut_packed(folder):
    write(folder, packed=True)
    path = folder / 'train-images-idx3-ubyte.gz'
    path.write_bytes(path.read_bytes()[:-20])


def _swapped(folder):
    write(folder)
    (folder / 'train-labels-idx1-ubyte').write_bytes(idx(PIXELS))


def _promises(folder):
    write(folder)
    (folder / 'train-images-idx3-ubyte').write_bytes(struct.pack('>4i', 2051, 2**31 - 1, 28, 28))


def _pickled(folder):
    np.savez(folder / 'm.npz', x_train=np.array([{}], dtype=object), y_train=LABELS)


def _no_archive(folder):
    (folder / 'm.npz').write_bytes(b'nothing')


@pytest.mark.parametrize(('spoil', 'why'), [
    (lambda folder: None, 'no MNIST in'), (_labels_missing, 'images of train but not its labels'),
    (_cut, r'ends after 5,483 of 5,488 bytes'), (_cut_packed, 'cannot be read'), (_swapped, 'no idx file of labels'),
    (_promises, 'no idx file of images'), (_pickled, 'allow_pickle=False'), (_no_archive, 'cannot be read'),
    (lambda folder: write(folder, labels=LABELS[:6]), '7 pictures and labels of shape'),
    (lambda folder: write(folder, labels=LABELS + 5), 'labels from 5 to 11'),
    (lambda folder: write(folder, pixels=PIXELS[:, :20]), 'pictures of uint8 and shape'),
])
def test_bad_files_are_one_line(tmp_path, spoil, why):
    spoil(tmp_path)
    with pytest.raises(UserError, match=why) as caught:
        load_digits(tmp_path)
    assert caught.value.mend and '\n' not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match='absent is missing'):
        load_digits(tmp_path / 'absent')

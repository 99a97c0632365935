"""Classical codecs: what Pillow's own files hold, more bits for less error, and clear refusals."""

import io

import numpy as np
import pytest
from PIL import Image

from fpray.data import synthetic
from fpray.data.classical import CLASSICAL, curve_settings, encode
from fpray.errors import UserError


@pytest.fixture(scope='module')
def prints():
    pixels, _ = synthetic.generate(3, range(2), 1, 1, 96, 500)
    return pixels


@pytest.mark.parametrize('codec', CLASSICAL)
def test_bits_rise_and_error_falls_along_the_settings(codec, prints):
    bits, errors = [], []
    for setting in curve_settings(codec):
        size, decoded = encode(prints, codec, setting)
        assert decoded.shape == prints.shape and decoded.dtype == np.uint8
        bits.append(size)
        errors.append(((decoded.astype(float) - prints) ** 2).mean(axis=(1, 2, 3)))
    assert np.all(np.diff(bits, axis=0) > 0) and np.all(np.diff(errors, axis=0) < 0)


def test_the_bits_are_the_file_of_pillow(prints):
    file = io.BytesIO()
    Image.fromarray(prints[1, 0]).save(file, 'JPEG', quality=50, optimize=True)
    bits, decoded = encode(prints, 'JPEG', 50)
    assert bits[1] == 8 * len(file.getvalue())
    assert np.array_equal(decoded[1, 0], np.asarray(Image.open(file)))


def test_jpeg_2000_keeps_its_ratio(prints):
    bits, _ = encode(prints, 'JPEG 2000', 10)
    assert bits == pytest.approx(np.full(2, 0.8 * 96 * 96), rel=0.05)


@pytest.mark.parametrize('codec', CLASSICAL)
def test_colour_and_odd_sizes(codec):
    ramp = np.linspace(0, 255, 33 * 47).reshape(33, 47)
    colour = np.stack([ramp, ramp[::-1], np.full_like(ramp, 128)]).astype(np.uint8)[None]
    _, decoded = encode(colour, codec, curve_settings(codec)[-1])
    assert decoded.shape == colour.shape
    assert np.abs(decoded.astype(float) - colour).mean() < 6


def test_refusals(prints):
    with pytest.raises(UserError, match='JPEG, JPEG 2000, WebP'):
        encode(prints, 'PNG', 50)
    with pytest.raises(UserError, match='quality 101'):
        encode(prints, 'WebP', 101)
    with pytest.raises(UserError, match='compression ratio 0'):
        encode(prints, 'JPEG 2000', 0)


def test_no_pictures_give_no_bits():
    bits, decoded = encode(np.zeros((0, 1, 32, 32), np.uint8), 'JPEG', 50)
    assert bits.shape == (0,) and decoded.shape == (0, 1, 32, 32)

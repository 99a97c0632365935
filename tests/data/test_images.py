"""Decoding against the written pixels, the two conversions, fitting, alterations and contact sheets."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fpray.data import images
from fpray.errors import UserError

GRAY = np.random.default_rng(0).integers(0, 256, (40, 32)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (40, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize('extension', ['bmp', 'png', 'tif', 'pgm'])
def test_lossless_gray_pictures_come_back_bit_for_bit(tmp_path, extension):
    Image.fromarray(GRAY).save(tmp_path / f'a.{extension}')
    assert np.array_equal(images.decode(tmp_path / f'a.{extension}'), GRAY[None])


def test_colour_pictures_come_back_channels_first(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / 'a.png')
    assert np.array_equal(images.decode(tmp_path / 'a.png'), COLOUR.transpose(2, 0, 1))


def test_jpeg_is_read_and_near_the_original(tmp_path):
    smooth = np.broadcast_to(np.linspace(0, 255, 32, dtype=np.uint8), (40, 32))
    Image.fromarray(smooth).save(tmp_path / 'a.JPG', quality=95)
    assert np.abs(images.decode(tmp_path / 'a.JPG')[0].astype(int) - smooth).max() < 8


def test_one_bit_and_palettes_become_gray_or_colour(tmp_path):
    bits = Image.fromarray(GRAY).convert('1')
    bits.save(tmp_path / 'bits.png')
    assert np.array_equal(images.decode(tmp_path / 'bits.png')[0], np.asarray(bits) * np.uint8(255))
    Image.fromarray(GRAY).convert('P').save(tmp_path / 'gray.bmp')
    assert np.array_equal(images.decode(tmp_path / 'gray.bmp'), GRAY[None])
    Image.fromarray(COLOUR).convert('P').save(tmp_path / 'colour.png')
    assert images.decode(tmp_path / 'colour.png').shape == (3, 40, 32)


def _tiff_pages(path):
    Image.fromarray(GRAY).save(path, save_all=True, append_images=[Image.fromarray(GRAY)])


def _png_of_16_bit_rgb(path):
    """Pillow cannot write one, so it is written by hand: IHDR with depth 16 and colour type 2."""
    def chunk(kind, body):
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    rows = b''.join(b'\0' + bytes(20 * 6) for _ in range(20))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 20, 20, 16, 2, 0, 0, 0))
                     + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def _alpha(path):
    Image.fromarray(np.dstack([COLOUR, GRAY])).save(path)


BAD = {
    'text.png': (lambda p: p.write_text('hello'), 'not a readable picture'),
    'zero.png': (lambda p: p.write_bytes(b''), 'empty file'),
    'deep.png': (lambda p: Image.fromarray(GRAY.astype(np.uint16) * 257).save(p), '16 bits'),
    'deep.tif': (lambda p: Image.fromarray(GRAY.astype(np.uint16) * 257).save(p), '16 bits'),
    'deep.pgm': (lambda p: Image.fromarray(GRAY.astype(np.uint16) * 257).save(p), '16 bits'),
    'float.tif': (lambda p: Image.fromarray(GRAY.astype(np.float32)).save(p), '16 bits'),
    'deep_rgb.png': (_png_of_16_bit_rgb, '16 bits'),
    'deep_rgb.pgm': (lambda p: p.write_bytes(b'P6 20 20 65535\n' + bytes(20 * 20 * 6)), '16 bits'),
    'alpha.png': (_alpha, 'alpha'),
    'key.png': (lambda p: Image.fromarray(GRAY).save(p, transparency=int(GRAY[0, 0])), 'alpha'),
    'cmyk.jpg': (lambda p: Image.fromarray(COLOUR).convert('CMYK').save(p), 'CMYK'),
    'pages.tif': (_tiff_pages, '2 pages'),
    'small.png': (lambda p: Image.fromarray(GRAY[:2, :2]).save(p), '2 x 2 px, too small'),
    'bomb.png': (lambda p: Image.new('1', (9000, 9000)).save(p), 'too large'),
    'gif.png': (lambda p: Image.fromarray(GRAY).save(p, format='GIF'), 'not a readable picture'),
}


@pytest.mark.parametrize('name', BAD)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, name):
    make, why = BAD[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=why) as caught:
        images.decode(tmp_path / name)
    assert name in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
@pytest.mark.parametrize('extension', ['bmp', 'png', 'tif', 'pgm', 'jpg'])
def test_a_truncated_picture_is_refused_at_any_cut(tmp_path, extension):
    whole = io.BytesIO()
    kind = {'pgm': 'ppm', 'tif': 'tiff', 'jpg': 'jpeg'}.get(extension, extension)
    Image.fromarray(GRAY).save(whole, format=kind)
    length = len(whole.getvalue())
    for kept in (1, 10, 60, length // 2, length - 40):
        (tmp_path / f'a.{extension}').write_bytes(whole.getvalue()[:kept])
        with pytest.raises(UserError, match=rf'a\.{extension} is not a readable'):
            images.decode(tmp_path / f'a.{extension}')


def test_an_opaque_alpha_channel_is_dropped(tmp_path):
    Image.fromarray(COLOUR).convert('RGBA').save(tmp_path / 'a.png')
    assert np.array_equal(images.decode(tmp_path / 'a.png'), COLOUR.transpose(2, 0, 1))


def test_image_id_knows_pixels_not_files(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / 'a.png')
    Image.fromarray(np.dstack([GRAY] * 3)).save(tmp_path / 'b.bmp')
    one, other = images.decode(tmp_path / 'a.png'), images.decode(tmp_path / 'b.bmp')
    assert one.shape != other.shape and images.image_id(one) == images.image_id(other)
    assert images.image_id(one) != images.image_id(one.reshape(1, 32, 40)), 'the shape counts'
    assert images.image_id(one) != images.image_id(one ^ np.uint8(1))


def test_floats_and_back_are_exact_for_every_gray_level():
    levels = np.arange(256, dtype=np.uint8)
    floats = images.to_float(levels)
    assert floats.dtype == np.float32 and floats[0] == -1 and floats[255] == 1
    assert np.array_equal(images.to_uint8(floats), levels)
    assert np.array_equal(images.to_uint8(np.array([-3, 3])), [0, 255])


def test_tensors_and_arrays_agree_bit_for_bit():
    torch = pytest.importorskip('torch')
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(images.to_float(torch.from_numpy(levels)).numpy(), images.to_float(levels))
    values = np.random.default_rng(0).normal(0, 0.7, 10_000).astype(np.float32)
    back = images.to_uint8(torch.from_numpy(values).requires_grad_())
    assert back.dtype == torch.uint8 and np.array_equal(back.numpy(), images.to_uint8(values))
    with pytest.raises(ValueError, match='finite'):
        images.to_uint8(torch.tensor([float('nan')]))
    with pytest.raises(ValueError, match='finite'):
        images.to_uint8(np.array([np.inf]))


def test_the_module_imports_no_torch():
    code = 'import sys, fpray.data.splits, fpray.data.scan; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


@given(st.integers(16, 60), st.integers(16, 60), st.integers(16, 60), st.sampled_from([1, 3]))
def test_fit_keeps_every_pixel_where_it_can(height, width, size, channels):
    picture = np.random.default_rng(0).integers(0, 256, (channels, height, width)).astype(np.uint8)
    if size <= min(height, width):
        top, left = (height - size) // 2, (width - size) // 2
        cropped = images.fit(picture, 'crop', size)
        assert np.array_equal(cropped, picture[:, top:top + size, left:left + size])
        assert abs((height - size - top) - top) <= 1
    else:
        with pytest.raises(UserError, match='smaller'):
            images.fit(picture, 'crop', size)
    if size >= max(height, width):
        padded = images.fit(picture, 'pad', size)
        top, left = (size - height) // 2, (size - width) // 2
        inner = padded[:, top:top + height, left:left + width]
        assert padded.shape == (channels, size, size) and np.array_equal(inner, picture)
        outside = np.ones((size, size), bool)
        outside[top:top + height, left:left + width] = False
        for c in range(channels):
            assert (padded[c][outside] == images.border_median(picture)[c]).all()
    else:
        with pytest.raises(UserError, match='larger'):
            images.fit(picture, 'pad', size)
    assert images.fit(picture, 'none', size) is picture


def test_border_median_is_the_background():
    picture = np.full((1, 30, 30), 250, np.uint8)
    picture[0, 5:25, 5:25] = 40
    picture[0, 0, :8] = 0
    assert images.border_median(picture).tolist() == [250]


def _ridges(number=3, side=64):
    y, x = np.mgrid[:side, :side]
    radii = [np.hypot(x - side / 2 - 3 * n, y - side / 2) for n in range(number)]
    waves = [127.5 + 110 * np.sin(2 * np.pi * radius / 8) for radius in radii]
    return np.stack(waves)[:, None].astype(np.uint8)


def test_alterations_are_mild_and_hang_on_their_own_seed_alone():
    pictures = _ridges()
    altered = images.alter(pictures, [5, 6, 7])
    assert np.array_equal(altered, images.alter(pictures, [5, 6, 7]))
    assert np.array_equal(altered[1:2], images.alter(pictures[1:2], 6))
    assert not np.array_equal(images.alter(pictures[:1], 5), images.alter(pictures[:1], 6))
    for one, other in zip(pictures, altered, strict=True):
        assert not np.array_equal(one, other)
        assert abs(one.mean(dtype=float) - other.mean(dtype=float)) < 20


def test_strength_zero_changes_nothing_and_more_strength_changes_more():
    pictures = _ridges()
    assert np.array_equal(images.alter(pictures, 3, strength=0), pictures)
    versions = [images.alter(pictures, 3, strength=s).astype(int) for s in (0.05, 0.1, 0.2)]
    change = [np.abs(version - pictures).mean() for version in versions]
    assert 0 < change[0] < change[1] < change[2]
    with pytest.raises(ValueError, match='strength'):
        images.alter(pictures, 3, strength=9)
    with pytest.raises(ValueError, match='seeds'):
        images.alter(pictures, [1])


def test_shift_alone_is_a_translation():
    """The centre of mass of a blob moves by the shift that was drawn."""
    smooth = np.zeros((1, 1, 64, 64))
    y, x = np.mgrid[:64, :64]
    smooth[0, 0] = 200 * np.exp(-((y - 32) ** 2 + (x - 32) ** 2) / 60)
    moved = images.alter(smooth.astype(np.uint8), 11, kinds=['shift'])[0, 0].astype(float)
    centre = np.array([(moved * y).sum(), (moved * x).sum()]) / moved.sum()
    rng = np.random.default_rng(11)
    rng.uniform(-8, 8)
    assert np.allclose(centre, 32 - rng.uniform(-0.04, 0.04, 2) * 64, atol=0.05)


def test_contact_sheet_puts_every_picture_in_its_place(tmp_path):
    pictures = np.stack([np.full((1, 20, 16), n * 10, np.uint8) for n in range(5)])
    sheet = images.contact_sheet(pictures, columns=3, gap=2)
    assert sheet.shape == (2 * 22 + 2, 3 * 18 + 2)
    for n in range(5):
        top, left = 2 + n // 3 * 22, 2 + n % 3 * 18
        assert (sheet[top:top + 20, left:left + 16] == n * 10).all()
    assert (sheet[:2] == 255).all() and (sheet[24:44, 38:54] == 255).all(), 'the sixth place is empty'
    marked = images.contact_sheet(pictures, columns=3, gap=2, marked=np.arange(5) == 4)
    assert marked.shape == (46, 56, 3)
    assert marked[23, 20].tolist() == [214, 83, 0] and marked[0, 5].tolist() == [255, 255, 255]
    images.save_png(marked, tmp_path / 'sheet.png')
    assert np.array_equal(images.decode(tmp_path / 'sheet.png').transpose(1, 2, 0), marked)
    images.save_png(sheet, tmp_path / 'gray.png')
    assert np.array_equal(images.decode(tmp_path / 'gray.png')[0], sheet)


def test_scaling_takes_the_mean_over_area_of_the_central_square():
    picture = np.random.default_rng(3).integers(0, 256, (3, 64, 40)).astype(np.uint8)
    blocks = picture[:, 12:52].reshape(3, 20, 2, 20, 2).mean(axis=(2, 4))
    assert np.abs(images.fit(picture, 'scale', 20) - blocks).max() <= 0.5 + 1e-9
    assert np.array_equal(images.fit(picture, 'scale', 40), picture[:, 12:52])
    ramp = np.broadcast_to(np.arange(0, 240, 20, dtype=np.uint8), (1, 12, 12))
    assert images.fit(ramp, 'scale', 24)[0, 0].tolist() == [0, *range(5, 220, 10), 220], 'linear between two middles'

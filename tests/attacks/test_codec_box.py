"""Codecs as black boxes: what a user's callable or folders may hold, and what is refused in one line."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fpray.attacks.codec_box import CallableCodec, FolderCodec
from fpray.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 1, 16, 20), dtype=np.uint8)


def coarse(pixels: np.ndarray) -> np.ndarray:
    """A codec's reconstruction: eight gray levels."""
    return (pixels // 32 * 32 + 16).astype(np.uint8)


def bits(pixels: np.ndarray) -> np.ndarray:
    return 100 + 8 * (pixels.reshape(len(pixels), -1) > 127).sum(axis=1)


# A callable


@pytest.mark.parametrize('answer', [
    lambda x: (bits(x), coarse(x)),
    lambda x: [bits(x).tolist(), coarse(x).astype(np.float32)],
    lambda x: (bits(x), coarse(x) / 255),
    lambda x: (bits(x), coarse(x) / 127.5 - 1),
    lambda x: (torch.tensor(bits(x)), torch.tensor(coarse(x) / 255, requires_grad=True)),
], ids=['uint8', 'gray levels', '[0,1]', '[-1,1]', 'tensors'])
@pytest.mark.parametrize('batch', [1, 7, 64])
def test_every_form_gives_the_same_answer(answer, batch: int) -> None:
    box = CallableCodec(answer, batch=batch)
    found = box.compress(PIXELS)
    assert box.kind == 'bits' and found.bits.dtype == np.float64 and found.reconstructions.dtype == np.float32
    np.testing.assert_array_equal(found.bits, bits(PIXELS))
    np.testing.assert_allclose(found.reconstructions, coarse(PIXELS), atol=1e-4)
    one = box.compress(PIXELS[5:6])
    np.testing.assert_array_equal(one.reconstructions, found.reconstructions[5:6])


def test_fractions_of_gray_levels_are_kept() -> None:
    found = CallableCodec(lambda x: (bits(x), (coarse(x) + 0.25) / 255)).compress(PIXELS)
    np.testing.assert_allclose(found.reconstructions, coarse(PIXELS) + 0.25, atol=1e-4)


def test_the_scale_is_the_first_answers_for_all_calls() -> None:
    box = CallableCodec(lambda x: (bits(x), coarse(x) / 127.5 - 1))
    box.compress(PIXELS)
    bright = np.full((2, 1, 16, 20), 240, np.uint8)
    np.testing.assert_allclose(box.compress(bright).reconstructions, 240, atol=1e-4)


def test_a_callable_may_write_into_what_it_is_given() -> None:
    def spoil(x: np.ndarray) -> tuple:
        answer = bits(x), coarse(x)
        x[:] = 0
        return answer

    before = PIXELS.copy()
    CallableCodec(spoil).compress(PIXELS)
    np.testing.assert_array_equal(PIXELS, before)


class Stateful:
    """Answers that hang on more than the picture."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: np.ndarray) -> tuple:
        self.calls += 1
        return bits(x) + 8 * self.calls, coarse(x)


@pytest.mark.parametrize(('answer', 'word'), [
    (lambda x: coarse(x), 'returned a ndarray'),
    (lambda x: (bits(x), coarse(x), 0), 'returned a tuple'),
    (lambda x: (bits(x)[:-1], coarse(x)), r'sizes of shape \(15,\)'),
    (lambda x: (bits(x).mean(), coarse(x)), r'sizes of shape \(\)'),
    (lambda x: (bits(x) > 0, coarse(x)), 'bool'),
    (lambda x: (bits(x) * 0, coarse(x)), 'not positive'),
    (lambda x: (bits(x) * np.nan, coarse(x)), 'not positive'),
    (lambda x: (bits(x), coarse(x)[1:]), 'reconstructions of shape'),
    (lambda x: (bits(x), coarse(x)[..., :16]), 'reconstructions of shape'),
    (lambda x: (bits(x), coarse(x).astype(np.int64)), 'int64'),
    (lambda x: (bits(x), np.where(x > 250, np.nan, x)), 'not finite'),
    (lambda x: (bits(x), coarse(x) * 1.2), 'outside'),
    (lambda x: (bits(x), coarse(x) / 100 - 1), 'outside'),
    (Stateful(), 'same pictures twice'),
    (lambda x: (bits(x), np.random.default_rng().integers(0, 256, x.shape).astype(np.uint8)), 'same pictures twice'),
    (lambda x: (np.sort(bits(x)), coarse(x)), 'another order'),
    (lambda x: (bits(x), coarse(x) + 2.0 * np.arange(len(x))[:, None, None, None] / len(x)), 'another order'),
    (lambda x: (np.full(len(x), bits(x).mean()), coarse(x)), 'alone and among others'),
    (lambda x: (bits(x), np.broadcast_to(coarse(x).mean(axis=0), x.shape)), 'alone and among others'),
])
def test_bad_answers_are_refused_in_one_line(answer, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        CallableCodec(answer).compress(PIXELS[:16])
    assert caught.value.mend and '\n' not in str(caught.value)


def test_a_fault_after_the_first_call_is_refused_too() -> None:
    box = CallableCodec(lambda x: (bits(x), coarse(x) / (255 if x[0, 0, 0, 0] else 1)))
    box.compress(np.maximum(PIXELS, 1))
    with pytest.raises(UserError, match='outside'):
        box.compress(np.where(np.arange(16)[:, None], PIXELS[:2], 0).astype(np.uint8))


def test_scale_batch_and_pictures_are_checked() -> None:
    with pytest.raises(UserError, match='unknown scale'):
        CallableCodec(lambda x: x, scale='percent')  # type: ignore[arg-type]
    with pytest.raises(UserError, match='batch of 0'):
        CallableCodec(lambda x: x, batch=0)
    with pytest.raises(UserError, match="outside the range of scale 'unit'"):
        CallableCodec(lambda x: (bits(x), coarse(x) / 127.5 - 1), scale='unit').compress(PIXELS)
    for pixels in (PIXELS[:0], PIXELS[:, 0], PIXELS / 255, np.zeros((3, 4, 16, 16), np.uint8)):
        with pytest.raises(UserError, match='pictures to compress are'):
            CallableCodec(lambda x: (bits(x), coarse(x))).compress(pixels)


# Folders


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Originals a/, decompressed b/, compressed c/: six pictures of two people, of a size that is the row's."""
    for row in range(6):
        name = f's{row // 3}/0{row % 3}'
        for folder, suffix in (('a', '.bmp'), ('b', '.png'), ('c', '.wsq')):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            if folder == 'c':
                (tmp_path / f'c/{name}{suffix}').write_bytes(b'x' * (10 + row))
            else:
                picture = PIXELS[row, 0] if folder == 'a' else coarse(PIXELS[row, 0])
                Image.fromarray(picture).save(tmp_path / f'{folder}/{name}{suffix}')
    return tmp_path


def codec(root: Path) -> FolderCodec:
    return FolderCodec(*(str(root / folder) for folder in 'abc'))


def test_folders_match_by_name_and_pictures_by_content(folders: Path) -> None:
    box = codec(folders)
    order = [4, 0, 5, 0]
    found = pickle.loads(pickle.dumps(box)).compress(PIXELS[order])
    assert box.kind == 'bits' and found.bits.tolist() == [112, 80, 120, 80] and found.reconstructions.dtype == np.float32
    np.testing.assert_array_equal(found.reconstructions, coarse(PIXELS[order]))


def test_gray_saved_as_colour_hidden_files_and_double_suffixes_pass(folders: Path) -> None:
    for folder in 'ab':
        for path in (folders / folder / 's0').iterdir():
            Image.open(path).convert('RGB').save(path)
    (folders / 'c/.index').write_text('')
    (folders / 'c/s1/02.wsq').rename(folders / 'c/s1/02.bmp.wsq')
    for channels in (1, 3):
        found = codec(folders).compress(np.repeat(PIXELS[:6], channels, axis=1))
        np.testing.assert_array_equal(found.reconstructions, np.repeat(coarse(PIXELS[:6]), channels, axis=1))


def test_without_the_compressed_files_there_is_no_rate(folders: Path) -> None:
    with pytest.raises(UserError, match=r'rate is unknown.*name the folder'):
        FolderCodec(str(folders / 'a'), str(folders / 'b'), None)


def save(values: np.ndarray, mode: str | None = None) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        picture = Image.fromarray(values)
        (picture.convert(mode) if mode else picture).save(root / 'b/s0/01.png')
    return change


def transparent(root: Path) -> None:
    picture = Image.fromarray(PIXELS[1, 0]).convert('RGBA')
    picture.putalpha(90)
    picture.save(root / 'a/s0/01.png')
    (root / 'a/s0/01.bmp').unlink()


@pytest.mark.parametrize(('change', 'word'), [
    (lambda root: (root / 'b/s0/01.png').unlink(), r"'s0/01' is in .*a but not in .*b"),
    (lambda root: (root / 'a/s0/01.bmp').unlink(), r"'s0/01' is in .*b but not in .*a"),
    (lambda root: (root / 'c/s1/02.wsq').unlink(), r"'s1/02' is in .*a but not in .*c"),
    (lambda root: (root / 'c/s1/07.wsq').write_bytes(b'x'), r"'s1/07' is in .*c but not in .*a"),
    (lambda root: shutil.rmtree(root / 'b/s1'), r"'s1/00' \(and 2 more\)"),
    (lambda root: shutil.rmtree(root / 'c'), 'c is no folder'),
    (lambda root: shutil.rmtree(root / 'b'), 'b is missing'),
    (lambda root: (root / 'c/s1/02.wsq').write_bytes(b''), r's1/02\.wsq in .* is an empty file'),
    (lambda root: (root / 'b/s0/01.png').write_bytes(b''), r's0/01\.png is an empty file'),
    (lambda root: (root / 'b/s0/01.png').write_text('hello'), r's0/01\.png is not a readable picture'),
    (lambda root: shutil.copy(root / 'a/s0/01.bmp', root / 'a/s0/01.tif'), 'differ in their suffix alone'),
    (save(PIXELS[1, 0, :, :18]), '18 x 16 px, its original 20 x 16'),
    (save(PIXELS[1, 0].astype(np.uint16) * 257), '16 bits'),
    (save(np.moveaxis(np.concatenate([PIXELS[1], PIXELS[2], PIXELS[3]]), 0, -1)), 'in colour, its original is gray'),
    (transparent, 'transparent pixels'),
])
def test_faults_of_a_folder_are_one_line_before_anything_is_scored(folders: Path, change, word: str) -> None:
    change(folders)
    with pytest.raises(UserError, match=word) as caught:
        codec(folders).compress(PIXELS[:1])  # the fault lies in another picture
    assert caught.value.mend and '\n' not in str(caught.value)


def test_pictures_from_elsewhere_or_resized_are_refused(folders: Path) -> None:
    box = codec(folders)
    with pytest.raises(UserError, match='2 of 3 pictures are not in'):
        box.compress(PIXELS[5:8])
    with pytest.raises(UserError, match=r'1 of 1 pictures are not in .*not resized'):
        box.compress(PIXELS[:1, :, :, 1:])

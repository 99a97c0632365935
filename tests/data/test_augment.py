"""Alterations: deterministic, the same for everybody, where they should be and nowhere else; sensors and alignments."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fpray.data import augment as aug
from fpray.data import faces
from fpray.data.config import DataConfig
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet, read_folder
from fpray.data.synthetic import generate
from fpray.errors import UserError

PRINTS = generate(3, range(4), 1, 1, 64)[0]
IDS = [image_id(picture) for picture in PRINTS]
REAL = os.environ.get('FPRAY_TEST_DATA', '')
DLIB = all(importlib.util.find_spec(name) for name in ('dlib', 'face_recognition_models'))
needs_dlib = pytest.mark.skipif(not DLIB, reason='the extra faces is not installed')


def one(kind: str, strength: str = 'hard', seed: int = 0) -> np.ndarray:
    """(4, 64, 64) the version of this kind of each print, as int."""
    return aug.augment(PRINTS, IDS, 2, seed, (kind,), strength)[0][1::2, 0].astype(int)


def changed(kind: str, strength: str) -> float:
    return float(np.mean([(np.abs(one(kind, strength, seed) - PRINTS[:, 0]) > 10).mean() for seed in range(5)]))


def test_the_first_version_is_the_picture_and_the_rest_hang_on_seed_and_id_alone():
    pixels, names = aug.augment(PRINTS, IDS, 10, 5)
    assert pixels.shape == (40, 1, 64, 64) and len(names) == 40 and names[:10] == names[10:20] == aug.versions(10)
    assert np.array_equal(pixels[::10], PRINTS)
    turned = aug.augment(PRINTS[::-1], IDS[::-1], 12, 5)[0].reshape(4, 12, 64, 64)[::-1, :10]
    assert np.array_equal(turned.reshape(pixels[:, 0].shape), pixels[:, 0]), 'neither order nor the number of versions'
    assert (aug.augment(PRINTS, IDS, 10, 6)[0] != pixels).any()
    assert len({picture.tobytes() for picture in pixels}) == 40


def test_every_picture_gets_the_same_kinds_at_the_same_strengths():
    names = aug.versions(16)
    assert names[0] == 'original' and names[1:6] == [f'{kind}-easy' for kind in aug.ALTERATIONS]
    assert names[6] == 'obliteration-medium' and names[11] == 'obliteration-hard'
    assert aug.versions(3, ('z-cut',), 'hard') == ['original', 'z-cut-hard', 'z-cut-hard']


@pytest.mark.parametrize('values', [{'times': 0}, {'kinds': ()}, {'kinds': ('blur',)}, {'strength': 'harder'}])
def test_versions_that_cannot_be(values):
    with pytest.raises(ValueError, match='versions of kinds'):
        aug.versions(**({'times': 3} | values))


@pytest.mark.parametrize('kind', aug.ALTERATIONS)
def test_a_stronger_alteration_changes_more(kind):
    shares = [changed(kind, strength) for strength in aug.STRENGTHS]
    assert 0.005 < shares[0] < shares[1] < shares[2] < 0.8


@pytest.mark.parametrize('kind', ['obliteration', 'central-rotation', 'z-cut'])
def test_what_lies_far_from_the_middle_stays(kind):
    for before, after in zip(PRINTS, one(kind, 'easy'), strict=True):
        found = aug._print(before)
        far = found.distance > 0.75 * found.radius + 2
        assert far.any() and np.array_equal(after[far], before[0, far])


def test_a_worn_patch_has_no_ridges_left():
    """Power near the ridges' frequency, in the middle of the print."""
    def ridges(pictures: np.ndarray) -> float:
        middle = pictures[:, 22:42, 22:42].astype(float)
        power = np.abs(np.fft.fft2(middle - middle.mean(axis=(1, 2), keepdims=True))) ** 2
        radius = np.hypot(np.fft.fftfreq(20)[:, None], np.fft.fftfreq(20)[None])
        return float(power[:, (radius > 0.1) & (radius < 0.25)].sum())
    assert ridges(one('obliteration')) < 0.4 * ridges(PRINTS[:, 0])


def rings() -> aug._Print:
    """A bull's eye: the same under any rotation about its middle."""
    y, x = np.meshgrid(np.arange(65.0) - 32, np.arange(65.0) - 32, indexing='ij')
    return aug._Print((128 + 100 * np.cos(np.hypot(y, x)))[None], y, x, 30.0, np.full((1, 1, 1), 255.0))


@pytest.mark.parametrize('level', [0, 1, 2])
def test_a_turned_disc_of_rings_is_the_same_but_for_its_scar(level):
    found = rings()
    turned = aug._rotate_centre(found, np.random.default_rng(level), level)
    radius = (0.3, 0.45, 0.6)[level] * 30
    away = np.abs(found.distance - radius) > 3
    assert np.abs(turned - found.values)[0, away].max() < 35, 'bilinear rounding of the finest rings'
    assert (turned[0, np.abs(found.distance - radius) < 0.3] > 240).all(), 'the scar is background'


def test_the_flaps_of_a_z_exchange_their_places():
    """Flaps of one gray each: afterwards each holds the other's, and nothing else has changed but scars."""
    found, side = rings(), 0.85 * 30
    along = np.random.default_rng(0).uniform(0, 2 * np.pi)
    across = np.sin(along) * found.x - np.cos(along) * found.y  # sign tells the two flaps apart
    halves = np.where(across > 0, 50.0, 200.0)[None]
    cut = aug._cut_z(aug._Print(halves, found.y, found.x, 30.0, found.background), np.random.default_rng(0), 2)
    swapped = np.abs(cut - (250 - halves))[0] < 1
    area = 2 * np.sqrt(3) / 4 * side**2
    assert 0.7 * area < swapped.sum() < area
    assert np.array_equal(cut[0, found.distance > side + 3], halves[0, found.distance > side + 3])


def test_a_translated_print_is_the_print_elsewhere():
    for before, after in zip(PRINTS[:, 0].astype(int), one('translation'), strict=True):
        kept = []
        for down in range(-17, 18):
            for right in range(-17, 18):
                there = after[max(down, 0):64 + min(down, 0), max(right, 0):64 + min(right, 0)]
                here = before[max(-down, 0):64 + min(-down, 0), max(-right, 0):64 + min(-right, 0)]
                if np.array_equal(here, there):
                    kept.append(np.hypot(down, right))
        assert len(kept) == 1 and 0.14 * 64 < kept[0] < 0.27 * 64, 'one shift, of the strength asked for'


def test_a_cropped_print_keeps_its_window_and_has_background_around():
    for before, after in zip(PRINTS[:, 0].astype(int), one('cropping'), strict=True):
        gone = after != before
        assert len(np.unique(after[gone])) == 1
        rows, columns = (np.flatnonzero((after != after[gone][0]).any(axis=axis)) for axis in (1, 0))
        assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) < 0.68 * 64 * 64


def test_background_is_that_around_the_print_not_that_of_a_frame():
    framed = PRINTS[0].copy()
    framed[:, [0, -1]], framed[:, :, [0, -1]] = 90, 90
    assert aug._print(framed).background.item() == pytest.approx(np.median(PRINTS[0, 0, :8, :8]), abs=12)


def test_a_flat_picture_passes():
    flat = np.full((1, 3, 32, 40), 77, np.uint8)
    pixels, _ = aug.augment(flat, ['a'], 6, 0)
    assert pixels.shape == (6, 3, 32, 40)


def test_versions_never_part_from_their_original(tmp_path):
    records = pd.DataFrame({'image_id': IDS, 'subject': ['0', '0', '1', '1'], 'identity': list('abcd'), 'impression': '1',
                            'position': '', 'pattern': '', 'path': list('wxyz')})
    kept = ImageSet(PRINTS, records, {'name': 'prints', 'synthetic': True})
    longer, stored = aug.augmented(kept, 5, 1), aug.augmented(kept, 5, 1, into=tmp_path / 'set')
    for made in (longer, stored):
        assert made.pixels.shape == (20, 1, 64, 64)
        assert made.records['identity'].tolist() == [name for name in 'abcd' for _ in range(5)]
        assert made.records['subject'].tolist() == ['0'] * 10 + ['1'] * 10
        assert made.records['altered'].tolist() == [False, True, True, True, True] * 4
        assert not made.records.duplicated(['identity', 'impression']).any()
        assert made.records['impression'][:2].tolist() == ['1', '1/obliteration-easy-1']
        assert [image_id(picture) for picture in made.pixels] == made.records['image_id'].tolist()
        assert made.meta['augmented'] == {'times': 5, 'seed': 1, 'kinds': list(aug.ALTERATIONS), 'strength': 'mixed'}
    assert np.array_equal(longer.pixels, stored.pixels) and isinstance(stored.pixels, np.memmap)


# Another pipeline -------------------------------------------------------------------------------------------


def test_another_sensor_is_zoom_gamma_and_blur():
    assert np.array_equal(aug.sensor(PRINTS, 'same'), PRINTS)
    flat = np.full((2, 1, 32, 32), 64, np.uint8)
    assert (aug.sensor(flat, 'other') == round(255 * (64 / 255) ** 0.75)).all()
    dot = np.zeros((1, 1, 65, 65), np.uint8)
    dot[0, 0, 32, 57] = 255  # 25 px right of the middle
    seen = aug.sensor(dot, 'other')[0, 0].astype(float)
    assert np.average(np.arange(65), weights=seen.sum(axis=0)) - 32 == pytest.approx(25 * 1.12, abs=0.2)
    assert np.average(np.arange(65), weights=seen.sum(axis=1)) == pytest.approx(32, abs=0.1)
    with pytest.raises(ValueError, match='unknown sensor'):
        aug.sensor(PRINTS, 'third')


def test_without_dlib_an_alignment_says_what_to_install(monkeypatch):
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(faces.importlib, 'import_module', absent)
    with pytest.raises(UserError, match=r"dlib is not installed; .*fpray\[faces\]"):
        faces.dlib()
    monkeypatch.setattr(faces.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"weights .*dat are not installed"):
        faces.weights(faces.LANDMARKS)


@needs_dlib
def test_a_picture_without_a_face_is_its_central_square():
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 60), dtype=np.uint8)
    for how in ('landmarks', 'box'):
        aligned, found = aug.align(noise, how)
        assert not found.any() and np.array_equal(aligned, noise[:, :, :, 10:50])
    with pytest.raises(ValueError, match='unknown alignment'):
        aug.align(noise, 'eyes')


@needs_dlib
@pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')
def test_landmarks_put_eyes_in_one_place_and_a_box_does_not():
    folder = Path(REAL) / 'orl-faces' / 's1'
    tilted = read_folder(folder.parent, DataConfig(root=REAL, layout='orl')).pixels[:30]
    spread = {}
    for how in ('landmarks', 'box'):
        aligned, found = aug.align(tilted, how, 150)
        assert aligned.shape == (30, 1, 150, 150) and found.sum() >= 27
        eyes = []
        for picture in aligned[found]:
            image = faces.colour(picture)
            for box in faces._detector()(image, 0)[:1]:
                points = faces._landmarks()(image, box)
                eyes.append([value for k in (0, 2) for value in (points.part(k).x, points.part(k).y)])
        spread[how] = np.std(eyes, axis=0).mean()
    assert spread['landmarks'] < 0.6 * spread['box']

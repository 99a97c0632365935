"""Extractors as black boxes: what a user's may answer, which files hold a vector, and dlib on real faces."""

import importlib.util
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fpray.attacks.embedding_box import CallableExtractor, DlibFaces, FolderTemplates, read_vector
from fpray.data.config import DataConfig
from fpray.data.images import image_id
from fpray.data.imageset import read_folder
from fpray.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
PLAN = np.random.default_rng(1).standard_normal((64, 12)).astype(np.float32)
REAL = os.environ.get('FPRAY_TEST_DATA', '')
real = pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')
DLIB = all(importlib.util.find_spec(name) for name in ('dlib', 'face_recognition_models'))
needs_dlib = pytest.mark.skipif(not DLIB, reason='the extra faces is not installed')


def linear(pixels: np.ndarray) -> np.ndarray:
    return np.stack([picture.reshape(-1) / np.float32(255) @ PLAN for picture in pixels])


@pytest.mark.parametrize('answer', [
    linear,
    lambda pixels: linear(pixels).astype(np.float64),
    lambda pixels: linear(pixels).tolist(),
    lambda pixels: torch.tensor(linear(pixels), requires_grad=True),
], ids=['float32', 'float64', 'lists', 'tensor'])
def test_every_form_gives_the_same_vectors(answer) -> None:
    box = CallableExtractor(answer, batch=16)
    assert box.kind == 'embeddings'
    with pytest.raises(UserError, match='not known yet'):
        _ = box.length
    vectors = box.embed(PIXELS)
    assert vectors.dtype == np.float32 and vectors.shape == (40, 12) and box.length == 12
    np.testing.assert_allclose(vectors, linear(PIXELS), rtol=1e-5)
    np.testing.assert_array_equal(vectors[::-1], box.embed(PIXELS[::-1]))


def test_integers_are_vectors_too_and_the_pictures_are_the_boxs_own() -> None:
    def scribbler(pixels: np.ndarray) -> np.ndarray:
        found = (linear(pixels) * 50).astype(np.int8)
        pixels[:] = 0
        return found

    given = PIXELS.copy()
    np.testing.assert_array_equal(CallableExtractor(scribbler).embed(given), (linear(PIXELS) * 50).astype(np.int8))
    np.testing.assert_array_equal(given, PIXELS)


def noisy(pixels: np.ndarray) -> np.ndarray:
    return linear(pixels) + np.random.default_rng().standard_normal((len(pixels), 12))


@pytest.mark.parametrize(('answer', 'word'), [
    (lambda pixels: linear(pixels)[:-1], '15 vectors for 16'),
    (lambda pixels: linear(pixels)[:, 0], r'shape \(16,\)'),
    (lambda pixels: linear(pixels)[:, :1], r'shape \(16, 1\)'),
    (lambda pixels: pixels / 255, 'one vector of numbers'),
    (lambda pixels: None, 'object'),
    (lambda pixels: [[1.0, 2.0], [1.0]], 'several lengths'),
    (lambda pixels: linear(pixels) * np.nan, 'not finite'),
    (lambda pixels: linear(pixels).astype(np.float64) * 1e60, 'not finite'),
    (noisy, 'twice with different'),
    (lambda pixels: linear(PIXELS[:len(pixels)]), 'in another order'),
    (lambda pixels: linear(pixels) - linear(pixels).mean(axis=0), 'alone and among others'),
    (lambda pixels: linear(pixels)[:, :12 if len(pixels) != 8 else 11], 'length 11 after 12'),
])
def test_bad_answers_are_refused_in_one_line(answer, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        CallableExtractor(answer, batch=32).embed(PIXELS)
    assert caught.value.mend and '\n' not in str(caught.value)


@pytest.mark.parametrize('pixels', [PIXELS[:0], PIXELS[:, 0], PIXELS / 255, np.zeros((3, 4, 8, 8), np.uint8)])
def test_what_is_no_set_of_pictures_is_refused(pixels: np.ndarray, tmp_path) -> None:
    boxes = (CallableExtractor(linear), DlibFaces(), FolderTemplates(tmp_path, pd.DataFrame({'path': [], 'image_id': []})))
    for box in boxes:
        with pytest.raises(UserError, match='pictures to embed are'):
            box.embed(pixels)
    with pytest.raises(UserError, match='a batch of 0'):
        CallableExtractor(linear, batch=0)


def test_a_used_box_travels_between_processes() -> None:
    box = CallableExtractor(linear)
    box.embed(PIXELS[:2])
    again = pickle.loads(pickle.dumps(box))
    assert again.length == 12
    np.testing.assert_array_equal(again.embed(PIXELS), box.embed(PIXELS))


# Folders of templates ---------------------------------------------------------------------------------------


@pytest.fixture
def templates(tmp_path) -> tuple[Path, pd.DataFrame]:
    """Six pictures of two people, and their templates beside."""
    paths = [f's{1 + n // 3}/{n}.png' for n in range(6)]
    for path, vector in zip(paths, linear(PIXELS[:6]), strict=True):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        np.save(tmp_path / Path(path).with_suffix('.npy'), vector)
    return tmp_path, pd.DataFrame({'path': paths, 'image_id': [image_id(picture) for picture in PIXELS[:6]]})


def test_templates_are_found_by_row_and_by_content(templates) -> None:
    box = FolderTemplates(*templates)
    assert box.kind == 'embeddings' and box.length == 12
    np.testing.assert_array_equal(box.of([4, 0]), linear(PIXELS)[[4, 0]])
    np.testing.assert_array_equal(box.embed(PIXELS[[5, 2, 2]]), linear(PIXELS)[[5, 2, 2]])
    with pytest.raises(UserError, match=r'1 of 2 pictures have no template in .*another matcher'):
        box.embed(PIXELS[[0, 9]])
    resized = FolderTemplates(*templates, pixels=PIXELS[:6, :, ::2])
    np.testing.assert_array_equal(resized.embed(PIXELS[[3], :, ::2]), linear(PIXELS)[[3]])


def test_a_template_missing_or_of_another_length_is_named(templates) -> None:
    folder, records = templates
    np.save(folder / 's2' / '3.npy', np.ones(11))
    with pytest.raises(UserError, match=r'3\.npy has length 11, 0\.npy has 12'):
        FolderTemplates(folder, records).of([0])
    (folder / 's2' / '3.npy').unlink()
    with pytest.raises(UserError, match=r's2/3\.npy is missing'):
        _ = FolderTemplates(folder, records).length


# One vector -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('array', [PLAN[0], PLAN[:1], PLAN[0].astype(np.float64), np.arange(12, dtype=np.int8)])
def test_one_vector_is_read(tmp_path, array) -> None:
    np.save(tmp_path / 'a.npy', array)
    vector = read_vector(tmp_path / 'a.npy', lengths=(12, 128))
    assert vector.dtype == np.float32 and np.array_equal(vector, array.reshape(-1).astype(np.float32))
    vector += 1  # the caller's own, not a view of the file


class Bomb:
    def __reduce__(self):
        return os.abort, ()


def _broken(path: Path) -> None:
    np.save(path, PLAN[0])
    path.write_bytes(path.read_bytes()[:-4])


def _huge(path: Path) -> None:
    with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, {'descr': '<f4', 'fortran_order': False, 'shape': (10**13,)})


@pytest.mark.parametrize(('spoil', 'why'), [
    (lambda path: np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True), 'needs pickle.*never loaded'),
    (lambda path: path.write_bytes(pickle.dumps(PLAN[0])), 'a pickle, which is never loaded'),
    (lambda path: Image.fromarray(PIXELS[0, 0]).save(path, format='PNG'), 'is a picture, not an .npy'),
    (lambda path: np.save(path, PIXELS[0]), r'a picture or a table, shape \(1, 8, 8\)'),
    (lambda path: np.save(path, PLAN), 'a picture or a table'),
    (lambda path: np.save(path, np.array(3.0)), '1 numbers'),
    (lambda path: np.save(path, np.ones(77)), 'length 77, which no network here has; known lengths: 12, 128'),
    (lambda path: np.save(path, PLAN[0] * np.nan), 'not finite'),
    (lambda path: np.save(path, np.full(12, 1e300)), 'not finite'),
    (lambda path: np.save(path, np.zeros(12)), 'zeros only'),
    (lambda path: np.save(path, np.array(['a', 'b'])), 'vector of numbers'),
    (lambda path: np.save(path, PLAN[0] + 1j), 'complex'),
    (lambda path: path.write_text('0.1, 0.2'), 'something else, not an .npy'),
    (lambda path: path.write_bytes(b'PK\x03\x04'), r'an archive \(.npz\)'),
    (lambda path: path.write_bytes(b''), 'something else'),
    (_broken, 'broken .npy'), (_huge, 'broken .npy'),
    (lambda path: None, 'cannot be read'), (lambda path: path.mkdir(), 'cannot be read'),
])
def test_what_is_no_vector_is_refused_in_one_line(tmp_path, spoil, why: str) -> None:
    path = tmp_path / 'vector.npy'
    spoil(path)
    with pytest.raises(UserError, match=why) as caught:
        read_vector(path, lengths=(12, 128, 12))
    assert 'vector.npy' in str(caught.value) and caught.value.mend and '\n' not in str(caught.value)


@needs_dlib
def test_dlib_takes_a_picture_without_a_face_whole_and_counts_it() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 1, 40, 60), dtype=np.uint8)
    vectors, found = DlibFaces(batch=2).embed_found(noise)
    assert vectors.shape == (3, 128) and vectors.dtype == np.float32 and not found.any()
    np.testing.assert_array_equal(vectors, DlibFaces(detect=False).embed(noise))
    np.testing.assert_array_equal(vectors[[2, 0]], DlibFaces().embed(noise[[2, 0]]))
    colour = np.repeat(noise, 3, axis=1)
    np.testing.assert_array_equal(vectors, DlibFaces().embed(colour))
    assert pickle.loads(pickle.dumps(DlibFaces())) == DlibFaces()


@real
@needs_dlib
@pytest.mark.slow
@pytest.mark.parametrize(('layout', 'folder', 'people', 'most_fmr', 'most_fnmr'), [
    ('orl', 'orl-faces', 10, 0.03, 0.08), ('lfw', 'lfw-10', 10, 0.03, 0.1)])
def test_dlib_tells_real_faces_apart_at_its_own_threshold(layout, folder, people, most_fmr, most_fnmr) -> None:
    kept = read_folder(Path(REAL) / folder, DataConfig(root=REAL, layout=layout))
    assert kept.meta['subject_known']
    chosen = kept.records['subject'].unique()[:people]
    rows = np.flatnonzero(kept.records['subject'].isin(chosen) & (kept.records.groupby('subject').cumcount() < 4))
    vectors, found = DlibFaces().embed_found(kept.pixels[rows])
    who = kept.records['subject'].to_numpy()[rows]
    i, j = np.triu_indices(len(rows), 1)
    near = np.linalg.norm(vectors[i] - vectors[j], axis=1) < DlibFaces.distance
    same = who[i] == who[j]
    assert found.mean() >= 0.9
    assert near[~same].mean() <= most_fmr and 1 - near[same].mean() <= most_fnmr

"""Folders that become sets, faults of whole sets, saving, joining, altered versions, the fingerprint."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fpray.data import images, imageset
from fpray.data.config import DataConfig
from fpray.errors import UserError

FVC = DataConfig(root='set', layout='fvc')


def _picture(finger, impression, height=24, width=20):
    return np.random.default_rng([finger, impression]).integers(0, 256, (height, width)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Four fingers of three impressions, 20 x 24 px."""
    root = tmp_path / 'set'
    root.mkdir()
    for finger in range(1, 5):
        for impression in range(1, 4):
            Image.fromarray(_picture(finger, impression)).save(root / f'{finger}_{impression}.png')
    return root


def test_pixels_and_records_say_the_same(folder):
    (folder / 'notes.txt').write_text('not a picture')
    (folder / '._1_1.png').write_bytes(b'what a Mac leaves')
    found = imageset.read_folder(folder, FVC)
    assert found.pixels.shape == (12, 1, 24, 20) and found.pixels.dtype == np.uint8 and len(found) == 12
    assert list(found.records.columns) == list(imageset.COLUMNS)
    for row, record in enumerate(found.records.itertuples()):
        picture = _picture(int(record.identity), int(record.impression))[None]
        assert np.array_equal(found.pixels[row], picture) and record.image_id == images.image_id(picture)
        assert record.file_bytes == (folder / record.path).stat().st_size
    assert found.meta['ignored'] == 2 and not found.meta['subject_known'] and not found.meta['synthetic']
    assert found.meta['sizes'] == {'20 x 24': 12}


def test_into_a_folder_gives_the_same_set_as_a_memory_map(folder, tmp_path):
    seen = []
    stored = imageset.read_folder(folder, FVC, tmp_path / 'out', lambda *state: seen.append(state))
    plain = imageset.read_folder(folder, FVC)
    assert seen[0] == (1, 12) and seen[-1] == (12, 12)
    assert isinstance(stored.pixels, np.memmap) and np.array_equal(stored.pixels, plain.pixels)
    loaded = imageset.ImageSet.load(tmp_path / 'out')
    assert isinstance(loaded.pixels, np.memmap) and np.array_equal(loaded.pixels, plain.pixels)
    pd.testing.assert_frame_equal(loaded.records, plain.records)
    assert loaded.meta == plain.meta == stored.meta
    with pytest.raises(UserError, match='no saved set'):
        imageset.ImageSet.load(folder)


def test_a_selection_may_be_saved_over_the_set_it_comes_from(folder, tmp_path):
    stored = imageset.read_folder(folder, FVC, tmp_path / 'out')
    part = stored.select(np.array([7, 2]))
    assert part.records['path'].tolist() == ['3_2.png', '1_3.png'] and part.records.index.tolist() == [0, 1]
    imageset.ImageSet(stored.pixels[:2], stored.records[:2], stored.meta).save(tmp_path / 'out')
    assert imageset.ImageSet.load(tmp_path / 'out').pixels.shape == (2, 1, 24, 20)
    assert np.array_equal(part.pixels[1, 0], _picture(1, 3))


def _bad(path):
    path.write_text('hello')


def _two_sizes(root):
    Image.fromarray(_picture(5, 1, 30, 40)).save(root / '5_1.png')


def _colour(root):
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype(np.uint8)
    Image.fromarray(noise).save(root / '5_1.png')


def _identical(root):
    for path in root.iterdir():
        Image.fromarray(_picture(1, 1)).save(path)


def _two_formats(root):
    Image.fromarray(_picture(9, 9)).save(root / '1_1.bmp')


FAULTS = {
    'name': (lambda r: (r / '1_1.png').rename(r / 'what.png'), r"'what.png' does not fit layout fvc"),
    'text': (lambda r: _bad(r / '2_2.png'), r'2_2\.png is not a readable picture.*--data.skip-bad'),
    'sizes': (_two_sizes, r'several sizes: 12 of 20 x 24, 1 of 40 x 30; choose --data.resize crop\|pad\|scale with'),
    'colour': (_colour, 'gray and colour pictures mixed: 12 gray, 1 in colour'),
    'identical': (_identical, 'all 12 pictures are identical'),
    'twice': (_two_formats, r'1_1\.bmp and 1_1\.png are the same impression'),
    'all bad': (lambda r: [_bad(p) for p in r.iterdir()], r'1_1\.png is not a readable'),
}


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('stored', [False, True])
def test_a_fault_of_the_set_is_one_line_and_leaves_nothing(folder, tmp_path, fault, stored):
    spoil, why = FAULTS[fault]
    spoil(folder)
    with pytest.raises(UserError, match=why) as caught:
        imageset.read_folder(folder, FVC, tmp_path / 'out' if stored else None)
    assert '\n' not in str(caught.value) and not (tmp_path / 'out').exists()


def test_no_folder_no_picture_no_set(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file.png').touch()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'a.txt').touch()
    for name, why in (('none', 'folder .*none is missing'), ('file.png', 'is a file, not a folder'),
                      ('empty', 'no picture found.*empty'), ('other', 'no picture found.*1 other files')):
        with pytest.raises(UserError, match=why):
            imageset.read_folder(tmp_path / name, FVC)


def test_skip_bad_leaves_the_bad_ones_out_and_says_so(folder, tmp_path):
    _bad(folder / '2_2.png')
    (folder / '4_3.png').write_bytes(b'')
    lenient = DataConfig(root='set', layout='fvc', skip_bad=True)
    for into in (None, tmp_path / 'out'):
        found = imageset.read_folder(folder, lenient, into)
        assert found.pixels.shape == (10, 1, 24, 20) and len(found.records) == 10
        assert [bad['path'] for bad in found.meta['skipped']] == ['2_2.png', '4_3.png']
        for row, record in enumerate(found.records.itertuples()):
            picture = _picture(int(record.identity), int(record.impression))
            assert np.array_equal(found.pixels[row, 0], picture)
    loaded = imageset.ImageSet.load(tmp_path / 'out')
    assert np.array_equal(loaded.pixels, found.pixels)
    for path in folder.iterdir():
        _bad(path)
    with pytest.raises(UserError, match=r'no readable picture.*12 skipped'):
        imageset.read_folder(folder, lenient)


def test_a_resize_rule_takes_several_sizes(folder):
    _two_sizes(folder)
    cropped = imageset.read_folder(folder, DataConfig(root='set', layout='fvc', resize='crop', size=20))
    assert cropped.pixels.shape == (13, 1, 20, 20) and cropped.meta['sizes'] == {'20 x 24': 12, '40 x 30': 1}
    assert np.array_equal(cropped.pixels[0, 0], _picture(1, 1)[2:22])
    scaled = imageset.read_folder(folder, DataConfig(root='set', layout='fvc', resize='scale', size=40))
    assert scaled.pixels.shape[1:] == (1, 40, 40), 'smaller and larger pictures alike'
    padded = imageset.read_folder(folder, DataConfig(root='set', layout='fvc', resize='pad', size=40))
    assert padded.pixels.shape == (13, 1, 40, 40)
    assert padded.records['image_id'].equals(cropped.records['image_id']), 'the id precedes resizing'
    with pytest.raises(UserError, match=r'12 of 13 .* smaller than --data.size 22, e.g. 20 x 24.*size 20'):
        imageset.read_folder(folder, DataConfig(root='set', layout='fvc', resize='crop', size=22))
    with pytest.raises(UserError, match=r'1 of 13 .* larger than --data.size 24, e.g. 40 x 30.*size 40'):
        imageset.read_folder(folder, DataConfig(root='set', layout='fvc', resize='pad', size=24))


@pytest.mark.parametrize('stored', [False, True])
def test_gray_saved_as_colour_is_gray_unless_the_set_has_colour(folder, tmp_path, stored):
    for path in folder.iterdir():
        Image.fromarray(np.dstack([np.asarray(Image.open(path))] * 3)).save(path)
    gray = imageset.read_folder(folder, FVC, tmp_path / 'gray' if stored else None)
    assert gray.pixels.shape == (12, 1, 24, 20) and np.array_equal(gray.pixels[0, 0], _picture(1, 1))
    _colour(folder)
    mixed = imageset.read_folder(folder, FVC, tmp_path / 'mixed' if stored else None)
    assert mixed.pixels.shape == (13, 3, 24, 20)
    assert all(np.array_equal(mixed.pixels[0, channel], _picture(1, 1)) for channel in range(3))


def test_impressions_of_equal_name_in_two_sessions_stay_apart(tmp_path):
    for session in ('first', 'second'):
        (tmp_path / session).mkdir()
        for finger in (1, 2):
            Image.fromarray(_picture(finger, len(session))).save(tmp_path / session / f'{finger}_1.png')
    records = imageset.read_folder(tmp_path, DataConfig(root='x', layout='polyu')).records
    assert sorted(records.loc[records['identity'] == '1', 'impression']) == ['first/1', 'second/1']


def test_linked_folders_are_followed_once(folder):
    (folder / 'again').symlink_to(folder)
    assert len(imageset.read_folder(folder, FVC)) == 12


def test_duplicates_are_pixels_under_two_identities(folder):
    Image.fromarray(_picture(1, 1)).save(folder / '3_1.bmp')  # finger 1's picture, as finger 3
    (folder / '3_1.png').unlink()
    Image.fromarray(_picture(2, 1)).save(folder / '2_2.png')  # twice the same finger
    records = imageset.read_folder(folder, FVC).records
    assert imageset.duplicates(records) == [images.image_id(_picture(1, 1)[None])]


def test_samples_have_names_of_any_kind(folder):
    (folder / '1_1.png').rename(folder / 'gan sample.png')
    samples = imageset.read_samples(folder, FVC)
    assert samples.pixels.shape == (12, 1, 24, 20) and samples.records['identity'].is_unique
    assert samples.meta['layout'] == 'samples'
    _two_sizes(folder)
    with pytest.raises(UserError, match='several sizes'):
        imageset.read_samples(folder, FVC)


def test_sets_are_joined_with_a_side_and_the_reference_has_its_own_names(folder, tmp_path):
    one = imageset.read_folder(folder, FVC)
    for into in (None, tmp_path / 'joined'):
        both = imageset.join({'members': one, 'reference': one}, into)
        assert both.pixels.shape == (24, 1, 24, 20) and np.array_equal(both.pixels[12:], one.pixels)
        assert both.records['side'].value_counts().to_dict() == {'members': 12, 'reference': 12}
        assert set(both.records['subject'][12:]) == {f'reference:{finger}' for finger in range(1, 5)}
        assert set(both.records['subject'][:12]) == {'1', '2', '3', '4'}
    pd.testing.assert_frame_equal(imageset.ImageSet.load(tmp_path / 'joined').records, both.records)
    small = imageset.read_folder(folder, DataConfig(root='set', layout='fvc', resize='crop', size=16))
    with pytest.raises(UserError, match=r'20 x 24 px gray in members, 16 x 16 px gray in nonmembers'):
        imageset.join({'members': one, 'nonmembers': small})


def test_altered_versions_are_the_same_kind_for_everybody(folder, tmp_path):
    one = imageset.read_folder(folder, FVC)
    longer = imageset.with_altered(one, impressions=3, copies=4, seed=1, into=tmp_path / 'longer')
    added = longer.records[longer.records['altered']]
    assert len(added) == 4 * 4 and np.array_equal(longer.pixels[:12], one.pixels)
    versions = added.groupby('identity')['impression'].apply(sorted).tolist()
    assert versions == [[f'altered-{n}' for n in range(1, 5)]] * 4
    assert longer.records['image_id'].is_unique, 'the fourth version alters the first picture anew'
    again = imageset.with_altered(one, impressions=3, copies=4, seed=1)
    assert np.array_equal(again.pixels, longer.pixels)
    assert not np.array_equal(imageset.with_altered(one, 3, 4, seed=2).pixels, longer.pixels)
    for row in added.index:
        assert longer.records['image_id'][row] == images.image_id(longer.pixels[row])
    twice = imageset.with_altered(longer, impressions=3, copies=1, seed=1)
    assert int(twice.records['altered'].sum()) == 20, 'altered pictures are not altered again'


def test_altered_copies_of_a_duplicate_are_duplicates(folder):
    Image.fromarray(_picture(1, 1)).save(folder / '3_2.png')
    one = imageset.read_folder(folder, FVC)
    longer = imageset.with_altered(one, impressions=3, copies=3, seed=1)
    assert len(imageset.duplicates(longer.records)) == 2, 'the picture and its altered version'


def _age(root):
    """Push the files' change times out of the span in which a change could go unseen."""
    time.sleep(0.15)
    return root


def test_fingerprint_knows_content_and_name_and_nothing_else(folder, tmp_path):
    first = imageset.fingerprint(folder, tmp_path / 'cache')
    assert len(first) == 64 and first == imageset.fingerprint(folder)
    assert first == imageset.fingerprint(folder, tmp_path / 'cache')
    (folder / 'notes.txt').write_text('no picture')
    os.utime(folder / '1_1.png')
    assert imageset.fingerprint(folder, tmp_path / 'cache') == first
    (folder / '1_1.png').rename(folder / '9_1.png')
    renamed = imageset.fingerprint(folder, tmp_path / 'cache')
    assert renamed != first and renamed == imageset.fingerprint(folder)
    (folder / '9_1.png').unlink()
    assert len({first, renamed, imageset.fingerprint(folder, tmp_path / 'cache')}) == 3


def test_fingerprint_sees_a_change_of_equal_size_and_time(folder, tmp_path):
    path = folder / '1_1.png'
    first = imageset.fingerprint(_age(folder), tmp_path / 'cache')
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert imageset.fingerprint(folder, tmp_path / 'cache') != first


def test_a_second_fingerprint_reads_no_picture_and_a_broken_index_does_no_harm(folder, tmp_path, monkeypatch):
    first = imageset.fingerprint(_age(folder), tmp_path / 'cache')
    read = []
    monkeypatch.setattr(imageset, '_hash_file', lambda root, path: read.append(path) or 'x')
    assert imageset.fingerprint(folder, tmp_path / 'cache') == first and not read
    monkeypatch.undo()
    index, = (tmp_path / 'cache').iterdir()
    index.write_text('{"broken')
    assert imageset.fingerprint(folder, tmp_path / 'cache') == first


def test_a_file_that_may_still_change_unseen_is_not_indexed(folder, tmp_path):
    ahead = time.time() + 60
    os.utime(_age(folder) / '1_1.png', (ahead, ahead))
    imageset.fingerprint(folder, tmp_path / 'cache')
    index, = (tmp_path / 'cache').iterdir()
    assert set(json.loads(index.read_text())) == {path.name for path in folder.iterdir()} - {'1_1.png'}


def test_three_thousand_files_are_recognised_at_once(tmp_path):
    root = tmp_path / 'many'
    root.mkdir()
    for n in range(3000):
        (root / f'{n}_1.png').write_bytes(n.to_bytes(4, 'big'))
    first = imageset.fingerprint(_age(root), tmp_path / 'cache')
    spent = []
    for _ in range(5):
        start = time.process_time()  # processor time: other work on the machine must not fail this
        assert imageset.fingerprint(root, tmp_path / 'cache') == first
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05, f'{min(spent) * 1000:.0f} ms'


REAL = os.environ.get('FPRAY_TEST_DATA', '')
real = pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')


@real
def test_socofing(tmp_path):
    config = DataConfig(root=REAL, layout='socofing', resize='crop', size=96, impressions=1)
    found = imageset.read_folder(Path(REAL) / 'socofing' / 'Real', config, tmp_path / 'out')
    assert found.pixels.shape == (3000, 1, 96, 96) and found.meta['subject_known']
    assert found.records['subject'].nunique() == 300 and found.records['identity'].nunique() == 3000
    assert found.records['position'].nunique() == 10
    several = found.records[found.records['image_id'].isin(imageset.duplicates(found.records))]
    assert sorted(several['subject'], key=int) == ['64', '92', '203', '204', '219', '249', '260']
    assert set(several['position']) == {'left_little'}
    with pytest.raises(UserError, match='several sizes: 2,969 of 96 x 103, 31 of 241 x 298'):
        imageset.read_folder(Path(REAL) / 'socofing' / 'Real', DataConfig(root=REAL, layout='socofing'))


@real
def test_fvc_and_neurotechnology():
    fvc = imageset.read_folder(Path(REAL) / 'fvc2002' / 'DB1_B', FVC)
    assert fvc.pixels.shape == (80, 1, 374, 388) and not fvc.meta['subject_known']
    assert fvc.records.groupby('identity').size().tolist() == [8] * 10
    config = DataConfig(root=REAL, layout='pattern',
                        pattern=r'(?P<subject>\d+)_(?P<finger>\d+)_(?P<impression>\d+)')
    areu = imageset.read_folder(Path(REAL) / 'neurotechnology' / 'UareU', config)
    assert areu.pixels.shape == (320, 1, 357, 326) and areu.meta['subject_known']
    assert areu.records['subject'].nunique() == 4 and areu.records['identity'].nunique() == 40
    config = DataConfig(root=REAL, layout='pattern', pattern=config.pattern, resize='crop', size=256)
    both = imageset.read_folder(Path(REAL) / 'neurotechnology', config)
    assert not both.records.duplicated(['identity', 'impression']).any(), 'two sensors: two impressions'


@real
def test_faces_in_folders():
    orl = imageset.read_folder(Path(REAL) / 'orl-faces', DataConfig(root=REAL))
    assert orl.pixels.shape == (400, 1, 112, 92) and orl.records['identity'].nunique() == 40
    small = imageset.read_folder(Path(REAL) / 'orl-faces', DataConfig(root=REAL, layout='orl', resize='scale', size=64))
    assert small.pixels.shape == (400, 1, 64, 64) and small.meta['subject_known'] and not orl.meta['subject_known']
    lfw = imageset.read_folder(Path(REAL) / 'lfw-10', DataConfig(root=REAL))
    assert lfw.pixels.shape == (100, 3, 250, 250)
    named = imageset.read_folder(Path(REAL) / 'lfw-10', DataConfig(root=REAL, layout='lfw', resize='scale', size=64))
    assert named.pixels.shape == (100, 3, 64, 64) and named.records['subject'].nunique() == 10
    assert named.meta['subject_known']

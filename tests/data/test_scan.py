"""The scan's counts and faults, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.data import scan


@pytest.fixture
def folder(tmp_path):
    for finger in range(1, 4):
        for impression in range(1, finger + 1):
            noise = np.random.default_rng([finger, impression]).integers(0, 256, (24, 20)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / f'{finger}_{impression}.png')
    return tmp_path


def _scan(capsys, *arguments):
    code = scan.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_counts_of_a_clean_folder(folder, capsys):
    code, out, err = _scan(capsys, folder, '--layout', 'fvc', '--json')
    counts = json.loads(out)
    assert code == 0 and not err
    assert (counts['pictures'], counts['subjects'], counts['identities']) == (6, 3, 3)
    assert counts['impressions'] == {'min': 1, 'median': 2, 'max': 3} and counts['sizes'] == {'20 x 24': 6}
    assert not any(counts[key] for key in ('subject_known', 'misfits', 'unreadable', 'duplicates', 'repeats'))
    code, out, _ = _scan(capsys, folder, '--layout', 'fvc')
    assert 'identity stands for the person' in out and 'impressions an identity: 1 to 3, median 2' in out
    assert out.strip().endswith('no faults')


def test_faults_are_listed_and_are_no_failure(folder, capsys):
    (folder / '1_1.png').write_bytes((folder / '3_1.png').read_bytes())
    (folder / '3_2.png').write_bytes((folder / '3_3.png').read_bytes())
    (folder / '2_2.png').write_text('hello')
    (folder / 'what.png').write_bytes((folder / '2_1.png').read_bytes())
    (folder / 'notes.txt').touch()
    code, out, _ = _scan(capsys, folder, '--layout', 'fvc', '--json')
    counts = json.loads(out)
    assert code == 0 and counts['ignored'] == 1 and counts['pictures'] == 5
    assert [bad['path'] for bad in counts['unreadable']] == ['2_2.png'] and counts['misfits'] == ['what.png']
    assert counts['duplicates'] == [['1_1.png', '3_1.png']] and counts['repeats'] == [['3_2.png', '3_3.png']]
    code, out, _ = _scan(capsys, folder, '--layout', 'fvc')
    assert code == 0 and '1_1.png, 3_1.png' in out and out.strip().endswith('4 faults')


@pytest.mark.parametrize(('arguments', 'why'), [
    (['none'], 'missing'), (['.', '--layout', 'nosuch'], "unknown layout 'nosuch'"),
    (['.', '--layout', 'casia-v5'], 'no name fits the layout casia-v5'),
    (['.', '--layout', 'pattern'], 'pattern'),
])
def test_nothing_to_scan_is_one_line_and_code_2(folder, capsys, monkeypatch, arguments, why):
    monkeypatch.chdir(folder)
    code, out, err = _scan(capsys, *arguments)
    assert code == 2 and not out and why in err and err.count('\n') == 1


def test_every_picture_unreadable_is_still_a_list(folder, capsys):
    for path in folder.iterdir():
        path.write_text('hello')
    code, out, _ = _scan(capsys, folder, '--layout', 'fvc')
    assert code == 0 and out.strip().endswith('6 faults')


def test_as_a_module(folder):
    done = subprocess.run([sys.executable, '-m', 'fpray.data.scan', str(folder), '--layout', 'fvc'],
                          capture_output=True, text=True)
    assert done.returncode == 0 and '6 pictures' in done.stdout and not done.stderr


REAL = os.environ.get('FPRAY_TEST_DATA', '')


@pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')
def test_socofing_has_its_known_duplicates(capsys):
    code, out, _ = _scan(capsys, Path(REAL) / 'socofing' / 'Real', '--layout', 'socofing', '--json')
    counts = json.loads(out)
    assert code == 0 and counts['sizes'] == {'96 x 103': 2969, '241 x 298': 31}
    assert (counts['pictures'], counts['subjects'], counts['identities']) == (3000, 300, 3000)
    people = sorted(sorted(int(path.split('__')[0]) for path in paths) for paths in counts['duplicates'])
    assert people == [[64, 203, 219, 249, 260], [92, 204]]
    assert not counts['unreadable'] and not counts['repeats'] and not counts['misfits']

"""Every layout on names that it must and must not read; the checks of the configuration."""

import json
import subprocess
import sys
from pathlib import PurePosixPath

import pytest

from fpray.data import LAYOUTS, load_layout
from fpray.data.config import DataConfig, SplitConfig
from fpray.data.layouts import Place
from fpray.errors import UserError

FITS = {
    'casia-v5': {
        '000/L/000_L0_0.bmp': Place('000', '000/L0', '0', 'left_thumb'),
        'CASIA/499/R/499_R3_4.PNG': Place('499', '499/R3', '4', 'right_ring'),
        '12/R/12_R7_1.png': Place('12', '12/R7', '1', ''),
    },
    'fvc': {
        '101_1.tif': Place('101', '101', '1', subject_known=False),
        'DB1_B/101_8.png': Place('DB1_B/101', 'DB1_B/101', '8', subject_known=False),
    },
    'socofing': {
        '100__M_Left_index_finger.BMP': Place('100', '100/left_index', 'real', 'left_index'),
        'Altered/Altered-Easy/1__M_Left_thumb_finger_CR.BMP':
            Place('1', '1/left_thumb', 'CR', 'left_thumb', altered=True),
        '7__F_Right_little_finger_Zcut.png':
            Place('7', '7/right_little', 'Zcut', 'right_little', altered=True),
    },
    'polyu': {
        'first_session/12_3.jpg': Place('12', '12', '3', subject_known=False),
        'second_session/12_3.jpg': Place('12', '12', '3', subject_known=False),
    },
    'orl': {
        's1/10.pgm': Place('s1', 's1', '10'),
        'orl-faces/s40/3.png': Place('s40', 's40', '3'),
    },
    'lfw': {
        'Ann_Lee/Ann_Lee_0002.jpg': Place('Ann_Lee', 'Ann_Lee', '0002'),
        'lfw/Jean-Luc_de_B/Jean-Luc_de_B_0010.jpg': Place('Jean-Luc_de_B', 'Jean-Luc_de_B', '0010'),
    },
    'folder': {
        's1/1.pgm': Place('s1', 's1', '1', subject_known=False),
        'ann/left_index/b.png': Place('ann', 'ann/left_index', 'b'),
        'set/ann/left_index/b.png': Place('set/ann', 'set/ann/left_index', 'b'),
    },
    'pattern': {
        '012_10_1.png': Place('012', '012/10', '1'),
        'UareU/012_10_14.png': Place('012', '012/10', '14'),
    },
}
MISFITS = {
    'casia-v5': ['000_L0_0.bmp', '000/L/001_L0_0.bmp', '000/R/000_L0_0.bmp', '1_1.png', '000/L/000_L0.bmp'],
    'fvc': ['what.png', '101.png', '101_1_2.png', 'a101_1.png'],
    'socofing': ['1__M_Left_index.BMP', '1_M_Left_index_finger.BMP', '1__M_Left_index_finger_XX.BMP',
                 '1__M_Left_toe_finger.BMP'],
    'polyu': ['first_session/p1.jpg', 'first_session/1_1_1.jpg'],
    'orl': ['1.pgm', 'person1/1.pgm', 's1/one.pgm', 's/1.pgm'],
    'lfw': ['Ann_Lee_0002.jpg', 'Ann_Lee/Bob_Lee_0002.jpg', 'Ann_Lee/Ann_Lee.jpg'],
    'folder': ['1.png'],
    'pattern': ['12_1.png', 'x012_10_1.png', '012_10_1a.png', '.png'],
}
EXPRESSION = r'(?P<subject>\d+)_(?P<finger>\d+)_(?P<impression>\d+)'


def test_every_layout_has_names_to_test():
    assert set(LAYOUTS) == set(FITS) == set(MISFITS)


@pytest.mark.parametrize(('layout', 'path'), [(layout, path) for layout in FITS for path in FITS[layout]])
def test_names_that_fit(layout, path):
    assert load_layout(layout, EXPRESSION)(PurePosixPath(path)) == FITS[layout][path]


@pytest.mark.parametrize(('layout', 'path'), [(name, path) for name in MISFITS for path in MISFITS[name]])
def test_names_that_do_not_fit(layout, path):
    assert load_layout(layout, EXPRESSION)(PurePosixPath(path)) is None


def test_a_match_inside_a_word_is_none():
    """Searched naively, one digit would make person 2 of person 12."""
    layout = load_layout('pattern', r'(?P<subject>\d)_(?P<finger>\d)_(?P<impression>\d)')
    assert layout(PurePosixPath('12_3_4.png')) is None
    assert layout(PurePosixPath('2_3_4.png')) == Place('2', '2/3', '4')


def test_a_pattern_may_read_folders():
    layout = load_layout('pattern', r'(?P<subject>[^/]+)/(?P<finger>[^/]+)/.*?(?P<impression>\d+)\.png$')
    assert layout(PurePosixPath('ann/thumb/scan_07.png')) == Place('ann', 'ann/thumb', '07')


def test_an_unknown_layout_is_named_with_the_known_ones():
    for attempt in (lambda: load_layout('nosuch'), lambda: DataConfig(layout='nosuch')):
        with pytest.raises(UserError, match=r"'nosuch'.*casia-v5.*pattern"):
            attempt()


@pytest.mark.parametrize(('values', 'why'), [
    ({'resize': 'stretch'}, 'stretch.*none, pad, crop'), ({'size': 15, 'root': 'x'}, '--data.size 15'),
    ({'size': 32}, '48 to 512'), ({'size': 64.0, 'root': 'x'}, 'whole number'),
    ({'impressions': 0}, 'impressions 0'), ({'query_impressions': -1}, 'query-impressions -1'),
    ({'fingers': 11}, 'fingers 11'), ({'ppi': -5}, 'ppi'),
    ({'ppi': float('nan')}, 'ppi'), ({'members': 'a'}, '--data.members without --data.nonmembers'),
    ({'layout': 'pattern'}, 'without --data.pattern'), ({'pattern': 'x'}, 'layout is folder'),
    ({'layout': 'pattern', 'pattern': '('}, 'no regular expression'),
    ({'layout': 'pattern', 'pattern': '(?P<subject>.*)'}, 'no named group finger, impression'),
])
def test_data_values_that_cannot_be(values, why):
    with pytest.raises(UserError, match=why):
        DataConfig(**values)


SIZES = {'sizes': (10, 20), 'headline': 20, 'nonmembers': 20, 'scoring': 5, 'placebo': 20, 'rehearsal': 5,
         'reference': 0}


@pytest.mark.parametrize(('values', 'why'), [
    ({'sizes': ()}, 'no list'), ({'sizes': (20, 10)}, 'not growing'),
    ({'sizes': (10, 10, 20)}, 'not growing'), ({'sizes': (0, 20)}, 'out of range'),
    ({'headline': 15}, 'none of --split.sizes'),
    ({'nonmembers': 0}, 'nonmembers 0'), ({'placebo': -1}, 'placebo -1'), ({'scoring': True}, 'scoring True'),
])
def test_split_sizes_that_cannot_be(values, why):
    assert SplitConfig(**SIZES)
    with pytest.raises(UserError, match=why):
        SplitConfig(**{**SIZES, **values})


def test_configuration_is_read_without_heavy_imports():
    code = ('import sys, json, fpray.data, fpray.data.config\n'
            'print(json.dumps([m for m in ("numpy", "pandas", "PIL", "torch") if m in sys.modules]))')
    printed = subprocess.run([sys.executable, '-c', code], capture_output=True, check=True).stdout
    assert json.loads(printed) == []

"""Steps of model inference that the planted study passes by: what an attacker's own folder gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.data.config import DataConfig, GroupsConfig
from fpray.data.groups import deal
from fpray.errors import UserError
from fpray.studies import inference_steps as steps
from tests.studies.test_steps import SIDE, context, make_set

SET = make_set(people=20, impressions=4)
DATA = DataConfig(impressions=3, query_impressions=1)
DEALT = deal(SET.records, DATA, GroupsConfig(public=2, adapt=2, attacker=5, judge=0, threshold=5, victims=6), 5)


def test_a_folder_is_learnt_from_and_calibrates_without_copies_of_other_groups(tmp_path: Path) -> None:
    SET.save(tmp_path / 'set')
    (tmp_path / 'people').mkdir()
    (tmp_path / 'people' / 'groups.json').write_text(DEALT.to_json())
    (tmp_path / 'more').mkdir()
    fresh = np.random.default_rng(9).integers(0, 256, (8, 1, SIDE, SIDE), np.uint8)
    copies = SET.pixels[DEALT.pictures('threshold')[:3]]
    for number, picture in enumerate([*copies, *fresh]):
        Image.fromarray(picture[0]).save(tmp_path / 'more' / f'{number:02d}.png')
    made = context(tmp_path / 'pipeline', {'how': 'folder', 'folder': 'folder', 'data': DATA, 'seed': 3, 'least': 8}, {
        'pictures': tmp_path / 'set', 'people': tmp_path / 'people'}, folders={'folder': str(tmp_path / 'more')})
    steps.pipeline(made)
    learnt, held = (np.load(made.out / f'{name}.npy') for name in ('reference', 'calibration'))
    assert len(held) == 2 and json.loads((made.out / steps.COPIES).read_text()) == 3
    assert sorted(map(bytes, [*learnt, *held])) == sorted(map(bytes, fresh)), 'each once, and no copy'
    (tmp_path / 'more' / '10.png').unlink()
    with pytest.raises(UserError, match='folder: 7 pictures, 3 copies of the set apart; give 8 or more'):
        steps.pipeline(replace(made, out=tmp_path))


def test_a_folder_must_be_large_enough_to_calibrate_on():
    assert [steps.least_pictures(0.05, candidates) for candidates in (2, 4, 19, 40)] == [38, 19, 4, 2]

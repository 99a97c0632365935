"""Extractors as stages: trained, adapted rung by rung, resumed, and asked for the vectors of a whole set."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fpray.data.config import AugmentConfig, DataConfig, GroupsConfig
from fpray.data.groups import deal
from fpray.distributed.train import fit
from fpray.errors import UserError
from fpray.models.config import ExtractorConfig
from fpray.studies import recognition_steps as stages
from fpray.studies.embedding_config import NO_ADAPT, RUNGS, AdaptConfig, CandidatesConfig, check_groups
from fpray.training.config import LoopConfig, RecognitionConfig
from fpray.training.recognition import embed
from tests.studies.test_steps import SIDE, context, make_set

GROUPS = GroupsConfig(public=8, adapt=6, attacker=4, judge=2, threshold=2, victims=4)
DATA = DataConfig(impressions=3, query_impressions=1)
SET = make_set(people=26, impressions=4)
LOOP = LoopConfig(images=640, batch=16, snapshot_every=0, device='cpu')
TINY = RecognitionConfig(extractor=ExtractorConfig('small-plain', length=16, image=(SIDE, SIDE), width=8),
                         shift=0, rotation=0, contrast=0)


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A set, its groups, an extractor of the public people and its adaptation."""
    folder = tmp_path_factory.mktemp('recognition')
    SET.save(folder / 'set')
    (folder / 'people').mkdir()
    (folder / 'people' / 'groups.json').write_text(deal(SET.records, DATA, GROUPS, 5).to_json())
    base = {'pictures': folder / 'set', 'people': folder / 'people'}
    trained = context(folder / 'extractor', {'recognition': TINY, 'loop': LOOP, 'group': 'public', 'people': None,
                                             'seed': 3}, base)
    stages.train_extractor(trained)
    config = AdaptConfig(loop=LOOP)
    adapted = context(folder / 'ladder', {'recognition': config.of(TINY), 'loop': LOOP, 'group': 'adapt', 'people': None,
                                          'seed': 4}, {**base, 'extractor': trained.out})
    stages.adapt_extractor(adapted)
    return {**base, 'extractor': trained.out, 'ladder': adapted.out}


def test_it_learns_the_public_people_and_says_so_on_pictures_held_out(world: dict[str, Path]) -> None:
    known = json.loads((world['extractor'] / 'trained.json').read_text())
    assert known['classes'] == 16 and known['pictures'] == 16 * 3 and known['held_out'] == 16
    assert known['chance'] == 1 / 16 and known['accuracy'] > 0.9, 'a finger is one pattern under light noise'


def test_the_ladder_keeps_every_rung(world: dict[str, Path]) -> None:
    ladder = json.loads((world['ladder'] / 'ladder.json').read_text())
    assert [rung['name'] for rung in ladder] == list(RUNGS[1:])
    seen = [rung['images_seen'] for rung in ladder]
    assert seen == sorted(seen) and seen[-1] == LOOP.images
    start = stages.read_extractor(world['extractor']).state_dict()
    for rung in RUNGS:
        state = stages.read_extractor(world['ladder'], rung).state_dict()
        moved = [name for name in start if not torch.equal(start[name], state[name])]
        assert bool(moved) == (rung != NO_ADAPT)
        if rung == 'FT-1':
            assert all(name.startswith('embedding') or 'dense' in name for name in moved), 'the last layer alone is open'
    assert len(moved) > 2, 'at FT-5 all layers have moved'


def test_vectors_are_the_whole_set_in_its_order(world: dict[str, Path], tmp_path: Path) -> None:
    asked = context(tmp_path / 'vectors', {'rung': 'FT-2', 'threads': 1}, {'pictures': world['pictures'],
                                                                          'extractor': world['ladder']})
    stages.embed_set(asked)
    found = stages.vectors_of(asked.out)
    assert found.shape == (len(SET), 16) and found.dtype == np.float32
    network = stages.read_extractor(world['ladder'], 'FT-2')
    np.testing.assert_allclose(found[-5:], embed(network, np.asarray(SET.pixels[-5:])), atol=1e-5)


def test_a_killed_adaptation_ends_with_the_same_rungs(world: dict[str, Path], tmp_path: Path) -> None:
    config = {'recognition': AdaptConfig(loop=LOOP).of(TINY), 'loop': LOOP, 'group': 'adapt', 'people': None, 'seed': 4}
    again = context(tmp_path / 'again', config, {key: world[key] for key in ('pictures', 'people', 'extractor')},
                    checkpoint_seconds=0)

    def die(done: int, total: int, text: str) -> None:
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.adapt_extractor(replace(again, progress=die))
    stages.adapt_extractor(again)
    for rung in RUNGS:
        old, new = (stages.read_extractor(folder, rung).state_dict() for folder in (world['ladder'], again.out))
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_one_identity_is_no_choice(world: dict[str, Path], tmp_path: Path) -> None:
    task = stages.RecognitionTask(world['pictures'], world['people'], None, 'public', 0, TINY, LOOP, 0)
    with pytest.raises(UserError, match='group public'):
        fit(task, LOOP, 0, context(tmp_path / 'one', {}))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r'--candidates.names'):
        CandidatesConfig(names=('small-plain',))
    with pytest.raises(UserError, match='twice'):
        CandidatesConfig(names=('small-plain', 'small-plain'))
    with pytest.raises(UserError, match=r'--groups.adapt'):
        check_groups(DATA, AugmentConfig(), replace(GROUPS, adapt=0), ('adapt',), 4)
    with pytest.raises(UserError, match=r'--data.impressions'):
        check_groups(DATA, AugmentConfig(), GROUPS, (), 5)


def test_similarity_is_the_cosine() -> None:
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[6.0, 8.0], [-4.0, 3.0]])
    np.testing.assert_allclose(stages.cosine(a, b), [[1, 0], [0, 0]], atol=1e-12)

"""The candidate pool: as many of each length and family as the source's, and every one builds."""

from collections import Counter

import pytest
import timm
import torch

from fpray.errors import UserError
from fpray.models.extractors import build_extractor
from fpray.models.pool import POOL, pool


def test_the_pool_is_as_large_as_the_sources() -> None:
    assert Counter(row.length for row in POOL) == {2048: 39, 1024: 24, 512: 31, 128: 11}  # Table 4
    families = Counter(row.family for row in POOL)
    assert (families['ResNet'], families['EfficientNet']) == (16, 21)  # section 6.1
    assert len({row.name for row in POOL}) == len(POOL) == 105
    assert [row.name for row in POOL if not timm.is_model(row.name)] == []


def test_a_part_of_the_pool() -> None:
    assert pool() == POOL
    few = pool(lengths=(128, 512), limit=3)
    assert Counter(row.length for row in few) == {128: 3, 512: 3}
    assert few == tuple(row for row in POOL if row in few)
    assert {row.family for row in pool(families=('ResNet',))} == {'ResNet'} and len(pool(families=('ResNet',))) == 16
    for wrong in ({'lengths': (100,)}, {'families': ('Perceptron',)}):
        with pytest.raises(UserError, match='is unknown'):
            pool(**wrong)


def build(row) -> None:
    network = build_extractor(row.config()).eval()
    with torch.inference_mode():
        vectors = network(torch.rand(2, 1, 64, 64) * 2 - 1)
    assert vectors.shape == (2, row.length) and vectors.isfinite().all()


@pytest.mark.parametrize('row', [row for row in POOL if row.name in ('lcnet_050', 'starnet_s050', 'gmlp_ti16_224')],
                         ids=lambda row: row.name)
def test_small_ones_build(row) -> None:
    build(row)


@pytest.mark.slow
@pytest.mark.parametrize('row', POOL, ids=lambda row: row.name)
def test_every_one_builds_at_64_px(row) -> None:
    build(row)

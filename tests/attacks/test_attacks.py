"""The contract that every entry of ATTACKS, CODEC_ATTACKS and EXTRACTOR_ATTACKS keeps."""

import subprocess
import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fpray.attacks import ATTACKS, CODEC_ATTACKS, EXTRACTOR_ATTACKS, load_attack
from fpray.attacks.threat import Attack, ThreatModel
from fpray.errors import UserError

MEMBER = np.arange(60) < 30
EVERY = [*ATTACKS, *CODEC_ATTACKS, *EXTRACTOR_ATTACKS]


def material() -> dict[str, Any]:
    """What a study lays out for a victim that remembers: its samples are members with some noise."""
    rng = np.random.default_rng(0)
    queries, others = (rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8) for n in (60, 90))
    noise = rng.integers(-40, 41, (30, 1, 8, 8))
    copies = np.clip(queries[MEMBER].astype(int) + noise, 0, 255).astype(np.uint8)
    outputs = [MEMBER * 4 + rng.standard_normal(60) for _ in range(3)]
    return {'queries': queries, 'samples': np.concatenate([others[:60], copies]), 'reference': others,
            'outputs': outputs, 'own_output': outputs[0]} | compressed(rng) | embedded(rng)


def compressed(rng: np.random.Generator) -> dict[str, Any]:
    """What a study lays out for a codec that remembers: members come out smaller and truer than difficulty says."""
    hard, others = rng.normal(0, 0.2, 60), rng.normal(0, 0.2, 90)
    bpp, mse, bands = 2 + hard - 1.5 * MEMBER, np.exp(4 + hard - MEMBER), np.exp(hard - MEMBER)[:, None] * [2.0, 1, 3]
    return {'loss': bpp + 0.01 * mse, 'bpp': bpp, 'mse': mse, 'bands': bands, 'png': np.exp(1 + hard), 'jpeg': np.exp(hard),
            'reference_loss': 2 + hard + 0.01 * np.exp(4 + hard), 'reference_bands': np.exp(hard)[:, None] * [2.0, 1, 3],
            'shadow_losses': 2.5 + hard + rng.normal(0, 0.1, (3, 60)),
            'population_loss': 2.6 + others, 'population_png': np.exp(1 + others), 'population_jpeg': np.exp(others),
            'population_shadow_losses': 2.5 + others + rng.normal(0, 0.1, (3, 90)),
            'population_out': rng.random((3, 90)) < 0.7}


def embedded(rng: np.random.Generator) -> dict[str, Any]:
    """What a study lays out for an extractor that remembers: members' pictures lie close together."""
    person = np.arange(60) // 3
    spread = np.where(MEMBER, 0.2, 1.0)[:, None]
    return {'vectors': rng.standard_normal((20, 16))[person] + spread * rng.standard_normal((60, 16)), 'person': person}


def run(name: str, given: dict[str, Any]) -> np.ndarray:
    attack = load_attack(name)
    return attack.score(**{need: given[need] for need in attack.needs})


@pytest.mark.parametrize('name', EVERY)
def test_members_score_higher(name: str) -> None:
    score = run(name, material())
    assert score.shape == (60,) and score.dtype == np.float64
    assert roc_auc_score(MEMBER, score) > 0.95


@pytest.mark.parametrize('name', EVERY)
def test_scores_follow_the_pictures_whatever_their_order(name: str) -> None:
    given, order = material(), np.random.default_rng(1).permutation(60)
    turned = given | {'queries': given['queries'][order], 'own_output': given['own_output'][order],
                      'outputs': [one[order] for one in given['outputs']], 'shadow_losses': given['shadow_losses'][:, order]}
    turned |= {key: given[key][order] for key in ('loss', 'bpp', 'mse', 'bands', 'png', 'jpeg', 'reference_loss',
                                                  'reference_bands', 'vectors', 'person')}
    np.testing.assert_allclose(run(name, turned), run(name, given)[order], atol=1e-5)


@pytest.mark.parametrize('name', EVERY)
def test_its_threat_model_says_everything(name: str) -> None:
    threat = load_attack(name).threat
    assert threat.name == name
    assert all(getattr(threat, field.name) for field in fields(ThreatModel))
    assert threat.box == ('white' if name == 'white-box' else 'black')


@pytest.mark.parametrize('name', CODEC_ATTACKS)
def test_what_a_codec_attack_needs_is_in_the_vocabulary(name: str) -> None:
    needs = load_attack(name).needs
    assert needs and set(needs) <= set(compressed(np.random.default_rng(0)))
    assert all(f'`{need}`' in str(Attack.__doc__) for need in needs)


@pytest.mark.parametrize('name', EXTRACTOR_ATTACKS)
def test_what_an_extractor_attack_needs_is_in_the_vocabulary(name: str) -> None:
    needs = load_attack(name).needs
    assert needs and all(f'`{need}`' in str(Attack.__doc__) for need in needs)


def test_an_unknown_attack_is_refused_with_the_choice() -> None:
    with pytest.raises(UserError, match=r"unknown attack 'magic'; choose one of shadow, white-box"):
        load_attack('magic')


def test_names_and_threat_models_come_without_torch() -> None:
    code = 'import sys, fpray.attacks, fpray.attacks.codec_box; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0

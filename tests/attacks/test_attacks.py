"""The contract that every entry of ATTACKS keeps."""

import subprocess
import sys
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fpray.attacks import ATTACKS, load_attack
from fpray.attacks.threat import ThreatModel
from fpray.errors import UserError

MEMBER = np.arange(60) < 30


def material() -> dict[str, Any]:
    """What a study lays out for a victim that remembers: its samples are members with some noise."""
    rng = np.random.default_rng(0)
    queries, others = (rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8) for n in (60, 90))
    noise = rng.integers(-40, 41, (30, 1, 8, 8))
    copies = np.clip(queries[MEMBER].astype(int) + noise, 0, 255).astype(np.uint8)
    outputs = [MEMBER * 4 + rng.standard_normal(60) for _ in range(3)]
    return {'queries': queries, 'samples': np.concatenate([others[:60], copies]), 'reference': others,
            'outputs': outputs, 'own_output': outputs[0]}


def run(name: str, given: dict[str, Any]) -> np.ndarray:
    attack = load_attack(name)
    return attack.score(**{need: given[need] for need in attack.needs})


@pytest.mark.parametrize('name', ATTACKS)
def test_members_score_higher(name: str) -> None:
    score = run(name, material())
    assert score.shape == (60,) and score.dtype == np.float64
    assert roc_auc_score(MEMBER, score) > 0.95


@pytest.mark.parametrize('name', ATTACKS)
def test_scores_follow_the_pictures_whatever_their_order(name: str) -> None:
    given, order = material(), np.random.default_rng(1).permutation(60)
    turned = given | {'queries': given['queries'][order], 'own_output': given['own_output'][order],
                      'outputs': [one[order] for one in given['outputs']]}
    np.testing.assert_allclose(run(name, turned), run(name, given)[order], atol=1e-5)


@pytest.mark.parametrize('name', ATTACKS)
def test_its_threat_model_says_everything(name: str) -> None:
    threat = load_attack(name).threat
    assert threat.name == name
    assert all(getattr(threat, field.name) for field in fields(ThreatModel))
    assert threat.box == ('white' if name == 'white-box' else 'black')


def test_an_unknown_attack_is_refused_with_the_choice() -> None:
    with pytest.raises(UserError, match=r"unknown attack 'magic'; choose one of shadow, white-box"):
        load_attack('magic')


def test_names_and_threat_models_come_without_torch() -> None:
    code = 'import sys, fpray.attacks, fpray.attacks.black_box; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0

"""Model inference on planted vectors: sources told apart, chance where there is nothing, confidence, 'none of these'."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

import fpray.attacks.model_inference as inference
from fpray.attacks import INFERENCE_ATTACKS
from fpray.attacks.config import InferenceConfig
from fpray.attacks.model_inference import (
    KINDS,
    NONE_OF_THESE,
    Fitted,
    calibrate,
    fit,
    identify,
    load_fitted,
    normalise,
    outsiders,
    project,
    ranges_of,
        unknown_score,
    unknown_threshold,
)
from fpray.attacks.threat import ThreatModel
from fpray.errors import UserError
from fpray.training.config import AuxiliaryTraining, LoopConfig

LENGTH = 24
CONFIG = InferenceConfig(
    training=AuxiliaryTraining(), loop=LoopConfig(images=8_000, batch=64, snapshot_every=0)
)


def source(number: int, count: int, seed: int, apart: float = 2.0) -> np.ndarray:
    """Vectors of one network: a footprint of its own, and what the pictures add. No footprint at `apart` 0."""
    footprint = apart * np.random.default_rng([9, number]).normal(size=LENGTH)
    rows = footprint + np.random.default_rng([seed, number]).normal(size=(count, LENGTH))
    return np.maximum(rows, 0).astype(np.float32)


def sources(count: int, seed: int, apart: float = 2.0, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    vectors = np.concatenate([source(number, count, seed, apart) for number in range(classes)])
    return vectors, np.repeat(np.arange(classes), count)


@pytest.fixture(scope='module', params=KINDS)
def fitted(request: pytest.FixtureRequest) -> Fitted:
    learnt = sources(300, 1)
    one = fit(request.param, *learnt, 2, 3, CONFIG)
    return calibrate(one, *sources(150, 2), 0.05, outsiders(one, *learnt))


def test_two_sources_are_told_apart(fitted: Fitted) -> None:
    vectors, labels = sources(500, 5)
    found = fitted.log_probabilities(vectors)
    assert found.shape == (1000, 2) and found.dtype == np.float64
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    assert np.mean(found.argmax(axis=1) == labels) > 0.98


@pytest.mark.parametrize('kind', KINDS)
def test_one_source_with_random_labels_gives_chance(kind: str) -> None:
    labels = np.random.default_rng(0).integers(0, 2, 400)
    found = fit(kind, source(0, 400, 1), labels, 2, 3, CONFIG).log_probabilities(source(0, 1000, 5))
    right = np.mean(found.argmax(axis=1) == np.random.default_rng(6).integers(0, 2, 1000))
    assert abs(right - 0.5) < 0.06  # nearly four standard errors


def test_scale_and_offset_of_a_vector_do_not_matter(fitted: Fitted) -> None:
    vectors = sources(50, 5)[0]
    np.testing.assert_allclose(
        fitted.log_probabilities(vectors * 16 - 8), fitted.log_probabilities(vectors), rtol=1e-3, atol=1e-4
    )


def test_an_answer_hangs_on_no_other_vector(fitted: Fitted) -> None:
    vectors = sources(150, 5)[0]
    whole = fitted.log_probabilities(vectors)
    np.testing.assert_allclose(fitted.log_probabilities(vectors[::-1])[::-1], whole, atol=1e-5)
    np.testing.assert_allclose(fitted.log_probabilities(vectors[7:8]), whole[7:8], atol=1e-5)


def test_the_same_seed_gives_the_same_answers(fitted: Fitted) -> None:
    again = fit(fitted.kind, *sources(300, 1), 2, 3, CONFIG)
    vectors = sources(50, 5)[0]
    np.testing.assert_array_equal(
        replace(fitted, temperature=1.0).log_probabilities(vectors), again.log_probabilities(vectors)
    )


def test_a_saved_one_answers_alike(fitted: Fitted, tmp_path) -> None:
    fitted.save(tmp_path / 'fitted')
    again = load_fitted(tmp_path / 'fitted')
    vectors = sources(50, 5)[0]
    np.testing.assert_array_equal(again.log_probabilities(vectors), fitted.log_probabilities(vectors))
    np.testing.assert_array_equal(unknown_score(again, vectors), unknown_score(fitted, vectors))
    for name in ('kind', 'temperature', 'threshold', 'foreign', 'limit'):
        assert getattr(again, name) == getattr(fitted, name), name


def test_ranges_of_dimensions_are_kept(tmp_path) -> None:
    vectors, labels = sources(60, 1)
    one = fit('linear', vectors, labels, 2, 3, replace(CONFIG, axis='dimension'))
    one.save(tmp_path)
    again = load_fitted(tmp_path)
    assert again.threshold == np.inf  # not calibrated
    np.testing.assert_array_equal(one.normalised(vectors[:5]), normalise(vectors, 'dimension')[:5])
    np.testing.assert_array_equal(again.log_probabilities(vectors), one.log_probabilities(vectors))


def test_a_third_source_is_none_of_these(fitted: Fitted) -> None:
    known, strange = unknown_score(fitted, sources(500, 5)[0]), unknown_score(fitted, source(2, 500, 5))
    assert roc_auc_score(np.repeat([0, 1], [1000, 500]), np.concatenate([known, strange])) > 0.98
    assert np.mean(known > fitted.threshold) < 0.09  # 0.05 by the calibration's 300
    assert np.mean(strange > fitted.threshold) > 0.9


def test_an_adapted_candidate_is_changed_and_a_stranger_is_none_of_these() -> None:
    """Five candidates and five strangers, all alike apart; a candidate that moved a quarter of the way is still one."""
    learnt = sources(200, 1, 4, 5)
    one = fit('nearest', *learnt, 5, 3, CONFIG)
    one = calibrate(one, *sources(100, 2, 4, 5), away=outsiders(one, *learnt))
    assert one.limit == one.foreign > one.threshold
    strange = [np.mean(unknown_score(one, source(number, 300, 5, 4)) > one.limit) for number in range(5, 10)]
    moved = [unknown_score(one, 0.75 * source(number, 300, 5, 4) + 0.25 * source(number + 5, 300, 5, 4))
             for number in range(5)]
    assert np.mean(strange) > 0.95 and np.mean([scores > one.limit for scores in moved]) < 0.05
    assert np.mean([scores > one.threshold for scores in moved]) > 0.5


def test_outsiders_are_judged_by_the_other_candidates_alone() -> None:
    learnt, held = sources(60, 1, classes=3), sources(60, 2, classes=3)
    one = fit('nearest', *learnt, 3, 3, CONFIG)
    scores, values = outsiders(one, *learnt), one.normalised(learnt[0])
    for out in range(3):
        rest = learnt[1] != out
        without = inference.Footprint.of(values[rest], np.repeat([0, 1], 60), 2)
        np.testing.assert_allclose(scores[out], without.distances(values[~rest]).min(axis=1))
    found = calibrate(one, *held, 0.1, scores)
    below = [np.mean(each < found.foreign) for each in scores]
    assert 0.08 <= max(below) <= 0.1 and min(below) == 0, 'the least unlike one decides'
    few = (np.concatenate([source(number, 5, 1) for number in range(3)]), np.repeat(np.arange(3), 5))
    assert calibrate(one, *held, 0.1, outsiders(one, *few)).foreign > 0, 'so few vectors of each have a least one too'
    assert calibrate(one, *held, 0.1).limit == found.threshold, 'nobody left out: what is changed is none of these'


def test_without_footprints_nothing_is_strange() -> None:
    one = fit('nearest', *sources(150, 1, apart=0), 2, 3, CONFIG)
    known, other = (unknown_score(one, source(number, 500, 5, apart=0)) for number in (0, 2))
    assert abs(roc_auc_score(np.repeat([0, 1], 500), np.concatenate([known, other])) - 0.5) < 0.08


def test_the_unknown_score_by_hand() -> None:
    """Isotropic scatter around two means: the squared distance from the nearer mean over that mean's own average."""
    rng = np.random.default_rng(0)
    means = np.zeros((2, 6))
    means[1, 0] = 9.0
    labels = np.repeat([0, 1], 4000)
    footprint = inference.Footprint.of((means[labels] + rng.normal(size=(8000, 6))).astype(np.float32), labels, 2)
    asked = np.zeros((1, 6), dtype=np.float32)
    asked[0, 1] = 3.0
    np.testing.assert_allclose(footprint.distances(asked)[0], [9 / 6, (81 + 9) / 6], rtol=0.05)


def test_the_threshold_is_the_conformal_quantile() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20))
    assert unknown_threshold(scores, 0.05) == 19
    assert unknown_threshold(scores, 0.5) == 10
    with pytest.raises(UserError, match=r'18 calibration vectors .* 5\.00% false alarms; give at least 19'):
        unknown_threshold(scores[:18], 0.05)


def test_alarms_come_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    rates = [np.mean(rng.normal(size=500) > unknown_threshold(rng.normal(size=59), 0.1)) for _ in range(400)]
    assert np.mean(rates) == pytest.approx(0.1, abs=0.008)


def test_temperature_undoes_a_known_overconfidence() -> None:
    """Labels drawn from softmax(z); a classifier that says softmax(4 z) is 4 times too sure."""

    class Sure:
        def logits(self, vectors: np.ndarray) -> np.ndarray:
            return 4 * vectors[:, :3].astype(np.float64)

        def arrays(self) -> dict[str, np.ndarray]:
            return {}

    rng = np.random.default_rng(0)
    vectors = rng.uniform(size=(20_000, 6)).astype(np.float32)
    vectors[:, 4], vectors[:, 5] = 0, 1  # normalisation then changes nothing
    labels = (log_softmax(vectors[:, :3], axis=1) + rng.gumbel(size=(20_000, 3))).argmax(axis=1)
    footprint = inference.Footprint.of(vectors, labels, 3)
    one = calibrate(Fitted('linear', 3, 6, 'vector', None, footprint, Sure()), vectors, labels)
    assert one.temperature == pytest.approx(4, rel=0.1)


def test_confidence_does_not_run_to_certainty_on_few(fitted: Fitted) -> None:
    vectors, labels = sources(10, 2, apart=6)
    sure = calibrate(fit(fitted.kind, *sources(100, 1, apart=6), 2, 3, CONFIG), vectors, labels)
    confidence = np.exp(sure.log_probabilities(vectors).max(axis=1)).mean()
    assert 0.85 < confidence < 0.99  # all 20 are right: (20 + 1) / (20 + 2) is 0.955


def test_identify_ranks_or_refuses(fitted: Fitted) -> None:
    chosen = replace(fitted, threshold=float(np.max(unknown_score(fitted, sources(50, 5)[0]))), foreign=0.0)
    names = {LENGTH: ['resnet', 'dense']}
    ranked = identify({LENGTH: chosen}, source(1, 5, 5)[0], names)
    assert [name for name, _ in ranked] == ['dense', 'resnet'] and sum(share for _, share in ranked) == pytest.approx(1)
    assert identify({LENGTH: chosen}, source(2, 1, 5)[0], names) == NONE_OF_THESE
    with pytest.raises(UserError, match='length 7, which no candidate makes; the lengths known are 24'):
        identify({LENGTH: chosen}, np.ones(7, np.float32), names)
    with pytest.raises(UserError, match=r'shape \(1, 24\) where one vector belongs'):
        identify({LENGTH: chosen}, np.ones((1, LENGTH), np.float32), names)
    with pytest.raises(UserError, match='1 of 1 vectors hold values that are not finite'):
        identify({LENGTH: chosen}, np.full(LENGTH, np.nan, np.float32), names)


def test_normalisation_by_hand() -> None:
    vectors = np.array([[0.0, 5, 10], [2, 2, 2]], dtype=np.float32)
    np.testing.assert_array_equal(normalise(vectors), [[0, 0.5, 1], [0, 0, 0]])
    np.testing.assert_array_equal(normalise(vectors, 'dimension'), [[0, 1, 1], [1, 0, 0]])
    low, high = ranges_of(vectors)
    np.testing.assert_array_equal((low, high), [[0, 2, 2], [2, 5, 10]])
    np.testing.assert_array_equal(normalise(vectors[:1] * 2, 'dimension', (low, high)), [[0, np.float32(8 / 3), 2.25]])


def test_tsne_shows_planted_clusters() -> None:
    vectors, labels = sources(40, 1, apart=4)
    places = project(vectors, 0)
    assert places.shape == (80, 2)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert np.mean(labels[gaps.argmin(axis=1)] == labels) > 0.98
    np.testing.assert_array_equal(project(vectors, 0), places)


@pytest.mark.parametrize(('change', 'message'), [
    ({'labels': np.zeros(20, dtype=int)}, 'candidate 1 has 0 reference vectors; give each at least 2'),
    ({'labels': np.repeat([0, 2], 10)}, '20 labels for 20 vectors of 2 candidates; give one from 0 to 1'),
    ({'labels': np.zeros(19, dtype=int)}, '19 labels for 20 vectors'),
    ({'classes': 1}, '1 candidate network to choose from'),
    ({'vectors': np.full((20, 4), np.inf)}, '20 of 20 vectors hold values that are not finite'),
    ({'vectors': np.zeros((20, 1, 8, 8), np.uint8)}, r'uint8 array of shape \(20, 1, 8, 8\) where vectors belong'),
    ({'kind': 'magic'}, "inference.kind: unknown choice 'magic'"),
])
def test_bad_input_is_one_line(change: dict, message: str) -> None:
    given = {'kind': 'nearest', 'vectors': np.random.default_rng(0).normal(size=(20, 4)),
             'labels': np.repeat([0, 1], 10), 'classes': 2, 'seed': 0} | change
    with pytest.raises(UserError, match=message):
        fit(**given)


def test_damaged_files_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match='cannot read the model inference'):
        load_fitted(tmp_path)
    fit('linear', *sources(20, 1), 2, 3).save(tmp_path)
    (tmp_path / 'inference.safetensors').write_bytes(b'not tensors')
    with pytest.raises(UserError, match='cannot read the model inference'):
        load_fitted(tmp_path)


def test_another_length_is_refused(fitted: Fitted) -> None:
    with pytest.raises(UserError, match='vectors of length 7; this classifier was fitted to length 24'):
        fitted.log_probabilities(np.ones((3, 7), np.float32))


@pytest.mark.parametrize('name', INFERENCE_ATTACKS)
def test_its_threat_model_says_everything(name: str) -> None:
    attack = getattr(inference, INFERENCE_ATTACKS[name].split(':')[1])
    assert attack.threat.name == name and attack.threat.box == 'black'
    assert all(getattr(attack.threat, field.name) for field in fields(ThreatModel))
    assert attack.fit(*sources(20, 1), 2, 0, CONFIG).kind == name

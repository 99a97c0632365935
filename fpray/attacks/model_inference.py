"""Model inference: from one vector, which of the known networks made it? (Tangari et al. 2023, sections 4.1, 5.2, 6.1)

One classifier a length of vector, learnt from reference vectors that the attacker makes with the candidate networks and
its own pictures. Three kinds: the source's auxiliary network, and beside it a linear one and the nearest reference
vector, which show what depth buys. Vectors come in raw; normalisation is part of what was fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from fpray.attacks.config import Axis, InferenceConfig
from fpray.attacks.nearest import nearest_distance
from fpray.attacks.threat import INFERENCE_THREATS, InferenceAttack
from fpray.errors import UserError, one_of
from fpray.models.auxiliary import Auxiliary
from fpray.models.config import AuxiliaryConfig
from fpray.training.auxiliary import AuxiliaryLearner, predict
from fpray.training.loop import Pictures, train

Ranges = tuple[np.ndarray, np.ndarray]
NONE_OF_THESE: Literal['none of these'] = 'none of these'
TEMPERATURES = (1e-2, 1e3)  # between these the confidence is calibrated
LEFT_OUT = 8  # candidates at most that are left out in turn, to see what an outsider looks like
TINY = 1e-6  # of the [0, 1] scale: below it two normalised values are the same


# Normalisation ----------------------------------------------------------------------------------------------


def ranges_of(vectors: np.ndarray) -> Ranges:
    """The smallest and the largest value of each dimension, two (length,) arrays, of (n, length) vectors."""
    return vectors.min(axis=0), vectors.max(axis=0)


def normalise(vectors: np.ndarray, axis: Axis = 'vector', ranges: Ranges | None = None) -> np.ndarray:
    """Min-max normalisation, so that nothing hangs on the scale of a network's values (section 6.1).

    Args:
        vectors: (n, length) finite.
        axis: 'vector': each vector by its own smallest and largest value (default; the source does not say which);
            'dimension': each dimension by `ranges`.
        ranges: the (low, high) of each dimension, see `ranges_of`; None: those of these vectors.

    Returns:
        (n, length) float32: in [0, 1], with foreign ranges beyond; a constant vector or dimension becomes 0.
    """
    values = np.asarray(vectors, dtype=np.float64)
    if axis == 'vector':
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    else:
        low, high = (np.asarray(one, dtype=np.float64) for one in ranges or ranges_of(values))
    span = high - low
    scaled = np.divide(values - low, span, out=np.zeros_like(values), where=np.broadcast_to(span > 0, values.shape))
    return scaled.astype(np.float32)


# What the three kinds have learnt ---------------------------------------------------------------------------


class Classifier(Protocol):
    """What tells normalised vectors apart."""

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """(n, length) normalised to (n, K), larger = more likely."""

    def arrays(self) -> dict[str, np.ndarray]:
        """What `save` writes."""


@dataclass(frozen=True)
class Nearest:
    """The nearest reference vector's candidate."""

    vectors: np.ndarray
    """(m, length) float32, normalised."""
    labels: np.ndarray
    """(m,) int64, each of 0 to K - 1 at least twice."""

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """Minus half the squared distance to each class, in units of how far a class's own vectors lie apart."""
        distances = np.stack([nearest_distance(vectors, one) for one in self._by_class], axis=1)
        return np.asarray(-self.vectors.shape[1] / 2 * (distances / self._spread) ** 2)

    @cached_property
    def _by_class(self) -> list[np.ndarray]:
        return [self.vectors[self.labels == label] for label in range(int(self.labels.max()) + 1)]

    @cached_property
    def _spread(self) -> float:
        return float(np.median([_apart(one[:256]) for one in self._by_class]))  # a unit needs no more than these

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Classifier`."""
        return {'vectors': self.vectors, 'labels': self.labels}


@dataclass(frozen=True)
class Linear:
    """Multinomial logistic regression on standardised values, the standardisation folded in."""

    weights: np.ndarray
    """(K, length) float64."""
    bias: np.ndarray
    """(K,) float64."""

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """See `Classifier`."""
        return np.asarray(vectors.astype(np.float64) @ self.weights.T + self.bias)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Classifier`."""
        return {'weights': self.weights, 'bias': self.bias}


@dataclass(frozen=True)
class Network:
    """The auxiliary network."""

    network: Auxiliary

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """See `Classifier`."""
        return predict(self.network, vectors).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Classifier`."""
        return {name: value.detach().cpu().numpy() for name, value in self.network.state_dict().items()}


@dataclass(frozen=True)
class Footprint:
    """Where each candidate's vectors lie, and how they vary around it: what 'none of these' is judged by."""

    whitening: np.ndarray
    """(length, length) float32: times a vector, and the variation within the candidates is 1 in every direction."""
    means: np.ndarray
    """(K, length) float32: each candidate's mean, whitened."""
    spread: np.ndarray
    """(K,) float64: the mean squared distance of a candidate's reference vectors from its mean, whitened."""

    @staticmethod
    def of(values: np.ndarray, labels: np.ndarray, classes: int) -> Footprint:
        """From (n, length) normalised reference vectors; the covariance is shrunk as in Ledoit & Wolf (2004)."""
        from sklearn.covariance import ledoit_wolf  # imported only here: it takes a second

        means = np.stack([values[labels == label].mean(axis=0, dtype=np.float64) for label in range(classes)])
        covariance, _ = ledoit_wolf(values - means[labels], assume_centered=True)
        root = np.linalg.cholesky(covariance + TINY**2 * np.eye(len(covariance)))
        whitening = solve_triangular(root, np.eye(len(root)), lower=True)
        white, centres = values @ whitening.T, means @ whitening.T
        own = ((white - centres[labels]) ** 2).sum(axis=1)
        spread = np.bincount(labels, own, classes) / np.bincount(labels, minlength=classes)
        return Footprint(whitening.astype(np.float32), centres.astype(np.float32), np.maximum(spread, TINY))

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """(n, K) float64: squared distance of normalised vectors from each candidate's mean, in units of its spread."""
        white = vectors.astype(np.float64) @ self.whitening.T.astype(np.float64)
        return np.asarray(cdist(white, self.means.astype(np.float64), 'sqeuclidean') / self.spread)


@dataclass(frozen=True)
class Fitted:
    """A classifier of one length of vector, with all that a raw vector needs; `calibrate` sets the last three fields."""

    kind: str
    """Key in fpray.attacks.INFERENCE_ATTACKS."""
    classes: int
    length: int
    axis: Axis
    ranges: Ranges | None
    """(low, high) of each dimension of the reference vectors where `axis` is 'dimension'."""
    footprint: Footprint
    classifier: Classifier
    temperature: float = 1.0
    """What logits are divided by."""
    threshold: float = float('inf')
    """Unknown scores above it: no candidate as it was published; infinity: never."""
    foreign: float = 0.0
    """Unknown scores above this too: 'none of these'. Between the two lies a candidate that was adapted further."""

    @property
    def limit(self) -> float:
        """Unknown scores above it mean 'none of these'."""
        return max(self.threshold, self.foreign)

    def normalised(self, vectors: np.ndarray) -> np.ndarray:
        """(n, length) raw vectors as the classifier sees them. Raises UserError for another length or NaN."""
        return normalise(_checked(vectors, self.length), self.axis, self.ranges)

    def log_probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(n, length) raw vectors to (n, K) float64 log-probabilities. Raises UserError for another length or NaN."""
        logits = self.classifier.logits(self.normalised(vectors))
        return np.asarray(log_softmax(logits / self.temperature, axis=1))

    def save(self, folder: Path | str) -> None:
        """Write `inference.json` and `inference.safetensors` into a folder, made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        facts = {name: getattr(self, name) for name in ('kind', 'classes', 'length', 'axis', 'temperature', 'foreign')}
        facts['threshold'] = self.threshold if np.isfinite(self.threshold) else None
        if isinstance(self.classifier, Network):
            facts['network'] = asdict(self.classifier.network.config)
        arrays = {f'footprint.{name}': value for name, value in vars(self.footprint).items()}
        arrays |= {f'classifier.{name}': value for name, value in self.classifier.arrays().items()}
        arrays |= dict(zip(('low', 'high'), self.ranges, strict=True)) if self.ranges else {}
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / 'inference.safetensors')
        (folder / 'inference.json').write_text(json.dumps(facts, indent=2) + '\n')


def load_fitted(folder: Path | str) -> Fitted:
    """What `Fitted.save` wrote; nothing in the files can run code.

    Raises:
        UserError: a file is missing or damaged, or the two do not belong together.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / 'inference.json').read_text())
        arrays = load_file(folder / 'inference.safetensors')
        footprint = Footprint(**_under('footprint.', arrays))
        classifier = _classifier(facts, _under('classifier.', arrays))
        ranges = (arrays['low'], arrays['high']) if 'low' in arrays else None
        threshold = float('inf') if facts['threshold'] is None else facts['threshold']
        return Fitted(facts['kind'], facts['classes'], facts['length'], facts['axis'], ranges, footprint, classifier,
                      facts['temperature'], threshold, facts['foreign'])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as fault:
        raise UserError(f'cannot read the model inference in {folder}: {fault}', 'name a folder that save wrote') from fault


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _classifier(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Classifier:
    if facts['kind'] == 'nearest':
        return Nearest(**arrays)
    if facts['kind'] == 'linear':
        return Linear(**arrays)
    network = Auxiliary(AuxiliaryConfig(**facts['network']))
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return Network(network.eval())


# Fitting ----------------------------------------------------------------------------------------------------


def fit(
    kind: str,
    vectors: np.ndarray,
    labels: np.ndarray,
    classes: int,
    seed: int,
    config: InferenceConfig | None = None,
) -> Fitted:
    """Learn to tell the candidate networks apart from their vectors of the attacker's own pictures.

    Args:
        kind: 'auxiliary', 'linear' or 'nearest'.
        vectors: (n, length) raw reference vectors (the source: 10,000), no person of theirs among the victims.
        labels: (n,) the candidate of each, 0 to classes - 1.
        classes: number of candidates, K.
        seed: of the auxiliary network's weights, order and noise; at least 0. The other two draw nothing.
        config: None: the defaults. `training.network.length` and `.classes` are replaced by the vectors' own.

    Raises:
        UserError: fewer than two vectors of a candidate, a label out of range, NaN.
    """
    one_of('inference.kind', kind, KINDS)
    config = config or InferenceConfig()
    raw, labels = _checked(vectors), np.asarray(labels, dtype=np.int64)
    _check_labels(raw, labels, classes)
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < 2:
        raise UserError(f'candidate {counts.argmin()} has {counts.min()} reference vectors', 'give each at least 2')
    ranges = ranges_of(raw) if config.axis == 'dimension' else None
    values = normalise(raw, config.axis, ranges)
    learn = {'auxiliary': _fit_auxiliary, 'linear': _fit_linear, 'nearest': _fit_nearest}[kind]
    classifier = learn(values, labels, classes, seed, config)
    footprint = Footprint.of(values, labels, classes)
    return Fitted(kind, classes, raw.shape[1], config.axis, ranges, footprint, classifier)


def _fit_nearest(
    values: np.ndarray, labels: np.ndarray, classes: int, seed: int, config: InferenceConfig
) -> Classifier:
    return Nearest(values, labels)


def _fit_auxiliary(
    values: np.ndarray, labels: np.ndarray, classes: int, seed: int, config: InferenceConfig
) -> Classifier:
    network = replace(config.training.network, length=values.shape[1], classes=classes)
    learner = AuxiliaryLearner(replace(config.training, network=network), config.loop, seed)
    train(config.loop, learner, Pictures(values, labels=labels), seed, on_progress=lambda _: False)
    return Network(learner.network.eval())


def _fit_linear(
    values: np.ndarray, labels: np.ndarray, classes: int, seed: int, config: InferenceConfig
) -> Classifier:
    from sklearn.linear_model import LogisticRegression  # imported only here: it takes a second

    centre, scale = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    scale[scale < TINY] = 1.0
    model = LogisticRegression(C=config.inverse_penalty, max_iter=100, tol=1e-3)
    model.fit(((values - centre) / scale).astype(np.float32), labels)
    found, offset = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(found) == 1:  # two classes share one row: the logit of the second
        found, offset = np.concatenate([np.zeros_like(found), found]), np.concatenate([[0.0], offset])
    weights = found / scale
    return Linear(weights, offset - weights @ centre)


# Confidence, and 'none of these' ----------------------------------------------------------------------------


def calibrate(fitted: Fitted, vectors: np.ndarray, labels: np.ndarray, alarms: float = 0.05,
              away: Sequence[np.ndarray] = ()) -> Fitted:
    """Set temperature and thresholds on vectors of people that neither the classifier nor the verdict sees.

    The temperature minimises the cross-entropy (Guo et al. 2017). A right answer counts (n + 1) / (n + 2), not 1, as in
    Platt (1999): where all n are right, confidence must not run to certainty.

    Args:
        fitted: from `fit`.
        vectors: (n, length) raw vectors of known candidates.
        labels: (n,) their candidates.
        alarms: share of known vectors that may pass for changed ones, see `unknown_threshold`; and of the scores of the
            least unlike outsider, below which `foreign` lies.
        away: scores of `outsiders`, the same for every kind of classifier; (): what is not as published is none of these.

    Returns:
        A copy with all three set.

    Raises:
        UserError: a label out of range, NaN, fewer vectors than the threshold needs.
    """
    labels = np.asarray(labels, dtype=np.int64)
    _check_labels(vectors, labels, fitted.classes)
    logits = fitted.classifier.logits(fitted.normalised(vectors))
    right = (len(labels) + 1) / (len(labels) + 2)
    targets = np.full(logits.shape, (1 - right) / (fitted.classes - 1))
    targets[np.arange(len(labels)), labels] = right

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method='bounded')
    threshold = unknown_threshold(unknown_score(fitted, vectors), alarms)
    foreign = min((float(np.quantile(scores, alarms, method='lower')) for scores in away), default=0.0)
    return replace(fitted, temperature=float(np.exp(found.x)), threshold=threshold, foreign=foreign)


def outsiders(fitted: Fitted, vectors: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Of each left-out candidate (m,) float64: its reference vectors' unknown scores by the others' footprints alone.

    An attacker has no network from outside the pool; but each candidate is one to the others: it is left out, of many
    candidates eight in turn. A network that is less unlike a candidate than these are unlike each other, e.g. one of the
    same family, has lower scores.

    Args:
        vectors: (n, length) raw reference vectors.
        labels: (n,) their candidates.
    """
    values, found = fitted.normalised(vectors), []
    for out in np.unique(np.linspace(0, fitted.classes - 1, LEFT_OUT).round()):
        rest = labels != out
        others = np.unique(labels[rest], return_inverse=True)[1]
        found.append(Footprint.of(values[rest], others, fitted.classes - 1).distances(values[~rest]).min(axis=1))
    return found


def unknown_score(fitted: Fitted, vectors: np.ndarray) -> np.ndarray:
    """How unlike all known candidates a vector is, whichever classifier was fitted.

    The squared Mahalanobis distance from the nearest candidate's mean, by the covariance that the candidates share (Lee
    et al. 2018), over what that candidate's own vectors have on average. What tells networks apart is where their
    vectors lie; how pictures move a vector is the nuisance, and the covariance discounts it. Not the largest
    probability and not the energy: both are functions of logits that nothing ties down away from the reference vectors,
    and a network of ReLUs is ever surer the further it is asked (Hein et al. 2019). Not the nearest reference vector
    either: with hundreds of dimensions its distance is nearly all nuisance.

    Args:
        vectors: (n, length) raw.

    Returns:
        (n,) float64, larger = outside the pool; about 1 for a candidate's own vectors. An adapted candidate's vectors
        lie further away.
    """
    return np.asarray(fitted.footprint.distances(fitted.normalised(vectors)).min(axis=1))


def unknown_threshold(known: np.ndarray, alarms: float = 0.05) -> float:
    """The score that a further vector of a known candidate exceeds with probability `alarms` at most.

    Args:
        known: (n,) unknown scores of known candidates' vectors, exchangeable with those to come.
        alarms: above 0 and below 1.

    Returns:
        The ceil((n + 1) (1 - alarms))-th smallest score (conformal prediction, Vovk et al. 2005).

    Raises:
        UserError: too few scores for so small a share.
    """
    if not 0 < alarms < 1:
        raise UserError(f'alarms {alarms}', 'give a share above 0 and below 1')
    rank = int(np.ceil((len(known) + 1) * (1 - alarms) - 1e-9))
    if rank > len(known):
        raise UserError(f'{len(known)} calibration vectors cannot set a threshold of {alarms:.2%} false alarms',
                        f'give at least {int(np.ceil(1 / alarms - 1 - 1e-9))}, or allow more alarms')
    return float(np.sort(known)[rank - 1])


def identify(
    fitted: Mapping[int, Fitted], vector: np.ndarray, names: Mapping[int, Sequence[str]]
) -> list[tuple[str, float]] | Literal['none of these']:
    """Which network made this one vector?

    Args:
        fitted: a calibrated classifier a length of vector.
        vector: (length,) raw.
        names: of the candidates of each length, in the order of the labels.

    Returns:
        (name, probability) of every candidate, the likeliest first; or NONE_OF_THESE where the unknown score lies above
        `Fitted.limit`.

    Raises:
        UserError: no classifier for this length, not one vector, NaN.
    """
    vector = np.asarray(vector)
    if vector.ndim != 1:
        raise UserError(f'an array of shape {vector.shape} where one vector belongs', 'give one vector, (length,)')
    if len(vector) not in fitted:
        known = ', '.join(map(str, sorted(fitted)))
        raise UserError(f'a vector of length {len(vector)}, which no candidate makes', f'the lengths known are {known}')
    chosen = fitted[len(vector)]
    if unknown_score(chosen, vector[None])[0] > chosen.limit:
        return NONE_OF_THESE
    shares = np.exp(chosen.log_probabilities(vector[None])[0])
    order = np.argsort(-shares, kind='stable')
    return [(names[len(vector)][number], float(shares[number])) for number in order]


# The map of Fig. 1 ------------------------------------------------------------------------------------------


def project(vectors: np.ndarray, seed: int, axis: Axis = 'vector', perplexity: float = 30.0) -> np.ndarray:
    """Vectors of several networks on the plane, by t-SNE (van der Maaten & Hinton 2008; Fig. 1), normalised first.

    It sees no label: what clusters, clusters by itself.

    Args:
        vectors: (n, length) raw, of one length, n at least 4.
        seed: of the map.
        axis: see `normalise`.
        perplexity: about the number of neighbours that count; at most (n - 1) / 3 is taken.

    Returns:
        (n, 2) float32; neither axes nor distances between clusters have a meaning.
    """
    from sklearn.manifold import TSNE  # imported only here: it takes a second

    values = normalise(_checked(vectors), axis)
    if len(values) < 4:
        raise UserError(f'{len(values)} vectors to map', 'give at least 4')
    narrow = min(perplexity, (len(values) - 1) / 3)
    return np.asarray(TSNE(perplexity=narrow, init='pca', random_state=seed).fit_transform(values), dtype=np.float32)


# Checks -----------------------------------------------------------------------------------------------------


def _checked(vectors: np.ndarray, length: int | None = None) -> np.ndarray:
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or 0 in vectors.shape or not np.issubdtype(vectors.dtype, np.floating):
        raise UserError(f'{vectors.dtype} array of shape {vectors.shape} where vectors belong', 'give (n, length) floats')
    if length is not None and vectors.shape[1] != length:
        raise UserError(f'vectors of length {vectors.shape[1]}', f'this classifier was fitted to length {length}')
    if bad := int((~np.isfinite(vectors)).any(axis=1).sum()):
        raise UserError(f'{bad} of {len(vectors)} vectors hold values that are not finite', 'leave them out')
    return vectors


def _check_labels(vectors: np.ndarray, labels: np.ndarray, classes: int) -> None:
    if classes < 2:
        raise UserError(f'{classes} candidate network to choose from', 'give at least 2')
    if labels.shape != (len(vectors),) or not np.isin(labels, np.arange(classes)).all():
        raise UserError(f'{labels.size} labels for {len(vectors)} vectors of {classes} candidates',
                        f'give one from 0 to {classes - 1} a vector')


def _apart(vectors: np.ndarray) -> float:
    """The median distance, root mean square a dimension, of each vector to its nearest other one."""
    distances = cdist(vectors, vectors) / np.sqrt(vectors.shape[1])
    np.fill_diagonal(distances, np.inf)
    return max(float(np.median(distances.min(axis=1))), TINY)


KINDS = ('auxiliary', 'linear', 'nearest')
auxiliary, linear, nearest = (InferenceAttack(INFERENCE_THREATS[kind], partial(fit, kind)) for kind in KINDS)

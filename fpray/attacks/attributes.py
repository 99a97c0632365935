"""What kind of network made this embedding? A zoo of small networks and their attributes (Tangari et al. 2023, Table 1).

The unit here is the network, not the person: digits are nobody's, and what is sampled is a network. Every Rate of this
module counts networks where others count people.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fpray.attacks.model_inference import normalise
from fpray.errors import UserError
from fpray.metrics.classification import accuracy
from fpray.metrics.rate import Rate
from fpray.models.attribute_net import AttributeNet
from fpray.models.config import ATTRIBUTES, EMBEDDINGS, AttributeNetConfig
from fpray.models.mnist_net import MnistNet, read_mnist_net
from fpray.training.attribute import AttributeLearner, attribute_loop
from fpray.training.config import AttributeTraining
from fpray.training.loop import Pictures, asked, padded, train

KENNEN = 'Kennen'
QUERIES = 100  # pictures; with ten classes Kennen's 1,000 probabilities
HIDDEN = (256, 64)  # units of what infers the attributes
STEPS, BATCH = 1000, 64  # of its training
Table = dict[str, dict[str, Rate]]


@dataclass(frozen=True)
class Digits:
    """Labelled pictures in three parts: to train the zoo, to judge it, to ask every network about."""

    pixels: np.ndarray
    """(N, 1, S, S) uint8."""
    labels: np.ndarray
    """(N,) int64."""
    training: np.ndarray
    held_out: np.ndarray
    queries: np.ndarray
    """Rows; the three parts share none."""


def part_digits(pixels: np.ndarray, labels: np.ndarray, seed: int, queries: int = QUERIES) -> Digits:
    """Draw so many query pictures; of the rest a fifth judges the zoo's accuracy and four fifths train it.

    Raises:
        UserError: pictures that are not gray squares of 4 px or more, or too few of them.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 1 or pixels.shape[2] != pixels.shape[3] or pixels.shape[2] < 4:
        raise UserError(f'digits of shape {pixels.shape}', 'give (N, 1, S, S), S at least 4')
    rows = np.random.default_rng(seed).permutation(len(pixels))
    if len(rows) < queries + 10 or queries < 2:
        raise UserError(f'{len(rows)} digits, {queries} of them to ask about', 'give more digits, and ask about 2 or more')
    cut = queries + (len(rows) - queries) // 5
    return Digits(pixels, np.asarray(labels, dtype=np.int64), rows[cut:], rows[queries:cut], rows[:queries])


def draw_networks(n: int, seed: int) -> list[AttributeNetConfig]:
    """n networks: every attribute drawn on its own and evenly, embedding lengths in turn, so that they are equally many."""
    rng = np.random.default_rng(seed)
    values = {name: [choices[at] for at in rng.integers(0, len(choices), n)] for name, choices in ATTRIBUTES.items()}
    return [
        AttributeNetConfig(**{name: drawn[number] for name, drawn in values.items()},
                           embedding=EMBEDDINGS[number % len(EMBEDDINGS)])
        for number in range(n)
    ]


@dataclass(frozen=True)
class Answers:
    """What one trained network says to the query pictures. Networks are told apart by configuration and seed."""

    config: AttributeNetConfig
    seed: int
    embeddings: np.ndarray
    """(queries, config.embedding) float32."""
    probabilities: np.ndarray
    """(queries x classes,) float32, picture by picture."""
    accuracy: float
    """On the held-out digits."""


def train_one(
    config: AttributeNetConfig, digits: Digits, seed: int, training: AttributeTraining | None = None
) -> Answers:
    """Train one network of the zoo and ask it; a plain function, about a second on scikit-learn's digits.

    Args:
        config: its attributes.
        digits: the same for the whole zoo.
        seed: of weights, order and dropout.
        training: what all networks share; None: the defaults.
    """
    training = training or AttributeTraining()
    loop, side = attribute_loop(config, training), digits.pixels.shape[2]
    learner = AttributeLearner(config, training, side, seed)
    data = Pictures(digits.pixels, digits.training, digits.labels[digits.training])
    train(loop, learner, data, seed, on_progress=lambda _: False)
    embeddings, probabilities = _ask(learner.network, digits.pixels[digits.queries], training.threads)
    _, held_out = _ask(learner.network, digits.pixels[digits.held_out], training.threads)
    right = held_out.argmax(axis=1) == digits.labels[digits.held_out]
    return Answers(config, seed, embeddings, probabilities.ravel(), float(right.mean()))


def ask_mnist_net(path: Path | str, digits: Digits, threads: int = 1) -> Answers:
    """What a network of MNIST-NET says to the query pictures, and its accuracy on the held-out ones.

    Args:
        path: its `final.pth.tar`.
        digits: MNIST's, 28 px a side.

    Raises:
        UserError: the file cannot be read.
    """
    network, seed = read_mnist_net(path)
    embeddings, probabilities = _ask(network, digits.pixels[digits.queries], threads)
    _, held_out = _ask(network, digits.pixels[digits.held_out], threads)
    right = held_out.argmax(axis=1) == digits.labels[digits.held_out]
    return Answers(network.config, seed, embeddings, probabilities.ravel(), float(right.mean()))


def _ask(network: AttributeNet | MnistNet, pixels: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    with asked(network, threads) as device:
        for first, part in padded(pixels, 64, device):
            embeddings, probabilities = network.answers(part)
            found.append((embeddings[: len(pixels) - first], probabilities[: len(pixels) - first]))
    return tuple(torch.cat(parts).numpy() for parts in zip(*found, strict=True))  # type: ignore[return-value]


def infer_attributes(known: Sequence[Answers], unknown: Sequence[Answers], seed: int, ranked: bool = True) -> Table:
    """Table 1: each attribute of the unknown networks, inferred from one embedding, or as Kennen does.

    For each embedding length one network of two hidden layers reads all attributes at once. It learns from the known
    networks' embeddings of the first half of the query pictures and is asked about the unknown networks' embeddings of
    the second half, so that neither a network nor a picture lies on both sides. Kennen (Oh et al. 2018) reads the
    probabilities of all query pictures, and learns from exactly the networks that the embedding's row had.

    Args:
        known: networks whose attributes the attacker knows.
        unknown: networks to be judged on; none of `known`.
        seed: of the classifiers.
        ranked: sort the values of each embedding. Two trainings order their units differently, so what carries over is
            how the values are distributed, not which unit has which; the source's 5,000 networks can teach that, a few
            hundred cannot.

    Returns:
        attribute -> row -> accuracy, its `chance` included; rows are the embedding lengths ('300', ...) and 'Kennen',
        pooled over them. Intervals are over networks (`n_people` counts networks).

    Raises:
        ValueError: a network on both sides.
        UserError: a length without networks on one of the sides.
    """
    return _table(_infer(known, unknown, seed, ranked), seed)


def cross_infer_attributes(answers: Sequence[Answers], seed: int, folds: int = 4, ranked: bool = True) -> Table:
    """`infer_attributes` of a zoo too small to be halved: every fold's networks by those of the other folds.

    Each network is judged once, by classifiers that never saw it. Folds are dealt out in turn within each length.

    Raises:
        ValueError: one network twice.
        UserError: fewer networks of a length than folds.
    """
    by_length = sorted(range(len(answers)), key=lambda row: answers[row].config.embedding)
    counts = Counter(one.config.embedding for one in answers)
    if min(counts.values()) < folds or folds < 2:
        raise UserError(f'{min(counts.values())} networks of one length for {folds} folds', 'train more, or take 2 folds')
    fold = np.empty(len(answers), dtype=np.int64)
    fold[by_length] = np.arange(len(answers)) % folds
    rows: dict[str, list[_Judged]] = {}
    for number in range(folds):
        known, unknown = ([one for one, mine in zip(answers, fold == number, strict=True) if mine == side]
                          for side in (False, True))
        for row, judged in _infer(known, unknown, seed, ranked).items():
            rows.setdefault(row, []).extend(judged)
    return _table(rows, seed)


def _infer(
    known: Sequence[Answers], unknown: Sequence[Answers], seed: int, ranked: bool
) -> dict[str, list[_Judged]]:
    """What was asked about the unknown networks, by row of the table."""
    shared = {(one.config, one.seed) for one in known} & {(one.config, one.seed) for one in unknown}
    if shared:
        raise ValueError(f'{len(shared)} networks are known and unknown at once')
    rows: dict[str, list[_Judged]] = {}
    for length in sorted({one.config.embedding for one in unknown}):
        mine, theirs = ([one for one in side if one.config.embedding == length] for side in (known, unknown))
        if not mine:
            raise UserError(f'no known network with embeddings of length {length}', 'train more networks')
        rows[str(length)] = [_from_embeddings(mine, theirs, seed, ranked)]
        rows.setdefault(KENNEN, []).append(_from_probabilities(mine, theirs, seed))
    rows[KENNEN] = rows.pop(KENNEN)  # last, as in the source
    return rows


def _table(rows: dict[str, list[_Judged]], seed: int) -> Table:
    return {name: {row: _rate(judged, name, seed) for row, judged in rows.items()} for name in ATTRIBUTES}


@dataclass(frozen=True)
class _Judged:
    """Right or wrong, by attribute, of each question, and the network that it was about."""

    right: dict[str, np.ndarray]
    network: list[str]


def _from_embeddings(known: list[Answers], unknown: list[Answers], seed: int, ranked: bool) -> _Judged:
    half = len(known[0].embeddings) // 2
    learnt = np.concatenate([_inputs(one.embeddings[:half], ranked) for one in known])
    asked_ = np.concatenate([_inputs(one.embeddings[half:], ranked) for one in unknown])
    return _judge(learnt, _each(known, half), asked_, _each(unknown, len(unknown[0].embeddings) - half), seed)


def _from_probabilities(known: list[Answers], unknown: list[Answers], seed: int) -> _Judged:
    learnt, asked_ = (np.stack([one.probabilities for one in side]) for side in (known, unknown))
    return _judge(learnt, known, asked_, unknown, seed)


def _inputs(embeddings: np.ndarray, ranked: bool) -> np.ndarray:
    values = normalise(embeddings)
    return np.sort(values, axis=1) if ranked else values


def _each(networks: list[Answers], times: int) -> list[Answers]:
    return [one for one in networks for _ in range(times)]


def _judge(
    learnt: np.ndarray, known: list[Answers], asked_: np.ndarray, unknown: list[Answers], seed: int
) -> _Judged:
    """One classifier with an output for each value of each attribute; the largest output of an attribute is the answer."""
    from sklearn.exceptions import ConvergenceWarning  # imported only here: it takes a second
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    batch = min(BATCH, len(learnt))
    passes = -(-STEPS * batch // len(learnt))  # as many steps whether a network gives fifty rows or, to Kennen, one
    length = {'batch_size': batch, 'max_iter': passes, 'n_iter_no_change': passes}
    classifier = MLPClassifier(HIDDEN, alpha=1e-2, random_state=seed, **length)
    model = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)  # it ends by its steps
        model.fit(learnt, np.array([_coded(one.config) for one in known]))
    outputs, right, first = model.predict_proba(asked_), {}, 0
    for name, values in ATTRIBUTES.items():
        named = outputs[:, first : first + len(values)].argmax(axis=1)
        truth = [values.index(getattr(one.config, name)) for one in unknown]
        right[name], first = named == truth, first + len(values)
    return _Judged(right, [f'{one.config} {one.seed}' for one in unknown])


def _coded(config: AttributeNetConfig) -> list[bool]:
    pairs: list[tuple[str, Any]] = [(name, value) for name, values in ATTRIBUTES.items() for value in values]
    return [getattr(config, name) == value for name, value in pairs]


def _rate(judged: list[_Judged], name: str, seed: int) -> Rate:
    right = np.concatenate([one.right[name] for one in judged])
    network = [which for one in judged for which in one.network]
    return accuracy(right, network, 1 / len(ATTRIBUTES[name]), seed)

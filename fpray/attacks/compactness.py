"""User-level membership of an extractor: were this person's pictures in the training set?

A network that learned to pull a person's pictures together pulls that person's other pictures together too, so how
compactly unseen pictures embed tells members from others (Li, Rezaei & Liu 2022, arXiv:2203.02077; thesis, section 2.2).
"""

import numpy as np
import numpy.typing as npt

from fpray.attacks.threat import COMPACT, Attack
from fpray.errors import UserError


def compactness(vectors: npt.ArrayLike, person: npt.ArrayLike, identity: npt.ArrayLike | None = None, *,
                unit: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Minus the mean distance of a person's pictures to their centre; larger = more member-like.

    The centre is that of an identity (two fingers of a person lie apart), the mean goes over all pictures of the person.
    k pictures lie nearer to their own mean than to the true centre, by sqrt((k - 1) / k) where they scatter evenly; the
    distances are divided by it, so that people with fewer pictures do not look more compact.

    Args:
        vectors: (n, length) embeddings of pictures that the attacker holds.
        person: (n,) whose picture; compared as text.
        identity: (n,) which finger or face; None: a person has one.
        unit: vectors are brought to length 1 first, as the cosine does.

    Returns:
        The people, (people,) sorted text, and their scores, (people,) float64.

    Raises:
        UserError: an identity with one picture only, which has no spread.
        ValueError: lengths differ, or values are not finite.
    """
    values, who = np.asarray(vectors, np.float64), np.asarray(person).astype(str)
    which = who if identity is None else np.asarray(identity).astype(str)
    if values.ndim != 2 or who.shape != (len(values),) or which.shape != who.shape or not len(values):
        raise ValueError(f'vectors, person and identity must be equally long: {values.shape}, {who.shape}, {which.shape}')
    if not np.isfinite(values).all():
        raise ValueError('vectors are not finite')
    if unit:
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    names, code = np.unique(who, return_inverse=True)
    distance = _distances(values, np.char.add(np.char.add(who, '\n'), which))
    return names, -np.bincount(code, distance) / np.bincount(code)


def _distances(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(n,) distance of each row to its group's centre, corrected for the centre being the rows' own."""
    _, code, count = np.unique(group, return_inverse=True, return_counts=True)
    if count.min() < 2:
        raise UserError(f'{(count == 1).sum()} of {len(count)} identities have one picture only: no spread to measure',
                        'give at least two pictures an identity')
    centre = np.zeros((len(count), values.shape[1]))
    np.add.at(centre, code, values)
    centre /= count[:, None]
    return np.linalg.norm(values - centre[code], axis=1) * np.sqrt(count / (count - 1))[code]


def compact_score(vectors: np.ndarray, person: np.ndarray, identity: np.ndarray | None = None) -> np.ndarray:
    """(n,) float64: each picture's score is its person's `compactness`."""
    names, score = compactness(vectors, person, identity)
    return score[np.searchsorted(names, np.asarray(person).astype(str))]


compact = Attack(COMPACT, compact_score)

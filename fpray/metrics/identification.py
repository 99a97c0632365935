"""One against many: whose picture is it, which candidate made it? Ranks, CMC, open set, and the two areas whose chance
is one half.

`rank_auc` asks whether a picture resembles its own person's references more than other people's, `choice_auc` whether
the right one of k candidates is scored above the wrong ones. Both are primary endpoints: each has its difference to a
placebo, its null and its smallest detectable value, by permuting over people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.sparse import csr_array

from fpray.metrics import people
from fpray.metrics.people import BOOTSTRAPS, PERMUTATIONS, Array
from fpray.metrics.rate import Rate

Codes = npt.NDArray[np.int64]
_CHUNK = 256  # permutations at a time: bounds the memory


# A search in a gallery --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gallery:
    """Similarities of pictures (probes) to references, with the people behind both; made by `gallery`.

    Attributes:
        similarity: (n, m) float64, larger = more alike.
        probe_person: (n,) index into the people.
        person: (m,) index of each reference's person.
        probe_identity: (n,) index into the identities of the references; -1: not among them.
        identity: (m,) index of each reference's identity.
        owner: (identities,) whose each identity is; the identities of one person are neighbours.
        people: how many people there are, those of probes and of references.
    """

    similarity: Array
    probe_person: Codes
    person: Codes
    probe_identity: Codes
    identity: Codes
    owner: Codes
    people: int

    @property
    def enrolled(self) -> npt.NDArray[np.bool_]:
        """(n,) bool: probes whose identity is among the references."""
        return np.asarray(self.probe_identity >= 0)


def gallery(
    similarity: npt.ArrayLike,
    probe_person: npt.ArrayLike,
    ref_person: npt.ArrayLike,
    probe_identity: npt.ArrayLike | None = None,
    ref_identity: npt.ArrayLike | None = None,
) -> Gallery:
    """Check and index a search.

    Args:
        similarity: (n, m) of n probes to m references.
        probe_person, ref_person: (n,), (m,) whose pictures these are; compared as text.
        probe_identity, ref_identity: (n,), (m,) the finger or face within the person; without them the person.

    Raises:
        ValueError: sizes do not fit, a similarity is not finite, or there is no probe or no reference.
    """
    s = people.finite(similarity, 'similarities')
    if s.ndim != 2 or not s.size:
        raise ValueError(f'similarities must be (probes, references), got {s.shape}')
    (mine, theirs), k = _coded((probe_person, ref_person), s.shape)
    if (probe_identity is None) != (ref_identity is None):
        raise ValueError('identities are needed of the probes and of the references, or of neither')
    within = (mine, theirs)
    if probe_identity is not None and ref_identity is not None:
        within, _ = _coded((probe_identity, ref_identity), s.shape)
    both = np.concatenate([np.stack(pair, axis=1) for pair in zip((mine, theirs), within, strict=True)])
    listed, row = np.unique(both, axis=0, return_inverse=True)
    row = row.reshape(-1)
    enrolled, identity = np.unique(row[len(s):], return_inverse=True)
    place = np.full(len(listed), -1)
    place[enrolled] = np.arange(len(enrolled))
    return Gallery(s, mine, theirs, place[row[: len(s)]], identity, listed[enrolled, 0], k)


def _coded(names: tuple[npt.ArrayLike, npt.ArrayLike], shape: tuple[int, ...]) -> tuple[tuple[Codes, Codes], int]:
    """Names of probes and references as indices into one sorted list, and its length."""
    a, b = (np.asarray(x).astype(str) for x in names)
    if (len(a), len(b)) != shape:
        raise ValueError(f'{len(a)} probes and {len(b)} references do not fit similarities {shape}')
    distinct, code = np.unique(np.concatenate([a, b]), return_inverse=True)
    return (code[: len(a)], code[len(a):]), len(distinct)


def _best(search: Gallery) -> Array:
    """(n, identities): the similarity of each identity's most similar reference."""
    order = np.argsort(search.identity, kind='stable')
    starts = np.searchsorted(search.identity[order], np.arange(len(search.owner)))
    return np.asarray(np.maximum.reduceat(search.similarity[:, order], starts, axis=1))


def _credit(search: Gallery, ranks: int) -> Array:
    """(enrolled probes, ranks): the chance of each to find its identity within the first 1..ranks, ties at random."""
    best, right = _best(search)[search.enrolled], search.probe_identity[search.enrolled]
    own = best[np.arange(len(best)), right][:, None]
    above, tied = (best > own).sum(axis=1)[:, None], (best == own).sum(axis=1)[:, None]
    return np.asarray(np.clip((np.arange(1, ranks + 1) - above) / tied, 0, 1))


def cmc(search: Gallery, ranks: int = 0) -> Array:
    """Cumulative match characteristic: identification rate at rank 1, 2, ... (closed set, ISO/IEC 19795-1), (ranks,).

    An identity is as similar as its most similar reference; ties count their expectation. Probes whose identity is
    not among the references are left out.

    Args:
        ranks: how many; 0 = all identities.

    Raises:
        ValueError: no probe's identity is among the references.
    """
    if not search.enrolled.any():
        raise ValueError('no probe has its identity among the references')
    return np.asarray(_credit(search, ranks or len(search.owner)).mean(axis=0))


def rank_n(search: Gallery, n: int, seed: int, draws: int = BOOTSTRAPS) -> Rate:
    """Closed-set identification rate at rank n, as `cmc`, with an interval over the probes' people.

    The gallery stays as it is: the rate hangs on its size, which the chance level n / identities says.
    """
    if not search.enrolled.any():
        raise ValueError('no probe has its identity among the references')
    found = people.proportion(_credit(search, n)[:, -1], search.probe_person[search.enrolled], seed, None, draws)
    return replace(found, chance=min(1.0, n / len(search.owner)), note=f'{len(search.owner)} identities in the gallery')


def open_set(
    search: Gallery, threshold: float, seed: int, rank: int = 0, draws: int = BOOTSTRAPS
) -> dict[str, Rate]:
    """Open-set identification errors at a threshold that was set on other people (ISO/IEC 19795-1).

    Args:
        threshold: an identity at or above it is a candidate.
        rank: a mated search also fails where its identity is not among the first `rank` (FNIR(N, R, T)); 0: all count.

    Returns:
        'fpir': the share of searches without a mate that return a candidate: every probe against the references of
        the other people. 'fnir': the share of mated searches that do not return the right identity; left out where
        no probe is enrolled. Intervals over the probes' people, the gallery as it is.
    """
    best, mine = _best(search), search.owner == search.probe_person[:, None]
    strongest = np.where(mine, -np.inf, best).max(axis=1)
    note = f'{len(search.owner)} identities in the gallery'
    fpir = people.proportion(strongest >= threshold, search.probe_person, seed, None, draws)
    rates = {'fpir': replace(fpir, note=note)}
    if search.enrolled.any():
        own = best[np.arange(len(best)), search.probe_identity][search.enrolled]
        within = _credit(search, rank)[:, -1] if rank else np.ones(len(own))
        missed = 1 - within * (own >= threshold)
        fnir = people.proportion(missed, search.probe_person[search.enrolled], seed, None, draws)
        rates['fnir'] = replace(fnir, note=note)
    return rates


def nonmate_scores(search: Gallery) -> tuple[Array, Codes]:
    """(n,) the best similarity of each probe to another person's references, and (n,) the probe's person, an index.

    `verification.threshold_at_fmr` of these scores is the threshold of that false positive identification rate.
    """
    mine = search.owner == search.probe_person[:, None]
    return np.where(mine, -np.inf, _best(search)).max(axis=1), search.probe_person


# Own references against other people's ----------------------------------------------------------------------------


def rank_auc(search: Gallery, seed: int, draws: int = BOOTSTRAPS) -> Rate:
    """Mean over probes of the share of other people's references that are less similar than the person's own.

    Ties count half; where a person has several own references, their mean. With identities, own references are those
    of the same finger, and the person's other fingers are neither own nor others.

    The standard error comes from a bootstrap over people in which a pair of people weighs w_i * w_j, i != j; the
    interval is that of t on the logit scale, and at exactly 1 or 0 the people's exact bound. p by permuting which
    person each person's probes are taken for.

    Args:
        search: n probes (reconstructions) against m references.
        seed: of bootstrap and permutations.

    Returns:
        Rate with chance 0.5; n counts the probes, n_people their people.

    Raises:
        ValueError: a probe without a reference of its own; references of one person only.
    """
    drawn = _rank_draws(_mated(search), draws, seed)
    rate = _area_rate(drawn, search)
    return replace(rate, p=people.tail(drawn[0], _permuted_ranks(search, PERMUTATIONS, seed)))


def rank_auc_difference(search: Gallery, placebo: Gallery, seed: int, draws: int = BOOTSTRAPS) -> Rate:
    """`rank_auc` of a search minus that of the placebo's, both of the same probes, paired by person; chance 0."""
    a, b = (_rank_draws(_mated(each), draws, seed) for each in (search, placebo))
    half = _t_half(a[1:] - b[1:], _probe_people(search))
    return _difference((_area_rate(a, search), _area_rate(b, placebo)), half)


def permuted_rank_auc(search: Gallery, seed: int, draws: int = PERMUTATIONS) -> Rate:
    """Mean `rank_auc` where each person's probes are taken for another's at random, the 95 % range as interval."""
    permuted = _permuted_ranks(_mated(search), draws, seed)
    return people.null_range(permuted, len(search.similarity), _probe_people(search))


def detectable_rank_auc(
    search: Gallery,
    seed: int,
    power: float = 0.8,
    alpha: float = 0.05,
    *,
    placebo: Sequence[Gallery] = (),
    spread: float = 0.0,
    draws: int = PERMUTATIONS,
) -> Rate:
    """The smallest true `rank_auc` that `power` of such audits would have found: see `people.smallest_detectable`.

    Args:
        placebo: the same probes of the placebo, of every draw of it; the difference must be found as well, whose interval
            is the mean of those of single draws.
        spread: variance of the placebo's mean beyond the draw of people; see `membership.draws_variance`.
    """
    permuted = _permuted_ranks(_mated(search), draws, seed)
    others: list[Array | None] = [_permuted_ranks(_mated(each), draws, seed) for each in placebo]
    k = _probe_people(search)
    smallest = mean_detectable([people.detectable(permuted, k - 1, power, alpha, each, (0.0, spread))
                                for each in others or [None]])
    return replace(smallest, n=len(search.similarity), n_people=k)


def mean_detectable(each: Sequence[Rate]) -> Rate:
    """The mean of the smallest detectable values beside single draws of a placebo; none where one of them has none."""
    values = [rate.estimate for rate in each if rate.estimate is not None]
    if len(values) < len(each):
        return next(rate for rate in each if rate.estimate is None)
    return replace(each[0], estimate=float(np.mean(values)))


def _mated(search: Gallery) -> Gallery:
    if not search.enrolled.all():
        raise ValueError(f'{(~search.enrolled).sum()} probes have no reference of their own')
    if len(np.unique(search.person)) < 2:
        raise ValueError('references of one person only: there is nobody to be told from')
    return search


def _probe_people(search: Gallery) -> int:
    return len(np.unique(search.probe_person))


def _placements(search: Gallery) -> Array:
    """(n, identities): for each probe, the `rank_auc` that it would have if that identity were its own."""
    below = stats.rankdata(search.similarity, axis=1)
    for person in np.unique(search.person):
        theirs = search.person == person
        below[:, theirs] -= stats.rankdata(search.similarity[:, theirs], axis=1)
    others = len(search.person) - np.bincount(search.person)[search.person]
    size = np.bincount(search.identity)[search.identity]
    columns = (np.arange(len(size)), search.identity)
    return np.asarray((below / others) @ csr_array((1 / size, columns)))


def _rank_draws(search: Gallery, draws: int, seed: int) -> Array:
    """(1 + draws,) the area as observed and in bootstraps over people, of the pairs of people i != j."""
    k = search.people
    wins, size = np.zeros((k, k)), np.bincount(search.person, minlength=k)
    for identity in np.unique(search.probe_identity):
        mine = search.similarity[search.probe_identity == identity]
        own = np.sort(mine[:, search.identity == identity], axis=1)
        place = [[np.searchsorted(o, row, side) for side in ('left', 'right')] for o, row in zip(own, mine, strict=True)]
        above = 1 - np.mean(place, axis=1) / own.shape[1]  # share of own references above each reference, ties half
        person = search.owner[identity]
        wins[person] += np.bincount(search.person, above.sum(axis=0), k)
    np.fill_diagonal(wins, 0)
    probes = np.bincount(search.probe_person, minlength=k)
    weights = people.resampled(probes > 0, draws, seed)
    others = (weights @ size)[:, None] - weights * size
    share = weights @ wins.T / np.where(others > 0, others, np.nan)
    share[:, probes == 0] = 0
    drawn = (weights * np.where(weights > 0, share, 0)).sum(axis=1) / (weights @ probes)
    return np.asarray(drawn[np.isfinite(drawn)])


def _area_rate(drawn: Array, search: Gallery) -> Rate:
    k = _probe_people(search)
    return _logit_rate(float(drawn[0]), _t_half(drawn[1:], k), len(search.similarity), k)


def _t_half(drawn: Array, k: int) -> float | None:
    """t times the standard error, out of a bootstrap, whose variance k people make too small by (k - 1) / k."""
    if k < 2 or (deviation := float(drawn.std())) < 1e-12:
        return None
    return float(stats.t.ppf(0.975, k - 1) * deviation * np.sqrt(k / (k - 1)))


def _logit_rate(area: float, half: float | None, n: int, k: int) -> Rate:
    area = round(area, 12) if abs(area - round(area)) < 1e-12 else area  # sums of shares that are 1 but for rounding
    interval = people.logit_interval(area, half, k)
    return Rate(area, interval, 0.5, n, k, note='' if interval[0] is not None else 'no interval: the people do not vary')


def _difference(rates: tuple[Rate, Rate], half: float | None) -> Rate:
    """Difference of two areas of the same people, from half its width or, at 0 or 1, from their own intervals."""
    a, b = rates
    assert a.estimate is not None and b.estimate is not None
    value = a.estimate - b.estimate
    halves = None if half is None else (half, half)
    if {a.estimate, b.estimate} & {0.0, 1.0}:
        halves = people.joined(a, b)
    if halves is None:
        return Rate(value, (None, None), 0.0, a.n, a.n_people, note='no interval: the people do not vary')
    return Rate(value, (max(value - halves[0], -1.0), min(value + halves[1], 1.0)), 0.0, a.n, a.n_people)


def _permuted_ranks(search: Gallery, draws: int, seed: int) -> Array:
    """(draws,) the area where the probes of each person are taken for those of a person drawn without replacement.

    A person's f-th finger takes the f-th finger of the other, counted round where that one has fewer.
    """
    values = _placements(search)
    asked, row = np.unique(search.probe_identity, return_inverse=True)
    sums = csr_array((np.ones(len(row)), (row, np.arange(len(row))))) @ values
    owners = np.unique(search.owner)
    first = np.searchsorted(search.owner, owners)
    count = np.diff(np.append(first, len(search.owner)))
    mine = np.searchsorted(owners, search.owner[asked])
    ordinal = asked - first[mine]
    lines = np.arange(len(asked))

    def areas(rng: np.random.Generator, size: int) -> Array:
        taken = np.argsort(rng.random((size, len(owners))), axis=1)[:, mine]
        return np.asarray(sums[lines, first[taken] + ordinal % count[taken]].sum(axis=1) / len(values))

    return _chunked(areas, draws, seed)


def _chunked(areas: Callable[[np.random.Generator, int], Array], draws: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.concatenate([areas(rng, min(_CHUNK, draws - i)) for i in range(0, draws, _CHUNK)])


# The right candidate against the wrong ones -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    """(n, k) share of the other candidates scored under each candidate, ties half; the right one; the person."""

    values: Array
    right: Codes
    code: Codes
    people: int


def choice_auc(
    scores: npt.ArrayLike, right: npt.ArrayLike, person: npt.ArrayLike, seed: int, draws: int = PERMUTATIONS
) -> Rate:
    """Mean share of wrong candidates that are scored under the right one, ties half.

    t interval over people on the logit scale from the people's summed residuals; at exactly 1 or 0 the people's exact
    bound. p by renaming the candidates at random, once for all rows of a person.

    Args:
        scores: (n, k) of k candidates a row, -inf allowed (a candidate that is ruled out); larger = likelier.
        right: (n,) index of the right candidate.
        person: (n,) whose vector each row is.
        seed, draws: of the permutations.

    Returns:
        Rate with chance 0.5.

    Raises:
        ValueError: under two candidates, a NaN, an index outside the candidates, not one person a row.
    """
    data = _choices(scores, right, person)
    rate, _ = _choice_rate(data)
    assert rate.estimate is not None
    return replace(rate, p=people.tail(rate.estimate, _permuted_choices([data], draws, seed)[0]))


def choice_auc_difference(
    scores: npt.ArrayLike, placebo: npt.ArrayLike, right: npt.ArrayLike, person: npt.ArrayLike
) -> Rate:
    """`choice_auc` of `scores` minus that of `placebo`, both (n, k), paired by person; chance 0, t over people."""
    (a, rest_a), (b, rest_b) = (_choice_rate(_choices(s, right, person)) for s in (scores, placebo))
    return _difference((a, b), _residual_half(rest_a - rest_b, a.n))


def permuted_choice_auc(
    scores: npt.ArrayLike, right: npt.ArrayLike, person: npt.ArrayLike, seed: int, draws: int = PERMUTATIONS
) -> Rate:
    """Mean `choice_auc` where the candidates of each person are renamed at random, the 95 % range as interval."""
    data = _choices(scores, right, person)
    return people.null_range(_permuted_choices([data], draws, seed)[0], len(data.right), data.people)


def detectable_choice_auc(
    scores: npt.ArrayLike,
    right: npt.ArrayLike,
    person: npt.ArrayLike,
    seed: int,
    power: float = 0.8,
    alpha: float = 0.05,
    *,
    placebo: npt.ArrayLike | None = None,
    spread: float = 0.0,
    draws: int = PERMUTATIONS,
) -> Rate:
    """The smallest true `choice_auc` that `power` of such audits would have found: see `people.smallest_detectable`.

    Args:
        placebo: (n, k) scores of the placebo, whose difference must be found as well.
        spread: variance of the placebo's mean beyond the draw of people; see `membership.draws_variance`.
    """
    data = [_choices(s, right, person) for s in ((scores,) if placebo is None else (scores, placebo))]
    permuted = _permuted_choices(data, draws, seed)
    other = permuted[1] if len(permuted) > 1 else None
    found = people.detectable(permuted[0], data[0].people - 1, power, alpha, other, (0.0, spread))
    return replace(found, n=len(data[0].right), n_people=data[0].people)


def _choices(scores: npt.ArrayLike, right: npt.ArrayLike, person: npt.ArrayLike) -> _Choice:
    s, r = np.asarray(scores, np.float64), np.asarray(right)
    if s.ndim != 2 or s.shape[1] < 2 or r.shape != s.shape[:1]:
        raise ValueError(f'scores must be (n, k >= 2) and right (n,), got {s.shape} and {r.shape}')
    if np.isnan(s).any():
        raise ValueError(f'{np.isnan(s).sum()} scores are NaN')
    if not np.isin(r, np.arange(s.shape[1])).all():
        raise ValueError(f'right must lie between 0 and {s.shape[1] - 1}')
    code, k = people.people_of(person, len(s))
    return _Choice((stats.rankdata(s, axis=1) - 1) / (s.shape[1] - 1), r.astype(np.int64), code, k)


def _choice_rate(data: _Choice) -> tuple[Rate, Array]:
    """The area, and each person's summed values less it, (people,)."""
    value = data.values[np.arange(len(data.right)), data.right]
    area = float(value.mean())
    residual = np.bincount(data.code, value - area, data.people).astype(np.float64)
    return _logit_rate(area, _residual_half(residual, len(value)), len(value), data.people), residual


def _residual_half(residual: Array, n: int) -> float | None:
    """t times the standard error of a mean of n values, clustered: from the residuals summed by person."""
    k = len(residual)
    if k < 2 or not (variance := k / (k - 1) * float(residual @ residual) / n**2) > 1e-24:
        return None
    return float(stats.t.ppf(0.975, k - 1) * np.sqrt(variance))


def _permuted_choices(data: Sequence[_Choice], draws: int, seed: int) -> list[Array]:
    """(draws,) areas of each entry where one renaming of the candidates a person goes through all entries."""
    code, right, candidates = data[0].code, data[0].right, data[0].values.shape[1]
    cell, row = np.unique(code * candidates + right, return_inverse=True)  # (person, right candidate) that occur
    gather = csr_array((np.ones(len(row)), (row, np.arange(len(row)))))
    sums = [gather @ entry.values for entry in data]
    lines = np.arange(len(cell))

    def areas(rng: np.random.Generator, size: int) -> Array:
        names = np.argsort(rng.random((size, data[0].people, candidates), np.float32), axis=2)
        chosen = names[:, cell // candidates, cell % candidates]
        return np.stack([s[lines, chosen].sum(axis=1) / len(right) for s in sums], axis=1)

    return list(_chunked(areas, draws, seed).T)

"""What compression or generation leaves of prints: ridges, singular points, minutiae, pores and a matcher's verdict.

Ridges need nothing but the pictures. Minutiae need the extra `fingerprint` (pyfing), genuine and impostor pairs the
extra `matcher`; both mean something near 500 dpi and above about 300 px a side alone.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from fpray.distributed.tasks import run_tasks
from fpray.errors import UserError
from fpray.metrics import fingerprint as fp
from fpray.metrics.people import Array
from fpray.metrics.verification import Comparisons, separation, separation_change

NEAR_500 = (400.0, 650.0)  # dpi at which pyfing and the matcher were made to work
PORES_FROM = 1_000  # dpi
SMALLEST_SIDE = 280  # px at 500 dpi, 14 mm: below it too few minutiae are in sight
PICTURES, ROWS = 4, 400  # pictures, comparisons that a task takes
TOLERANCE = 8.0  # px at 500 dpi
SINGULAR = 20.0  # px at 500 dpi, how far a core or delta may move and still be the same

Progress = Callable[[int, int, str], None]
Template = tuple[Any, list[Any], Any]


@dataclass(frozen=True)
class Scale:
    """Lengths of a set: dots an inch (None: unknown), and the mean distance of ridges in px."""

    dpi: float | None
    period: float

    def length(self, at_500: float) -> float:
        """px of a length that is given in px at 500 dpi."""
        return at_500 * self.period / _period(500)


def scale_of(pixels: np.ndarray, dpi: float | None) -> Scale:
    """The scale of prints (N, C, H, W): by their resolution or, where it is unknown, by the ridges of 32 of them."""
    if dpi:
        return Scale(dpi, _period(dpi))
    frequencies = []
    for n in np.unique(np.linspace(0, len(pixels) - 1, 32).astype(int)):
        gray = _gray(pixels[n])
        frequencies.append(fp.ridge_frequency(gray, fp.foreground(fp.structure(gray))).ravel())
    seen = np.concatenate(frequencies)
    seen = seen[np.isfinite(seen)]
    return Scale(None, float(1 / np.median(seen)) if len(seen) else _period(500))


def _period(dpi: float) -> float:
    return fp.PERIOD_MM * dpi / 25.4


def study_fidelity(
    before: Any,
    after: Any,
    records: pd.DataFrame,
    *,
    seed: int,
    progress: Progress | None = None,
    dpi: float | None = None,
    paired: bool = True,
    optional: bool = False,
    fmr: float = 0.01,
    pairs: int = 5_000,
) -> dict[str, Any]:
    """Compares prints before and after compression (paired) or generation (not paired).

    Args:
        before: an ImageSet or its pixels, uint8 (N, C, H, W).
        after: the same of the other pictures: N of the same size where paired, any number else.
        records: N rows with `subject` and `identity`, of `before`.
        seed: of bootstraps, permutations and the draw of comparisons.
        progress: called with (done, total, what).
        dpi: the pictures' resolution; None: unknown, then there is neither minutia nor comparison.
        paired: whether picture n of `after` is picture n of `before`; else each picture of `after` counts as a
            person of its own, and distributions alone are compared.
        optional: whether a missing extra becomes a 'not_available' instead of an error.
        fmr: the false match rate at which genuine pairs are counted, set on each version's own impostors.
        pairs: genuine, and impostor, comparisons at most; drawn if there are more.

    Returns:
        JSON values: images, people, dpi, paired, ridge_frequency (a px), coherence, orientation_difference
        (degrees), singular_points, minutiae, pores, matcher; each figure a `Rate.as_dict()`, or
        {'not_available': why}.

    Raises:
        UserError: pictures do not match each other or the records, or an extra is missing.
    """
    old, new = (np.asarray(getattr(part, 'pixels', part)) for part in (before, after))
    _check(old, new, records, paired)
    study = _Study(old, new, records, scale_of(old, dpi), paired, seed, progress or (lambda done, total, what: None))
    doubt = _doubt(old, new, dpi)
    few_dots = '' if dpi and dpi >= PORES_FROM else f'pores need {PORES_FROM} dpi'
    unpaired = '' if paired else 'generated pictures have no genuine pairs'
    parts = (('minutiae', doubt or _missing('fingerprint', optional), study.minutiae), ('pores', few_dots, study.pores),
             ('matcher', doubt or unpaired or _missing('matcher', optional), lambda: study.matcher(fmr, pairs)))
    found: dict[str, Any] = {
        'images': len(old), 'people': int(records['subject'].nunique()), 'dpi': dpi, 'paired': paired, **study.ridges()}
    return found | {name: {'not_available': why} if why else measure() for name, why, measure in parts}


def _check(old: np.ndarray, new: np.ndarray, records: pd.DataFrame, paired: bool) -> None:
    for name, pixels in (('before', old), ('after', new)):
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or not len(pixels):
            raise UserError(f'the pictures {name} are {pixels.dtype} {pixels.shape}', 'give uint8 (N, C, H, W), N > 0')
    if len(old) != len(records):
        raise UserError(f'{len(old)} pictures with {len(records)} records', 'give one record a picture')
    if paired and (len(old) != len(new) or old.shape[2:] != new.shape[2:]):
        raise UserError(f'pictures before {old.shape} and after {new.shape} are no pairs', 'give the same pictures twice')


def _doubt(old: np.ndarray, new: np.ndarray, dpi: float | None) -> str:
    """Why minutiae and comparisons of such pictures would mean nothing; '' where they do."""
    if dpi is None:
        return 'the resolution is unknown: minutiae and the matcher want prints near 500 dpi'
    if not NEAR_500[0] <= dpi <= NEAR_500[1]:
        return f'{dpi:g} dpi: minutiae and the matcher want prints near 500 dpi'
    side = min(*old.shape[2:], *new.shape[2:])
    return f'{side} px a side at {dpi:g} dpi hold too few minutiae: at least {SMALLEST_SIDE} px' \
        if side < SMALLEST_SIDE else ''


def _missing(extra: str, optional: bool) -> str:
    """'' where the extra is installed and whole; else why not, as an error or, where it is optional, as a text."""
    fault = _fault(extra)
    if fault is not None and not optional:
        raise fault
    return '' if fault is None else str(fault)


def _fault(extra: str) -> UserError | None:
    needed = {'fingerprint': ('pyfing', 'keras', 'cv2'), 'matcher': ('fingerprint_recognition', 'cv2', 'skimage')}
    for module in needed[extra]:
        if find_spec(module) is None:  # Keras itself would take seconds to import, and not here
            return UserError(f'the module {module} is missing', f'install the extra: pip install "fpray[{extra}]"')
    thins = extra != 'fingerprint' or hasattr(getattr(importlib.import_module('cv2'), 'ximgproc', None), 'thinning')
    return None if thins else UserError(
        'OpenCV has no cv2.ximgproc.thinning: another build lies over that of the extra "fpray[fingerprint]"',
        'pip install --force-reinstall --no-deps opencv-contrib-python-headless==4.11.0.86')


@dataclass(frozen=True)
class _Study:
    old: np.ndarray
    new: np.ndarray
    records: pd.DataFrame
    scale: Scale
    paired: bool
    seed: int
    progress: Progress

    @property
    def person(self) -> np.ndarray:
        return self.records['subject'].to_numpy().astype(str)

    @property
    def person_after(self) -> np.ndarray:
        return self.person if self.paired else np.array([f'generated {n}' for n in range(len(self.new))])

    def each(self, function: Callable[..., list[Any]], what: str, *more: Any) -> list[Any]:
        """function(pictures, their counterparts or None, *more) over both sets, by Ray; results in order.

        Paired: one result a pair. Else: results of `before`, then those of `after`.
        """
        parts = [(self.old[i:i + PICTURES], self.new[i:i + PICTURES]) for i in range(0, len(self.old), PICTURES)] \
            if self.paired else [(_[i:i + PICTURES], None) for _ in (self.old, self.new) for i in range(0, len(_), PICTURES)]
        total = len(self.old) + (0 if self.paired else len(self.new))
        results: dict[int, list[Any]] = {}
        for number, result in run_tasks(function, [(*part, *more) for part in parts]):
            results[number] = result
            self.progress(sum(map(len, results.values())), total, what)
        return [one for number in sorted(results) for one in results[number]]

    def split(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Results of `each` as (before, after)."""
        if self.paired:
            return [v[0] for v in values], [v[1] for v in values]
        return [v[0] for v in values[:len(self.old)]], [v[0] for v in values[len(self.old):]]

    def compared(self, before: Sequence[float], after: Sequence[float]) -> dict[str, Any]:
        """Mean before and after, their change where paired, and the distances of the distributions."""
        a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
        made = {'before': fp.share(a, None, self.person, self.seed),
                'after': fp.share(b, None, self.person_after, self.seed)}
        if self.paired:
            made['change'] = fp.share(b - a, None, self.person, self.seed, chance=0.0)
        x, y = np.isfinite(a), np.isfinite(b)
        if x.any() and y.any():
            made |= fp.distances(a[x], b[y], self.person[x], self.person_after[y], self.seed)
        return {name: rate.as_dict() for name, rate in made.items()}

    def rate(self, part: Sequence[float], whole: Sequence[float] | None = None, **more: Any) -> dict[str, Any]:
        return fp.share(part, whole, self.person, self.seed, **more).as_dict()

    def ridges(self) -> dict[str, Any]:
        """Ridge frequency, coherence, orientation and singular points."""
        values = self.each(ridges_of, 'pictures', self.scale.period)
        before, after = self.split(values)
        counts = {f'{name}s': self.compared([sum(v.points[:, 2] == kind) for v in before],
                                            [sum(v.points[:, 2] == kind) for v in after])
                  for name, kind in (('core', fp.CORE), ('delta', fp.DELTA))}
        made = {'ridge_frequency': self.compared([v.frequency for v in before], [v.frequency for v in after]),
                'coherence': self.compared([v.coherence for v in before], [v.coherence for v in after]),
                'singular_points': counts}
        if self.paired:
            turned = [np.degrees(v[2]) for v in values]
            made['orientation_difference'] = self.rate(turned, chance=45.0)
            made['singular_points'] |= self._kept([v.points for v in before], [v.points for v in after])
        return made

    def _kept(self, before: list[Array], after: list[Array]) -> dict[str, Any]:
        """Shares of the singular points of the originals that are kept, and of the later ones that were there."""
        reach = self.scale.length(SINGULAR)
        matched = [len(fp.match_points(a[:, :2], b[:, :2], reach, a[:, None, 2] == b[None, :, 2]))
                   for a, b in zip(before, after, strict=True)]
        return {'kept': self.rate(matched, [len(a) for a in before], bounded=True),
                'genuine': self.rate(matched, [len(b) for b in after], bounded=True), 'tolerance_px': reach}

    def minutiae(self) -> dict[str, Any]:
        """Minutiae by pyfing: how many, and how many stay where and what they were."""
        before, after = self.split(self.each(minutiae_of, 'minutiae', self.scale.dpi))
        made: dict[str, Any] = {'count': self.compared([len(m.kind) for m in before], [len(m.kind) for m in after])}
        if not self.paired:
            return made
        tolerance = self.scale.length(TOLERANCE)
        agree = [fp.match_minutiae(a, b, tolerance) for a, b in zip(before, after, strict=True)]
        strangers = [fp.match_minutiae(before[i], after[j], tolerance) for i, j in enumerate(_strangers(self.person))]
        by_chance = {name: sum(a.matched for a in strangers) / max(1, sum(getattr(a, name) for a in strangers))
                     for name in ('before', 'after')}
        matched = [a.matched for a in agree]
        return made | {
            'precision': self.rate(matched, [a.after for a in agree], chance=by_chance['after'], bounded=True),
            'recall': self.rate(matched, [a.before for a in agree], chance=by_chance['before'], bounded=True),
            'type_agreement': self.rate([a.same_kind for a in agree], matched, chance=_alike(before, after), bounded=True),
            'displacement_px': self.rate([a.distance for a in agree], matched),
            'tolerance_px': tolerance, 'tolerance_degrees': 30.0}

    def pores(self) -> dict[str, Any]:
        """Pores, where the resolution shows them."""
        before, after = self.split(self.each(pores_of, 'pores', self.scale.dpi))
        made: dict[str, Any] = {'count': self.compared([len(p) for p in before], [len(p) for p in after])}
        if self.paired:
            reach = 0.1 * (self.scale.dpi or 0) / 25.4
            matched = [len(fp.match_points(a, b, reach)) for a, b in zip(before, after, strict=True)]
            made |= {'precision': self.rate(matched, [len(b) for b in after], bounded=True),
                     'recall': self.rate(matched, [len(a) for a in before], bounded=True), 'tolerance_px': reach}
        return made

    def matcher(self, fmr: float, most: int) -> dict[str, Any]:
        """Genuine and impostor pairs by an independent matcher, before and after."""
        first, second, genuine = comparisons(self.records, most, self.seed)
        if not 0 < genuine.sum() < len(genuine):
            return {'not_available': 'needs a finger with two pictures and two people'}
        pairs = Comparisons(genuine, np.column_stack([self.person[first], self.person[second]]))
        before, after = self.split(self.each(templates_of, 'templates'))
        done, total, scores = 0, 2 * len(first), []
        for templates in (before, after):
            rows = [(first[i:i + ROWS], second[i:i + ROWS]) for i in range(0, len(first), ROWS)]
            score = np.zeros(len(first))
            for number, part in run_tasks(match_rows, list(_rows(templates, rows))):
                score[number * ROWS:number * ROWS + len(part)] = part
                done += len(part)
                self.progress(done, total, 'comparisons')
            scores.append(score)
        made = {'genuine': int(genuine.sum()), 'impostor': int((~genuine).sum()), 'fmr': fmr}
        rates = [('before', separation(scores[0], pairs, self.seed, fmr)),
                 ('after', separation(scores[1], pairs, self.seed, fmr)),
                 ('change', separation_change(scores[0], scores[1], pairs, self.seed, fmr))]
        return made | {when: {name: rate.as_dict() for name, rate in each.items()} for when, each in rates}


def _rows(templates: list[Template], rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[Any, ...]]:
    """Arguments of `match_rows`: only the templates that a row of comparisons needs travel with it."""
    for first, second in rows:
        yield {int(n): templates[n] for n in np.union1d(first, second)}, first, second


def _strangers(person: np.ndarray) -> list[int]:
    """For each picture a picture of another person (its own where there is only one person)."""
    order = np.argsort(person, kind='stable')
    moved = np.roll(order, -int(np.unique(person, return_counts=True)[1].max()))
    other = np.empty(len(person), int)
    other[order] = moved
    return other.tolist()


def _alike(before: list[fp.Minutiae], after: list[fp.Minutiae]) -> float | None:
    """Chance that a minutia before and one after, drawn apart, are of one kind."""
    a, b = (np.concatenate([m.kind for m in part]) for part in (before, after))
    if not len(a) or not len(b):
        return None
    return float(sum((a == kind).mean() * (b == kind).mean() for kind in np.union1d(a, b)))


def comparisons(records: pd.DataFrame, most: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first, second, genuine): pairs of rows of one finger, and of two people; at most `most` of each, drawn."""
    identity, subject = (records[c].to_numpy().astype(str) for c in ('identity', 'subject'))
    i, j = np.triu_indices(len(records), 1)
    rng = np.random.default_rng(seed)
    chosen = []
    for kind in (identity[i] == identity[j], subject[i] != subject[j]):
        rows = np.flatnonzero(kind)
        chosen.append(np.sort(rng.choice(rows, most, replace=False)) if len(rows) > most else rows)
    rows = np.concatenate(chosen)
    return i[rows], j[rows], np.repeat([True, False], [len(c) for c in chosen])


# Tasks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ridges:
    """What the ridges of a picture measure: mean frequency (a px, NaN where none), coherence, singular points."""

    frequency: float
    coherence: float
    points: Array


def _gray(picture: np.ndarray) -> np.ndarray:
    """(H, W) uint8."""
    return picture[0] if len(picture) == 1 else np.rint(picture.mean(axis=0)).astype(np.uint8)


def ridges_of(pictures: np.ndarray, others: np.ndarray | None, period: float) -> list[tuple[Any, ...]]:
    """(Ridges of a picture, of its counterpart, their mean turn in radians) of each; counterparts are measured where
    the first picture has its print."""
    found: list[tuple[Any, ...]] = []
    for n, picture in enumerate(pictures):
        gray = _gray(picture)
        made = fp.structure(gray, window=2 * period / 3)
        mask = fp.foreground(made)
        mine = _ridges(gray, made, mask, period)
        if others is None:
            found.append((mine,))
            continue
        other = _gray(others[n])
        again = fp.structure(other, window=2 * period / 3)
        turned = fp.turn(made.orientation, again.orientation)[mask]
        found.append((mine, _ridges(other, again, mask, period), float(turned.mean()) if mask.any() else np.nan))
    return found


def _ridges(gray: np.ndarray, made: fp.Structure, mask: np.ndarray, period: float) -> Ridges:
    frequency = fp.ridge_frequency(gray, mask, block=max(16, round(3.5 * period)))
    seen = np.isfinite(frequency)
    return Ridges(float(np.median(frequency[seen])) if seen.any() else np.nan,
                  float(made.coherence[mask].mean()) if mask.any() else np.nan,
                  fp.singular_points(made.orientation, mask, period, made.coherence))


def pores_of(pictures: np.ndarray, others: np.ndarray | None, dpi: float) -> list[tuple[Array, ...]]:
    """Pores of each picture and its counterpart, where the first has its print."""
    found = []
    for n, picture in enumerate(pictures):
        gray = _gray(picture)
        mask = fp.foreground(fp.structure(gray, window=2 * _period(dpi) / 3))
        both = [gray] if others is None else [gray, _gray(others[n])]
        found.append(tuple(fp.pores(each, mask, dpi) for each in both))
    return found


def minutiae_of(pictures: np.ndarray, others: np.ndarray | None, dpi: float) -> list[tuple[fp.Minutiae, ...]]:
    """Minutiae of each picture and its counterpart, by pyfing's classical chain: segmentation GMFS (of the first
    picture, for both), orientation GBFOE, period XSFFE, enhancement GBFEN, minutiae SBMEX. Its network for minutiae
    takes twenty times as long on a CPU core."""
    os.environ.setdefault('KERAS_BACKEND', 'torch')  # read when Keras is imported
    import torch

    found = []
    with torch.no_grad():
        import cv2
        import pyfing

        cv2.setNumThreads(1)
        for n, picture in enumerate(pictures):
            mask = pyfing.fingerprint_segmentation(_gray(picture), int(dpi), 'GMFS')
            both = [picture] if others is None else [picture, others[n]]
            found.append(tuple(_minutiae(pyfing, _gray(each), mask, int(dpi)) for each in both))
    return found


def _minutiae(pyfing: Any, gray: np.ndarray, mask: np.ndarray, dpi: int) -> fp.Minutiae:
    orientation = pyfing.orientation_field_estimation(gray, mask, dpi, 'GBFOE')
    period = pyfing.frequency_estimation(gray, orientation, mask, dpi, 'XSFFE')
    clean = pyfing.fingerprint_enhancement(gray, orientation, period, mask, dpi, 'GBFEN')
    points = pyfing.minutiae_extraction(clean, dpi, 'SBMEX', mask)
    return fp.Minutiae(np.array([(m.x, m.y) for m in points], np.float64).reshape(-1, 2),
                       np.array([m.direction for m in points], np.float64), np.array([m.type for m in points], 'U1'))


def templates_of(pictures: np.ndarray, others: np.ndarray | None) -> list[tuple[Template, ...]]:
    """The matcher's template of each picture and its counterpart; OpenCV's key points as tuples, which can travel."""
    import cv2
    from fingerprint_recognition import extract_features

    cv2.setNumThreads(1)

    def template(picture: np.ndarray) -> Template:
        features = extract_features(_gray(picture))
        points = [(k.pt, k.size, k.angle, k.class_id) for k in features.keypoints]
        return features.minutiae, points, features.descriptors

    return [tuple(template(p) for p in ([picture] if others is None else [picture, others[n]]))
            for n, picture in enumerate(pictures)]


def match_rows(templates: dict[int, Template], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Scores (matched minutiae) of comparisons of templates, (n,)."""
    import cv2
    from fingerprint_recognition import Features, match_features

    cv2.setNumThreads(1)

    def restored(sent: Template) -> Any:
        minutiae, points, descriptors = sent
        keys = [cv2.KeyPoint(*at, size, angle, 0, 0, kind) for at, size, angle, kind in points]
        return Features(minutiae, keys, descriptors, None)  # the ridge map plays no part in matching

    made = {n: restored(sent) for n, sent in templates.items()}
    return np.array([match_features(made[int(i)], made[int(j)]).score for i, j in zip(first, second, strict=True)], float)

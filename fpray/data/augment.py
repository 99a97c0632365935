"""More pictures of a finger, and the same picture from another pipeline.

Alterations are those that people made to escape recognition, as Papi, Ferrara, Maltoni & Anthonioz 2016 ("On the
Generation of Synthetic Fingerprint Alterations", BIOSIG) draw them and SOCOFing ships them (Shehu et al. 2018,
arXiv:1807.10609), with translation and cropping beside them (Tangari et al. 2023, section 5.1). The shapes and strengths
here are our own drawing of these ideas, not the authors' tool. `images.alter` draws milder versions: another touch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from fpray.data import faces, images
from fpray.data.config import ALTERATIONS, STRENGTHS
from fpray.data.imageset import ImageSet

ORIGINAL = 'original'


@dataclass(frozen=True)
class Sensor:
    """What another capturing device or pipeline does to a picture."""

    zoom: float = 1.0
    """Ridge distance over that of the first sensor; above 1 the rim is lost."""
    gamma: float = 1.0
    """Exponent on brightness in [0, 1]; under 1: brighter, a drier touch."""
    blur: float = 0.0
    """Standard deviation of the blur, px."""
    invert: bool = False
    """Ridges bright instead of dark."""


SENSORS = {'same': Sensor(), 'other': Sensor(zoom=1.12, gamma=0.75, blur=0.6)}


@dataclass(frozen=True)
class _Print:
    """A picture (C, H, W) as float64 with where its print lies."""

    values: np.ndarray
    y: np.ndarray
    x: np.ndarray
    radius: float
    background: np.ndarray

    @property
    def distance(self) -> np.ndarray:
        """(H, W) distance from the middle of the print, px."""
        return np.asarray(np.hypot(self.y, self.x))


# Alterations ------------------------------------------------------------------------------------------------


def versions(times: int, kinds: Sequence[str] = ALTERATIONS, strength: str = 'mixed') -> list[str]:
    """Names of the `times` versions of a picture: 'original', then 'obliteration-easy' and so on.

    Kinds take turns, and under 'mixed' so do strengths, from round to round: every picture, whoever it shows, gets the
    same alterations at the same strengths.

    Raises:
        ValueError: no version, an unknown kind or strength.
    """
    if times < 1 or not kinds or not set(kinds) <= set(ALTERATIONS) or strength not in (*STRENGTHS, 'mixed'):
        raise ValueError(f'{times} versions of kinds {tuple(kinds)} of {ALTERATIONS}, strength {strength}')
    strengths = STRENGTHS if strength == 'mixed' else (strength,)
    return [ORIGINAL, *(f'{kinds[n % len(kinds)]}-{strengths[n // len(kinds) % len(strengths)]}'
                        for n in range(times - 1))]


def augment(pixels: np.ndarray, ids: Sequence[str], times: int, seed: int, kinds: Sequence[str] = ALTERATIONS,
            strength: str = 'mixed') -> tuple[np.ndarray, list[str]]:
    """`times` versions of every picture, the first of them the picture itself (x10 of 6,000 is 60,000 in all).

    Version t of a picture hangs on (seed, its id, t) alone.

    Args:
        pixels: (N, C, H, W) uint8, dark ridges.
        ids: N names, e.g. image_id; equal pictures under equal ids get equal versions.
        times: versions a picture, at least 1; SOCOFing 10 and PolyU 50 in the source.
        seed: at least 0.
        kinds: which of `ALTERATIONS`, in turn.
        strength: 'easy', 'medium', 'hard' or 'mixed' (in turn).

    Returns:
        (N * times, C, H, W) uint8, the versions of a picture behind each other, and as many names, see `versions`.
    """
    names = versions(times, kinds, strength)
    if len(ids) != len(pixels):
        raise ValueError(f'{len(ids)} ids for {len(pixels)} pictures')
    altered = np.empty((len(pixels) * times, *pixels.shape[1:]), np.uint8)
    for n, picture in enumerate(_versions(pixels, ids, names, seed)):
        altered[n] = picture
    return altered, names * len(pixels)


def augmented(original: ImageSet, times: int, seed: int, kinds: Sequence[str] = ALTERATIONS, strength: str = 'mixed',
              into: Path | None = None, progress: Callable[[int, int], None] = lambda done, all_: None) -> ImageSet:
    """A set with `times` versions of every picture, as `augment` draws them.

    A version keeps subject, identity and path of its original, so that no split by identity parts them; it has altered =
    True, the impression '<impression>/<name>-<t>' and an image_id of its own. origin is the original's image_id.

    Args:
        into: folder for the set, memory-mapped; None: in memory.
        progress: told after every picture how many there are, and of how many.
    """
    names, records = versions(times, kinds, strength), original.records
    shape = (len(records) * times, *original.pixels.shape[1:])
    pixels = np.empty(shape, np.uint8) if into is None else _mapped(into, shape)
    ids = []
    for n, picture in enumerate(_versions(original.pixels, list(records['image_id']), names, seed)):
        pixels[n] = picture
        ids.append(images.image_id(picture))
        progress(n + 1, len(pixels))
    longer, version = lengthened(records, times)
    marks = pd.Series([f'/{names[t]}-{t}' if t else '' for t in version])
    longer = longer.assign(image_id=ids, impression=longer['impression'].astype(str) + marks)
    made = {'times': times, 'seed': seed, 'kinds': list(kinds), 'strength': strength}
    result = ImageSet(pixels, longer, {**original.meta, 'augmented': made})
    if into is None:
        return result
    result.save(into)
    return ImageSet.load(into)


def lengthened(records: pd.DataFrame, times: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Records with every row `times` over, and which version each is, 0 the original: that alone is as altered as it was,
    and its image_id is the origin of all."""
    longer = records.loc[records.index.repeat(times)].reset_index(drop=True)
    version = np.tile(np.arange(times), len(records))
    before = longer['altered'].to_numpy(bool) if 'altered' in longer else np.zeros(len(longer), bool)
    return longer.assign(origin=longer['image_id'], altered=before | (version > 0)), version


def _mapped(into: Path, shape: tuple[int, ...]) -> np.ndarray:
    into.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(into / 'pixels.npy', mode='w+', dtype=np.uint8, shape=shape)


def _versions(pixels: np.ndarray, ids: Sequence[str], names: list[str], seed: int) -> Iterator[np.ndarray]:
    for picture, name in zip(pixels, ids, strict=True):
        yield picture
        found = _print(picture) if len(names) > 1 else None
        for t, version in enumerate(names[1:], 1):
            assert found is not None
            digest = hashlib.sha256(f'{seed}/{name}/{t}'.encode()).hexdigest()
            kind, strength = version.rsplit('-', 1)
            values = _ALTER[kind](found, np.random.default_rng(int(digest[:16], 16)), STRENGTHS.index(strength))
            yield np.rint(values).clip(0, 255).astype(np.uint8)


def _print(picture: np.ndarray) -> _Print:
    """Where the print lies: where gray changes as much as in a tenth of its liveliest parts."""
    values = picture.astype(np.float64)
    height, width = picture.shape[1:]
    down, right = np.gradient(values.mean(axis=0))
    lively = ndimage.uniform_filter(down**2 + right**2, max(3, min(height, width) // 8))
    there = lively > 0.1 * np.quantile(lively, 0.95)
    y, x = np.meshgrid(np.arange(height, dtype=float), np.arange(width, dtype=float), indexing='ij')
    middle = (y[there].mean(), x[there].mean()) if there.any() else ((height - 1) / 2, (width - 1) / 2)
    radius = np.sqrt(max(there.sum(), 1) / np.pi)
    # a print that fills the picture shows no background: the gray of its bright valleys stands for it
    empty = np.median(values[:, ~there], axis=1) if there.mean() < 0.95 else np.quantile(values, 0.9, axis=(1, 2))
    return _Print(values, y - middle[0], x - middle[1], min(float(radius), min(height, width) / 2), empty[:, None, None])


def _obliterate(found: _Print, rng: np.random.Generator, level: int) -> np.ndarray:
    """Ridges worn or burnt away in an uneven patch near the middle, with scratches across it."""
    size = (0.3, 0.5, 0.7)[level] * found.radius
    shift, phases = rng.uniform(-0.2, 0.2, 2) * found.radius, rng.uniform(0, 2 * np.pi, 3)
    y, x = found.y - shift[0], found.x - shift[1]
    angle = np.arctan2(y, x)
    edge = size * (1 + sum(0.18 / k * np.cos((k + 1) * angle + phases[k - 1]) for k in (1, 2, 3)))
    patch = np.clip((edge - np.hypot(y, x)) / 2 + 0.5, 0, 1)
    worn = ndimage.gaussian_filter(found.values, (0, size / 3, size / 3))
    grain = ndimage.gaussian_filter(rng.standard_normal(patch.shape), 0.8)
    worn = worn + grain / grain.std() * 0.35 * found.values.std(axis=(1, 2), keepdims=True)
    values = found.values + patch * (worn - found.values)
    for start, bend in zip(rng.uniform(0, 2 * np.pi, level + 1), rng.uniform(-0.8, 0.8, level + 1), strict=True):
        a, b = (shift + size * np.array([np.sin(turn), np.cos(turn)]) for turn in (start, start + np.pi + bend))
        values = _scarred(values, found, _segment(found, a, b))
    return values


def _rotate_centre(found: _Print, rng: np.random.Generator, level: int) -> np.ndarray:
    """A disc around the middle, cut out, turned and grown in again, with a scar along its rim."""
    radius = (0.3, 0.45, 0.6)[level] * found.radius
    low, high = ((30, 60), (60, 120), (120, 180))[level]
    angle = np.deg2rad(rng.uniform(low, high)) * rng.choice((-1, 1))
    turned = _moved(found, *_rotated(found.y, found.x, angle))
    values = np.where(found.distance <= radius, turned, found.values)
    return _scarred(values, found, np.abs(found.distance - radius))


def _cut_z(found: _Print, rng: np.random.Generator, level: int) -> np.ndarray:
    """Two equal-sided flaps of a Z exchange their places, each turned by 60 degrees; scars along the Z."""
    side, along = (0.45, 0.65, 0.85)[level] * found.radius, rng.uniform(0, 2 * np.pi)
    unit = np.array([np.sin(along), np.cos(along)])
    across = np.array([unit[1], -unit[0]])
    tall = side * np.sqrt(3) / 2
    p1, p2, p3, p4 = tall * across, -side / 2 * unit, side / 2 * unit, -tall * across
    values = found.values
    for corners, others, sign in (((p1, p2, p3), (p4, p3, p2), 1), ((p4, p3, p2), (p1, p2, p3), -1)):
        here, there = np.mean(corners, axis=0), np.mean(others, axis=0)
        y, x = _rotated(found.y - here[0], found.x - here[1], sign * np.pi / 3)
        values = np.where(_inside(found, corners), _moved(found, y + there[0], x + there[1]), values)
    for a, b in ((p1, p2), (p2, p3), (p3, p4)):
        values = _scarred(values, found, _segment(found, a, b))
    return values


def _translate(found: _Print, rng: np.random.Generator, level: int) -> np.ndarray:
    """The finger set down elsewhere: what leaves the picture is lost, what was outside is background."""
    low, high = ((0.04, 0.08), (0.08, 0.15), (0.15, 0.25))[level]
    size, turn = rng.uniform(low, high) * min(found.values.shape[1:]), rng.uniform(0, 2 * np.pi)
    down, right = (round(size * part) for part in (np.sin(turn), np.cos(turn)))  # whole px: no blur
    return _moved(found, found.y - down, found.x - right)


def _crop(found: _Print, rng: np.random.Generator, level: int) -> np.ndarray:
    """A partial print: a window that keeps this share of the picture's area; the rest is background."""
    low, high = ((0.8, 0.9), (0.65, 0.8), (0.45, 0.65))[level]
    height, width = found.y.shape
    share, aspect, place = rng.uniform(low, high), rng.uniform(0.8, 1.25), rng.random(2)
    kept = np.minimum(1, np.sqrt(share) * np.array([aspect, 1 / aspect]))
    kept = np.minimum(1, kept * share / kept.prod())  # a side that met the picture's gives its rest to the other
    tall, wide = np.rint(kept * (height, width)).astype(int)
    top, left = (np.rint(place * (height - tall, width - wide))).astype(int)
    values = np.broadcast_to(found.background, found.values.shape).copy()
    values[:, top:top + tall, left:left + wide] = found.values[:, top:top + tall, left:left + wide]
    return values


_ALTER: dict[str, Callable[[_Print, np.random.Generator, int], np.ndarray]] = {
    'obliteration': _obliterate, 'central-rotation': _rotate_centre, 'z-cut': _cut_z, 'translation': _translate,
    'cropping': _crop}


def _rotated(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x


def _moved(found: _Print, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The picture's values (C, H, W) at points relative to the print's middle; background outside."""
    height, width = y.shape
    row, column = y - found.y[0, 0], x - found.x[0, 0]
    inside = (row >= -0.5) & (row <= height - 0.5) & (column >= -0.5) & (column <= width - 0.5)
    return np.where(inside, images.bilinear(found.values, row, column), found.background)


def _inside(found: _Print, corners: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W) bool, the triangle with these corners (y, x), whichever way round they go."""
    sides = [(b[1] - a[1]) * (found.y - a[0]) - (b[0] - a[0]) * (found.x - a[1])
             for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)]
    return np.asarray(np.all([s >= 0 for s in sides], axis=0) | np.all([s <= 0 for s in sides], axis=0))


def _segment(found: _Print, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W) distance to the line from a to b, (y, x) each, px."""
    y, x, along = found.y - a[0], found.x - a[1], b - a
    at = np.clip((y * along[0] + x * along[1]) / max(float(along @ along), 1e-9), 0, 1)
    return np.asarray(np.hypot(y - at * along[0], x - at * along[1]))


def _scarred(values: np.ndarray, found: _Print, distance: np.ndarray) -> np.ndarray:
    """A scar, which takes no ink, where `distance` (H, W) is under a fortieth of the print's width."""
    scar = np.clip(max(0.5, found.radius / 40) - distance + 0.5, 0, 1)
    return np.asarray(values + scar * (found.background - values))


# Another pipeline -------------------------------------------------------------------------------------------


def sensor(pixels: np.ndarray, name: str) -> np.ndarray:
    """Pictures as another sensor would show the same touch: zoom about the middle, gamma, blur, inversion.

    It stands for a second device where a set has one only (condition Diff-PreProc); a real second sensor differs in more
    than this.

    Args:
        pixels: (N, C, H, W) uint8.
        name: a key of `SENSORS`; 'same' changes nothing.
    """
    if name not in SENSORS:
        raise ValueError(f'unknown sensor {name!r}, known: {", ".join(SENSORS)}')
    device, changed = SENSORS[name], np.empty_like(pixels, subok=False)
    if device == Sensor():
        return np.array(pixels)
    middle = [(side - 1) / 2 for side in pixels.shape[2:]]
    y, x = ((np.arange(side) - at) / device.zoom + at for side, at in zip(pixels.shape[2:], middle, strict=True))
    rows, columns = np.meshgrid(y, x, indexing='ij')
    for n, picture in enumerate(pixels):
        values = images.bilinear(picture, rows, columns)
        values = ndimage.gaussian_filter(values, (0, device.blur, device.blur), mode='nearest') if device.blur else values
        values = 255 * (values / 255) ** device.gamma
        changed[n] = np.rint(255 - values if device.invert else values)
    return changed


def align(pixels: np.ndarray, how: faces.How, size: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Faces cut out by 'landmarks' (an affine map of eyes and nose) or 'box' (the detector's square): section 5.3.

    Args:
        pixels: (N, C, H, W) uint8, whole pictures.
        how: 'landmarks' or 'box'.
        size: side of the result, px; 0: the shorter side of the pictures.

    Returns:
        (N, C, size, size) uint8, and whether a face was found, (N,) bool; where none was, the picture's central square.

    Raises:
        UserError: the extra `faces` is not installed.
    """
    return faces.cut(pixels, how, size or min(pixels.shape[2:]))

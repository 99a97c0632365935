"""The synthetic stand-in: SFinGe-type fingers of synthetic people, made of numpy and scipy alone.

A finger (`master`) is a ridge pattern: orientations from the zero-pole model (Sherlock & Monro 1993, doi:10.1016/0031-3203(93)90006-I)
with a piecewise-linear correction on 8 nodes around every singularity (Vizcaya & Gerhardt 1996,
doi:10.1016/0031-3203(95)00154-9), and ridges grown by iterating a clipped Gabor filter tuned to the local orientation
and frequency (Cappelli, Maio & Maltoni 2000, "Synthetic fingerprint-image generation"). An `impression` is one touch of
it: pose, contact shape, skin distortion (Cappelli, Maio & Maltoni 2001, "Modelling plastic distortion in fingerprint
images"), ridge thickness, dryness, smudges, scratches and the sensor. Every number below that carries no source was
set by eye beside real prints. Whoever shows these pictures or numbers from them calls them synthetic.

Coordinates: x to the right, y up, origin in the middle of the finger pad, in pixels of the picture. Ridges are +1 and
valleys -1 in a master, dark and light in a picture. Randomness: a person, a finger and an impression have a generator
each, from (seed, subject[, finger[, impression]]), so that none depends on which others were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from fpray.errors import UserError

Array = NDArray[np.float32]

MIN_SIZE, MAX_SIZE = 48, 512  # px, the sides that a picture may have
PERIOD = 9.1  # px, mean ridge period at 500 ppi (about 1/9 a pixel: Cappelli, Maio & Maltoni 2000)
NATURAL_SIZE = 356  # px at 500 ppi, the side of a picture that a finger pad fills
MIN_PERIOD = 5.0  # px, closer ridges turn into moire
GROWTH_PERIOD = 6.0  # px, ridge period on the canvas on which ridges grow
# Shares of the classes in the population (SFinGe 2.0); left and right loops are told apart by the hand, see _pattern.
CLASS_SHARES = {'arch': 0.037, 'tented_arch': 0.029, 'loop': 0.655, 'whorl': 0.279}
CLASS_CONCENTRATION = 4.0  # Dirichlet concentration of a person's own class shares: correlation 1 / (1 + 4) = 0.2
PERIOD_SD_PERSON, PERIOD_SD_FINGER = 0.045, 0.03  # relative: correlation 0.69 between two fingers of a person
LEFT_LOOP_SHARE = {'left': 0.956, 'right': 0.076}  # of the loops of a hand: ulnar loops open to the little finger
POSITIONS = tuple(f'{hand}_{finger}' for finger in ('index', 'middle', 'ring', 'thumb', 'little')
                  for hand in ('right', 'left'))
_PERSON, _FINGER, _IMPRESSION = 1, 2, 3  # first word of the three kinds of random streams


@dataclass(frozen=True)
class Skin:
    """What a person's skin does to all prints of the person.

    Attributes:
        period: ridge period as a multiple of the population's mean.
        wetness: shift of the ridge threshold; positive prints broad, joined ridges, negative thin, broken ones.
        contrast: multiple of the darkness of ridges.
        creases: expected number of white creases on a finger.
        width: half-width of the finger pad as a multiple of the population's mean.
        shares: the person's own class shares, in the order of `CLASS_SHARES`.
    """

    period: float
    wetness: float
    contrast: float
    creases: float
    width: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Master:
    """A finger: what all its impressions have in common.

    Attributes:
        key: (seed, subject, finger).
        shape: (H, W) of its pictures, px.
        ppi: pixels an inch of its pictures; says how far ridges are apart.
        scale: size of the finger pad and its pattern as a multiple of a real one at 500 ppi.
        period: mean ridge period in a picture, px.
        pattern: arch, tented_arch, left_loop, right_loop or whorl.
        position: right_index, left_index, ... (`POSITIONS`).
        skin: the person's skin.
        outline: half-axes of the pad to the left, right, top and bottom, px.
        step: canvas pixels a picture pixel.
        ridges: canvas, float32 in [-1, 1], ridges +1.
        creases: canvas, float32 in [0, 1], depth of the creases.
        pores: canvas, float32 in [0, 1].
    """

    key: tuple[int, int, int]
    shape: tuple[int, int]
    ppi: float
    scale: float
    period: float
    pattern: str
    position: str
    skin: Skin
    outline: tuple[float, float, float, float]
    step: int
    ridges: Array
    creases: Array
    pores: Array


def person(seed: int, subject: int) -> Skin:
    """Draws a person's traits, from (seed, subject) alone."""
    rng = np.random.default_rng([_PERSON, seed, subject])
    shares = rng.dirichlet(CLASS_CONCENTRATION * np.array(list(CLASS_SHARES.values())))
    return Skin(period=1 + PERIOD_SD_PERSON * float(np.clip(rng.normal(), -2.5, 2.5)), wetness=float(rng.normal(0, 0.14)),
                contrast=float(np.exp(rng.normal(0, 0.10))), creases=float(rng.gamma(1.2, 1.3)),
                width=float(np.clip(rng.normal(1, 0.06), 0.85, 1.15)), shares=tuple(map(float, shares)))


def master(seed: int, subject: int, finger: int, shape: int | tuple[int, int], ppi: float = 0) -> Master:
    """Grows a finger; a function of its arguments alone.

    Args:
        seed, subject, finger: which finger; not negative, finger below `len(POSITIONS)`.
        shape: side of a square picture or (H, W), px, each from `MIN_SIZE` to `MAX_SIZE`.
        ppi: pixels an inch, 50 to 1,200; 0 chooses so that the finger fills the picture: real proportions from 196 px
            on (356 px: 500 ppi). Below, ridges stay 5 px apart on average, so that a small picture shows a whole
            pad with its singularities but fewer ridges than a real one (13 across at 64 px, a real one has 39): they
            are resolved, do not turn into moire, and a small network can learn them. A ppi that is given shows a
            finger of natural size: a picture smaller than the pad shows its middle.

    Raises:
        UserError: a size, a resolution or a number outside its range.
    """
    _check(seed, subject, finger)
    h, w = _shape(shape)
    scale, ppi = _resolution((h, w), ppi)
    skin = person(seed, subject)
    rng = np.random.default_rng([_FINGER, seed, subject, finger])
    period = PERIOD * ppi / 500 * skin.period * (1 + PERIOD_SD_FINGER * float(np.clip(rng.normal(), -2.5, 2.5)))
    position = POSITIONS[finger]
    pattern = _pattern(rng, skin.shares, position)
    outline = _outline(rng, skin, scale)
    margin = 1.28  # the canvas reaches beyond the picture: touches are turned and shifted
    grown = _grow(rng, pattern, scale, period, (h * margin, w * margin))
    step = int(np.ceil(7.5 / period))
    canvas = (int(h * margin * step), int(w * margin * step))
    ridges = _enlarge(grown, canvas, GROWTH_PERIOD / (period * step))
    return Master((seed, subject, finger), (h, w), ppi, scale, period, pattern, position, skin, outline, step, ridges,
                  _creases(rng, canvas, skin.creases, scale * step, period * step), _pores(rng, ridges, period * step))


def impression(finger: Master, number: int) -> NDArray[np.uint8]:
    """One touch of a finger on a sensor: (H, W) uint8, dark ridges; a function of the finger and the number alone."""
    if number < 0:
        raise UserError(f'impression number {number} is negative', 'count from 0')
    rng = np.random.default_rng([_IMPRESSION, *finger.key, number])
    touch = _touch(rng, finger)
    x, y = _to_finger(touch, finger)
    depth, edge = _contact(rng, touch, finger, x, y)
    x, y = _distort(rng, touch, finger, x, y)
    rows = np.stack([finger.ridges.shape[0] / 2 - y * finger.step, finger.ridges.shape[1] / 2 + x * finger.step])
    ridges, creases, pores = (ndimage.map_coordinates(layer, rows, order=1, mode='reflect')
                              for layer in (finger.ridges, finger.creases, finger.pores))
    ink = _ink(rng, touch, finger, ridges, creases, pores, depth)
    return _sense(rng, touch, finger, ink, edge)


def generate(seed: int, subjects: Sequence[int], fingers: int, impressions: int, size: int,
             ppi: float = 0) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """Makes the pictures of a block of people; a person is the same in whichever block.

    Args:
        seed: of the population, not negative.
        subjects: numbers of the people, e.g. `range(0, 50)`.
        fingers: fingers a person, 1 to `len(POSITIONS)`.
        impressions: impressions a finger, at least 1.
        size: side of the square pictures, px (48 to 512).
        ppi: pixels an inch, or 0; see `master`.

    Returns:
        pixels (N, 1, size, size) uint8, N = people x fingers x impressions in this order, and N records with subject,
        identity (subject/position), impression, position and pattern.

    Raises:
        UserError: a number outside its range.
    """
    if not 1 <= fingers <= len(POSITIONS):
        raise UserError(f'{fingers} fingers a person', f'ask for 1 to {len(POSITIONS)}')
    if impressions < 1:
        raise UserError(f'{impressions} impressions a finger', 'ask for at least 1')
    _shape(size)
    pixels = np.empty((len(subjects) * fingers * impressions, 1, size, size), np.uint8)
    records: list[dict[str, str]] = []
    for subject in subjects:
        for number in range(fingers):
            finger = master(seed, subject, number, size, ppi)
            for touch in range(impressions):
                pixels[len(records), 0] = impression(finger, touch)
                name = f'{subject:05d}'
                records.append({'subject': name, 'identity': f'{name}/{finger.position}', 'impression': str(touch),
                                'position': finger.position, 'pattern': finger.pattern})
    return pixels, records


def _check(seed: int, subject: int, finger: int) -> None:
    if seed < 0 or subject < 0:
        raise UserError(f'seed {seed}, subject {subject}: one is negative', 'count from 0')
    if not 0 <= finger < len(POSITIONS):
        raise UserError(f'finger number {finger}', f'a person has fingers 0 to {len(POSITIONS) - 1}')


def _shape(shape: int | tuple[int, int]) -> tuple[int, int]:
    h, w = (shape, shape) if isinstance(shape, int) else shape
    if not (MIN_SIZE <= h <= MAX_SIZE and MIN_SIZE <= w <= MAX_SIZE):
        raise UserError(f'synthetic pictures of {w} x {h} px', f'choose sides from {MIN_SIZE} to {MAX_SIZE} px')
    return h, w


def _resolution(shape: tuple[int, int], ppi: float) -> tuple[float, float]:
    """(size of the pad as a multiple of a real one at 500 ppi, ppi); see `master`."""
    if ppi and not 50 <= ppi <= 1200:
        raise UserError(f'synthetic pictures of {ppi:g} ppi', 'choose 50 to 1200 ppi, or 0 to fill the picture')
    if ppi:
        return ppi / 500, ppi
    scale = min(shape) / NATURAL_SIZE
    return scale, 500 * max(scale, MIN_PERIOD / PERIOD)


def _pattern(rng: np.random.Generator, shares: tuple[float, ...], position: str) -> str:
    kind = str(rng.choice(list(CLASS_SHARES), p=np.array(shares) / sum(shares)))
    is_left = rng.random() < LEFT_LOOP_SHARE[position.split('_')[0]]
    return kind if kind != 'loop' else 'left_loop' if is_left else 'right_loop'


def _outline(rng: np.random.Generator, skin: Skin, scale: float) -> tuple[float, float, float, float]:
    """Half-axes of the pad to the left, right, top and bottom, px."""
    width, lean = 138 * skin.width * np.clip(rng.normal(1, 0.05), 0.88, 1.12), np.clip(rng.normal(0, 0.05), -0.1, 0.1)
    top, bottom = 165 * np.clip(rng.normal(1, 0.06), 0.87, 1.13), 195 * np.clip(rng.normal(1, 0.12), 0.75, 1.3)
    return (scale * width * (1 - lean), scale * width * (1 + lean), scale * top, scale * bottom)


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Array:
    """White noise under a Gaussian of `sigma` px, zero mean, unit variance: only the low frequencies are drawn."""
    h, w = (fft.next_fast_len(int(n + 3 * sigma), real=True) for n in shape)
    kh, kw = (min(n // 2, int(0.6 * n / sigma) + 1) for n in (h, w))  # beyond 0.6 / sigma less than 1e-3 is left
    fy, fx = np.r_[0:kh, -kh:0] / h, np.arange(kw + 1) / w
    gauss = [np.exp(-2 * (np.pi * sigma * f) ** 2).astype(np.float32) for f in (fy, fx)]
    draw = rng.standard_normal((2, 2 * kh, kw + 1), dtype=np.float32) * gauss[0][:, None] * gauss[1]
    spectrum = np.zeros((h, w // 2 + 1), np.complex64)
    spectrum[:kh, :kw + 1] = draw[0, :kh] + 1j * draw[1, :kh]
    spectrum[-kh:, :kw + 1] = draw[0, kh:] + 1j * draw[1, kh:]
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(h, w))
    return np.asarray(field[:shape[0], :shape[1]] / field.std(), np.float32)


def _singularities(rng: np.random.Generator, pattern: str) -> tuple[list[complex], list[complex]]:
    """Cores and deltas, px at 500 ppi."""
    def near(x: float, y: float, sd: float = 12.0) -> complex:
        return complex(x + rng.normal(0, sd), y + rng.normal(0, sd))
    if pattern == 'arch':
        return [], []
    if pattern == 'tented_arch':
        core = near(0, 20)
        return [core], [core + complex(rng.normal(0, 4), -rng.uniform(60, 105))]
    if pattern != 'whorl':
        side = 1 if pattern == 'left_loop' else -1
        core = near(-8 * side, 24)
        return [core], [core + complex(side * rng.uniform(50, 95), -rng.uniform(85, 130))]
    upper, axis = near(0, 42, 11.0), np.exp(1j * rng.normal(0, 0.3))
    lower = upper - 1j * axis * rng.choice([rng.uniform(12, 30), rng.uniform(30, 80)])
    return [upper, lower], [near(-100, -105, 14.0), near(100, -105, 14.0)]


def _orientation(rng: np.random.Generator, pattern: str, scale: float, x: Array,
                 y: Array) -> tuple[NDArray[np.float64], list[complex], list[complex]]:
    """Ridge orientation (radians, mod pi), cores and deltas (px).

    theta = background + 1/2 [sum over cores of g(arg(z - c)) - sum over deltas of g(arg(z - d))] (Sherlock & Monro 1993);
    g is the angle plus a piecewise-linear correction (Vizcaya & Gerhardt 1996). With g = angle the ridges around a core
    are confocal parabolas, which end in a point. The correction therefore also holds a triangle wave about the loop's
    axis that bends them into what real cores are: half circles with two parallel legs.
    """
    cores, deltas = ([scale * p for p in points] for points in _singularities(rng, pattern))
    width, height = 300 * scale, 356 * scale
    background = -0.75 * np.tanh(x / (0.5 * width)) * np.clip(0.15 + 1.1 * y / height, 0, 0.75)  # ridges follow the tip
    if pattern == 'arch':
        rise, level = rng.uniform(0.65, 1.3), rng.normal(-0.02, 0.05) * height
        slope = rise * np.cos(np.pi * np.clip(x / width + 0.5, 0, 1)) * np.exp(-((y - level) / (0.24 * height)) ** 2)
        return np.arctan(slope) + background, cores, deltas
    z = x + 1j * y
    if pattern == 'whorl' and rng.random() < 0.5:  # a spiral
        middle = (cores[0] + cores[1]) / 2
        background = background + rng.normal(0, 0.45) * np.exp(-np.abs(z - middle) ** 2 / (70 * scale) ** 2)
    theta = background
    nodes = np.linspace(-np.pi, np.pi, 9)
    for points, sign in ((cores, 1), (deltas, -1)):
        for p in points:
            deviation = rng.normal(0, 0.09, 8)
            angle = np.angle(z - p)
            theta = theta + sign / 2 * (angle + np.interp(angle, nodes, np.r_[deviation, deviation[:1]]))
    for c in cores:
        others = sum(np.angle(c - o) for o in cores if o != c) - sum(np.angle(c - d) for d in deltas)
        at = (int(np.argmin(np.abs(y[:, 0] - c.imag))), int(np.argmin(np.abs(x[0] - c.real))))
        away = np.angle((z - c) * np.exp(-1j * (others + 2 * background[at])))  # from the axis, along which legs run
        round_to = rng.uniform(0.75, 0.95) * (0.5 + 0.5 * np.exp(-np.abs(z - c) ** 2 / (75 * scale) ** 2))
        theta = theta - 0.5 * round_to * np.interp(away, np.linspace(-np.pi, np.pi, 5),
                                                   [0, -np.pi / 2, 0, np.pi / 2, 0])
    return theta, cores, deltas


@lru_cache(maxsize=64)
def _gabor_bank(shape: tuple[int, int], periods: tuple[float, ...], orientations: int) -> Array:
    """Spectra (periods, orientations, H, W // 2 + 1) of even Gabor filters without a mean.

    The Gaussian leaves three effective peaks: exp(-(3/(2f))^2 / (2 sigma^2)) = 1e-3 (Cappelli, Maio & Maltoni 2000).
    """
    fx, fy = np.meshgrid(fft.rfftfreq(shape[1]), -fft.fftfreq(shape[0]))
    bank = np.empty((len(periods), orientations, *fx.shape), np.float32)
    for i, period in enumerate(periods):
        spread = 2 * (np.pi * 1.5 * period / np.sqrt(6 * np.log(10))) ** 2
        for j in range(orientations):
            normal = np.pi * j / orientations + np.pi / 2
            u, v = np.cos(normal) / period, np.sin(normal) / period
            peaks = sum(np.exp(-spread * ((fx - s * u) ** 2 + (fy - s * v) ** 2)) for s in (-1, 1))
            bank[i, j] = peaks - peaks[0, 0] * np.exp(-spread * (fx ** 2 + fy ** 2))
    return bank


def _grow(rng: np.random.Generator, pattern: str, scale: float, period: float, extent: tuple[float, float],
          orientations: int = 8, iterations: int = 22) -> Array:
    """Ridges on a canvas of at least `extent` (H, W px of the picture) on which they are GROWTH_PERIOD px apart.

    Starts from random points and filters again and again with the Gabor filter that fits each place's orientation and
    frequency, blended from the nearest of a bank; minutiae arise where the fronts of growing ridges meet.
    """
    zoom = GROWTH_PERIOD / period
    h, w = (fft.next_fast_len(int(np.ceil(n * zoom)), real=True) for n in extent)
    x, y = np.meshgrid((np.arange(w) - w / 2) / zoom, (h / 2 - np.arange(h)) / zoom)
    theta, cores, deltas = _orientation(rng, pattern, scale, x, y)
    top = max([c.imag for c in cores], default=30 * scale)
    low = min([d.imag for d in deltas], default=-120 * scale)
    relative = (1 + 0.12 * np.clip((y - top) / (90 * scale), 0, 1)  # ridges are broader at the tip and below the deltas
                + 0.14 * np.clip((low + 40 * scale - y) / (80 * scale), 0, 1) + 0.05 * _noise(rng, (h, w), 4 * GROWTH_PERIOD))
    periods = (0.9, 1.16)
    bank = _gabor_bank((h, w), tuple(GROWTH_PERIOD * p for p in periods), orientations)
    second = np.clip((relative - periods[0]) / (periods[1] - periods[0]), 0, 1)
    place = theta / np.pi * orientations
    weights = []
    for i, share in enumerate((1 - second, second)):
        for j in range(orientations):
            off = np.abs((place - j + orientations / 2) % orientations - orientations / 2)
            weight = (np.clip(1 - off, 0, 1) * share).astype(np.float32)
            if weight.any():
                weights.append((bank[i, j], weight))
    ridges = np.zeros((h, w), np.float32)
    seeds = max(6, int(rng.uniform(1.2, 2.2) * h * w / (8 * GROWTH_PERIOD) ** 2))
    ridges[rng.integers(0, h, seeds), rng.integers(0, w, seeds)] = 1
    ridges = ndimage.gaussian_filter(ridges, 0.8) * 6
    for _ in range(iterations):
        spectrum = fft.rfft2(ridges)
        response = sum(weight * fft.irfft2(spectrum * gabor, s=(h, w)) for gabor, weight in weights)
        ridges = np.clip(3 * response, -1, 1)
    return np.asarray(response / (1.5 * ndimage.gaussian_filter(np.abs(response), GROWTH_PERIOD / 2) + 1e-6), np.float32)


def _enlarge(grown: Array, canvas: tuple[int, int], zoom: float) -> Array:
    """Cubic resampling about the middle; `zoom` is grown pixels a canvas pixel."""
    (h, w), (gh, gw) = canvas, grown.shape
    return np.asarray(ndimage.affine_transform(
        grown, [zoom, zoom], [gh / 2 - zoom * h / 2, gw / 2 - zoom * w / 2], canvas, order=3, mode='grid-wrap'), np.float32)


def _strokes(shape: tuple[int, int], lines: list[tuple[float, ...]]) -> Array:
    """Soft bent lines (x, y, angle, half length, bend, half width, depth), px, origin in the middle, as (H, W) in [0, 1]."""
    field = np.zeros(shape, np.float32)
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32) - shape[1] / 2,
                       shape[0] / 2 - np.arange(shape[0], dtype=np.float32))
    for x0, y0, angle, length, bend, width, depth in lines:
        along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
        across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle) - bend * along ** 2 / length
        taper = np.clip(1 - (along / length) ** 2, 0, 1)
        field = np.maximum(field, depth * np.sqrt(taper) * np.exp(-0.5 * (across / width) ** 2))
    return field


def _creases(rng: np.random.Generator, canvas: tuple[int, int], expected: float, scale: float, period: float) -> Array:
    """White lines that stay with the finger: the flexion crease at its lower end and thinner ones anywhere."""
    lines: list[tuple[float, ...]] = []
    level, tilt = -(172 + rng.normal(0, 16)) * scale, rng.normal(0, 0.08)
    for _ in range(int(rng.integers(1, 4))):  # the flexion crease: a bundle
        lines.append((rng.normal(0, 30) * scale, level + rng.normal(0, 9) * scale, tilt + rng.normal(0, 0.05),
                      rng.uniform(90, 190) * scale, rng.normal(0, 0.05), rng.uniform(0.2, 0.5) * period, 1.0))
    for _ in range(rng.poisson(expected)):
        angle = rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(0, np.pi)
        lines.append((rng.uniform(-110, 110) * scale, rng.uniform(-150, 110) * scale, angle, rng.uniform(25, 100) * scale,
                      rng.normal(0, 0.08), rng.uniform(0.10, 0.24) * period, rng.uniform(0.5, 1)))
    return _strokes(canvas, lines)


def _pores(rng: np.random.Generator, ridges: Array, period: float) -> Array:
    """Sweat pores: small holes on the crests, about one each period of ridge."""
    dots = (rng.random(ridges.shape, dtype=np.float32) < 1.6 / period ** 2).astype(np.float32)
    width = 0.10 * period
    return np.asarray(np.clip(ndimage.gaussian_filter(dots, width) * 2 * np.pi * width ** 2 * 1.3, 0, 1) * (ridges > 0.3), np.float32)


@dataclass(frozen=True)
class _Touch:
    """How a finger is put down: turn (radians), shift (px), where and how hard the pad presses, skin and sensor."""

    turn: float
    shift: tuple[float, float]
    centre: tuple[float, float]
    axes: tuple[float, float, float, float]
    wetness: float
    twist: float
    slip: tuple[float, float]
    darkness: float


def _touch(rng: np.random.Generator, finger: Master) -> _Touch:
    unit = finger.scale
    wetness = float(np.clip(finger.skin.wetness + rng.normal(0, 0.22), -0.6, 0.6))
    pressure = float(np.clip(rng.normal(1 + 0.12 * wetness, 0.07), 0.75, 1.2))
    roll, pitch = np.clip(rng.normal(0, 12), -30, 30) * unit, np.clip(rng.normal(0, 14), -35, 35) * unit
    left, right, top, bottom = (axis * pressure for axis in finger.outline)
    if rng.random() < 0.18:  # a careless touch: only a part of the pad meets the sensor
        part = rng.integers(0, 4)
        left, right, top, bottom = (axis * (rng.uniform(0.5, 0.8) if part == i else 1.0)
                                    for i, axis in enumerate((left, right, top, bottom)))
    return _Touch(turn=float(np.deg2rad(np.clip(rng.normal(0, 7), -20, 20))),
                  shift=(float(rng.normal(0, 10) * unit), float(rng.normal(0, 11) * unit)),
                  centre=(float(roll), float(pitch)), axes=(left, right, top, bottom), wetness=wetness,
                  twist=float(np.deg2rad(rng.normal(0, 2.5))), slip=(float(rng.normal(0, 4) * unit), float(rng.normal(0, 4.5) * unit)),
                  darkness=float(np.clip(rng.normal(185, 14) * finger.skin.contrast, 110, 225)))


def _to_finger(touch: _Touch, finger: Master) -> tuple[Array, Array]:
    """Finger coordinates (x, y) of the canvas pixels of a picture, before the skin is stretched."""
    (h, w), step = finger.shape, finger.step
    x = (np.arange(w * step, dtype=np.float32) + 0.5) / step - w / 2 - np.float32(touch.shift[0])
    y = h / 2 - (np.arange(h * step, dtype=np.float32)[:, None] + 0.5) / step - np.float32(touch.shift[1])
    c, s = np.float32(np.cos(touch.turn)), np.float32(np.sin(touch.turn))
    return c * x + s * y, c * y - s * x


def _contact(rng: np.random.Generator, touch: _Touch, finger: Master, x: Array, y: Array) -> tuple[Array, Array]:
    """(what pressure adds to the ridge threshold, distance from the contact's middle with 1 at its border)."""
    left, right, top, bottom = touch.axes
    u = (x - touch.centre[0]) / np.where(x > touch.centre[0], right, left)
    v = (y - touch.centre[1]) / np.where(y > touch.centre[1], top, bottom)
    power = np.float32(rng.uniform(2.0, 2.6))
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    size, period = finger.scale * finger.step, finger.period * finger.step
    radius = radius + 0.028 * _noise(rng, radius.shape, 45 * size) + 0.018 * _noise(rng, radius.shape, 0.9 * period)
    depth = 0.35 * (0.5 - radius ** 2) - 24 * np.clip(radius - 0.97, 0, None)
    return depth + np.float32(rng.uniform(0.15, 0.32)) * _noise(rng, radius.shape, 30 * size), radius


def _distort(rng: np.random.Generator, touch: _Touch, finger: Master, x: Array, y: Array) -> tuple[Array, Array]:
    """Stretches the skin: the pressed middle sticks, beyond it the skin turns and slips with a cosine brake
    (Cappelli, Maio & Maltoni 2001, shape distance and brake with k = 1.3); small random stretching on top."""
    k = 1.3
    px, py = x - touch.centre[0], y - touch.centre[1]
    inner = [0.42 * (touch.axes[0] + touch.axes[1]) / 2, 0.42 * (touch.axes[2] + touch.axes[3]) / 2]
    outside = np.sqrt((px / inner[0]) ** 2 + (py / inner[1]) ** 2) - 1
    brake = 0.5 * (1 - np.cos(np.pi / k * np.clip(outside, 0, k)))
    c, s = np.cos(touch.twist) - 1, np.sin(touch.twist)
    loose = [rng.normal(0, 1.1) * finger.scale * _noise(rng, x.shape, 40 * finger.scale * finger.step) for _ in range(2)]
    return (np.asarray(x + brake * (c * px - s * py + touch.slip[0]) + loose[0], np.float32),
            np.asarray(y + brake * (s * px + c * py + touch.slip[1]) + loose[1], np.float32))


def _ink(rng: np.random.Generator, touch: _Touch, finger: Master, ridges: Array, creases: Array, pores: Array,
         depth: Array) -> Array:
    """How much of the sensor's surface is touched, 0 to 1: thickness, dry gaps, pores, smudges, creases, scratches."""
    shape, period, size = ridges.shape, finger.period * finger.step, finger.scale * finger.step
    grain, rough = _noise(rng, shape, 0.11 * period), _noise(rng, shape, 0.3 * period)
    patch = _noise(rng, shape, 16 * size)
    smudge = np.clip(patch - rng.uniform(1.0, 3.0) + touch.wetness, 0, 1)
    level = depth + touch.wetness + (0.22 + 0.25 * smudge) * rough + 0.7 * smudge
    lines = [(rng.uniform(-0.4, 0.4) * shape[1], rng.uniform(-0.4, 0.4) * shape[0], rng.uniform(0, np.pi),
              rng.uniform(15, 90) * size, rng.normal(0, 0.1), rng.uniform(0.06, 0.16) * period, rng.uniform(0.4, 1))
             for _ in range(rng.poisson(0.7))]
    gaps = creases * np.float32(np.clip(1.9 - touch.wetness, 1.2, 2.4))
    if lines:
        gaps = np.maximum(gaps, 1.8 * _strokes(shape, lines))
    ink = special.expit(4.5 * (ridges + level - gaps))
    dryness = np.clip(0.55 - touch.wetness - 0.5 * depth - 0.3 * patch, 0.05, 1.6)
    ink *= 0.9 + 0.1 * np.clip(rough, -2, 1)  # beads
    ink *= 1 - np.clip(0.55 * dryness * np.clip(grain - 0.4, 0, 2), 0, 0.95)
    ink *= 1 - 0.8 * pores * np.float32(np.clip(0.6 - touch.wetness, 0, 1))
    return np.maximum(ink, np.clip(depth + 1.2, 0, 1) * 0.3 * np.clip(grain - 1.7 + touch.wetness + smudge, 0, 1))


def _sense(rng: np.random.Generator, touch: _Touch, finger: Master, ink: Array, edge: Array) -> NDArray[np.uint8]:
    """The sensor: point spread, uneven light, skin that nearly touches, dust, noise, 8 bits."""
    (h, w), step = finger.shape, finger.step
    ink = ndimage.gaussian_filter(ink, 0.075 * finger.period * step)
    near = special.expit((1.02 - edge) * 30) * np.float32(rng.uniform(6, 30))
    picture = (touch.darkness * ink + near).reshape(h, step, w, step).mean((1, 3))
    light = np.float32(rng.uniform(218, 246)) + 5 * _noise(rng, (h, w), 0.25 * min(h, w))
    dust = np.clip(_noise(rng, (h, w), 0.7) - rng.uniform(2.0, 3.2), 0, 1) * np.clip(0.6 + 0.8 * _noise(rng, (h, w), 0.12 * min(h, w)), 0, None)
    uneven = 1 + 0.07 * _noise(rng, (h, w), 0.08 * min(h, w))
    picture = light - picture * uneven - 60 * dust + rng.normal(0, 2.5, (h, w))
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)

"""The synthetic stand-in: SFinGe-type fingers of synthetic people, made of numpy and scipy alone.

A finger (`master`) is a ridge pattern: orientations from the zero-pole model (Sherlock & Monro 1993, "A model
for interpreting fingerprint topology") with a piecewise-linear correction on 8 nodes around every singularity
(Vizcaya & Gerhardt 1996, "A nonlinear orientation model for global description of fingerprints"), and ridges
grown by iterating a clipped Gabor filter tuned to the local orientation and frequency (Cappelli, Erol, Maio &
Maltoni 2000, "Synthetic fingerprint-image generation"). An `impression` is one touch of it: pose, contact
shape, skin distortion (Cappelli, Maio & Maltoni 2001, "Modelling plastic distortion in fingerprint images"),
ridge thickness, dryness, smudges, scratches and the sensor. Numbers without a source were set by eye beside
real prints. Whoever shows these pictures, or numbers from them, calls them synthetic.

Coordinates: x to the right, y up, origin in the middle of the finger pad, in pixels of the picture. Ridges
are +1 and valleys -1 in a master, dark and light in a picture. A person, a finger and an impression have a
random stream each, from (seed, subject[, finger[, impression]]), so that none depends on which others were
made.
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
Random = np.random.Generator

MIN_SIZE, MAX_SIZE = 48, 512  # px, the sides that a picture may have
MIN_PPI, MAX_PPI = 150, 1200  # pixels an inch; below, ridges are less than 3 px apart and turn into moire
PERIOD = 9.1  # px, mean ridge period at 500 ppi (about 1/9 a pixel: Cappelli, Erol, Maio & Maltoni 2000)
NATURAL_SHAPE = (356, 328)  # px (H, W) at 500 ppi, the picture that a finger pad fills
CLOSEST = 5.0  # px, mean ridge period below which a picture that chooses its own resolution does not go
GROWTH_PERIOD = 6.0  # px, mean ridge period on the canvas on which ridges grow
MARGIN = 1.28  # sides of the canvas over those of the picture: touches are turned and shifted
# Shares of the classes in the population (SFinGe 2.0); the hand decides which way a loop opens.
CLASS_SHARES = {'arch': 0.037, 'tented_arch': 0.029, 'loop': 0.655, 'whorl': 0.279}
LEFT_LOOP_SHARE = {'left': 0.956, 'right': 0.076}  # of a hand's loops: most open to the little finger
CLASS_CONCENTRATION = 4.0  # Dirichlet law of a person's own shares: correlation 1 / (1 + 4)
PERIOD_SD_PERSON, PERIOD_SD_FINGER = 0.045, 0.03  # relative; two fingers of a person correlate by 0.69
POSITIONS = tuple(f'{hand}_{finger}' for finger in ('index', 'middle', 'ring', 'thumb', 'little')
                  for hand in ('right', 'left'))
_PERSON, _FINGER, _IMPRESSION = 1, 2, 3  # first word of the seeds of the three kinds of random streams


@dataclass(frozen=True)
class Skin:
    """What all prints of a person have in common.

    Attributes:
        period: ridge period as a multiple of the population's mean.
        wetness: shift of the ridge threshold; above 0 ridges print broad and joined, below thin and broken.
        contrast: darkness of ridges as a multiple of the population's mean.
        creases: expected number of white creases on a finger.
        width: width of a finger pad as a multiple of the population's mean.
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
        ppi: pixels an inch; together with the period's own spread it says how far ridges are apart.
        scale: size of the pad and of its pattern as a multiple of a real one's at 500 ppi.
        period: mean ridge period in a picture, px.
        pattern: arch, tented_arch, left_loop, right_loop or whorl.
        position: right_index, left_index, ... (`POSITIONS`).
        skin: the person's skin.
        outline: half-axes of the pad to the left, right, top and bottom, px.
        step: canvas pixels a picture pixel.
        ridges: canvas, float32 about [-1, 1].
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
    """Draws a person's traits; a function of (seed, subject) alone."""
    rng = np.random.default_rng([_PERSON, seed, subject])
    shares = rng.dirichlet(CLASS_CONCENTRATION * np.array(list(CLASS_SHARES.values())))
    return Skin(period=1 + PERIOD_SD_PERSON * _normal(rng, 2.5), wetness=rng.normal(0, 0.11),
                contrast=1 + 0.07 * _normal(rng, 2.5), creases=rng.gamma(1.2, 1.3),
                width=1 + 0.06 * _normal(rng, 2.5), shares=tuple(map(float, shares)))


def master(seed: int, subject: int, finger: int, shape: int | tuple[int, int], ppi: float = 0) -> Master:
    """Grows a finger; a function of its arguments alone.

    Args:
        seed, subject, finger: which finger; not negative, finger below `len(POSITIONS)`.
        shape: side of a square picture or (H, W), px, each from `MIN_SIZE` to `MAX_SIZE`.
        ppi: pixels an inch, `MIN_PPI` to `MAX_PPI`; 0 chooses so that the finger fills the picture. From 196
            px on its proportions are then real (356 px: 500 ppi). Below, the pad still fills the picture but
            its ridges stay 5 px apart, so that a small picture shows the whole pattern with its singularities
            in fewer ridges than a real one (13 across at 64 px, 19 at 96, a real one has 39): they are
            resolved, do not turn into moire, and a small network can learn them. A ppi that is given shows a
            finger of natural size: a picture smaller than the pad shows its middle.

    Raises:
        UserError: a size, a resolution or a number outside its range.
    """
    _check(seed, subject, finger)
    h, w = _shape(shape)
    scale, ppi = _resolution((h, w), ppi)
    skin = person(seed, subject)
    rng = np.random.default_rng([_FINGER, seed, subject, finger])
    period = PERIOD * ppi / 500 * skin.period * (1 + PERIOD_SD_FINGER * _normal(rng, 2.5))
    position = POSITIONS[finger]
    pattern = _pattern(rng, skin.shares, position)
    outline = _outline(rng, skin, scale)
    grown = _grow(rng, pattern, scale, period, (h * MARGIN, w * MARGIN))
    step = int(np.ceil(7.5 / period))  # small pictures are rendered larger and averaged: no jagged ridges
    canvas = (int(h * MARGIN * step), int(w * MARGIN * step))
    ridges = _enlarge(grown, canvas, GROWTH_PERIOD / (period * step))
    creases = _creases(rng, canvas, skin.creases, scale * step, period * step)
    pores = _pores(rng, ridges, period * step)
    return Master((seed, subject, finger), (h, w), ppi, scale, period, pattern, position, skin, outline, step,
                  ridges, creases, pores)


def impression(finger: Master, number: int) -> NDArray[np.uint8]:
    """One touch of a finger on a sensor: (H, W) uint8, dark ridges; a function of the finger and the number
    alone.

    Raises:
        UserError: a negative number.
    """
    if number < 0:
        raise UserError(f'impression number {number} is negative', 'count from 0')
    rng = np.random.default_rng([_IMPRESSION, *finger.key, number])
    touch = _touch(rng, finger)
    x, y = _to_finger(touch, finger)
    depth, radius = _contact(rng, touch, finger, x, y)
    x, y = _distort(rng, touch, finger, x, y)
    rows, columns = finger.ridges.shape
    at = np.stack([rows / 2 - y * finger.step, columns / 2 + x * finger.step])
    ridges, creases, pores = (ndimage.map_coordinates(layer, at, order=1, mode='reflect')
                              for layer in (finger.ridges, finger.creases, finger.pores))
    return _sense(rng, touch, finger, _ink(rng, touch, finger, ridges, creases, pores, depth), radius)


def generate(seed: int, subjects: Sequence[int], fingers: int, impressions: int, size: int | tuple[int, int],
             ppi: float = 0) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """Makes the pictures of a block of people; a person is the same in whichever block.

    Args:
        seed: of the population, not negative.
        subjects: numbers of the people, not negative, e.g. `range(0, 50)`.
        fingers: fingers a person, 1 to `len(POSITIONS)`, in the order of `POSITIONS`.
        impressions: impressions a finger, at least 1.
        size: side of the square pictures or (H, W), px, each `MIN_SIZE` to `MAX_SIZE`.
        ppi: pixels an inch, or 0: chosen so that the finger fills the picture with its ridges at least about
            5 px apart; see `master`.

    Returns:
        pixels (N, 1, H, W) uint8 and N records with subject, identity (subject/position), impression,
        position and pattern; N = people x fingers x impressions, in this order.

    Raises:
        UserError: a number outside its range.
    """
    if not 1 <= fingers <= len(POSITIONS):
        raise UserError(f'{fingers} synthetic fingers a person', f'ask for 1 to {len(POSITIONS)}')
    if impressions < 1:
        raise UserError(f'{impressions} synthetic impressions a finger', 'ask for at least 1')
    pixels = np.empty((len(subjects) * fingers * impressions, 1, *_shape(size)), np.uint8)
    records: list[dict[str, str]] = []
    for subject in subjects:
        name = f'{subject:05d}'
        for number in range(fingers):
            finger = master(seed, subject, number, size, ppi)
            for touch in range(impressions):
                pixels[len(records), 0] = impression(finger, touch)
                records.append({'subject': name, 'identity': f'{name}/{finger.position}',
                                'impression': str(touch), 'position': finger.position,
                                'pattern': finger.pattern})
    return pixels, records


# --- people and fingers


def _check(seed: int, subject: int, finger: int) -> None:
    if seed < 0 or subject < 0:
        raise UserError(f'synthetic finger of seed {seed}, subject {subject}', 'use numbers from 0')
    if not 0 <= finger < len(POSITIONS):
        raise UserError(f'synthetic finger number {finger}', f'a person has 0 to {len(POSITIONS) - 1}')


def _shape(shape: int | tuple[int, int]) -> tuple[int, int]:
    h, w = (shape, shape) if isinstance(shape, int) else shape
    if not (MIN_SIZE <= h <= MAX_SIZE and MIN_SIZE <= w <= MAX_SIZE):
        raise UserError(f'synthetic pictures of {w} x {h} px', f'choose sides of {MIN_SIZE} to {MAX_SIZE} px')
    return h, w


def _resolution(shape: tuple[int, int], ppi: float) -> tuple[float, float]:
    """(size of the pad as a multiple of a real one's at 500 ppi, ppi); see `master`."""
    if ppi and not MIN_PPI <= ppi <= MAX_PPI:
        raise UserError(f'synthetic pictures of {ppi:g} ppi', f'choose {MIN_PPI} to {MAX_PPI} ppi, or 0')
    if ppi:
        return ppi / 500, ppi
    scale = min(n / natural for n, natural in zip(shape, NATURAL_SHAPE, strict=True))
    return scale, 500 * max(scale, CLOSEST / PERIOD)


def _normal(rng: Random, limit: float) -> float:
    """A standard normal number, clipped."""
    return min(max(rng.normal(), -limit), limit)


def _pattern(rng: Random, shares: tuple[float, ...], position: str) -> str:
    kind = str(rng.choice(list(CLASS_SHARES), p=np.array(shares) / sum(shares)))
    is_left = rng.random() < LEFT_LOOP_SHARE[position.split('_')[0]]
    return kind if kind != 'loop' else 'left_loop' if is_left else 'right_loop'


def _outline(rng: Random, skin: Skin, scale: float) -> tuple[float, float, float, float]:
    """Half-axes of the pad to the left, right, top and bottom, px."""
    width, lean = 138 * scale * skin.width * (1 + 0.05 * _normal(rng, 2.5)), 0.05 * _normal(rng, 2)
    top, bottom = 165 * scale * (1 + 0.06 * _normal(rng, 2.2)), 195 * scale * (1 + 0.12 * _normal(rng, 2.2))
    return width * (1 - lean), width * (1 + lean), top, bottom


# --- fields


def _noise(rng: Random, shape: tuple[int, ...], sigma: float) -> Array:
    """White noise under a Gaussian of `sigma` px, zero mean, unit variance; only low frequencies are drawn."""
    h, w = (fft.next_fast_len(int(n + 3 * sigma), real=True) for n in shape)  # opposite edges must differ
    kh, kw = (min(n // 2, int(0.6 * n / sigma) + 1) for n in (h, w))  # beyond 0.6 / sigma < 1e-3 is left
    fy, fx = np.r_[0:kh, -kh:0] / h, np.arange(kw + 1) / w
    keep_y, keep_x = (np.exp(-2 * (np.pi * sigma * f) ** 2).astype(np.float32) for f in (fy, fx))
    real, imaginary = rng.standard_normal((2, 2 * kh, kw + 1), dtype=np.float32) * keep_y[:, None] * keep_x
    spectrum = np.zeros((h, w // 2 + 1), np.complex64)
    spectrum[:kh, :kw + 1] = real[:kh] + 1j * imaginary[:kh]
    spectrum[-kh:, :kw + 1] = real[kh:] + 1j * imaginary[kh:]
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(h, w))
    return np.asarray(field[:shape[0], :shape[1]] / field.std(), np.float32)


def _strokes(shape: tuple[int, ...], lines: list[tuple[float, ...]]) -> Array:
    """Soft bent lines as (H, W) in [0, 1].

    Args:
        lines: each (x, y, angle, half length, bend, half width, depth), px and radians, origin in the middle.
    """
    field = np.zeros(shape, np.float32)
    x = np.arange(shape[1], dtype=np.float32) - shape[1] / 2
    y = shape[0] / 2 - np.arange(shape[0], dtype=np.float32)[:, None]
    for x0, y0, angle, length, bend, width, depth in lines:
        c, s = float(np.cos(angle)), float(np.sin(angle))
        along = (x - x0) * c + (y - y0) * s
        across = (y - y0) * c - (x - x0) * s - along * along * (bend / length)
        taper = np.sqrt(np.clip(1 - (along / length) ** 2, 0, 1))
        field = np.maximum(field, depth * taper * np.exp(-0.5 * (across / width) ** 2))
    return field


# --- ridge orientation


def _singularities(rng: Random, pattern: str) -> tuple[list[complex], list[complex]]:
    """Cores and deltas, px at 500 ppi."""
    def near(x: float, y: float, sd: float) -> complex:
        return complex(rng.normal(x, sd), rng.normal(y, sd))

    if pattern == 'arch':
        return [], []
    if pattern == 'tented_arch':
        core = near(0, 20, 12)
        return [core], [core + complex(rng.normal(0, 4), -rng.uniform(60, 105))]
    if pattern == 'whorl':
        upper, axis = near(0, 42, 11), complex(np.exp(1j * rng.normal(0, 0.3)))
        apart = rng.uniform(12, 30) if rng.random() < 0.5 else rng.uniform(30, 80)  # round, or long and double
        return [upper, upper - 1j * axis * apart], [near(-100, -105, 14), near(100, -105, 14)]
    side = 1 if pattern == 'left_loop' else -1
    core = near(-8 * side, 24, 12)
    return [core], [core + complex(side * rng.uniform(50, 95), -rng.uniform(85, 130))]


def _background(rng: Random, pattern: str, scale: float, z: NDArray[np.complex128],
                cores: list[complex]) -> NDArray[np.float64]:
    """Orientation without singularities, radians: ridges follow the tip, arches rise, some whorls are spirals."""
    width, height = 300 * scale, 356 * scale
    tip = -0.75 * np.tanh(z.real / (0.5 * width)) * np.clip(0.15 + 1.1 * z.imag / height, 0, 0.75)
    if pattern == 'arch':
        rise, level = rng.uniform(0.65, 1.3), rng.normal(-0.02, 0.05) * height
        across = np.cos(np.pi * np.clip(z.real / width + 0.5, 0, 1))
        return np.asarray(tip + np.arctan(rise * across * np.exp(-((z.imag - level) / (0.24 * height)) ** 2)))
    if pattern == 'whorl' and rng.random() < 0.5:
        distance = np.abs(z - sum(cores) / len(cores))
        tip = tip + rng.normal(0, 0.45) * np.exp(-(distance / (70 * scale)) ** 2)
    return np.asarray(tip)


def _orientation(rng: Random, z: NDArray[np.complex128], background: NDArray[np.float64],
                 cores: list[complex], deltas: list[complex], scale: float) -> NDArray[np.float64]:
    """Ridge orientation, radians mod pi, at the places z = x + iy.

    theta = background + 1/2 [sum over cores c of g(arg(z - c)) - sum over deltas d of g(arg(z - d))]
    (Sherlock & Monro 1993); g is the angle plus a piecewise-linear correction on 8 nodes (Vizcaya & Gerhardt
    1996). With g = angle the ridges around a core are confocal parabolas, which end in a point. The
    correction at cores therefore holds, besides random deviations, a triangle wave about the axis along which
    the loop opens: with its full height the ridges are half circles with two parallel legs, as real cores
    are; it fades away from the core.
    """
    theta = background
    nodes = np.linspace(-np.pi, np.pi, 9)
    for points, sign in ((cores, 1), (deltas, -1)):
        for p in points:
            deviation = rng.normal(0, 0.09, 8)
            angle = np.angle(z - p)
            theta = theta + sign / 2 * (angle + np.interp(angle, nodes, [*deviation, deviation[0]]))
    for c in cores:
        nearest = np.unravel_index(np.argmin(np.abs(z - c)), z.shape)
        axis = (2 * background[nearest] + sum(np.angle(c - o) for o in cores if o != c)
                - sum(np.angle(c - d) for d in deltas))
        triangle = np.interp(np.angle((z - c) * np.exp(-1j * axis)), np.linspace(-np.pi, np.pi, 5),
                             [0, np.pi / 2, 0, -np.pi / 2, 0])
        roundness = rng.uniform(0.75, 0.95) * (0.5 + 0.5 * np.exp(-(np.abs(z - c) / (75 * scale)) ** 2))
        theta = theta + 0.5 * roundness * triangle
    return theta


# --- ridges


@lru_cache(maxsize=32)  # about 3 MB each at 500 ppi
def _gabor_bank(shape: tuple[int, int], periods: tuple[float, ...], orientations: int) -> Array:
    """Spectra (periods, orientations, H, W // 2 + 1) of even Gabor filters without a mean.

    The Gaussian leaves three effective peaks: exp(-(3/(2f))^2 / (2 sigma^2)) = 1e-3 (Cappelli, Erol, Maio &
    Maltoni 2000).
    """
    fx, fy = np.meshgrid(fft.rfftfreq(shape[1]), -fft.fftfreq(shape[0]))
    bank = np.empty((len(periods), orientations, *fx.shape), np.float32)
    for i, period in enumerate(periods):
        spread = 2 * (np.pi * 1.5 * period / np.sqrt(6 * np.log(10))) ** 2
        for j in range(orientations):
            normal = np.pi * j / orientations + np.pi / 2  # waves run across the ridge
            u, v = np.cos(normal) / period, np.sin(normal) / period
            peaks = sum(np.exp(-spread * ((fx - s * u) ** 2 + (fy - s * v) ** 2)) for s in (-1, 1))
            bank[i, j] = peaks - peaks[0, 0] * np.exp(-spread * (fx ** 2 + fy ** 2))
    return bank


def _filters(theta: NDArray[np.float64], relative_period: NDArray[np.float64],
             orientations: int = 8) -> list[tuple[Array, Array]]:
    """(spectrum, weight) of the filters to blend: a place takes the two nearest orientations and periods."""
    periods = (0.9, 1.16)
    h, w = theta.shape
    bank = _gabor_bank((h, w), tuple(GROWTH_PERIOD * p for p in periods), orientations)
    turn = theta / np.pi * orientations
    longer = np.clip((relative_period - periods[0]) / (periods[1] - periods[0]), 0, 1)
    found = []
    for i, share in enumerate((1 - longer, longer)):
        for j in range(orientations):
            off = np.abs((turn - j + orientations / 2) % orientations - orientations / 2)
            weight = (np.clip(1 - off, 0, 1) * share).astype(np.float32)
            if weight.any():
                found.append((bank[i, j], weight))
    return found


def _grow(rng: Random, pattern: str, scale: float, period: float, extent: tuple[float, float],
          iterations: int = 22) -> Array:
    """Ridges on a canvas that covers `extent` (H, W px of the picture) and on which they are GROWTH_PERIOD px
    apart.

    Starts from random points and filters again and again with the Gabor filter that fits each place's
    orientation and period; minutiae arise where the fronts of growing ridges meet.
    """
    zoom = GROWTH_PERIOD / period
    h, w = (fft.next_fast_len(int(np.ceil(n * zoom)), real=True) for n in extent)
    z = (np.arange(w) - w / 2) / zoom + 1j * (h / 2 - np.arange(h)[:, None]) / zoom
    cores, deltas = ([scale * p for p in points] for points in _singularities(rng, pattern))
    theta = _orientation(rng, z, _background(rng, pattern, scale, z, cores), cores, deltas, scale)
    top = max([c.imag for c in cores], default=30 * scale)
    low = min([d.imag for d in deltas], default=-120 * scale)
    # ridges are broader at the tip and below the deltas
    relative = (1 + 0.12 * np.clip((z.imag - top) / (90 * scale), 0, 1)
                + 0.14 * np.clip((low + 40 * scale - z.imag) / (80 * scale), 0, 1)
                + 0.05 * _noise(rng, (h, w), 4 * GROWTH_PERIOD))
    filters = _filters(theta, relative / relative.mean())
    ridges = np.zeros((h, w), np.float32)
    seeds = max(6, int(rng.uniform(1.2, 2.2) * h * w / (8 * GROWTH_PERIOD) ** 2))
    ridges[rng.integers(0, h, seeds), rng.integers(0, w, seeds)] = 1
    ridges = ndimage.gaussian_filter(ridges, 0.8) * 6
    for _ in range(iterations):
        spectrum = fft.rfft2(ridges)
        response = sum(weight * fft.irfft2(spectrum * gabor, s=(h, w)) for gabor, weight in filters)
        ridges = np.clip(3 * response, -1, 1)
    strength = 1.5 * ndimage.gaussian_filter(np.abs(response), GROWTH_PERIOD / 2) + 1e-6
    return np.asarray(response / strength, np.float32)


def _enlarge(grown: Array, canvas: tuple[int, int], zoom: float) -> Array:
    """Cubic resampling about the middle; `zoom` is grown pixels a canvas pixel."""
    offset = [(g - zoom * c) / 2 for g, c in zip(grown.shape, canvas, strict=True)]
    enlarged = ndimage.affine_transform(grown, [zoom, zoom], offset, canvas, order=3, mode='grid-wrap')
    return np.asarray(enlarged, np.float32)


def _creases(rng: Random, canvas: tuple[int, int], expected: float, scale: float, period: float) -> Array:
    """White lines that stay with the finger: the bundle of the flexion crease below the pad, and thinner ones."""
    lines: list[tuple[float, ...]] = []
    level, tilt = rng.normal(-172, 16), rng.normal(0, 0.08)
    for _ in range(int(rng.integers(1, 4))):
        lines.append((rng.normal(0, 30) * scale, rng.normal(level, 9) * scale, rng.normal(tilt, 0.05),
                      rng.uniform(90, 190) * scale, rng.normal(0, 0.05), rng.uniform(0.2, 0.5) * period, 1.0))
    for _ in range(rng.poisson(expected)):
        angle = rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(0, np.pi)  # most run across
        lines.append((rng.uniform(-110, 110) * scale, rng.uniform(-150, 110) * scale, angle,
                      rng.uniform(25, 100) * scale, rng.normal(0, 0.08), rng.uniform(0.10, 0.24) * period,
                      rng.uniform(0.5, 1)))
    return _strokes(canvas, lines)


def _pores(rng: Random, ridges: Array, period: float) -> Array:
    """Sweat pores: small holes on the crests."""
    dots = (rng.random(ridges.shape, dtype=np.float32) < 1.6 / period ** 2).astype(np.float32)
    width = 0.10 * period
    holes = ndimage.gaussian_filter(dots, width) * (2.6 * np.pi * width ** 2)
    return np.asarray(np.clip(holes, 0, 1) * (ridges > 0.3), np.float32)


# --- one touch


@dataclass(frozen=True)
class _Touch:
    """How a finger is put down.

    Attributes:
        turn, shift: pose on the sensor, radians and px.
        centre, axes: where the pad presses (px of the finger) and its half-axes to the left, right, top and
        bottom. wetness: shift of the ridge threshold.
        twist, slip: turn (radians) and shift (px) of the loose skin against the pressed middle.
        darkness: gray levels between a bare sensor and a full ridge.
    """

    turn: float
    shift: tuple[float, float]
    centre: tuple[float, float]
    axes: tuple[float, float, float, float]
    wetness: float
    twist: float
    slip: tuple[float, float]
    darkness: float


def _touch(rng: Random, finger: Master) -> _Touch:
    def lengths(sd_x: float, sd_y: float, limit: float = 3) -> tuple[float, float]:
        return finger.scale * sd_x * _normal(rng, limit), finger.scale * sd_y * _normal(rng, limit)

    wetness = min(max(rng.normal(finger.skin.wetness, 0.22), -0.6), 0.6)
    pressure = 1 + 0.12 * wetness + 0.07 * _normal(rng, 2.5)
    axes = [axis * pressure for axis in finger.outline]
    if rng.random() < 0.12:  # a careless touch: only a part of the pad meets the sensor
        axes[rng.integers(0, 4)] *= rng.uniform(0.55, 0.85)
    darkness = rng.normal(185, 14) * finger.skin.contrast
    return _Touch(turn=np.deg2rad(7) * _normal(rng, 2.8), shift=lengths(10, 11), centre=lengths(12, 14, 2.5),
                  axes=(axes[0], axes[1], axes[2], axes[3]), wetness=wetness, twist=np.deg2rad(2) * _normal(rng, 3),
                  slip=lengths(3, 3.5), darkness=min(max(darkness, 110), 225))


def _to_finger(touch: _Touch, finger: Master) -> tuple[Array, Array]:
    """Finger coordinates (x, y), before the skin is stretched, of the canvas pixels of a picture."""
    (h, w), step = finger.shape, finger.step
    x = (np.arange(w * step, dtype=np.float32) + 0.5) / step - (w / 2 + touch.shift[0])
    y = (h / 2 - touch.shift[1]) - (np.arange(h * step, dtype=np.float32)[:, None] + 0.5) / step
    c, s = float(np.cos(touch.turn)), float(np.sin(touch.turn))
    return c * x + s * y, c * y - s * x


def _contact(rng: Random, touch: _Touch, finger: Master, x: Array, y: Array) -> tuple[Array, Array]:
    """(what pressure adds to the ridge threshold, distance from the pressed middle, 1 at the contact's edge)."""
    left, right, top, bottom = map(np.float32, touch.axes)
    u = x - touch.centre[0]
    v = y - touch.centre[1]
    u, v = u / np.where(u > 0, right, left), v / np.where(v > 0, top, bottom)
    power = rng.uniform(2.0, 2.6)
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    size, period = finger.scale * finger.step, finger.period * finger.step
    radius += 0.028 * _noise(rng, radius.shape, 45 * size) + 0.018 * _noise(rng, radius.shape, 0.9 * period)
    depth = 0.35 * (0.5 - radius * radius) - 24 * np.clip(radius - 0.97, 0, None)
    return depth + rng.uniform(0.15, 0.32) * _noise(rng, radius.shape, 30 * size), radius


def _distort(rng: Random, touch: _Touch, finger: Master, x: Array, y: Array) -> tuple[Array, Array]:
    """Stretches the skin: the pressed middle sticks, around it the skin turns and slips more and more, with a
    cosine brake over k = 1.3 times the middle's size (Cappelli, Maio & Maltoni 2001); a little random
    stretching on top."""
    k = 1.3
    left, right, top, bottom = touch.axes
    u, v = x - touch.centre[0], y - touch.centre[1]
    outside = np.sqrt((u / (0.21 * (left + right))) ** 2 + (v / (0.21 * (top + bottom))) ** 2) - 1
    brake = 0.5 * (1 - np.cos(float(np.pi / k) * np.clip(outside, 0, k)))
    c, s = float(np.cos(touch.twist)) - 1, float(np.sin(touch.twist))
    sigma, sd = 40 * finger.scale * finger.step, 0.9 * finger.scale
    return (x + brake * (c * u - s * v + touch.slip[0]) + rng.normal(0, sd) * _noise(rng, x.shape, sigma),
            y + brake * (s * u + c * v + touch.slip[1]) + rng.normal(0, sd) * _noise(rng, x.shape, sigma))


def _ink(rng: Random, touch: _Touch, finger: Master, ridges: Array, creases: Array, pores: Array,
         depth: Array) -> Array:
    """How much of the sensor is touched, 0 to 1: thickness, smudges, creases, scratches, gaps, pores, specks."""
    shape, period, size = ridges.shape, finger.period * finger.step, finger.scale * finger.step
    grain, rough, patch = (_noise(rng, shape, sigma) for sigma in (0.11 * period, 0.3 * period, 16 * size))
    smudge = np.clip(patch + (touch.wetness - rng.uniform(1.0, 3.0)), 0, 1)
    level = depth + touch.wetness + (0.18 + 0.25 * smudge) * rough + 0.7 * smudge
    gaps = creases * min(max(1.9 - touch.wetness, 1.2), 2.4)
    scratches: list[tuple[float, ...]] = [
        (rng.uniform(-0.4, 0.4) * shape[1], rng.uniform(-0.4, 0.4) * shape[0], rng.uniform(0, np.pi),
         rng.uniform(15, 90) * size, rng.normal(0, 0.1), rng.uniform(0.06, 0.16) * period,
         rng.uniform(0.4, 1))
        for _ in range(rng.poisson(0.7))]
    if scratches:
        gaps = np.maximum(gaps, 1.8 * _strokes(shape, scratches))
    ink = special.expit(4.5 * (ridges + level - gaps))
    ink *= 0.9 + 0.1 * np.clip(rough, -2, 1)
    dryness = np.clip(0.55 - touch.wetness - 0.5 * depth - 0.3 * patch, 0.05, 1.6)
    ink *= 1 - np.clip(0.55 * dryness * np.clip(grain - 0.4, 0, 2), 0, 0.95)
    ink *= 1 - pores * (0.8 * min(max(0.6 - touch.wetness, 0), 1))
    specks = np.clip(grain + smudge + (touch.wetness - 1.7), 0, 1)  # in the valleys
    return np.asarray(np.maximum(ink, 0.3 * np.clip(depth + 1.2, 0, 1) * specks))


def _sense(rng: Random, touch: _Touch, finger: Master, ink: Array, radius: Array) -> NDArray[np.uint8]:
    """The sensor: point spread, uneven ink and light, skin that nearly touches, dust, noise, 8 bits."""
    (h, w), step, side = finger.shape, finger.step, min(finger.shape)
    ink = ndimage.gaussian_filter(ink, 0.075 * finger.period * step)
    skin = special.expit((1.02 - radius) * 30) * rng.uniform(6, 30)
    picture = (touch.darkness * ink + skin).reshape(h, step, w, step).mean((1, 3))
    uneven = 1 + 0.07 * _noise(rng, (h, w), 0.08 * side)
    light = rng.uniform(218, 246) + 5 * _noise(rng, (h, w), 0.25 * side)
    dust = np.clip(_noise(rng, (h, w), 0.7) - rng.uniform(2.0, 3.2), 0, 1)
    dust = dust * np.clip(0.6 + 0.8 * _noise(rng, (h, w), 0.12 * side), 0, None)
    picture = light - uneven * picture - 60 * dust + 2.5 * rng.standard_normal((h, w), dtype=np.float32)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)

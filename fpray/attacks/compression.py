"""Attacks that read how well a codec compresses a picture: its size and its error.

A codec keeps what it was trained on smaller and truer than other pictures (thesis, section 6.1). But pictures
differ far more in difficulty than by membership, so a calibrated attack asks first how hard a picture is: for a
reference codec, for PNG or JPEG, or for shadow codecs that never saw it.

Units: sizes in bits a pixel of the picture (bpp); MSE on the 0-255 scale; loss = bpp + lambda * MSE with the
lambda that this codec was trained with. N query pictures, K shadow codecs, Z pictures of reference people, B
bands, R resamplings. Whoever is in the reference codec, a shadow or the population is neither member nor non-member.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from fpray.attacks.threat import THREATS, Attack
from fpray.errors import UserError
from fpray.metrics.people import people_of, resampled
from fpray.metrics.pictures import png_bytes

LEAST_MSE = 1e-6  # squared gray levels: an error-free copy has a finite PSNR, 108 dB
LEAST_BAND = 1e-3  # squared gray levels, well under 8-bit rounding's share of a band: keeps its logarithm finite
RECALIBRATIONS = 64  # bootstraps of the population: a standard error is known to 9 %
BLOCK = 64  # pictures whose spectra are held at a time


def rate_and_distortion(pixels: np.ndarray, bits: np.ndarray, reconstructions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A codec's bits a pixel and MSE on the 0-255 scale, (N,) float64 each.

    Args:
        pixels: (N, C, H, W) uint8, what was compressed.
        bits: (N,) sizes.
        reconstructions: (N, C, H, W) on the 0-255 scale.

    Raises UserError: the shapes differ.
    """
    parts = [(error**2).mean(axis=(1, 2, 3)) for error in _errors(pixels, reconstructions)]
    return np.asarray(bits, np.float64) / (pixels.shape[2] * pixels.shape[3]), np.concatenate(parts)


def band_errors(pixels: np.ndarray, reconstructions: np.ndarray, bands: int = 4) -> np.ndarray:
    """The squared error by spatial frequency: (N, bands) float64 in squared gray levels; a row sums to the MSE.

    Bands are rings of equal width from 0 to half a cycle a pixel; the first holds the mean, the last the corners of
    the spectrum. The sum is Parseval's theorem.

    Args:
        pixels: (N, C, H, W) uint8.
        reconstructions: the same shape, on the 0-255 scale.

    Raises UserError: the shapes differ.
    """
    height, width = pixels.shape[2:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    ring = np.minimum((radius * 2 * bands).astype(int), bands - 1)
    member = (ring.ravel()[:, None] == np.arange(bands)).astype(np.float64)
    parts = []
    for error in _errors(pixels, reconstructions):
        power = np.abs(np.fft.fft2(error)) ** 2 / (height * width) ** 2
        parts.append(power.mean(axis=1).reshape(len(error), -1) @ member)
    return np.concatenate(parts)


def png_bpp(pixels: np.ndarray) -> np.ndarray:
    """(N,) float64 bits a pixel of each picture under PNG's lossless coding, headers aside; (N, C, H, W) uint8."""
    return np.array([8.0 * png_bytes(picture) for picture in pixels]) / (pixels.shape[2] * pixels.shape[3])


def jpeg_bpp(pixels: np.ndarray, quality: int = 75) -> np.ndarray:
    """(N,) float64 bits a pixel of each picture as JPEG, headers aside; (N, 1 or 3, H, W) uint8."""
    return np.array([8.0 * _jpeg_bytes(picture, quality) for picture in pixels]) / (pixels.shape[2] * pixels.shape[3])


def rate_distortion_score(loss: np.ndarray) -> np.ndarray:
    """Minus the rate-distortion loss (thesis, section 6.1, with the codec's own lambda): (N,)."""
    return -_values(loss=loss)[0]


def rate_score(bpp: np.ndarray) -> np.ndarray:
    """Minus the bits a pixel: (N,)."""
    return -_values(bpp=bpp)[0]


def distortion_score(mse: np.ndarray) -> np.ndarray:
    """Minus the mean squared error: (N,)."""
    return -_values(mse=mse)[0]


def psnr_score(mse: np.ndarray) -> np.ndarray:
    """The peak signal-to-noise ratio, dB: the order of `distortion_score`, but other means over a person's pictures."""
    return np.asarray(10 * np.log10(255**2 / np.maximum(_values(mse=mse)[0], LEAST_MSE)))


def calibrated_score(loss: np.ndarray, reference_loss: np.ndarray, *, population_loss: np.ndarray | None = None,
                     population_reference_loss: np.ndarray | None = None, features: np.ndarray | None = None,
                     population_features: np.ndarray | None = None) -> np.ndarray:
    """How much better the victim does on a picture than a reference codec of its lambda: (N,), in units of loss.

    The difference by which GAN-Leaks calibrates its distances (Chen et al. 2020): difficulty cancels, as far as it costs
    both codecs alike. Where a unit of difficulty costs the reference 5 % more, a standard deviation of difficulty
    between the sides looks like a leak. A population that neither codec saw shows the two scales, and the reference's
    loss is brought to the victim's mean and standard deviation on it before the difference is taken. What of the
    difference a picture's plain features still foretell on the population is taken off as well. That leaves less of a
    difference in difficulty between the sides, not none: two codecs differ in more than scale, and only a placebo tells.

    Args:
        loss, reference_loss: (N,) of the victim and the reference.
        population_loss, population_reference_loss: (Z,) likewise on the population; both or neither (optional).
        features, population_features: (N, F) and (Z, F) by `plain_features`; both or neither (optional).
    """
    own, reference = _values(loss=loss, reference_loss=reference_loss)
    if population_loss is None or population_reference_loss is None:
        return reference - own
    others, theirs = _values(population_loss=population_loss, population_reference_loss=population_reference_loss)
    # a ratio of deviations, not a regression: both losses have an error, which would flatten a regression's slope
    scale = others.std() / theirs.std() if others.std() > 0 and theirs.std() > 0 else 1.0
    saved = others.mean() + scale * (reference - theirs.mean()) - own
    if features is None or population_features is None:
        return np.asarray(saved)
    seen, known = (np.column_stack([np.ones(len(each)), each]) for each in (features, population_features))
    expected, *_ = np.linalg.lstsq(known, others.mean() + scale * (theirs - theirs.mean()) - others, rcond=None)
    return np.asarray(saved - seen @ expected)


def recalibrated_scores(person: np.ndarray, seed: int, draws: int = RECALIBRATIONS, *, population_loss: np.ndarray,
                        population_reference_loss: np.ndarray, population_features: np.ndarray | None = None,
                        **queries: np.ndarray) -> np.ndarray:
    """`calibrated_score` under bootstraps of the population: (R, N), for `recalibrated` of `auc_clustered`.

    Scale and slopes are fitted on some tens of people. Their error moves all easy pictures against all hard ones, which
    no variance over the query people shows: where the sides differ in difficulty, a clean codec's AUC strays from 0.5
    together with it. Here whole people of the population are drawn anew and the calibration is fitted to each draw.

    Args:
        person: (Z,) whose picture each of the population is. The draws hang on these people and the seed alone, so that
            two codecs asked about one population (a victim and its placebo) get the same ones.
        seed: of the bootstraps.
        draws: how many, R.
        population_loss, population_reference_loss, population_features: as in `calibrated_score`, one a person above.
        queries: the other arguments of `calibrated_score`.
    """
    code, people = people_of(person, len(population_loss))
    found = []
    for weights in resampled(np.zeros(people), draws, seed)[1:]:
        again = np.repeat(np.arange(len(code)), weights[code].astype(int))
        found.append(calibrated_score(
            **queries, population_loss=population_loss[again], population_reference_loss=population_reference_loss[again],
            population_features=None if population_features is None else population_features[again]))
    return np.stack(found)


def plain_features(pixels: np.ndarray) -> np.ndarray:
    """(N, 4) float64 of each picture's difficulty as anyone sees it: log PNG and JPEG size, log contrast, mean level."""
    levels = pixels.reshape(len(pixels), -1).astype(np.float64)
    return np.column_stack([np.log(png_bpp(pixels)), np.log(jpeg_bpp(pixels)), np.log1p(levels.std(axis=1)),
                            levels.mean(axis=1) / 255])


def png_score(loss: np.ndarray, png: np.ndarray, population_loss: np.ndarray, population_png: np.ndarray) -> np.ndarray:
    """How much better the victim does than the picture's PNG size lets expect: (N,), in units of loss.

    Expected is a straight line of the victim's loss over the logarithm of the size, fitted on the population.

    Args:
        loss, png: (N,) the queries' loss and PNG bits a pixel.
        population_loss, population_png: (Z,) the victim's loss on reference people's pictures, and their PNG bits a pixel.
    """
    population = _values(population_loss=population_loss, population_png=population_png)
    return _residual(_values(loss=loss, png=png), population)


def jpeg_score(loss: np.ndarray, jpeg: np.ndarray, population_loss: np.ndarray, population_jpeg: np.ndarray) -> np.ndarray:
    """As `png_score`, with the sizes of JPEG files."""
    population = _values(population_loss=population_loss, population_jpeg=population_jpeg)
    return _residual(_values(loss=loss, jpeg=jpeg), population)


def bands_score(bands: np.ndarray, reference_bands: np.ndarray) -> np.ndarray:
    """How much truer the victim is than a reference codec, band by band: the sum of the log ratios, (N,) in nats.

    In the MSE the band with the largest error, mostly the ridges', decides alone. Here each band weighs alike, so that
    the low frequencies count too, where a codec errs little and every picture about as much. The rate does not enter.

    Args:
        bands, reference_bands: (N, B) squared errors of the two codecs by `band_errors`.
    """
    own, reference = _values(2, bands=bands, reference_bands=reference_bands)
    ratio = np.maximum(reference, LEAST_BAND) / np.maximum(own, LEAST_BAND)
    return np.asarray(np.log(ratio).sum(axis=1))


def lira_score(loss: np.ndarray, shadow_losses: np.ndarray) -> np.ndarray:
    """Offline likelihood-ratio attack: how far the loss lies under what codecs that never saw the picture reach, (N,).

    The one-sided z of the loss under a normal distribution of the shadows' losses on that picture (Carlini et al. 2022,
    the offline attack, equation 4, left in standard deviations because its probability saturates). The variance is
    pooled over the pictures, their global variance for few shadows: two give one degree of freedom a picture.

    Args:
        loss: (N,) the victim's.
        shadow_losses: (K, N), K at least 2.

    Raises UserError: fewer than two shadows, or shadows that all agree.
    """
    own, (out,) = _values(loss=loss)[0], _values(2, shadow_losses=shadow_losses)
    _same(own, out, 'loss', 'shadow_losses')
    if len(out) < 2:
        raise UserError(f'{len(out)} shadow codecs tell no spread', 'train at least 2')
    spread = float(np.sqrt(out.var(axis=0, ddof=1).mean()))
    if spread == 0:
        raise UserError('the shadow codecs give every picture one and the same loss', 'train them with different seeds')
    return np.asarray((out.mean(axis=0) - own) / spread)


def rmia_score(loss: np.ndarray, shadow_losses: np.ndarray, population_loss: np.ndarray,
               population_shadow_losses: np.ndarray, population_out: np.ndarray, *,
               temperature: float = 1.0, gamma: float = 1.0) -> np.ndarray:
    """Robust membership inference, offline with a = 1 (Zarifzadeh et al. 2024): (N,) in (0, 1).

    A picture's likelihood under a codec is exp(-temperature * loss), as from a code length. Its ratio is that under the
    victim over the mean under codecs that never saw it; the score is the share of population pictures z whose ratio is
    at most the query's over gamma. So one minus it estimates the false positive rate. Queries above as many z, such as
    all members of a leaky codec, would tie: they are told apart by the ratio itself, squeezed into the width of one z.
    Hence the order is the ratios' own, and the population gives the scale.

    Args:
        loss, population_loss: (N,) and (Z,) the victim's.
        shadow_losses, population_shadow_losses: (K, N) and (K, Z); no shadow saw a query.
        population_out: (K, Z) bool, shadow k was not trained on the person of picture z. A z that every shadow saw is
            left out.
        temperature: nats a unit of loss. Large, the best of the shadows decides alone; small, their mean loss.
        gamma: at least 1, by how much a query's ratio must beat z's.

    Raises UserError: lengths that differ, or no z that some shadow never saw.
    """
    own, others = _values(loss=loss)[0], _values(population_loss=population_loss)[0]
    out, others_out = (_values(2, **one)[0] for one in (
        {'shadow_losses': shadow_losses}, {'population_shadow_losses': population_shadow_losses}))
    _same(own, out, 'loss', 'shadow_losses')
    unseen = np.asarray(population_out, bool)
    if not others_out.shape == unseen.shape == (len(out), len(others)):
        raise UserError(f'{len(out)} shadows and {len(others)} population pictures, but losses of shape {others_out.shape} '
                        f'and marks of shape {unseen.shape}', 'give one value a shadow and population picture')
    kept = unseen.any(axis=0)
    if not kept.any():
        raise UserError('every shadow codec was trained on every population picture', 'keep some people out of each')
    ratio = _log_ratio(own, out, np.ones(out.shape, bool), temperature)
    peers = np.sort(_log_ratio(others[kept], others_out[:, kept], unseen[:, kept], temperature))
    beaten = np.searchsorted(peers, ratio - np.log(gamma), side='right')
    scaled = (ratio - np.median(peers)) / (peers.std() or 1.0)
    return np.asarray((beaten + (1 + scaled / (1 + np.abs(scaled))) / 2) / (len(peers) + 1))


def _log_ratio(loss: np.ndarray, out: np.ndarray, unseen: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) logarithm of a picture's likelihood under the victim over its mean under the shadows marked unseen."""
    exponent = np.where(unseen, -temperature * out, -np.inf)
    mean = np.logaddexp.reduce(exponent, axis=0) - np.log(unseen.sum(axis=0))
    return np.asarray(-temperature * loss - mean)


def _residual(query: list[np.ndarray], population: list[np.ndarray]) -> np.ndarray:
    """(n,) expected minus observed loss, by a straight line over log size; each pair is (loss, size)."""
    if min(query[1].min(), population[1].min()) <= 0:
        raise UserError('a picture has a size of 0 bits', 'give the sizes of real files')
    (loss, at), (fitted, size) = ((values, np.log(sizes)) for values, sizes in (query, population))
    centred = size - size.mean()
    # sizes all alike say nothing of difficulty: a flat line, not one through rounding errors
    slope = centred @ fitted / (centred @ centred) if np.ptp(size) > 1e-9 else 0.0
    return np.asarray(fitted.mean() + slope * (at - size.mean()) - loss)


def _values(dimensions: int = 1, **named: np.ndarray) -> list[np.ndarray]:
    """The named arrays as float64, checked: so many dimensions, not empty, of one shape, finite."""
    arrays = {name: np.asarray(values, np.float64) for name, values in named.items()}
    shapes = {values.shape for values in arrays.values()}
    names = ' and '.join(arrays)
    if len(shapes) > 1 or any(len(shape) != dimensions or 0 in shape for shape in shapes):
        raise UserError(f'{names} of shape {" and ".join(str(values.shape) for values in arrays.values())}',
                        'give one value a picture, for the same pictures in the same order')
    for name, values in arrays.items():
        bad = int(np.sum(~np.isfinite(values)))
        if bad:
            raise UserError(f'{name} holds {bad} values that are not finite', 'look for a codec that diverged')
    return list(arrays.values())


def _same(loss: np.ndarray, out: np.ndarray, *names: str) -> None:
    if out.shape[1] != len(loss):
        raise UserError(f'{names[0]} is of {len(loss)} pictures, {names[1]} of {out.shape[1]}', 'give the same pictures')


def _errors(pixels: np.ndarray, reconstructions: np.ndarray) -> Iterator[np.ndarray]:
    """Reconstruction minus original in float64, some pictures at a time."""
    if pixels.shape != reconstructions.shape or len(pixels) == 0:
        raise UserError(f'pictures of shape {pixels.shape} and reconstructions of shape {reconstructions.shape}',
                        'give one reconstruction a picture')
    for i in range(0, len(pixels), BLOCK):
        yield reconstructions[i:i + BLOCK].astype(np.float64) - pixels[i:i + BLOCK]


def _jpeg_bytes(picture: np.ndarray, quality: int) -> int:
    """Bytes from the start of scan on: the tables before it are as long for every picture and swamp a small one."""
    file = io.BytesIO()
    Image.fromarray(np.squeeze(np.moveaxis(picture, 0, -1))).save(file, 'JPEG', quality=quality)
    data, at = file.getvalue(), 2
    while data[at + 1] != 0xDA:
        at += 2 + int.from_bytes(data[at + 2:at + 4])
    return len(data) - at


rate_distortion = Attack(THREATS['rate-distortion'], rate_distortion_score)
rate = Attack(THREATS['rate'], rate_score)
distortion = Attack(THREATS['distortion'], distortion_score)
psnr = Attack(THREATS['psnr'], psnr_score)
calibrated = Attack(THREATS['calibrated'], calibrated_score)
calibrated_png = Attack(THREATS['calibrated-png'], png_score)
calibrated_jpeg = Attack(THREATS['calibrated-jpeg'], jpeg_score)
bands = Attack(THREATS['bands'], bands_score)
lira = Attack(THREATS['lira'], lira_score)
rmia = Attack(THREATS['rmia'], rmia_score)

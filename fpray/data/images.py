"""Pictures as arrays: decoding, 8 bits and floats, one size, mild alterations, contact sheets.

A picture is a uint8 array (C, H, W), C = 1 (gray) or 3 (RGB). Networks see floats in [-1, 1]; the conversion
to and from 8 bits lives here and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fpray.errors import UserError

EXTENSIONS = frozenset({'.bmp', '.png', '.tif', '.tiff', '.jpg', '.jpeg', '.pgm'})
MIN_SIDE = 16  # px; below it no ridge or feature of a face is left
MAX_PIXELS = 64_000_000  # more is taken for a decompression bomb; a palm print at 1000 ppi has 20 million
_FORMATS = ('BMP', 'PNG', 'TIFF', 'JPEG', 'PPM')  # what EXTENSIONS hold; Pillow's rarer readers stay shut
KINDS = ('rotation', 'shift', 'elastic', 'contrast')


def decode(path: Path | str, name: str = '') -> np.ndarray:
    """Read one picture, without rescaling, rotation or colour management.

    Args:
        path: the file; its content, not its extension, says the format.
        name: what to call it in messages; the file's name if empty.

    Returns:
        (C, H, W) uint8: C = 1 for gray, 1-bit and gray-palette pictures, 3 for RGB and colour palettes.

    Raises:
        UserError: not a picture, truncated, over 8 bits a sample, with transparency, CMYK or the like,
            several pages, too small or too large.
    """
    path = Path(path)
    name = name or path.name
    if path.stat().st_size == 0:
        raise UserError(f'{name} is an empty file', _SKIP)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _refuse_unfit(image, name)
            image.load()
            return _array(image, name)
    except UserError:
        raise
    except Exception as fault:  # Pillow's readers raise a dozen kinds on broken files, e.g. struct.error
        raise UserError(f'{name} is not a readable picture ({_reason(fault)})', _SKIP) from None


_SKIP = 'mend or remove it, or skip such files with --data.skip-bad'


def _reason(fault: Exception) -> str:
    text = ' '.join(str(fault).split())
    # Pillow quotes the whole path, which says nothing about the fault
    return 'no known picture format' if 'cannot identify' in text else text[:100] or type(fault).__name__


def _refuse_unfit(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(f'{name} is {width} x {height} px, too large: at most {MAX_PIXELS:,} px', _SKIP)
    if min(width, height) < MIN_SIDE:
        raise UserError(f'{name} is {width} x {height} px, too small: at least {MIN_SIDE} px a side', _SKIP)
    if _is_deep(image):
        raise UserError(f'{name} has 16 bits or more a sample (mode {image.mode})', 'convert it to 8 bits')
    pages = getattr(image, 'n_frames', 1)
    if pages > 1 and image.format != 'MPO':  # MPO: a JPEG photograph with its preview
        raise UserError(f'{name} holds {pages} pages', 'save each page as a picture of its own')
    if image.mode not in ('1', 'L', 'RGB', 'P', 'LA', 'PA', 'RGBA'):
        raise UserError(f'{name} has colour mode {image.mode}', 'convert it to 8-bit gray or RGB')


def _is_deep(image: Image.Image) -> bool:
    """More than 8 bits a sample. Pillow reads 16-bit RGB as 8 bits; its unpacking mode tells."""
    if image.mode in ('I', 'F') or image.mode.startswith('I;'):
        return True
    for tile in getattr(image, 'tile', ()):
        args: tuple[Any, ...] = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(arg, str) and ';16' in arg for arg in args):
            return True
        if image.format == 'PPM' and any(isinstance(arg, int) and arg > 255 for arg in args[1:]):
            return True
    return False


def _array(image: Image.Image, name: str) -> np.ndarray:
    """(C, H, W) uint8 of a loaded picture. A fully opaque alpha channel hides nothing and is dropped."""
    if image.mode in ('LA', 'PA', 'RGBA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        if np.asarray(image)[..., 3].min() < 255:
            raise UserError(f'{name} has an alpha channel with transparent pixels',
                            'save it without transparency, as 8-bit gray or RGB')
        image = image.convert('RGB')
        return _gray_if_gray(np.asarray(image).transpose(2, 0, 1))
    if image.mode == '1':
        image = image.convert('L')
    if image.mode == 'P':
        return _gray_if_gray(np.asarray(image.convert('RGB')).transpose(2, 0, 1))
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def is_gray(picture: np.ndarray) -> bool:
    """Whether a picture (C, H, W) has no colour: one channel, or three equal ones (gray saved as RGB)."""
    return len(picture) == 1 or all(np.array_equal(picture[0], other) for other in picture[1:])


def _gray_if_gray(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[:1] if is_gray(picture) else picture)


def image_id(picture: np.ndarray) -> str:
    """Content hash of a decoded picture (C, H, W): sha256 of shape and bytes, 32 hex digits.

    Equal pixels have an equal id, whatever the file format; gray saved as RGB counts as gray.
    """
    picture = _gray_if_gray(picture)
    shape = 'x'.join(map(str, picture.shape))
    return hashlib.sha256(f'{shape}:'.encode() + picture.tobytes()).hexdigest()[:32]


def to_float(pixels: Any) -> Any:
    """uint8 (numpy array or torch tensor, any shape) to float32 in [-1, 1], of the same kind."""
    if hasattr(pixels, 'detach'):  # a tensor, told by duck-typing: this module imports no torch
        return pixels.float() / 127.5 - 1
    return np.asarray(pixels, dtype=np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(values: Any) -> Any:
    """Floats in [-1, 1] (numpy array or torch tensor) to uint8, rounded and clipped: undoes `to_float`.

    Raises:
        ValueError: a value is not finite (a generator that diverged).
    """
    if hasattr(values, 'detach'):
        values = values.detach().float()
        if not bool(values.isfinite().all()):
            raise ValueError('pixels are not finite')
        return ((values + 1) * 127.5).round().clamp(0, 255).byte()
    values = np.asarray(values, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError('pixels are not finite')
    return np.rint((values + np.float32(1)) * np.float32(127.5)).clip(0, 255).astype(np.uint8)


def border_median(picture: np.ndarray) -> np.ndarray:
    """Median of the outermost ring of pixels, a channel: (C,) uint8. The background of a print, mostly."""
    ring = np.concatenate([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]], axis=1)
    return np.median(ring, axis=1).astype(np.uint8)


def fit(picture: np.ndarray, resize: str, size: int) -> np.ndarray:
    """Bring a picture (C, H, W) to (C, size, size); all rules but 'scale' let ridges keep their distance.

    Args:
        picture: uint8 (C, H, W).
        resize: 'none' (returned as it is), 'pad' (the whole picture, centred on its border's median), 'crop'
            (the central square) or 'scale' (the largest central square, shrunk by the mean over area or
            enlarged bilinearly; for faces).
        size: side, px.

    Raises:
        UserError: the picture is larger than the square to pad to, or smaller than the square to crop.
    """
    if resize == 'none':
        return picture
    channels, height, width = picture.shape
    if resize == 'scale':
        return _scaled(picture, size)
    if resize == 'crop':
        if min(height, width) < size:
            raise UserError(f'a picture of {width} x {height} px is smaller than --data.size {size}',
                            f'use --data.size {min(height, width)}, or --data.resize pad')
        top, left = (height - size) // 2, (width - size) // 2
        return np.ascontiguousarray(picture[:, top:top + size, left:left + size])
    if max(height, width) > size:
        raise UserError(f'a picture of {width} x {height} px is larger than --data.size {size}',
                        f'use --data.size {max(height, width)}, or --data.resize crop')
    padded = np.broadcast_to(border_median(picture)[:, None, None], (channels, size, size)).copy()
    top, left = (size - height) // 2, (size - width) // 2
    padded[:, top:top + height, left:left + width] = picture
    return padded


def _scaled(picture: np.ndarray, size: int) -> np.ndarray:
    _, height, width = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    rule = Image.Resampling.BOX if side > size else Image.Resampling.BILINEAR
    square = picture[:, top:top + side, left:left + side].astype(np.float32)  # of 8 bits Pillow rounds twice
    scaled = np.stack([np.asarray(Image.fromarray(channel).resize((size, size), rule)) for channel in square])
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def alter(pixels: np.ndarray, seeds: int | Sequence[int], kinds: Sequence[str] = KINDS,
          strength: float = 1.0) -> np.ndarray:
    """Other versions of pictures, as mild as another touch, for sets with one impression a finger.

    At strength 1: rotation within 8 degrees, shift within 4 % of the side, a smooth elastic displacement of
    1.5 % of the side (standard deviation), contrast 0.85-1.15, brightness within 8 gray levels. What comes
    from outside the picture is mirrored at its edge. Each picture depends on its own seed alone.

    Args:
        pixels: (N, C, H, W) uint8.
        seeds: one seed a picture, or one for all.
        kinds: which of 'rotation', 'shift', 'elastic', 'contrast'.
        strength: factor on every range, 0 (nothing changes) to 3.

    Returns:
        (N, C, H, W) uint8.
    """
    if not set(kinds) <= set(KINDS) or not 0 <= strength <= 3:
        raise ValueError(f'kinds {tuple(kinds)} of {KINDS}, strength {strength} of 0 to 3')
    each = [seeds] * len(pixels) if isinstance(seeds, int) else list(seeds)
    if len(each) != len(pixels):
        raise ValueError(f'{len(each)} seeds for {len(pixels)} pictures')
    altered = np.empty_like(pixels, subok=False)
    for n, seed in enumerate(each):
        altered[n] = _alter_one(pixels[n], np.random.default_rng(seed), kinds, strength)
    return altered


def _alter_one(picture: np.ndarray, rng: np.random.Generator, kinds: Sequence[str],
               strength: float) -> np.ndarray:
    _, height, width = picture.shape
    # every number is drawn whichever kinds are asked, so that adding a kind leaves the others as they were
    angle, shift = np.deg2rad(rng.uniform(-8, 8)) * strength, rng.uniform(-0.04, 0.04, 2) * strength
    coarse = rng.normal(0, 0.015 * strength, (2, 5, 5))
    gain, offset = rng.uniform(-0.15, 0.15), rng.uniform(-8, 8)
    middle = (height - 1) / 2, (width - 1) / 2
    y, x = np.meshgrid(np.arange(height) - middle[0], np.arange(width) - middle[1], indexing='ij')
    if 'rotation' in kinds:
        y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    if 'shift' in kinds:
        y, x = y + shift[0] * height, x + shift[1] * width
    if 'elastic' in kinds:
        y, x = y + _smooth(coarse[0], height, width) * height, x + _smooth(coarse[1], height, width) * width
    values = bilinear(picture, y + middle[0], x + middle[1])
    if 'contrast' in kinds:
        mean = values.mean(axis=(1, 2), keepdims=True)
        values = mean + (values - mean) * (1 + gain * strength) + offset * strength
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _smooth(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """A coarse grid (h, w) brought to (height, width) by cosine interpolation: no kinks at the nodes."""
    def weights(fine: int, nodes: int) -> np.ndarray:
        at = np.linspace(0, nodes - 1, fine)[:, None] - np.arange(nodes)
        return np.where(np.abs(at) < 1, (1 + np.cos(np.pi * at)) / 2, 0)
    return weights(height, coarse.shape[0]) @ coarse @ weights(width, coarse.shape[1]).T


def bilinear(picture: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear values (C, H, W) of a picture at the points (y, x), mirrored at its edges."""
    def folded(at: np.ndarray, side: int) -> np.ndarray:
        at = np.abs(at) % (2 * (side - 1))
        return np.minimum(at, 2 * (side - 1) - at)

    _, height, width = picture.shape
    y, x = folded(y, height), folded(x, width)
    top, left = np.minimum(y.astype(int), height - 2), np.minimum(x.astype(int), width - 2)
    down, right = y - top, x - left
    grays = picture.astype(np.float64)
    return ((grays[:, top, left] * (1 - right) + grays[:, top, left + 1] * right) * (1 - down)
            + (grays[:, top + 1, left] * (1 - right) + grays[:, top + 1, left + 1] * right) * down)


def contact_sheet(pixels: np.ndarray, columns: int = 8, gap: int = 2,
                  marked: np.ndarray | None = None) -> np.ndarray:
    """Pictures side by side on white, row by row.

    Args:
        pixels: (N, C, H, W) uint8.
        columns: pictures a row.
        gap: px between and around them.
        marked: (N,) bool, pictures that get a frame `gap` wide (e.g. the members); the sheet is then in
            colour.

    Returns:
        uint8 (rows, columns) px, gray, or (rows, columns, 3) in colour.
    """
    number, channels, height, width = pixels.shape
    columns = max(1, min(columns, number))
    rows = max(1, -(-number // columns))
    channels = 3 if marked is not None else channels
    sheet = np.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 255, np.uint8)
    frame = np.array([214, 83, 0], np.uint8)[:, None, None]  # orange, which the colour-blind tell from gray
    for n in range(number):
        top, left = gap + n // columns * (height + gap), gap + n % columns * (width + gap)
        if marked is not None and marked[n]:
            sheet[:, top - gap:top + height + gap, left - gap:left + width + gap] = frame
        sheet[:, top:top + height, left:left + width] = pixels[n]
    return sheet[0] if channels == 1 else sheet.transpose(1, 2, 0)


def save_png(sheet: np.ndarray, path: Path | str) -> None:
    """Write a sheet, uint8 (H, W) or (H, W, 3), as a PNG."""
    Image.fromarray(np.ascontiguousarray(sheet)).save(path, format='PNG')

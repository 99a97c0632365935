"""Classical codecs for scale: JPEG, JPEG 2000 and WebP by Pillow, in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

from fpray.errors import UserError


@dataclass(frozen=True)
class Classical:
    """A codec of Pillow.

    Attributes:
        format: Pillow's name of it.
        feature: what `PIL.features` calls it.
        option: the keyword that the setting goes to.
        means: what the setting is.
        settings: of a curve, from low to high rate.
        fixed: further keywords.
    """

    format: str
    feature: str
    option: str
    means: str
    settings: tuple[int, ...]
    fixed: dict[str, Any]


CLASSICAL = {
    'JPEG': Classical('JPEG', 'jpg', 'quality', 'quality', (5, 10, 20, 35, 50, 75, 90), {'optimize': True}),
    'JPEG 2000': Classical('JPEG2000', 'jpg_2000', 'quality_layers', 'compression ratio', (80, 40, 20, 12, 8, 5, 3),
                           {'quality_mode': 'rates', 'irreversible': True, 'no_jp2': True}),
    'WebP': Classical('WEBP', 'webp', 'quality', 'quality', (1, 10, 25, 50, 70, 85, 95), {'method': 4}),
}


def curve_settings(codec: str) -> tuple[int, ...]:
    """The settings of a codec's rate-distortion curve, from low to high rate.

    Raises:
        UserError: an unknown codec.
    """
    return _known(codec).settings


def encode(pixels: np.ndarray, codec: str, setting: int) -> tuple[np.ndarray, np.ndarray]:
    """Compress and decompress each picture as a file of its own.

    The bits are the whole file's: JPEG's tables (with Huffman codes fitted to the picture, about 150 bytes)
    count, as they do on a disk; JPEG 2000 is the bare codestream. Colour is coded as the encoder's defaults
    have it (4:2:0 in JPEG and WebP); gray in WebP, which knows only colour, has empty colour planes.

    Args:
        pixels: (N, C, H, W) uint8, C = 1 or 3.
        codec: 'JPEG', 'JPEG 2000' or 'WebP'.
        setting: quality 0-100 (JPEG, WebP), compression ratio at least 1 (JPEG 2000).

    Returns:
        bits (N,) int64, decoded (N, C, H, W) uint8.

    Raises:
        UserError: an unknown codec, one that this Pillow lacks, or a setting out of range.
    """
    made = _known(codec)
    lowest, highest = (1, 10_000) if made.option == 'quality_layers' else (0, 100)
    if not lowest <= setting <= highest:
        raise UserError(f'{codec} at {made.means} {setting}', f'choose {lowest} to {highest}')
    bits, decoded = np.zeros(len(pixels), np.int64), np.empty(np.shape(pixels), np.uint8)
    for n, picture in enumerate(pixels):
        file = io.BytesIO()
        _image(picture).save(file, made.format, **{made.option: _argument(made, setting)}, **made.fixed)
        bits[n] = 8 * file.tell()
        with Image.open(file, formats=(made.format,)) as image:
            decoded[n] = _array(image, len(picture))
    return bits, decoded


def _known(codec: str) -> Classical:
    if codec not in CLASSICAL:
        raise UserError(f'no classical codec is called {codec!r}', f'choose one of {", ".join(CLASSICAL)}')
    if not features.check(CLASSICAL[codec].feature):
        raise UserError(f'this Pillow was built without {codec}', 'install Pillow from its wheel: pip install pillow')
    return CLASSICAL[codec]


def _argument(made: Classical, setting: int) -> Any:
    return [setting] if made.option == 'quality_layers' else setting


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)))


def _array(image: Image.Image, channels: int) -> np.ndarray:
    array = np.asarray(image.convert('L' if channels == 1 else 'RGB'))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)

"""Black boxes: the only thing of a victim that reaches an attack.

Each says the kind of its output. A generator is `sample(n, seed)`: here are a callable, a folder's pictures,
and samples on disk. All are deterministic in (n, seed) and draw anew at each call; studies keep what they
drew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from fpray.data.images import to_uint8
from fpray.errors import UserError

Kind = Literal['samples', 'bits', 'embeddings', 'probabilities']
Scale = Literal['auto', 'uint8', 'unit', 'symmetric']
RANGES: dict[str, tuple[float, float]] = {'unit': (0.0, 1.0), 'symmetric': (-1.0, 1.0)}
SLACK = 1e-3  # float rounding at the ends of the range
PROBE = (16, 0)  # (n, seed) of the call that tells a callable's shape, scale and repeatability


class BlackBox(Protocol):
    """A trained model seen from outside."""

    @property
    def kind(self) -> Kind:
        """What it answers with: 'samples' (generator), 'bits' (codec), 'embeddings' or 'probabilities'."""


class Generator(BlackBox, Protocol):
    """A black box of kind 'samples'."""

    @property
    def size(self) -> int | None:
        """How many samples there are to draw from; None: as many as wanted."""

    def sample(self, n: int, seed: int) -> np.ndarray:
        """(n, C, H, W) uint8 pictures, the same for the same (n, seed)."""


@dataclass(frozen=True)
class CallableGenerator:
    """Any callable `sample(n, seed) -> images`, for instance a network from elsewhere.

    It may return (n, C, H, W) with C 1 or 3, or (n, H, W): an array, or a tensor on any device. uint8 is
    taken as it is. Floats are in [-1, 1] ('symmetric') or [0, 1] ('unit'); 'auto' calls them symmetric if one
    of the first 16 pictures of seed 0 goes below 0, once and for all calls, since a single bright picture
    would not tell.

    The first use calls it twice with (16, 0); the two answers must agree within one gray level.

    Raises UserError, at the first use or any later one, for a wrong count, shape, type or range, for values
    that are not finite, and for answers that differ though n and seed are the same.
    """

    function: Callable[[int, int], Any]
    scale: Scale = 'auto'

    kind: ClassVar[Kind] = 'samples'
    size: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.scale not in ('auto', 'uint8', *RANGES):
            raise UserError(f'unknown scale {self.scale!r}', "choose 'auto', 'uint8', 'unit' or 'symmetric'")

    def sample(self, n: int, seed: int) -> np.ndarray:
        """(n, C, H, W) uint8 pictures."""
        shape, scale = self._form
        pictures = self._draw(n, seed)
        if pictures.shape[1:] != shape:
            raise UserError(f'the generator drew {_times(pictures.shape[1:])} after {_times(shape)} before',
                            'let it return pictures of one size')
        return _as_uint8(pictures, scale)

    @cached_property
    def _form(self) -> tuple[tuple[int, ...], str]:
        """Shape of a picture and scale of the values."""
        first, again = self._draw(*PROBE), self._draw(*PROBE)
        scale: str = self.scale
        if scale == 'auto':
            scale = 'uint8' if first.dtype == np.uint8 else 'symmetric' if (first < -SLACK).any() else 'unit'
        levels = [_as_uint8(pictures, scale).astype(np.int16) for pictures in (first, again)]
        if first.shape != again.shape or np.abs(levels[0] - levels[1]).max() > 1:
            raise UserError('the generator answered the same (n, seed) with different pictures',
                            'draw its noise from the seed that it is given')
        return first.shape[1:], scale

    def _draw(self, n: int, seed: int) -> np.ndarray:
        """(n, C, H, W) uint8 or finite floats, as the callable returned them."""
        answer = self.function(n, seed)
        if hasattr(answer, 'detach'):  # a torch tensor, without importing torch
            answer = answer.detach().cpu().numpy()
        pictures = np.asarray(answer)
        if pictures.ndim == 3:
            pictures = pictures[:, None]
        if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or 0 in pictures.shape[2:]:
            raise UserError(f'the generator returned an array of shape {_times(pictures.shape)}',
                            'return (n, C, H, W) with C 1 or 3')
        if len(pictures) != n:
            raise UserError(f'the generator returned {len(pictures)} pictures where {n} were asked for',
                            'return exactly n pictures')
        if pictures.dtype != np.uint8 and not np.issubdtype(pictures.dtype, np.floating):
            raise UserError(f'the generator returned {pictures.dtype} values', 'return uint8 or floats')
        if not np.isfinite(pictures).all():
            raise UserError('the generator returned values that are not finite', 'look for NaN in its output')
        return pictures


@dataclass(frozen=True)
class FolderGenerator:
    """Generated pictures that exist already, such as a folder of them, drawn without replacement.

    The first n of a seed are also the first n of any larger draw with that seed.

    Raises UserError for pictures that are not (N, C, H, W) uint8, and when more are asked for than there are.
    """

    pixels: np.ndarray
    """(N, C, H, W) uint8, may be a memory map; for instance `read_folder(...).pixels`."""

    kind: ClassVar[Kind] = 'samples'

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
            raise UserError(f'generated pictures are {dtype} of shape {_times(shape)}',
                            'give uint8 of shape (N, C, H, W) with C 1 or 3')

    @property
    def size(self) -> int:
        """How many pictures there are."""
        return len(self.pixels)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """(n, C, H, W) uint8 pictures, no two from the same place."""
        if n > self.size:
            raise UserError(f'{n} generated pictures asked for, {self.size} given',
                            'generate more of them or ask for fewer')
        rows = np.random.default_rng(seed).permutation(self.size)[:n]
        return np.asarray(self.pixels[rows])


@dataclass(frozen=True)
class SampleFile:
    """Samples in an .npy file, memory-mapped where they are used: a few bytes to send to another process.

    Draws as `FolderGenerator` does, with its errors; UserError too for a file that is missing or not .npy.
    """

    path: Path

    kind: ClassVar[Kind] = 'samples'

    @property
    def size(self) -> int:
        """How many pictures there are."""
        return self._folder().size

    def sample(self, n: int, seed: int) -> np.ndarray:
        """(n, C, H, W) uint8 pictures."""
        return self._folder().sample(n, seed)

    def _folder(self) -> FolderGenerator:
        try:
            pixels = np.load(self.path, mmap_mode='r', allow_pickle=False)
        except (OSError, ValueError, EOFError) as fault:
            raise UserError(f'cannot read samples from {self.path}: {fault}', 'give an .npy file') from fault
        return FolderGenerator(pixels)


def _as_uint8(pictures: np.ndarray, scale: str) -> np.ndarray:
    """Pictures on a named scale as uint8; UserError where the values are on another."""
    if (pictures.dtype == np.uint8) != (scale == 'uint8'):
        expected = 'uint8' if scale == 'uint8' else 'floats'
        raise UserError(f'the generator returned {pictures.dtype}, not {expected}', 'return one type always')
    if scale == 'uint8':
        return pictures
    low, high = RANGES[scale]
    least, most = float(pictures.min()), float(pictures.max())
    if least < low - SLACK or most > high + SLACK:
        raise UserError(
            f'the generator returned values from {least:.4g} to {most:.4g}, outside [{low:g}, {high:g}]',
            'return uint8, or floats in [-1, 1] or [0, 1]; name the scale if 16 pictures do not show it')
    symmetric = pictures if scale == 'symmetric' else pictures * 2 - 1
    return np.asarray(to_uint8(symmetric.astype(np.float32).clip(-1, 1)))


def _times(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape)) or 'a single value'

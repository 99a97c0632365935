"""Which pictures a study reads and how it divides their people. No numpy, no torch: `--help` reads it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from fpray.data import LAYOUTS
from fpray.errors import UserError, one_of
from fpray.errors import whole as _whole

RESIZE = ('none', 'pad', 'crop', 'scale')
PATTERN_GROUPS = ('subject', 'finger', 'impression')
ALTERATIONS = ('obliteration', 'central-rotation', 'z-cut', 'translation', 'cropping')
STRENGTHS = ('easy', 'medium', 'hard')
SOURCE_TIMES = {'polyu': 50, 'socofing': 10}  # versions of a picture by layout (Tangari et al. 2023, section 5.1)


@dataclass(frozen=True)
class DataConfig:
    """The pictures, flags `--data.*`.

    Raises:
        UserError: a value out of its range, an unknown layout or resize rule, a pattern that cannot be read.
    """

    root: str = ''
    """Folder of pictures; empty: the synthetic stand-in."""
    layout: str = 'folder'
    """How a path names person, finger and impression: casia-v5, fvc, socofing, polyu, orl, lfw, folder or
    pattern."""
    pattern: str = ''
    """Layout pattern: regular expression over the relative path, named groups subject, finger, impression."""
    resize: str = 'none'
    """How pictures come to one size: unscaled by none, pad (with the border's median) or crop (the centre), or scale (the
    largest central square, for faces)."""
    size: int = 64
    """Side of the square after pad, crop or scale, px (16-4096); side of a synthetic picture, px (48-512)."""
    impressions: int = 3
    """Training impressions a finger, drawn at random within each finger."""
    query_impressions: int = 2
    """Unseen impressions a finger, for the IIA and memorisation contrasts; fewer where the set has fewer."""
    skip_bad: bool = False
    """Skip unreadable files and record them, instead of stopping at the first."""
    fingers: int = 2
    """Synthetic stand-in: fingers a person (1-10)."""
    ppi: float = 0
    """Resolution, pixels an inch: minutiae and a matcher need it, near 500, after --data.resize scale that of the
    scaled pictures; 0: unknown, and the stand-in's finger fills the picture."""
    members: str = ''
    """An owner's model: folder of the pictures that it was trained on."""
    nonmembers: str = ''
    """An owner's model: folder of pictures of people that it was not trained on."""
    reference: str = ''
    """Folder of other people's pictures, for the controls and for what an attack learns from."""

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UserError(f'--data.layout: unknown layout {self.layout!r}', f'known: {", ".join(LAYOUTS)}')
        if self.resize not in RESIZE:
            raise UserError(f'--data.resize: unknown rule {self.resize!r}', f'known: {", ".join(RESIZE)}')
        _whole('--data.size', self.size, 16, 4096)
        if not (self.root or self.members) and not 48 <= self.size <= 512:
            raise UserError(f'--data.size {self.size}: a synthetic picture has 48 to 512 px a side',
                            'choose such a size, or name a folder of pictures with --data.root')
        _whole('--data.impressions', self.impressions, 1, 1000)
        _whole('--data.query-impressions', self.query_impressions, 0, 1000)
        _whole('--data.fingers', self.fingers, 1, 10)
        number = isinstance(self.ppi, int | float) and not isinstance(self.ppi, bool)
        if not number or not math.isfinite(self.ppi) or self.ppi < 0:
            raise UserError(f'--data.ppi {self.ppi}: not a resolution', 'give pixels an inch, or 0')
        if bool(self.members) != bool(self.nonmembers):
            there, missing = ('members', 'nonmembers') if self.members else ('nonmembers', 'members')
            raise UserError(f'--data.{there} without --data.{missing}',
                            'an audit of given people needs both folders')
        self._check_pattern()

    def _check_pattern(self) -> None:
        if self.layout != 'pattern':
            if self.pattern:
                raise UserError(f'--data.pattern is given and --data.layout is {self.layout}',
                                'use --data.layout pattern')
            return
        example = r"e.g. --data.pattern '(?P<subject>\d+)_(?P<finger>\d+)_(?P<impression>\d+)'"
        if not self.pattern:
            raise UserError('--data.layout pattern without --data.pattern', example)
        try:
            known = re.compile(self.pattern).groupindex
        except re.error as fault:
            raise UserError(f'--data.pattern {self.pattern!r}: no regular expression ({fault})',
                            example) from None
        absent = [group for group in PATTERN_GROUPS if group not in known]
        if absent:
            raise UserError(f'--data.pattern {self.pattern!r}: no named group {", ".join(absent)}', example)


@dataclass(frozen=True)
class SplitConfig:
    """How many people each group holds, flags `--split.*`. All sizes count people; groups share nobody.

    Raises:
        UserError: a size below its least, sizes that do not grow, a headline size that is none of them.
    """

    sizes: tuple[int, ...]
    """Training-set sizes, people, growing; a smaller set's members are the first of a larger one's."""
    headline: int
    """The size that gets the search, the controls and the verdict; one of sizes, people."""
    nonmembers: int
    """People that no victim is trained on, for the queries."""
    scoring: int
    """People that the scoring network learns from; 0: none."""
    placebo: int
    """People that the placebo victim is trained on; 0: none."""
    rehearsal: int
    """People of the rehearsal on each of its two sides, trained on and not; 0: none."""
    reference: int
    """People of the reference for calibration; 0: none."""

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, tuple) or not self.sizes:
            raise UserError(f'--split.sizes {self.sizes}: no list of sizes',
                            'give at least one number of people')
        for size in self.sizes:
            _whole('--split.sizes', size, 1)
        if list(self.sizes) != sorted(set(self.sizes)):
            raise UserError(f'--split.sizes {" ".join(map(str, self.sizes))}: not growing',
                            'give each size once, the smallest first')
        if self.headline not in self.sizes:
            raise UserError(f'--split.headline {self.headline}: none of --split.sizes',
                            f'choose one of {" ".join(map(str, self.sizes))}')
        _whole('--split.nonmembers', self.nonmembers, 1)
        for name in ('scoring', 'placebo', 'rehearsal', 'reference'):
            _whole(f'--split.{name}', getattr(self, name), 0)


@dataclass(frozen=True)
class AugmentConfig:
    """More pictures of each finger, and what an identity is, flags `--augment.*` (Tangari et al. 2023, section 5.1).

    A version stays with its original: it has the same person and the same identity.

    Raises:
        UserError: a value out of its range, an unknown kind, strength or level.
    """

    times: int = 1
    """Versions of every picture, itself among them: altered as people alter their fingers (Papi et al. 2016); all of them
    are drawn with it, so that an identity has so many times --data.impressions and --data.query-impressions. 1: as it is;
    0: as the source, 50 of --data.layout polyu, 10 of socofing, 1 of others."""
    kinds: tuple[str, ...] = ALTERATIONS
    """Alterations, which take turns: obliteration, central-rotation, z-cut, translation, cropping."""
    strength: str = 'mixed'
    """easy, medium or hard; mixed: in turn."""
    level: str = 'finger'
    """What an identity is: finger; person, all of whose fingers are one; source: as the source, person of socofing, else
    finger."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'kinds', tuple(self.kinds))
        _whole('--augment.times', self.times, 0, 1000)
        for kind in self.kinds:
            one_of('--augment.kinds', kind, ALTERATIONS)
        if not self.kinds:
            raise UserError('--augment.kinds: nothing given', f'choose from {", ".join(ALTERATIONS)}')
        one_of('--augment.strength', self.strength, (*STRENGTHS, 'mixed'))
        one_of('--augment.level', self.level, ('finger', 'person', 'source'))

    def of(self, layout: str) -> AugmentConfig:
        """The same with what the source did to a set of this layout in place of 0 and 'source'."""
        level = ('person' if layout == 'socofing' else 'finger') if self.level == 'source' else self.level
        times = self.times or SOURCE_TIMES.get(layout, 1)
        return replace(self, times=times, level=level) if times > 1 else AugmentConfig(level=level)


GROUPS = ('public', 'adapt', 'attacker', 'judge', 'threshold', 'victims')


@dataclass(frozen=True)
class GroupsConfig:
    """How many people each group of an embedding's study holds, flags `--groups.*`; groups share nobody.

    Raises:
        UserError: a size below its least.
    """

    public: int
    """People that the public networks were trained on, before anybody adapts one; 0: these come trained."""
    adapt: int
    """People on whose pictures the owner adapts the target; 0: it is never adapted."""
    attacker: int
    """The attacker's people, on whom its classifiers and reconstructors learn."""
    judge: int
    """People that the judge, a network that the attacker never sees, is trained on; 0: it comes trained."""
    threshold: int
    """People on whom thresholds and confidences are set; nobody trains on them and nobody is judged among them."""
    victims: int
    """People whose vectors are stolen."""

    def __post_init__(self) -> None:
        for name, low in (('public', 0), ('adapt', 0), ('attacker', 2), ('judge', 0), ('threshold', 2), ('victims', 2)):
            _whole(f'--groups.{name}', getattr(self, name), low)

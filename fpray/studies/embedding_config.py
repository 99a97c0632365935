"""What the studies of embeddings share: the candidate networks, and the owner's adaptation. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fpray.data.config import AugmentConfig, DataConfig, GroupsConfig
from fpray.errors import UserError, above_zero
from fpray.models.config import SMALL
from fpray.training.config import ADAPTATIONS, LoopConfig, RecognitionConfig

RUNGS = tuple(rung.name for rung in ADAPTATIONS)
"""No-adapt, FT-1, ..., FT-5 (Tangari et al. 2023, section 5.3)."""
NO_ADAPT = RUNGS[0]
TEMPLATE, REFERENCES = 1, 2  # pictures an identity that are enrolled (and stolen), and that the template is compared with
SOURCE = AugmentConfig(times=0, level='source')
"""Sets of pictures as Tangari et al. 2023 make them (section 5.1)."""


@dataclass(frozen=True)
class CandidatesConfig:
    """The public networks that the attacker knows and the owner started from, flags `--candidates.*`.

    Raises:
        UserError: fewer than two, or one named twice.
    """

    names: tuple[str, ...] = SMALL
    """Networks, as `--candidates.recognition.extractor.name`; each is trained on the public people."""
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    """Their training; the extractor's name is replaced by each of the names."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """How long one trains."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'names', tuple(self.names))
        if len(self.names) < 2:
            raise UserError(f'--candidates.names {" ".join(self.names)}: one network alone is no choice', 'name two or more')
        once('--candidates.names', self.names)

    def of(self, name: str, length: int = 0) -> RecognitionConfig:
        """The training of one candidate; `length` 0: as configured."""
        extractor = self.recognition.extractor
        return replace(self.recognition, extractor=replace(extractor, name=name, length=length or extractor.length))


@dataclass(frozen=True)
class AdaptConfig:
    """How the owner adapts the network that it took, flags `--adapt.*`: one training, opened layer by layer.

    The rungs No-adapt and FT-1 to FT-5 are moments of it, at the shares of the source's numbers of new images; how many
    layers are open until each is our own choice, since the source's table of it has no body.

    Raises:
        UserError: a value out of its range.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    """The whole of it, FT-5."""
    lr: float = 5e-4
    """AdamW's learning rate at the start."""

    def __post_init__(self) -> None:
        above_zero('--adapt.lr', self.lr)

    def of(self, recognition: RecognitionConfig) -> RecognitionConfig:
        """The training of the adaptation of a network that was trained so."""
        opening = tuple((rung.share, rung.open) for rung in ADAPTATIONS if rung.share)
        return replace(recognition, lr=self.lr, opening=opening)


def rung_of(flag: str, name: str) -> str:
    """A rung's name, checked.

    Raises:
        UserError: there is no such rung.
    """
    if name not in RUNGS:
        raise UserError(f'{flag}: unknown rung {name!r}', f'choose from {", ".join(RUNGS)}')
    return name


def augmentation(data: DataConfig, augment: AugmentConfig) -> AugmentConfig:
    """How a set is made longer, and what its identities are; the stand-in has no layout."""
    return augment.of(data.layout if data.root else '')


def pictures_of(data: DataConfig, augment: AugmentConfig) -> int:
    """Pictures an identity, versions counted."""
    return (data.impressions + data.query_impressions) * augmentation(data, augment).times


def check_groups(data: DataConfig, augment: AugmentConfig, groups: GroupsConfig, needed: Sequence[str],
                 pictures: int) -> None:
    """Refuses groups without anybody that a study needs, and too few pictures an identity.

    Raises:
        UserError: one line that names the flag.
    """
    for group in needed:
        if getattr(groups, group) < 2:
            raise UserError(f'--groups.{group} {getattr(groups, group)}: somebody must be in it', 'give 2 people or more')
    if (found := pictures_of(data, augment)) < pictures:
        raise UserError(f'{found} pictures an identity (--data.impressions {data.impressions}, --data.query-impressions '
                        f'{data.query_impressions}), {pictures} are needed: a template, its references and what is left',
                        f'give {pictures} together')


def no_address(flag: str, path: str) -> None:
    """Refuses an address where pictures are read by path.

    Raises:
        UserError: one line that names the flag.
    """
    if '://' in path:
        raise UserError(f'{flag} {path} is an address', 'give a folder that every machine sees under this path')


def once(flag: str, names: Sequence[str]) -> None:
    """Refuses a list in which something stands twice: a stage's name would.

    Raises:
        UserError: one line that names the flag.
    """
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise UserError(f'{flag}: {twice} stands there twice', 'name each once')

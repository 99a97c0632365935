"""Recognition networks: pictures to embeddings. Four small families of our own, and backbones of timm and torchvision.

All take (N, C, H, W) floats in [-1, 1] and give raw embeddings; who compares them takes the cosine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.models import backbones
from fpray.models.config import SMALL, TARGETS, ExtractorConfig


def build_extractor(config: ExtractorConfig, seed: int = 0) -> Extractor:
    """A fresh recognition network in training mode, weights as the configuration says, the others drawn from `seed`.

    Raises:
        UserError: an unknown architecture or layer, a picture that is too small for it, weights that cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.network in SMALL:
            return Extractor(config, Small(config).to(memory_format=torch.channels_last))
        return Extractor(config, *backbones.build(config))


class Extractor(nn.Module):
    """A backbone, the mean over its maps, and a dense layer where the length asks for one.

    A small network has one at any length but 0.

    Args:
        config: the network.
        body: the backbone, (N, C, H, W) to (N, d) or to maps.
        entry: how pictures enter it; None: as they are.

    Raises:
        UserError: the backbone has no such layer, or cannot take pictures of `config.image`.
    """

    def __init__(self, config: ExtractorConfig, body: nn.Module, entry: nn.Module | None = None) -> None:
        super().__init__()
        self.config, self.body, self.entry = config, body, entry or nn.Identity()
        self.dense: nn.Module = nn.Identity()
        self._order: list[str] = []
        self._layers: tuple[str, ...] = ()
        native = self._trace()
        self.length: int = config.length or (TARGETS[config.name].length if config.name in TARGETS else native)
        """Numbers in an embedding."""
        if self.length != native or (isinstance(body, Small) and config.length and not config.layer):
            self.dense = nn.Linear(native, self.length)
            self._order = [*self._order, 'dense']

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, length), not normalised."""
        return self.dense(self._features(pixels))

    def maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """The maps at named layers, differentiable with respect to the pictures.

        Args:
            pixels: (N, C, H, W) in [-1, 1].
            names: paths of modules of the backbone, those of `layers` or any others that are reached and give maps; '' for
                the embedding.

        Returns:
            For each name (N, channels, height, width); the embedding as (N, length, 1, 1).

        Raises:
            UserError: a name that the backbone lacks or does not reach.
        """
        with _watching(self.body, [name for name in names if name]) as seen:
            embedding = self(pixels)
        missing = [name for name in names if name and name not in seen]
        if missing:
            raise UserError(f'{self.config.name} gives no map at {missing[0]!r}', f'choose of {", ".join(self.layers[:-1])}')
        return [seen[name] if name else embedding[:, :, None, None] for name in names]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of layers for perceptual losses, in order of depth, '' (the embedding) last.

        Of a small network two a stage; of a backbone the last at each size of its maps.
        """
        return (*self._layers, '')

    def opened(self, share: float) -> list[nn.Parameter]:
        """The parameters of the deepest `share` of the layers: 0 the embedding's layer alone, 1 all."""
        if share >= 1:
            return list(self.parameters())
        return [one for name in self.opened_layers(share) for one in _own(self.get_submodule(name))]

    def opened_layers(self, share: float) -> list[str]:
        """The modules that own them, shallow first. Layers are counted as they run: each with parameters of its own."""
        count = max(1, math.ceil(share * len(self._order)))
        return self._order[-count:]

    def _features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N, d): the backbone's last features, or the means of the maps at `config.layer`."""
        entered = self.entry(pixels)
        if not self.config.layer:
            return _averaged(self.body(entered))
        with _watching(self.body, [self.config.layer], stop=True) as seen, suppress(_Reached):
            self.body(entered)
        return _averaged(seen[self.config.layer])

    @torch.no_grad()
    def _trace(self) -> int:
        """One pass of an empty picture: the order of the layers, the maps' sizes; returns the features' number.

        Layers deeper than the one where the embedding is taken are left out of the network.
        """
        if self.config.layer and self.config.layer not in dict(self.body.named_modules()):
            known = ', '.join(name for name, _ in self.body.named_children())
            raise UserError(f'{self.config.name} has no layer {self.config.layer!r}', f'its first floor: {known}')
        course = _Course()
        self.body.eval()
        with ExitStack() as stack:
            for name, module in self.body.named_modules():
                stack.callback(module.register_forward_pre_hook(course.entering(name)).remove)
                stack.callback(module.register_forward_hook(course.leaving(name)).remove)
            try:
                features = self._features(torch.zeros(1, self.config.channels, *self.config.image))
            except (RuntimeError, AssertionError, ValueError) as fault:  # as backbones refuse what is too small for them
                what = f'{self.config.name} cannot take pictures of {self.config.image} px: {fault}'
                raise UserError(what, 'give larger ones') from fault
        self.body.train()
        if self.config.layer:
            _cut(self.body, list(course.entered.values()))
        self._order = [f'body.{name}'.rstrip('.') for name, one in course.entered.items() if _own(one)]
        stages = self.body.maps if isinstance(self.body, Small) else course.layers()
        self._layers = tuple(name for name in stages if name in course.entered)
        return features.shape[1]


def _averaged(features: Tensor) -> Tensor:
    """Maps (N, C, h, w) averaged over their pixels, tokens (N, n, C) over their number; (N, d) as they are."""
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features.mean(dim=1) if features.ndim == 3 else features


def _own(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module itself."""
    return list(module.parameters(recurse=False))


def _cut(body: nn.Module, entered: list[nn.Module]) -> None:
    """Leave out what no picture entered: members of the backbone and of its sequences, wholly new to pictures."""
    known = {id(one) for one in entered}
    for parent in [body, *(one for one in entered if isinstance(one, nn.Sequential))]:
        for name, child in parent.named_children():
            if known.isdisjoint(map(id, child.modules())):
                setattr(parent, name, nn.Identity())


class _Course:
    """What a pass through a backbone goes through, in order, with the sizes of the maps."""

    def __init__(self) -> None:
        self.entered: dict[str, nn.Module] = {}
        self._came: dict[str, tuple[int, ...]] = {}
        self._went: dict[str, tuple[int, ...]] = {}

    def entering(self, name: str) -> Callable[..., None]:
        """A hook that runs before a module."""

        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.entered.setdefault(name, module)
            self._came.setdefault(name, _size(inputs[0] if inputs else None))

        return hook

    def leaving(self, name: str) -> Callable[..., None]:
        """A hook that runs after a module."""

        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self._went.pop(name, None)
            self._went[name] = _size(output)

        return hook

    def layers(self) -> tuple[str, ...]:
        """The last module at each size of the maps, but for those on the way to a smaller one: a block's whole answer says
        more than its first convolution. Maps of one pixel are no maps.
        """
        found: dict[tuple[int, ...], str] = {}
        sizes = dict.fromkeys(size for size in self._went.values() if size and max(size) > 1)
        for size in sizes:
            names = [name for name, went in self._went.items() if name and went == size]
            whole = [name for name in names if not any(self._shrinks(above, size) for above in _above(name))]
            found[size] = (whole or names)[-1]
        return tuple(name for name in self._went if name in found.values())

    def _shrinks(self, name: str, size: tuple[int, ...]) -> bool:
        return self._came.get(name) == size and self._went.get(name) != size


def _size(value: Any) -> tuple[int, ...]:
    """Height and width of maps; () of anything else."""
    return tuple(value.shape[2:]) if isinstance(value, Tensor) and value.ndim == 4 else ()


def _above(name: str) -> list[str]:
    """The modules that hold a module, the backbone itself left out: 'a', 'a.b' for 'a.b.c'."""
    parts = name.split('.')
    return ['.'.join(parts[:count]) for count in range(1, len(parts))]


class _Reached(Exception):
    """The layer where the embedding is taken has answered: nothing deeper need run."""


@contextmanager
def _watching(body: nn.Module, names: Sequence[str], stop: bool = False) -> Iterator[dict[str, Tensor]]:
    """Fills the answers of named modules into what it gives; with `stop` the first answer ends the pass.

    Copies, because a backbone may write into its maps.
    """
    seen: dict[str, Tensor] = {}
    modules = dict(body.named_modules())

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            seen[name] = output.clone()
            if stop:
                raise _Reached

        return hook

    with ExitStack() as stack:
        for name in set(names) & set(modules):
            stack.callback(modules[name].register_forward_hook(keep(name)).remove)
        yield seen


# The small families: four stages that halve the side, width, 2, 4 and 4 times width channels -------------------


class Small(nn.Module):
    """Four stages of one family and the mean over the last map; (N, C, H, W) to (N, 4 width)."""

    def __init__(self, config: ExtractorConfig) -> None:
        super().__init__()
        stage = _STAGES[config.network]
        widths = [config.width * times for times in (1, 2, 4, 4)]
        pairs = zip((config.channels, *widths), widths, strict=False)
        self.stages = nn.Sequential(*(stage(before, after) for before, after in pairs))
        self.maps = [f'stages.{i}.{j}' for i in range(len(widths)) for j in range(2)]

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 4 width)."""
        return self.stages(pixels).mean(dim=(2, 3))


def _convolution(before: int, after: int, side: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, side, stride, side // 2, groups=groups, bias=False)


def _plain(before: int, after: int) -> nn.Sequential:
    """One strided convolution."""
    return nn.Sequential(_convolution(before, after, stride=2), nn.Sequential(nn.BatchNorm2d(after), nn.ReLU()))


class _Bottleneck(nn.Module):
    """Narrow, 3x3, wide, added to what came in (He et al. 2016); halves the side where asked."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = after // 2
        self.branch = nn.Sequential(
            _convolution(before, inner, 1), nn.BatchNorm2d(inner), nn.ReLU(),
            _convolution(inner, inner, 3, stride), nn.BatchNorm2d(inner), nn.ReLU(),
            _convolution(inner, after, 1), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.shortcut = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), _convolution(before, after, 1), nn.BatchNorm2d(after))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, before, H, W) to (N, after, ceil(H / stride), ceil(W / stride))."""
        return torch.relu(self.branch(maps) + self.shortcut(maps))


def _residual(before: int, after: int) -> nn.Sequential:
    if before <= 3:  # pictures are no maps to add to
        return nn.Sequential(_convolution(before, after, stride=2), nn.Sequential(nn.BatchNorm2d(after), nn.ReLU()))
    return nn.Sequential(_Bottleneck(before, after, 2), _Bottleneck(after, after, 1))


class _Grown(nn.Module):
    """A 3x3 convolution whose maps are appended to what came in (Huang et al. 2017)."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.convolution = nn.Sequential(_convolution(before, growth), nn.BatchNorm2d(growth), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        """(N, before, H, W) to (N, before + growth, H, W)."""
        return torch.cat([maps, self.convolution(maps)], dim=1)


def _dense(before: int, after: int) -> nn.Sequential:
    if before <= 3:
        return nn.Sequential(_convolution(before, after, stride=2), nn.Sequential(nn.BatchNorm2d(after), nn.ReLU()))
    growth = after // 4
    grown = nn.Sequential(
        nn.AvgPool2d(2, ceil_mode=True), _Grown(before, growth), _Grown(before + growth, growth),
        _Grown(before + 2 * growth, growth),
    )  # fmt: skip
    narrowed = _convolution(before + 3 * growth, after, 1)
    return nn.Sequential(grown, nn.Sequential(narrowed, nn.BatchNorm2d(after), nn.ReLU()))


def _separable(before: int, after: int) -> nn.Sequential:
    """Depthwise, then across the channels (Chollet 2017)."""
    if before <= 3:
        return nn.Sequential(_convolution(before, after, stride=2), nn.Sequential(nn.BatchNorm2d(after), nn.ReLU()))
    depthwise = nn.Sequential(_convolution(before, before, 5, 2, groups=before), nn.BatchNorm2d(before), nn.ReLU())
    return nn.Sequential(depthwise, nn.Sequential(_convolution(before, after, 1), nn.BatchNorm2d(after), nn.ReLU()))


_STAGES = {
    'small-plain': _plain,
    'small-residual': _residual,
    'small-dense': _dense,
    'small-separable': _separable,
}

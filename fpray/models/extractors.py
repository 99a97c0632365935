"""Recognition networks: pictures to embeddings. Four small families of our own, and backbones of timm and torchvision.

All take (N, C, H, W) floats in [-1, 1] and give raw embeddings; who compares them takes the cosine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import torch
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.models.config import SMALL, ExtractorConfig


def build_extractor(config: ExtractorConfig, seed: int = 0) -> Extractor:
    """A fresh recognition network in training mode, weights as the configuration says, the others drawn from `seed`.

    Raises:
        UserError: an unknown architecture or layer, a picture that is too small for it, weights that cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Extractor(config, _body(config))


class Extractor(nn.Module):
    """A backbone, the mean over its maps, and a dense layer where the length asks for one.

    Args:
        config: the network.
        body: the backbone, (N, C, H, W) to (N, d), or anything where `config.layer` is set.
    """

    def __init__(self, config: ExtractorConfig, body: nn.Module) -> None:
        super().__init__()
        self.config, self.body = config, body
        self.dense: nn.Module = nn.Identity()
        self._order: list[str] = []
        self._layers: tuple[str, ...] = ()
        native = self._trace()
        self.length: int = config.length or native
        """Numbers in an embedding."""
        if self.length != native:
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
        return [one for name in self.opened_layers(share) for one in self.get_submodule(name).parameters(recurse=False)]

    def opened_layers(self, share: float) -> list[str]:
        """The modules that own them, shallow first. Layers are counted as they run: each with parameters of its own."""
        count = max(1, math.ceil(share * len(self._order)))
        return self._order[-count:]

    def _features(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) to (N, d): the backbone's last features, or the means of the maps at `config.layer`."""
        if not self.config.layer:
            return self.body(pixels)
        with _watching(self.body, [self.config.layer], stop=True) as seen, suppress(_Reached):
            self.body(pixels)
        return seen[self.config.layer].mean(dim=(2, 3))

    @torch.no_grad()
    def _trace(self) -> int:
        """One pass of an empty picture: the order of the layers, the maps' sizes; returns the features' number."""
        if self.config.layer and self.config.layer not in dict(self.body.named_modules()):
            known = ', '.join(name for name, _ in self.body.named_children())
            raise UserError(f'{self.config.name} has no layer {self.config.layer!r}', f'its first floor: {known}')
        order: dict[str, None] = {}
        sizes: dict[tuple[int, ...], str] = {}

        def note(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: tuple, output: object) -> None:
                if any(True for _ in module.parameters(recurse=False)):
                    order.setdefault(f'body.{name}' if name else 'body')
                if name and isinstance(output, Tensor) and output.ndim == 4 and max(output.shape[2:]) > 1:
                    sizes.pop(tuple(output.shape[2:]), None)
                    sizes[tuple(output.shape[2:])] = name

            return hook

        self.body.eval()
        with ExitStack() as stack:
            for name, module in self.body.named_modules():
                stack.callback(module.register_forward_hook(note(name)).remove)
            native = self._features(torch.zeros(2, self.config.channels, *self.config.image)).shape[1]
        self.body.train()
        self._order = list(order)
        self._layers = tuple(self.body.maps) if isinstance(self.body, Small) else tuple(sizes.values())
        return native


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


def _body(config: ExtractorConfig) -> nn.Module:
    if config.network in SMALL:
        return Small(config).to(memory_format=torch.channels_last)
    raise UserError(f'{config.network} is not built yet')


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

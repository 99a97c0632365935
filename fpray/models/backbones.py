"""Backbones of timm and torchvision without their classifiers, and what may fill their weights.

Nothing is downloaded unless the configuration allows it; files are read without running code.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.models.config import LITE, WEIGHTS, ExtractorConfig

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of a colour, of torchvision's networks
HEADS = ('fc', 'classifier', 'heads', 'head')  # names of torchvision's classifiers
EXTRA = ('AuxLogits', 'aux1', 'aux2')  # their further classifiers, for training alone
LEAST = {
    'timm/inception_v3': 75,
    'timm/inception_v4': 75,
    'timm/inception_resnet_v2': 75,
    'torchvision/inception_v3': 75,
}  # px: smaller maps vanish on the way


class Entry(nn.Module):
    """Pictures as a backbone was made for: three channels, no smaller than it can take, its own normalisation.

    Args:
        mean, deviation: of each colour on the scale from 0 to 1.
        least: least side, px; smaller pictures are enlarged to it (bilinear).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...], least: int = 1) -> None:
        super().__init__()
        self.least = least
        for name, values in (('mean', mean), ('deviation', deviation)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) in [-1, 1] to (N, 3, H', W'); gray is repeated."""
        side = min(pixels.shape[2:])
        if side < self.least:
            size = [-(-self.least * each // side) for each in pixels.shape[2:]]
            pixels = F.interpolate(pixels, size, mode='bilinear', align_corners=False)
        return ((pixels + 1) / 2 - self.mean) / self.deviation


def build(config: ExtractorConfig) -> tuple[nn.Module, Entry]:
    """The backbone of a configuration and how pictures enter it; what weights are not given is drawn from torch's generator.

    Raises:
        UserError: an unknown architecture, weights that cannot be had or do not fit.
    """
    library, _, architecture = config.network.partition('/')
    if config.network in LITE:
        library, architecture = 'timm', f'tf_{config.network.replace("-", "_")}'
    body, (mean, deviation) = {'timm': _timm, 'torchvision': _torchvision}[library](config, architecture)
    if config.weights not in WEIGHTS:
        _fill(body, _read(config.weights), config)
    elif config.weights == 'package':
        _fill_in_order(body, _read(_packaged(config.network)), config)
    return body, Entry(mean, deviation, LEAST.get(config.network, 1))


Colours = tuple[tuple[float, ...], tuple[float, ...]]


def _timm(config: ExtractorConfig, architecture: str) -> tuple[nn.Module, Colours]:
    import timm  # imported only here: it takes seconds

    if not timm.is_model(architecture):
        what = f'timm {timm.__version__} has no architecture {architecture!r}'
        raise UserError(what, _alike(architecture, timm.list_models()))
    known = timm.get_pretrained_cfg(architecture)
    sized: dict[str, Any] = {'img_size': config.image} if known is not None and known.fixed_input_size else {}
    body = _made(config, lambda: timm.create_model(architecture, config.weights == 'hub', num_classes=0, **sized))
    return body, (known.mean, known.std) if known is not None else IMAGENET


def _torchvision(config: ExtractorConfig, architecture: str) -> tuple[nn.Module, Colours]:
    from torchvision import models  # imported only here: it takes seconds

    if architecture not in (names := models.list_models(module=models)):
        raise UserError(f'torchvision has no architecture {architecture!r}', _alike(architecture, names))
    hub = config.weights == 'hub'
    plain = {'init_weights': False, 'aux_logits': False} if architecture in ('googlenet', 'inception_v3') and not hub else {}
    body = _made(config, lambda: models.get_model(architecture, weights='DEFAULT' if hub else None, **plain))
    for name in (*HEADS, *EXTRA):
        if hasattr(body, name):
            setattr(body, name, nn.Identity() if name in HEADS else None)
    if hasattr(body, 'aux_logits'):
        setattr(body, 'aux_logits', False)  # noqa: B010  (a plain attribute, which mypy takes for a module)
    if hasattr(body, 'avgpool'):  # VGG and AlexNet keep 7 x 7 and 6 x 6 averages for their dense layers
        body.avgpool = nn.AdaptiveAvgPool2d(1)
    return body, IMAGENET


def _made(config: ExtractorConfig, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` builds; a download that fails is the user's to mend, anything else is not."""
    try:
        return make()
    except Exception as fault:  # hubs fail in as many kinds
        if config.weights != 'hub':
            raise
        raise UserError(f'cannot download weights of {config.name}: {fault}', 'give a local file') from fault


def _alike(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 3)
    return f'did you mean {" or ".join(close)}?' if close else 'see its list of models'


def _packaged(network: str) -> str:
    """The file of ImageNet weights that a package of the extra `weights` holds."""
    try:
        package: Any = importlib.import_module(f'{network.replace("-", "_")}_pytorch_model')
    except ImportError:
        raise UserError(f'weights of {network} are not installed', "pip install 'fpray[weights]'") from None
    name = next(name for name in vars(package) if name.endswith('ModelFile'))
    return os.fspath(getattr(package, name).get_model_file_path())


def _read(path: str) -> Mapping[str, Tensor]:
    """A state dict, from safetensors or as torch saves it (weights_only, so that it can run no code)."""
    try:
        if Path(path).suffix == '.safetensors':
            return load_file(path)
        state = torch.load(path, map_location='cpu', weights_only=True)
        state = next((state[name] for name in ('state_dict', 'model') if name in state), state)
        return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    except Exception as fault:  # files, zip, pickle and key errors come as many kinds
        raise UserError(f'cannot read weights from {path}: {fault}', 'give a state dict, .safetensors or .pt') from fault


def _fill(body: nn.Module, state: Mapping[str, Tensor], config: ExtractorConfig) -> None:
    """A backbone's state by its names; the file may hold classifiers beside it."""
    own = body.state_dict()
    wrong = [name for name in own if name not in state or state[name].shape != own[name].shape]
    left = [name for name in state if name not in own and name.split('.')[0] not in (*HEADS, *EXTRA, 'last_linear')]
    if wrong or left:
        raise UserError(
            f'{config.weights} does not fit {config.name}: {len(wrong)} arrays missing or of another shape, '
            f'{len(left)} unknown, such as {(wrong or left)[0]}',
            'give the state dict of this backbone, with the names of its library',
        )
    body.load_state_dict({name: state[name] for name in own})


def _fill_in_order(body: nn.Module, state: Mapping[str, Tensor], config: ExtractorConfig) -> None:
    """The same arrays in the same order under other names, the classifier last."""
    own = body.state_dict()
    values = list(state.values())[: len(own)]
    if [value.shape for value in values] != [value.shape for value in own.values()]:
        raise UserError(f'the packaged weights of {config.name} are of another network', "reinstall 'fpray[weights]'")
    body.load_state_dict(dict(zip(own, values, strict=True)))

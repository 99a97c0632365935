"""MNIST-NET's digit classifiers, read from their authors' files (Oh, Schiele & Fritz 2018, ICLR; 11,282 networks).

Each network lies in a folder of its own as `final.pth.tar`: what it is (`control`) and its weights. Reading one runs nothing
of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpray.errors import UserError
from fpray.models.attribute_net import ACTIVATIONS
from fpray.models.config import AttributeNetConfig

FILE, SIDE, UNITS = 'final.pth.tar', 28, 50
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels on [0, 1], by which the networks' inputs were standardised


class MnistNet(nn.Module):
    """One network, as its authors laid it out: whatever the activation, the layers between the ends have ReLU.

    Args:
        config: `width`, `units` and `embedding` are fixed: 20 channels (10 in the first convolution) and 50 units.
    """

    def __init__(self, config: AttributeNetConfig) -> None:
        super().__init__()
        self.config, kernel, factor = config, config.kernel, 2 if config.pooling else 1
        self.act = nn.ModuleDict({'actfunc': ACTIVATIONS[config.activation]()})
        self.conv1, self.conv2 = nn.Conv2d(1, 10, kernel), nn.Conv2d(10, 20, kernel)
        self.conv_iter = nn.ModuleList(nn.ModuleDict({'conv': nn.Conv2d(20, 20, kernel, padding=kernel // 2)})
                                       for _ in range(config.convolutions - 2))
        side = ((SIDE - kernel + 1) // factor - kernel + 1) // factor
        self.fc1 = nn.Linear(20 * side * side, UNITS)
        self.fc_iter = nn.ModuleList(nn.ModuleDict({'conv': nn.Linear(UNITS, UNITS)}) for _ in range(config.dense - 2))
        self.fc_final = nn.Linear(UNITS, 10)

    def answers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 28, 28) in [-1, 1] to embeddings (N, 50), what the last layer reads, and probabilities (N, 10)."""
        maps, act = ((pixels + 1) / 2 - MEAN) / DEVIATION, self.act['actfunc']
        for layer in (self.conv1, self.conv2):
            maps = layer(maps)
            maps = act(F.max_pool2d(maps, 2) if self.config.pooling else maps)
        for block in self.conv_iter:
            maps = F.relu(block['conv'](maps))  # type: ignore[index]
        features = act(self.fc1(maps.flatten(1)))
        for block in self.fc_iter:
            features = F.relu(block['conv'](features))  # type: ignore[index]
        return features, F.softmax(self.fc_final(features), dim=1)


def read_mnist_net(path: Path | str) -> tuple[MnistNet, int]:
    """A network in eval mode on the CPU, and the seed that its authors trained it from.

    Args:
        path: a `final.pth.tar`.

    Raises:
        UserError: the file cannot be read, or holds another kind of network.
    """
    try:
        kept = torch.load(path, map_location='cpu', weights_only=True)
        control = kept['control']
        network = MnistNet(_config(control))
        network.load_state_dict(kept['state_dict'])
        return network.eval().requires_grad_(False), int(control['seed'])
    except Exception as fault:  # torch, pickle and shapes fail in as many kinds
        why = ' '.join(str(fault).split())[:150]
        raise UserError(f'{path} is no network of MNIST-NET ({why})', 'name the folder of the authors\' archive') from None


def _config(control: Mapping[str, Any]) -> AttributeNetConfig:
    net, opt = control['net'], control['opt']
    return AttributeNetConfig(
        activation=net['act'], dropout=net['drop'] == 'normal', pooling=net['pool'] == 'max_2', convolutions=net['n_conv'],
        kernel=net['ks'], dense=net['n_fc'], optimiser=opt['optimiser'].lower(), batch=opt['batch_size'], embedding=UNITS,
        width=20, units=UNITS)

"""The candidate pool of model inference on a large scale: 105 extractors, as many of each length as the source's (Table 4).

The source took the networks of TensorFlow Hub tagged 'image feature vector' (September 2020) and names none of them. These
are timm's, small enough to embed on a CPU, with as many ResNets (16) and EfficientNets (21) as the source's. Where a
network's own features are of another length, a dense layer follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fpray.errors import UserError
from fpray.models.config import ExtractorConfig


@dataclass(frozen=True)
class PoolRow:
    """One candidate."""

    name: str
    """timm's architecture."""
    length: int
    """Of its embedding."""
    family: str
    """Kin: misclassifications within one are counted apart."""

    @property
    def arch(self) -> str:
        """`ExtractorConfig.name`."""
        return f'timm/{self.name}'

    def config(self, image: tuple[int, int] = (64, 64), channels: int = 1) -> ExtractorConfig:
        """The candidate with random weights."""
        return ExtractorConfig(self.arch, length=self.length, image=image, channels=channels)


POOL = (
    PoolRow('resnet14t', 2048, 'ResNet'),
    PoolRow('resnet26', 2048, 'ResNet'),
    PoolRow('resnet26d', 2048, 'ResNet'),
    PoolRow('resnet26t', 2048, 'ResNet'),
    PoolRow('resnet50', 2048, 'ResNet'),
    PoolRow('resnet50d', 2048, 'ResNet'),
    PoolRow('resnetaa50', 2048, 'ResNet'),
    PoolRow('resnetblur50', 2048, 'ResNet'),
    PoolRow('resnetv2_50', 2048, 'ResNet'),
    PoolRow('resnetv2_50d', 2048, 'ResNet'),
    PoolRow('efficientnet_b0', 2048, 'EfficientNet'),
    PoolRow('efficientnet_b0_gn', 2048, 'EfficientNet'),
    PoolRow('efficientnet_b3', 2048, 'EfficientNet'),
    PoolRow('efficientnet_b5', 2048, 'EfficientNet'),
    PoolRow('efficientnet_es', 2048, 'EfficientNet'),
    PoolRow('efficientnet_lite1', 2048, 'EfficientNet'),
    PoolRow('tf_efficientnetv2_b0', 2048, 'EfficientNet'),
    PoolRow('hgnetv2_b0', 2048, 'HGNet'),
    PoolRow('hgnetv2_b1', 2048, 'HGNet'),
    PoolRow('hgnetv2_b2', 2048, 'HGNet'),
    PoolRow('hgnetv2_b3', 2048, 'HGNet'),
    PoolRow('hgnet_tiny', 2048, 'HGNet'),
    PoolRow('mobileone_s2', 2048, 'MobileOne'),
    PoolRow('mobileone_s3', 2048, 'MobileOne'),
    PoolRow('mobileone_s4', 2048, 'MobileOne'),
    PoolRow('resnext26ts', 2048, 'ResNeXt'),
    PoolRow('resnext50_32x4d', 2048, 'ResNeXt'),
    PoolRow('eca_resnext26ts', 2048, 'ResNeXt'),
    PoolRow('gcresnext26ts', 2048, 'ResNeXt'),
    PoolRow('seresnext26ts', 2048, 'ResNeXt'),
    PoolRow('legacy_seresnext26_32x4d', 2048, 'ResNeXt'),
    PoolRow('ecaresnet26t', 2048, 'SENet'),
    PoolRow('seresnet50', 2048, 'SENet'),
    PoolRow('skresnet50', 2048, 'SENet'),
    PoolRow('res2net50_14w_8s', 2048, 'Res2Net'),
    PoolRow('hrnet_w18_small', 2048, 'HRNet'),
    PoolRow('hrnet_w18_small_v2', 2048, 'HRNet'),
    PoolRow('legacy_xception', 2048, 'Inception'),
    PoolRow('inception_v3', 2048, 'Inception'),
    PoolRow('resnet50_mlp', 1024, 'ResNet'),
    PoolRow('efficientnet_b1', 1024, 'EfficientNet'),
    PoolRow('efficientnet_lite0', 1024, 'EfficientNet'),
    PoolRow('efficientnetv2_rw_t', 1024, 'EfficientNet'),
    PoolRow('gc_efficientnetv2_rw_t', 1024, 'EfficientNet'),
    PoolRow('tf_efficientnet_b0', 1024, 'EfficientNet'),
    PoolRow('tf_efficientnetv2_b1', 1024, 'EfficientNet'),
    PoolRow('mobilenetv1_100', 1024, 'MobileNet'),
    PoolRow('mobilenetv1_100h', 1024, 'MobileNet'),
    PoolRow('mobilenetv3_small_050', 1024, 'MobileNet'),
    PoolRow('mobilenetv3_small_075', 1024, 'MobileNet'),
    PoolRow('mobilenetv3_small_100', 1024, 'MobileNet'),
    PoolRow('mobileone_s0', 1024, 'MobileOne'),
    PoolRow('ese_vovnet19b_dw', 1024, 'VoVNet'),
    PoolRow('ese_vovnet39b', 1024, 'VoVNet'),
    PoolRow('densenet121', 1024, 'DenseNet'),
    PoolRow('densenetblur121d', 1024, 'DenseNet'),
    PoolRow('darknet17', 1024, 'DarkNet'),
    PoolRow('darknet21', 1024, 'DarkNet'),
    PoolRow('dla60', 1024, 'DLA'),
    PoolRow('dla60x', 1024, 'DLA'),
    PoolRow('cspresnet50', 1024, 'CSPNet'),
    PoolRow('selecsls42b', 1024, 'SelecSLS'),
    PoolRow('selecsls60b', 1024, 'SelecSLS'),
    PoolRow('resnet10t', 512, 'ResNet'),
    PoolRow('resnet18', 512, 'ResNet'),
    PoolRow('resnet18d', 512, 'ResNet'),
    PoolRow('resnet34', 512, 'ResNet'),
    PoolRow('resnetv2_18', 512, 'ResNet'),
    PoolRow('efficientnet_b0_g8_gn', 512, 'EfficientNet'),
    PoolRow('efficientnet_b2', 512, 'EfficientNet'),
    PoolRow('efficientnet_em', 512, 'EfficientNet'),
    PoolRow('efficientnet_lite2', 512, 'EfficientNet'),
    PoolRow('tf_efficientnet_lite0', 512, 'EfficientNet'),
    PoolRow('tf_efficientnetv2_b2', 512, 'EfficientNet'),
    PoolRow('ese_vovnet19b_slim', 512, 'VoVNet'),
    PoolRow('ese_vovnet19b_slim_dw', 512, 'VoVNet'),
    PoolRow('repvit_m1_1', 512, 'RepViT'),
    PoolRow('repvit_m1_5', 512, 'RepViT'),
    PoolRow('repvit_m3', 512, 'RepViT'),
    PoolRow('legacy_seresnet18', 512, 'SENet'),
    PoolRow('legacy_seresnet34', 512, 'SENet'),
    PoolRow('seresnet18', 512, 'SENet'),
    PoolRow('seresnet34', 512, 'SENet'),
    PoolRow('skresnet18', 512, 'SENet'),
    PoolRow('skresnet34', 512, 'SENet'),
    PoolRow('dla34', 512, 'DLA'),
    PoolRow('convnext_pico', 512, 'ConvNeXt'),
    PoolRow('convnextv2_pico', 512, 'ConvNeXt'),
    PoolRow('poolformer_s12', 512, 'PoolFormer'),
    PoolRow('poolformerv2_s12', 512, 'PoolFormer'),
    PoolRow('levit_conv_256', 512, 'transformer'),
    PoolRow('pvt_v2_b1', 512, 'transformer'),
    PoolRow('coat_lite_mini', 512, 'transformer'),
    PoolRow('mixer_s16_224', 512, 'MLP'),
    PoolRow('efficientnet_b0_g16_evos', 128, 'EfficientNet'),
    PoolRow('tf_efficientnet_es', 128, 'EfficientNet'),
    PoolRow('xcit_nano_12_p8_224', 128, 'transformer'),
    PoolRow('xcit_nano_12_p16_224', 128, 'transformer'),
    PoolRow('gmlp_ti16_224', 128, 'MLP'),
    PoolRow('starnet_s050', 128, 'StarNet'),
    PoolRow('efficientvit_b0', 128, 'EfficientViT'),
    PoolRow('ghostnet_100', 128, 'GhostNet'),
    PoolRow('lcnet_050', 128, 'MobileNet'),
    PoolRow('mnasnet_small', 128, 'MobileNet'),
    PoolRow('tinynet_e', 128, 'MobileNet'),
)  # 39 of length 2048, 24 of 1024, 31 of 512, 11 of 128


def pool(lengths: Sequence[int] = (), families: Sequence[str] = (), limit: int = 0) -> tuple[PoolRow, ...]:
    """A part of the pool, in its order.

    Args:
        lengths: of these; empty: all.
        families: of these; empty: all.
        limit: at most so many a length; 0: all.

    Raises:
        UserError: an unknown length or family.
    """
    _known('lengths', [*map(str, lengths)], sorted({row.length for row in POOL}))
    _known('families', [*families], sorted({row.family for row in POOL}))
    chosen: list[PoolRow] = []
    for row in POOL:
        if (not lengths or row.length in lengths) and (not families or row.family in families):
            same = sum(one.length == row.length for one in chosen)
            if not limit or same < limit:
                chosen.append(row)
    return tuple(chosen)


def _known(name: str, wanted: Sequence[str], known: Sequence[int] | Sequence[str]) -> None:
    for one in wanted:
        if one not in map(str, known):
            raise UserError(f'pool.{name}: {one} is unknown', f'known: {", ".join(map(str, known))}')

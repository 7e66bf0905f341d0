"""`FeatureNetwork`: a picture in; low-level features F, heatmaps, saliency maps and tau out.

Section 3.1: ResNet-50 with its four stages, a decoder "designed as a symmetrical structure with 4
blocks", and for tau pooling of the last stage and two fully connected layers. F is what the first
stage puts out, 256 channels at 64 x 64, the size of the maps. Symmetrical is read as: a block for
each stage, three of them doubling the side (8, 16, 32, 64) and one at the maps' own, each joined by
the stage of its size through a 1 x 1 convolution.

The backbone is `transformers`' ResNet, whose ImageNet weights load; `tiny` is the same at small
widths, for CPUs. Batch normalisation learns with momentum 0.1 in the decoder as in the backbone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from interaction_prior.features.heatmaps import Kernel, Reading
from twohand500k.conventions import N_JOINTS
from twohand500k.errors import DataError

Backbone = Literal["resnet50", "tiny"]
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)

IMAGENET = "microsoft/resnet-50"
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STRIDE = 4  # of the first stage: a picture's side over a map's
# Channels of the four stages.
STAGE_WIDTHS: Mapping[Backbone, tuple[int, ...]] = {
    "resnet50": (256, 512, 1024, 2048),
    "tiny": (32, 64, 96, 128),
}
# Channels of the first convolution, residual blocks of each stage, their kind.
_SIZES: Mapping[Backbone, tuple[int, tuple[int, ...], str]] = {
    "resnet50": (64, (3, 4, 6, 3), "bottleneck"),
    "tiny": (32, (1, 1, 1, 1), "basic"),
}
_TAU_HIDDEN = {"resnet50": 512, "tiny": 128}


@dataclass(frozen=True)
class FeatureOptions:
    """What the features are.

    backbone; size: side of the picture. heatmaps: how many, 42, 1 for all joints in one, 0 for
    none. saliency: whether there are masks. The rest is equation 1's, see `heatmaps`.
    """

    backbone: Backbone = "resnet50"
    size: int = 256
    heatmaps: int = 2 * N_JOINTS
    saliency: bool = True
    sigma: float = 2.0
    alpha: float = 2.0
    distance: float = 2.5
    reading: Reading = "sigma"
    kernel: Kernel = "laplacian"
    neighbours: bool = True

    @property
    def map_size(self) -> int:
        """Side of the maps."""
        return self.size // _STRIDE

    @property
    def low_channels(self) -> int:
        """Channels of F."""
        return STAGE_WIDTHS[self.backbone][0]

    @property
    def channels(self) -> int:
        """Channels of S, F and the maps on each other: 300 for the paper's."""
        return self.low_channels + self.heatmaps + 2 * self.saliency


@dataclass(frozen=True, eq=False)
class Features:
    """low (B, C, m, m): F. heatmaps (B, 42 or 1, m, m), saliency (B, 2, m, m) in 0..1, right first;
    None where there are none. tau (B, 3) m. high (B, C', m / 8, m / 8): the last stage.
    """

    low: Tensor
    heatmaps: Tensor | None
    saliency: Tensor | None
    tau: Tensor
    high: Tensor

    @property
    def fused(self) -> Tensor:
        """S (B, channels, m, m): what there is of F, heatmaps and saliency."""
        parts = [p for p in (self.low, self.heatmaps, self.saliency) if p is not None]
        return torch.cat(parts, dim=1)


class FeatureNetwork(nn.Module):
    """``features = network(image)``, image (B, 3, S, S) sRGB in 0..1."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, options: FeatureOptions, weights: str = "none") -> None:
        super().__init__()
        self.options = o = options
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.backbone = residual_network(o.backbone, weights=weights)
        widths = STAGE_WIDTHS[o.backbone]
        high, hidden = widths[-1], _TAU_HIDDEN[o.backbone]
        self.tau = nn.Sequential(nn.Linear(high, hidden), nn.ReLU(), nn.Linear(hidden, 3))
        if o.heatmaps or o.saliency:
            self.decoder = _Decoder(widths)
        if o.heatmaps:
            self.heatmaps = nn.Conv2d(widths[0], o.heatmaps, 1)
            # As heatmaps begin elsewhere (Xiao et al., "Simple Baselines", 2018): nearly nothing.
            # Of torch's own size they would stand a hundred times over what they should be.
            nn.init.normal_(self.heatmaps.weight, std=1e-3)
            nn.init.zeros_(self.heatmaps.bias)  # type: ignore[arg-type]
        if o.saliency:
            self.saliency = nn.Conv2d(widths[0], 2, 1)

    def forward(self, image: Tensor) -> Features:
        """Features of pictures."""
        x = (image - self.mean) / self.deviation
        stages = self.backbone(x, output_hidden_states=True).hidden_states[1:]
        maps = self.decoder(stages) if self.options.heatmaps or self.options.saliency else None
        return Features(
            low=stages[0],
            heatmaps=self.heatmaps(maps) if self.options.heatmaps else None,
            saliency=self.saliency(maps).sigmoid() if self.options.saliency else None,
            tau=self.tau(stages[-1].mean((-1, -2))),
            high=stages[-1],
        )


class _Decoder(nn.Module):
    """From the last stage back to the first one's size, a block for each stage."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        deep = widths[::-1]
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(deep))
        self.joined = nn.ModuleList(nn.Conv2d(b, b, 1) for b in deep[1:])
        self.blocks = nn.ModuleList(_block(w) for w in (*deep[1:], deep[-1]))

    def forward(self, stages: tuple[Tensor, ...]) -> Tensor:
        x = stages[-1]
        steps = zip(self.narrow, self.joined, self.blocks, stages[-2::-1], strict=False)
        for narrow, joined, block, stage in steps:
            x = functional.interpolate(narrow(x), scale_factor=2.0, mode="bilinear")
            x = block(x + joined(stage))
        return self.blocks[-1](x)


def _block(width: int) -> nn.Sequential:
    conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


def residual_network(size: Backbone, *, channels: int = 3, weights: str = "none") -> nn.Module:
    """A ResNet of `transformers` whose stages come out as `hidden_states[1:]`.

    weights: "none" for He's random ones, "imagenet", or a folder as `save_pretrained` leaves it;
    DataError where they cannot be had, or for another network than ResNet-50.
    """
    from transformers import ResNetConfig, ResNetModel

    if weights != "none":
        if size != "resnet50" or channels != 3:
            raise DataError(f"--weights {weights}: there are none for a {size} backbone: use none")
        return _pretrained(weights)
    embedding, depths, kind = _SIZES[size]
    config = ResNetConfig(
        num_channels=channels, embedding_size=embedding, hidden_sizes=list(STAGE_WIDTHS[size]),
        depths=list(depths), layer_type=kind,
    )  # fmt: skip
    return ResNetModel(config)


def _pretrained(weights: str) -> nn.Module:
    from transformers import ResNetModel

    where = IMAGENET if weights == "imagenet" else weights
    if weights != "imagenet" and not Path(weights).is_dir():
        raise DataError(f"--weights {weights}: no such folder; imagenet, none, or a folder")
    try:
        return ResNetModel.from_pretrained(where)
    except (OSError, ValueError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"the ImageNet weights {where} cannot be had ({said}): fetch that repository "
            "elsewhere and give its folder as --weights DIR, or begin with --weights none"
        ) from error

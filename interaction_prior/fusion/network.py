"""`ReconNetwork`: a picture in, two hands out, through the prior's frozen decoder (section 3.3).

    features -> S = F + H + M (300 channels, 64 x 64) -> 8 x 8 patches -> 6 transformer blocks,
    D = 1024 -> one linear layer, "feature alignment" -> z -> frozen decoder -> hands

The transformer is `transformers`' ViT, whose blocks are equation 5. How 64 tokens become one code
the paper does not say: they are averaged after the last block's normalisation. tau comes from the
features; where a prior has a place of its own, that one is not used.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from interaction_prior.features import FeatureNetwork, FeatureOptions, Features
from interaction_prior.features.network import STAGE_WIDTHS, residual_network
from interaction_prior.fusion.variants import VARIANTS, Variant
from interaction_prior.hands import HandLayer
from interaction_prior.prior import InteractionPrior
from interaction_prior.representations import Representation
from twohand500k.errors import DataError
from twohand500k.hand import HandPair

Sizes = Literal["paper", "tiny"]
SIZES: tuple[Sizes, ...] = get_args(Sizes)
# MLP of the variant without a prior: D -> this -> MANO.
_MLP_HIDDEN = 512


@dataclass(frozen=True)
class ReconArchitecture:
    """variant: a key of `VARIANTS`. sizes "paper": ResNet-50 on 256 pixels, D = 1024, 6 blocks of
    16 heads, patches of 8; "tiny": a narrow ResNet on 128 pixels, D = 192, 3 blocks of 6, patches
    of 4. Both have 64 patches.
    """

    variant: str = "full"
    sizes: Sizes = "paper"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is none of {', '.join(VARIANTS)}")
        if self.sizes not in SIZES:
            raise ValueError(f"sizes {self.sizes!r} are none of {', '.join(SIZES)}")

    @property
    def switches(self) -> Variant:
        """What the variant is."""
        return VARIANTS[self.variant]

    @property
    def size(self) -> int:
        """Side of the picture."""
        return 256 if self.sizes == "paper" else 128

    @property
    def patch(self) -> int:
        """P, cells along a side of a patch."""
        return 8 if self.sizes == "paper" else 4

    @property
    def width(self) -> int:
        """D."""
        return 1024 if self.sizes == "paper" else 192

    @property
    def blocks(self) -> int:
        """N_attn."""
        return 6 if self.sizes == "paper" else 3

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return 16 if self.sizes == "paper" else 6

    @property
    def features(self) -> FeatureOptions:
        """What its features are."""
        v = self.switches
        return FeatureOptions(
            backbone="resnet50" if self.sizes == "paper" else "tiny", size=self.size,
            heatmaps=v.heatmaps, saliency=v.saliency, kernel=v.kernel, neighbours=v.neighbours,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What a picture was taken for. x (B, D): raw vectors of `representation`; z (B, d_z), None
    without a prior; tau (B, 3) m. Each hand from its own wrist, in the camera's frame.
    """

    features: Features
    z: Tensor | None
    x: Tensor
    tau: Tensor
    representation: Representation
    layer: HandLayer

    @cached_property
    def joints(self) -> Tensor:
        """Joints (B, 2, 21, 3) m."""
        return self.representation.joints(self.layer, self.x)

    @cached_property
    def vertices(self) -> Tensor:
        """Skin (B, 2, V, 3) m; DataError for joints."""
        return self.representation.vertices(self.layer, self.x)


class ReconNetwork(nn.Module):
    """``said = network(image)``, image (B, 3, S, S) sRGB in 0..1.

    The prior is no part of the module's parameters or state: it stays as it was given. Raises
    DataError for a prior of another representation, or none where the variant has one.
    """

    def __init__(
        self,
        architecture: ReconArchitecture,
        prior: InteractionPrior | None,
        hands: HandPair,
        weights: str = "none",
    ) -> None:
        super().__init__()
        self.architecture = a = architecture
        variant = a.switches
        if variant.prior:
            if prior is None:
                raise DataError(f"the variant {a.variant} decodes with a prior, and none was given")
            if prior.representation.name != variant.representation:
                raise DataError(
                    f"the variant {a.variant} wants a prior of {variant.representation}, this one "
                    f"is of {prior.representation}"
                )
        self.prior = prior if variant.prior else None
        self.representation = (
            self.prior.representation if self.prior is not None else Representation("mano", "6d")
        )
        self.layer = HandLayer(hands)
        self.features = FeatureNetwork(a.features, weights)
        self.fuser = _fuser(a)
        if self.prior is not None:
            self.alignment: nn.Module = nn.Linear(self.fuser.width, self.prior.latents)
        else:
            self.alignment = _MlpToMano(self.fuser.width, self.representation)

    def forward(self, image: Tensor) -> Reconstruction:
        """What pictures show."""
        features = self.features(image)
        code = self.alignment(self.fuser(features.fused))
        with torch.autocast(image.device.type, enabled=False):
            z = None if self.prior is None else code.float()
            x = code.float() if z is None else self._decoded(z)
        return Reconstruction(features, z, x, features.tau, self.representation, self.layer)

    def _decoded(self, z: Tensor) -> Tensor:
        assert self.prior is not None
        return self.prior.decode(z).x


def _fuser(a: ReconArchitecture) -> "_ViT | _Convolutions | _Timm":
    fuser = a.switches.fuser
    if fuser == "vit":
        return _ViT(a)
    if fuser == "resnet50":
        size: Literal["resnet50", "tiny"] = "resnet50" if a.sizes == "paper" else "tiny"
        network = residual_network(size, channels=a.features.channels)
        return _Convolutions(network, STAGE_WIDTHS[size][-1])
    return _hrnet(a.features.channels)


class _ViT(nn.Module):
    """S to one vector (B, D)."""

    def __init__(self, a: ReconArchitecture) -> None:
        from transformers import ViTConfig, ViTModel

        super().__init__()
        self.width = a.width
        config = ViTConfig(
            num_channels=a.features.channels, image_size=a.features.map_size, patch_size=a.patch,
            hidden_size=a.width, num_hidden_layers=a.blocks, num_attention_heads=a.heads,
            intermediate_size=4 * a.width, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.vit = ViTModel(config, add_pooling_layer=False)

    def forward(self, fused: Tensor) -> Tensor:
        # The class token stands before the patches.
        return self.vit(fused).last_hidden_state[:, 1:].mean(dim=1)


class _Convolutions(nn.Module):
    """A ResNet on S, averaged over its last map."""

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network, self.width = network, width

    def forward(self, fused: Tensor) -> Tensor:
        return self.network(fused).last_hidden_state.mean((-1, -2))


class _Timm(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.width = network, int(network.num_features)

    def forward(self, fused: Tensor) -> Tensor:
        return self.network(fused)


def _hrnet(channels: int) -> _Timm:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise DataError(
            f"--variant hrnet32 needs timm ({error}): `pip install timm torchvision`"
        ) from error
    return _Timm(timm.create_model("hrnet_w32", in_chans=channels, num_classes=0))


class _MlpToMano(nn.Module):
    """Two fully connected layers to MANO parameters, 6D rotations, from flat hands on."""

    flat: Tensor

    def __init__(self, width: int, representation: Representation) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, _MLP_HIDDEN), nn.ReLU(), nn.Linear(_MLP_HIDDEN, representation.dim)
        )
        identity = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        betas = representation.blocks[2].width
        turns = identity.repeat((representation.dim - betas) // len(identity))
        self.register_buffer("flat", torch.cat([turns, torch.zeros(betas)]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.flat + self.layers(x)

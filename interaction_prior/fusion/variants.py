"""The rows of the paper's Table 2 as switches: which features, what fuses them, what decodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from interaction_prior.features.heatmaps import Kernel
from twohand500k.conventions import N_JOINTS

Fuser = Literal["vit", "resnet50", "hrnet32"]


@dataclass(frozen=True)
class Variant:
    """A row of Table 2.

    heatmaps: how many (42, 1, 0); saliency: whether M is there; kernel, neighbours: of equation 1.
    fuser: what stands in ViT's place. prior: whether the prior's decoder gives the hands, an MLP
    otherwise. representation: what that prior has to be of.
    """

    row: str
    meaning: str
    heatmaps: int = 2 * N_JOINTS
    saliency: bool = True
    kernel: Kernel = "laplacian"
    neighbours: bool = True
    fuser: Fuser = "vit"
    prior: bool = True
    representation: Literal["mano", "joints", "vertices"] = "mano"


VARIANTS: Mapping[str, Variant] = {
    "no-feature": Variant("a", "low-level features F alone", heatmaps=0, saliency=False),
    "no-saliency": Variant("b", "without the saliency maps M", saliency=False),
    "no-iah": Variant("c", "without the heatmaps H", heatmaps=0),
    "all-in-one": Variant("d", "one heatmap for all joints", heatmaps=1, neighbours=False),
    "joint-wise": Variant("e", "42 heatmaps of one joint each", neighbours=False),
    "gaussian": Variant("f", "equation 1 with Gaussians", kernel="gaussian"),
    "no-prior": Variant("g", "an MLP to MANO, no decoder", prior=False),
    "resnet50": Variant("h", "a ResNet-50 in ViT's place", fuser="resnet50"),
    "hrnet32": Variant("i", "an HRNet-W32 in ViT's place", fuser="hrnet32"),
    "joints": Variant("j", "a prior of 3D joints", representation="joints"),
    "vertices": Variant("k", "a prior of 3D vertices", representation="vertices"),
    "full": Variant("l", "the paper's"),
}

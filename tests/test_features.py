"""Equation 1 against its naive twin, equation 2, and the feature network's shapes."""

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from interaction_prior.features import (  # noqa: E402
    FeatureNetwork,
    FeatureOptions,
    adjacency_heatmaps,
    feature_loss,
    feature_targets,
    neighbours_per_joint,
)
from interaction_prior.images import ImageBatch  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch


def _naive(points: list, size: int, sigma: float, alpha: float, half: float, kernel: str) -> list:
    """Equation 1 as it is printed, a cell and a joint at a time."""

    def k(u: float, v: float, at: list, s: float) -> float:
        du, dv = abs(u - at[0]), abs(v - at[1])
        power = (du + dv) / s if kernel == "laplacian" else (du * du + dv * dv) / (2 * s * s)
        return math.exp(-power)

    maps = []
    for j, own in enumerate(points):
        near = [
            p for i, p in enumerate(points)
            if i != j and max(abs(p[0] - own[0]), abs(p[1] - own[1])) <= half
        ]  # fmt: skip
        maps.append([
            [
                k(u + 0.5, v + 0.5, own, sigma) / (2 * sigma)
                + sum(k(u + 0.5, v + 0.5, p, alpha * sigma) for p in near) / (2 * alpha * sigma)
                for u in range(size)
            ]
            for v in range(size)
        ])  # fmt: skip
    return maps


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
@pytest.mark.parametrize(("reading", "half"), [("sigma", 5.0), ("pixels", 2.5),
                                               ("half-pixels", 1.25)])  # fmt: skip
def test_heatmaps_are_equation_1(kernel: str, reading: str, half: float) -> None:
    generator = torch.Generator().manual_seed(3)
    uv = 70 * torch.rand(2, 42, 2, generator=generator, dtype=torch.float64) - 3
    fast = adjacency_heatmaps(uv, size=64, reading=reading, kernel=kernel)
    for row in range(2):
        slow = torch.tensor(_naive(uv[row].tolist(), 64, 2.0, 2.0, half, kernel))
        assert (fast[row] - slow).abs().max() < 1e-6
    count = sum(
        1 for row in uv.tolist() for j, a in enumerate(row) for i, b in enumerate(row)
        if i != j and max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= half
    )  # fmt: skip
    assert neighbours_per_joint(uv, size=64, reading=reading) == pytest.approx(count / 84)


def test_a_smaller_map_is_the_same_picture() -> None:
    uv = torch.tensor([[[20.0, 30.0], [23.0, 31.0], [60.0, 8.0]]])
    small = adjacency_heatmaps(uv / 2, size=32)
    # The small map's cell i has its centre where the large one's cells 2 i and 2 i + 1 meet.
    large = adjacency_heatmaps(uv - 0.5, size=64)
    assert (large[..., ::2, ::2] - small).abs().max() < 1e-6


def _batch(n: int = 2, size: int = 64) -> ImageBatch:
    m = size // 4
    return ImageBatch(
        image=torch.rand(n, 3, size, size), mask=torch.rand(n, 2, m, m),
        uv=m * torch.rand(n, 2, 21, 2), visible=torch.ones(n, 2, 21, dtype=torch.bool),
        rotations=torch.eye(3).expand(n, 2, 16, 3, 3), betas=torch.zeros(n, 2, 10),
        tau=0.1 * torch.randn(n, 3), hidden=torch.zeros(n, 2),
    )  # fmt: skip


@pytest.mark.parametrize(("heatmaps", "saliency", "channels"), [(42, True, 76), (1, True, 35),
                                                                (0, False, 32)])  # fmt: skip
def test_features_have_the_variants_maps(heatmaps: int, saliency: bool, channels: int) -> None:
    o = FeatureOptions("tiny", 64, heatmaps=heatmaps, saliency=saliency)
    batch = _batch()
    features = FeatureNetwork(o)(batch.image)
    assert features.fused.shape == (2, channels, 16, 16) and o.channels == channels
    terms = feature_loss(features, feature_targets(batch, o))
    terms.total.backward()
    assert (terms.heatmap > 0) == (heatmaps > 0) and (terms.saliency > 0) == saliency


def test_equation_2_sums_over_cells_and_averages_over_the_batch() -> None:
    o, batch = FeatureOptions("tiny", 64), _batch(3)
    features = FeatureNetwork(o).eval()(batch.image)
    targets = feature_targets(batch, o)
    terms = feature_loss(features, targets)
    by_hand = sum(
        (features.heatmaps[i] - targets.heatmaps[i]).square().sum()
        + (features.saliency[i] - batch.mask[i]).square().sum()
        + 2000 * (features.tau[i] - batch.tau[i]).square().sum()
        for i in range(3)
    ) / 3  # fmt: skip
    assert terms.total.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_the_papers_stack_has_300_channels() -> None:
    o = FeatureOptions()
    assert (o.channels, o.map_size, o.low_channels) == (300, 64, 256)


def test_weights_that_are_not_there_are_one_line(tmp_path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        FeatureNetwork(FeatureOptions(), str(tmp_path / "none"))
    with pytest.raises(DataError, match="cannot be had"):
        FeatureNetwork(FeatureOptions(), str(tmp_path))
    with pytest.raises(DataError, match="there are none for a tiny backbone"):
        FeatureNetwork(FeatureOptions("tiny"), "imagenet")

"""Diversity numbers against their closed forms, naive twins and what they must catch."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from twohand500k.hand.contact_regions import REGIONS
from twohand500k.report.contacts import region_indices, region_map
from twohand500k.report.distributions import QUALITIES, distribution, shared_edges
from twohand500k.report.diversity import (
    compare,
    diversity,
    effective_dimensions,
    frechet_mm,
    kth_nearest,
    likeness,
)
from twohand500k.report.feature import DIMENSIONS

RNG = np.random.default_rng


def cloud(n: int, seed: int, *, shift: float = 0.0, spread: float = 0.1) -> np.ndarray:
    """Features (n, 126) spread in six directions, as those of pairs are."""
    basis = np.linalg.qr(RNG(99).normal(size=(DIMENSIONS, 6)))[0]
    return (RNG(seed).normal(shift, spread, (n, 6)) @ basis.T).astype(np.float32)


def test_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    """Equal covariances: the distance of the means. One half as wide: half the spread's length."""
    x = RNG(0).normal(size=(1_300, DIMENSIONS)) * 0.05
    step = np.zeros(DIMENSIONS)
    step[2::3] = 0.004
    assert frechet_mm(x, x + step)[0] == pytest.approx(4.0, rel=1e-3)
    assert frechet_mm(x, x)[0] == pytest.approx(0.0, abs=1e-3)
    half = 0.5 * np.sqrt(np.trace(np.cov(x.T)) / 42) * 1e3
    assert frechet_mm(x, x.mean(axis=0) + 0.5 * (x - x.mean(axis=0)))[0] == pytest.approx(half)


def test_frechet_distance_is_scipys_matrix_root() -> None:
    rng = RNG(1)
    x, y = rng.normal(size=(2_000, DIMENSIONS)), rng.normal(0.3, 1.4, (2_000, DIMENSIONS))
    y[:, 5] *= 3.0
    Cx, Cy = np.cov(x.T), np.cov(y.T)
    gap = x.mean(axis=0) - y.mean(axis=0)
    squared = gap @ gap + np.trace(Cx + Cy - 2 * sqrtm(Cx @ Cy).real)
    found, directions = frechet_mm(x, y)
    assert directions == DIMENSIONS
    assert found == pytest.approx(np.sqrt(squared / 42) * 1e3, rel=1e-6)


def test_likeness_is_its_papers_definition() -> None:
    """Twin: the loops of the papers, written out."""
    a, b, k = cloud(120, 0), cloud(120, 1, shift=0.05), 5
    aa, bb, ab = cdist(a, a), cdist(b, b), cdist(a, b)
    radius_a, radius_b = np.sort(aa)[:, k], np.sort(bb)[:, k]
    found = likeness(a, b, k)
    assert found.precision == np.mean([(ab[i] < radius_b).any() for i in range(120)])
    assert found.recall == np.mean([(ab[:, j] < radius_a).any() for j in range(120)])
    assert found.density == pytest.approx((ab < radius_b).sum() / (k * 120))
    assert found.coverage == np.mean([ab[:, j].min() < radius_b[j] for j in range(120)])
    nearest = np.median(ab.min(axis=1)) * 1e3 / np.sqrt(42)
    assert found.nearest_mm[1] == pytest.approx(nearest, rel=1e-4)
    np.testing.assert_allclose(kth_nearest(a, k), radius_a, rtol=1e-4)


def test_the_same_distribution_is_at_the_floor_and_another_is_beyond_it() -> None:
    reference = cloud(1_200, 0)
    same = compare(cloud(1_000, 1), reference, RNG(0))
    moved = compare(cloud(1_000, 2, shift=0.3), reference, RNG(0))
    assert same["n"] == 600
    assert abs(same["coverage"] - same["floor"]["coverage"]) < 0.05
    assert same["frechet"] < 1.5 * same["floor"]["frechet"]
    assert moved["frechet"] > 5 * moved["floor"]["frechet"]
    assert moved["precision"] < 0.1 < 0.9 < moved["floor"]["precision"]


def test_a_collapsed_set_is_precise_but_recalls_nothing() -> None:
    reference = cloud(800, 0)
    one = np.repeat(reference[:1], 400, axis=0) + RNG(3).normal(0, 1e-4, (400, DIMENSIONS))
    found = compare(one.astype(np.float32), reference, RNG(0))
    assert found["recall"] < 0.02 and found["coverage"] < 0.1
    alone = diversity(one.astype(np.float32), RNG(0))
    assert alone is not None and alone["near_duplicates"] == 1.0
    assert diversity(reference, RNG(0))["near_duplicates"] == 0.0  # type: ignore[index]


def test_too_few_pairs_are_told_not_guessed() -> None:
    found = compare(cloud(30, 0), cloud(500, 1), RNG(0))
    assert found["frechet"] is None and "30 pairs" in found["reason"]
    assert diversity(cloud(49, 0), RNG(0)) is None
    with pytest.raises(ValueError, match="same"):
        likeness(cloud(100, 0), cloud(99, 0))


def test_subsampling_is_seeded() -> None:
    a, b = cloud(300, 0), cloud(700, 1)
    assert compare(a, b, RNG(5)) == compare(a, b, RNG(5))
    assert compare(a, b, RNG(5)) != compare(a, b, RNG(6))


def test_effective_dimensions_of_a_line_and_of_a_ball() -> None:
    line = np.outer(RNG(0).normal(size=500), np.ones(DIMENSIONS))
    assert effective_dimensions(line) == pytest.approx(1.0, abs=1e-6)
    assert effective_dimensions(cloud(5_000, 0)) == pytest.approx(6.0, abs=0.1)
    assert effective_dimensions(np.zeros((10, DIMENSIONS))) == 0.0


def test_region_entropy_of_one_contact_and_of_four() -> None:
    one = region_map(np.full((50, 2), 3))
    assert one is not None and one["entropy_bits"] == 0.0 and one["counts"][3][3] == 50
    four = np.array([[0, 1], [2, 1], [0, 5], [2, 5]] * 25)
    found = region_map(np.concatenate([four, [[-1, 4], [4, -1]]]))
    assert found is not None and found["pairs_seen"] == 100
    assert found["entropy_bits"] == pytest.approx(2.0)
    assert found["counts"][2][5] == 25 and found["counts"][5][2] == 0
    assert region_map(np.full((5, 2), -1)) is None


def test_region_names_become_their_places_and_nothing_else_does() -> None:
    names = np.array([[REGIONS[0], REGIONS[29]], ["", "elbow"]])
    assert region_indices(names).tolist() == [[0, 29], [-1, -1]]


def test_unknown_is_counted_and_is_no_zero() -> None:
    volume = next(q for q in QUALITIES if q.key == "penetration_volume_cm3")
    values = np.array([np.nan, 0.0, 0.0, 0.5, 40.0, np.nan], dtype=np.float32)
    edges = shared_edges(volume, [values, np.array([np.nan])])
    found = distribution(volume, values, edges)
    assert (found["n"], found["unknown"], found["median"]) == (4, 2, 0.25)
    histogram = found["histogram"]
    assert histogram["below"] == 2 and histogram["below"] + sum(histogram["counts"]) == 4
    nothing = distribution(volume, np.array([np.nan]), edges)
    assert nothing["median"] is None and nothing["unknown"] == 1 and nothing["reason"]

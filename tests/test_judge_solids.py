"""The judge on solids whose answers are known, and against slow twins."""

import numpy as np
import pytest
from judge_twins import (
    box,
    joined,
    points_on,
    sphere,
    surface_distance,
    voxel_volume,
    winding_numbers,
)
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from twohand500k.physics.judge import intersection_volume, mesh_distance, penetration_depth
from twohand500k.physics.proximity import DEPTH_TOLERANCE

Mesh = tuple[np.ndarray, np.ndarray]
CM = 0.01


def lens(r: float, s: float, d: float) -> float:
    """Volume that two spheres of radii r, s share at distance d."""
    square = d * d + 2 * d * (r + s) - 3 * (r - s) ** 2
    return np.pi * (r + s - d) ** 2 * square / (12 * d)


def rough_solid(rng: np.random.Generator, centre: tuple) -> Mesh:
    points = rng.normal(size=(24, 3)) * CM
    hull = ConvexHull(points)
    faces = hull.simplices.copy()
    normal = np.cross(points[faces[:, 1]] - points[faces[:, 0]],
                      points[faces[:, 2]] - points[faces[:, 0]])  # fmt: skip
    inward = (normal * hull.equations[:, :3]).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    used, renamed = np.unique(faces, return_inverse=True)
    return points[used] + centre, renamed.reshape(-1, 3)


@pytest.mark.parametrize("gap", [-0.9, -0.3, -0.05])
def test_spheres_share_a_lens(gap: float) -> None:
    r, s = 1.0 * CM, 0.7 * CM
    d = r + s + gap * CM
    a, b = sphere(r, (0.01, 0.02, 0.03)), sphere(s, (0.01 + d * 0.6, 0.02 + d * 0.8, 0.03))
    # The triangulated spheres are not round: their surface is up to 0.013 mm off.
    expected = lens(r, s, d)
    assert intersection_volume(*a, *b) == pytest.approx(expected, rel=0.01, abs=3e-10)
    assert penetration_depth(*a, *b) == pytest.approx(-gap * CM, abs=0.08e-3)
    assert mesh_distance(*a, *b) == 0.0


def test_spheres_apart() -> None:
    a, b = sphere(CM, (0, 0, 0)), sphere(CM, (0.013, 0.013, 0.013))
    assert mesh_distance(*a, *b) == pytest.approx(0.013 * 3**0.5 - 2 * CM, abs=0.05e-3)
    assert intersection_volume(*a, *b) == penetration_depth(*a, *b) == 0.0


def test_boxes_on_the_grid_of_rays() -> None:
    # Axis-aligned: rays run along faces and through edges of both.
    a, b = box((0, 0, 0), (0.01, 0.01, 0.01)), box((0.006, 0.006, 0.006), (0.016, 0.016, 0.016))
    assert intersection_volume(*a, *b) == pytest.approx(0.004**3, rel=1e-9)
    assert penetration_depth(*a, *b) == pytest.approx(0.004, abs=DEPTH_TOLERANCE)
    c = box((0.0, 0.0, 0.013), (0.01, 0.01, 0.02))
    assert mesh_distance(*a, *c) == pytest.approx(0.003)
    corner = box((0.011, 0.012, 0.012), (0.02, 0.02, 0.02))
    assert mesh_distance(*a, *corner) == pytest.approx(0.003)


def test_one_inside_the_other() -> None:
    big, small = sphere(0.02, (0, 0, 0)), sphere(0.005, (0.01, 0, 0))
    for pair in ((big, small), (small, big)):
        assert intersection_volume(*pair[0], *pair[1]) == pytest.approx(
            4 / 3 * np.pi * 0.005**3, rel=0.01
        )
        assert mesh_distance(*pair[0], *pair[1]) == 0.0
        assert penetration_depth(*pair[0], *pair[1]) == pytest.approx(0.015, abs=0.15e-3)


def test_what_is_covered_twice_counts_once() -> None:
    twice = joined(box((0, 0, 0), (0.01, 0.01, 0.01)), box((0.004, 0, 0), (0.014, 0.01, 0.01)))
    other = box((-0.01, 0.0051, 0.0052), (0.03, 0.03, 0.03))
    assert intersection_volume(*twice, *other) == pytest.approx(0.014 * 0.0049 * 0.0048, rel=1e-3)
    assert intersection_volume(*other, *twice) == pytest.approx(0.014 * 0.0049 * 0.0048, rel=1e-3)


def test_two_small_touches_far_apart_are_both_found() -> None:
    plate = box((-0.05, -0.05, -0.01), (0.05, 0.05, 0.0))
    r, sunk = 0.004, 0.0003
    balls = joined(sphere(r, (0.041, 0.043, r - sunk)), sphere(r, (-0.042, -0.04, r - sunk)))
    cap = np.pi * sunk**2 * (3 * r - sunk) / 3
    assert intersection_volume(*plate, *balls) == pytest.approx(2 * cap, rel=0.06)
    assert penetration_depth(*plate, *balls) == pytest.approx(sunk, abs=0.06e-3)


@pytest.mark.parametrize("seed", range(3))
def test_twins_of_rough_solids(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rough_solid(rng, (0, 0, 0)), rough_solid(rng, (0.014, 0.008, 0.004))
    low, high = np.maximum(a[0].min(0), b[0].min(0)), np.minimum(a[0].max(0), b[0].max(0))
    expected, error = voxel_volume([a, b], low, high, 8_000)
    assert abs(intersection_volume(*a, *b) - expected) < 4 * error + 1e-12
    deepest = 0.0
    for one, other in ((a, b), (b, a)):
        points = points_on(*one, 0.9e-3)
        points = points[winding_numbers(points, *other) > 0.5]
        if len(points):
            deepest = max(deepest, surface_distance(points, *other).max())
    found = penetration_depth(*a, *b)
    assert deepest - DEPTH_TOLERANCE - 1e-9 <= found <= deepest + 0.6e-3


@pytest.mark.parametrize("seed", range(3))
def test_distance_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rough_solid(rng, (0, 0, 0)), rough_solid(rng, (0.05, 0.02, 0.01))
    near = min(
        surface_distance(points_on(*a, 3e-3), *b).min(),
        surface_distance(points_on(*b, 3e-3), *a).min(),
    )
    assert near - 0.6e-3 < mesh_distance(*a, *b) <= near + 1e-12


def test_no_side_and_no_direction_is_preferred() -> None:
    rng = np.random.default_rng(3)
    a, b = rough_solid(rng, (0, 0, 0)), rough_solid(rng, (0.014, 0.008, 0.004))
    volume, depth = intersection_volume(*a, *b), penetration_depth(*a, *b)
    assert intersection_volume(*b, *a) == pytest.approx(volume, rel=1e-9)
    assert penetration_depth(*b, *a) == pytest.approx(depth, abs=DEPTH_TOLERANCE)
    flip = np.array([-1.0, 1.0, 1.0])
    mirrored = [(v * flip, f[:, ::-1]) for v, f in (a, b)]
    assert intersection_volume(*mirrored[0], *mirrored[1]) == pytest.approx(volume, rel=1e-9)
    for turn in Rotation.random(5, random_state=0):
        turned = [(turn.apply(v) + 0.3, f) for v, f in (a, b)]
        assert intersection_volume(*turned[0], *turned[1]) == pytest.approx(volume, rel=0.015)
        assert penetration_depth(*turned[0], *turned[1]) == pytest.approx(
            depth, abs=DEPTH_TOLERANCE
        )


def test_a_bad_mesh_raises() -> None:
    good = box((0, 0, 0), (1, 1, 1))
    vertices, faces = good
    turned = faces.copy()
    turned[0] = turned[0][::-1]
    bad = {
        "open at 3 edges": (vertices, faces[1:]),
        "one direction": (vertices, turned),
        "inside out": (vertices, faces[:, ::-1]),
        "finite": (np.where(vertices > 0.5, np.nan, vertices), faces),
    }
    for said, mesh in bad.items():
        for judge in (intersection_volume, penetration_depth, mesh_distance):
            with pytest.raises(ValueError, match=said):
                judge(*mesh, *good)
            with pytest.raises(ValueError, match=said):
                judge(*good, *mesh)

"""The judge on hands: twins, a fist that overlaps itself, what is undefined, filled datasets."""

from dataclasses import replace

import manifold3d
import numpy as np
import pytest
from judge_twins import points_on, surface_distance, voxel_volume, winding_numbers
from scipy.spatial.transform import Rotation

from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.physics import judge as judge_module
from twohand500k.physics.judge import Judge
from twohand500k.physics.proximity import DEPTH_TOLERANCE
from twohand500k.shards import Samples

CM3 = 1e-6
FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


@pytest.fixture(scope="module")
def judge(hands: HandPair) -> Judge:
    return Judge.of(hands)


def posed(hands: HandPair, side: int, bend: float, turn: tuple, transl: tuple) -> np.ndarray:
    """A skin whose fingers are bent `bend` of the way to their limits."""
    anatomy = Anatomy.of(hands[side])
    angles = np.zeros((15, 3))
    angles[:12, 0] = bend * anatomy.limits[:12, 0, 1]
    pose = anatomy.pose_from_angles(angles, np.array(turn, dtype=float))
    return hands[side].with_shape().with_pose(pose, np.array(transl, dtype=float)).vertices


@pytest.fixture(scope="module")
def clasp(hands: HandPair) -> tuple[np.ndarray, np.ndarray]:
    """Two half-open hands, palm to palm, some fingers through each other."""
    right = posed(hands, 0, 0.25, (0, 0, 0), (0, 0, 0))
    left = posed(hands, 1, 0.2, (0, np.pi, np.pi), (0.11, -0.045, 0.01))
    return right, left


def boolean_cm3(hands: HandPair, right: np.ndarray, left: np.ndarray) -> float:
    solids = [
        manifold3d.Manifold(manifold3d.Mesh64(skin, hands[side].closed_faces.astype(np.uint64)))
        for side, skin in enumerate((right, left))
    ]
    return (solids[0] ^ solids[1]).volume() / CM3


def test_boolean_twin(hands: HandPair, judge: Judge) -> None:
    # Nearly flat hands do not overlap themselves, so the boolean is right.
    rng = np.random.default_rng(0)
    right = posed(hands, 0, 0.0, (0, 0, 0), (0, 0, 0))
    several = 0
    for turn in Rotation.random(12, random_state=1).as_rotvec():
        left = posed(hands, 1, 0.0, tuple(turn), tuple(rng.normal(scale=0.04, size=3)))
        judged = judge.pair(right, left)
        expected = boolean_cm3(hands, right, left)
        assert judged.fault == "" and (judged.self_volume == 0.0).all()
        assert judged.volume / CM3 == pytest.approx(expected, rel=0.01, abs=0.001)
        assert (judged.distance == 0.0) == (judged.volume > 0.0)
        several += expected > 0.1
    assert several >= 5


def test_depth_is_that_of_all_skin_points(
    hands: HandPair, judge: Judge, clasp: tuple[np.ndarray, np.ndarray]
) -> None:
    judged = judge.pair(*clasp)
    deepest = 0.0
    for one in (0, 1):
        other = 1 - one
        mine = clasp[one][hands[one].faces].reshape(-1, 9)
        low, high = clasp[other].min(0), clasp[other].max(0)
        near = (mine.reshape(-1, 3, 3).max(1) > low).all(1) & (
            mine.reshape(-1, 3, 3).min(1) < high
        ).all(1)
        points = points_on(clasp[one], hands[one].faces[near][::2], 4e-3)
        points = points[winding_numbers(points, clasp[other], hands[other].closed_faces) > 0.5]
        deepest = max(
            deepest, surface_distance(points[::4], clasp[other], hands[other].faces).max()
        )
    assert deepest - DEPTH_TOLERANCE <= judged.depth <= deepest + 3e-3


def test_a_fist_counts_once(hands: HandPair, judge: Judge) -> None:
    fist = posed(hands, 0, 1.3, (0, 0, 0), (0, 0, 0))
    assert judge.self_volume(0, fist) > 2.0 * CM3
    # The left index finger reaches through skin that the fist covers twice.
    points = np.random.default_rng(0).uniform(fist.min(0), fist.max(0), (4000, 3))
    twice = points[winding_numbers(points, fist, hands.right.closed_faces) > 1.5].mean(0)
    left = posed(hands, 1, 0.0, (0, np.pi, np.pi), (0, 0, 0))
    tip, knuckle = (left[hands.left.weights[:, j].argmax()] for j in (3, 2))
    left = left - (tip + knuckle) / 2 + twice
    judged = judge.pair(fist, left)
    low, high = np.maximum(fist.min(0), left.min(0)), np.minimum(fist.max(0), left.max(0))
    meshes = [(fist, hands.right.closed_faces), (left, hands.left.closed_faces)]
    expected, error = voxel_volume(meshes, low, high, 3000)
    assert expected > 1.0 * CM3
    assert abs(judged.volume - expected) < 4 * error
    assert 4 * error < 0.25 * expected
    # The boolean adds what the fist covers twice a second time: why it is not the judge.
    assert boolean_cm3(hands, fist, left) * CM3 > 1.05 * judged.volume


def test_self_volume_twin(hands: HandPair, judge: Judge) -> None:
    fist = posed(hands, 0, 1.05, (0, 0, 0), (0, 0, 0))
    side = judge._sides[0]
    skin = side.parts.closed_skin(fist)
    rng = np.random.default_rng(0)
    points = rng.uniform(fist.min(0), fist.max(0), (3000, 3))
    within = np.stack(
        [
            winding_numbers(points, skin, side.parts.faces[side.parts.face_part == p]) > 0.5
            for p in range(16)
        ]
    )
    shared = np.zeros(len(points), dtype=bool)
    for i in range(16):
        for j in range(i):
            if not side.parts.adjacent[i, j]:
                shared |= within[i] & within[j]
    box = np.ptp(fist, axis=0).prod()
    expected = shared.mean() * box
    error = np.sqrt(shared.mean() / len(points)) * box
    assert abs(judge.self_volume(0, fist) - expected) < 4 * error
    assert judge.self_volume(0, posed(hands, 0, 0.3, (0, 0, 0), (0, 0, 0))) == 0.0


def test_rays_find_self_volume_alike_from_all_sides(hands: HandPair, judge: Judge) -> None:
    fist = posed(hands, 0, 0.9, (0, 0, 0), (0, 0, 0))
    volume = judge.self_volume(0, fist)
    for turn in Rotation.random(6, random_state=0):
        assert judge.self_volume(0, turn.apply(fist)) == pytest.approx(
            volume, rel=0.03, abs=0.002 * CM3
        )
    if hands.right.sha256 == hands.left.mirrored().sha256:
        assert judge.self_volume(1, fist * FLIP) == pytest.approx(volume, rel=1e-6)


def test_mirrored_pair(hands: HandPair, judge: Judge, clasp: tuple[np.ndarray, np.ndarray]) -> None:
    assert np.array_equal(hands.right.mirrored().closed_faces, hands.left.closed_faces)
    judged, mirrored = judge.pair(*clasp), judge.pair(clasp[1] * FLIP, clasp[0] * FLIP)
    assert mirrored.volume == pytest.approx(judged.volume, rel=1e-6)
    assert mirrored.depth == pytest.approx(judged.depth, abs=DEPTH_TOLERANCE)
    assert mirrored.nearest == judged.nearest[::-1]


def test_the_same_bytes_again(judge: Judge, clasp: tuple[np.ndarray, np.ndarray]) -> None:
    first, again = judge.pair(*clasp), judge.pair(*(skin.copy() for skin in clasp))
    assert (first.volume, first.depth, first.nearest) == (again.volume, again.depth, again.nearest)
    assert first.self_volume.tobytes() == again.self_volume.tobytes()


def test_hands_apart_and_their_regions(hands: HandPair, judge: Judge) -> None:
    right = posed(hands, 0, 0.0, (0, 0, 0), (0, 0, 0))
    left = posed(hands, 1, 0.0, (0, 0, 0), (0, 0, 0))
    # The left middle fingertip points at the right one's.
    tips = [hands[s].tip_vertex_ids[2] for s in (0, 1)]
    left = left - left[tips[1]] + right[tips[0]] + np.array([-0.02, 0, 0])
    judged = judge.pair(right, left)
    assert judged.volume == judged.depth == 0.0
    assert 0.005 < judged.distance <= 0.02 + 1e-9
    assert [REGIONS[r] for r in judged.nearest] == ["middle tip", "middle tip"]
    assert judge.region_distance(right, left, judged.nearest) == pytest.approx(
        judged.distance, abs=1e-9
    )
    palms = (REGIONS.index("palm"), REGIONS.index("palm"))
    assert judge.region_distance(right, left, palms) > 0.1


def test_region_distance_of_hands_that_overlap(
    judge: Judge, clasp: tuple[np.ndarray, np.ndarray]
) -> None:
    judged = judge.pair(*clasp)
    assert judged.depth > 0.0
    assert judge.region_distance(*clasp, judged.nearest) == 0.0
    sunk = judge.region_distance(clasp[0], clasp[1] + 1.0, judged.nearest)
    assert sunk > 1.0


def test_the_wrist_is_no_way_out(hands: HandPair, judge: Judge) -> None:
    # A finger pushed 3 mm through the cap of the other's wrist is deep in what is a forearm.
    right = posed(hands, 0, 0.0, (0, 0, 0), (0, 0, 0))
    left = posed(hands, 1, 0.0, (0, 0, 0), (0, 0, 0))
    loop = np.unique(hands.right.closed_faces[len(hands.right.faces) :])
    cap = right[loop].mean(0)
    tip = left[hands.left.tip_vertex_ids[2]]
    # Both point away from their wrists along +-x; the finger comes from outside along -x.
    left = (left - tip) * np.array([-1, 1, -1])
    if left[:, 0].mean() < 0:
        left = left * np.array([-1, 1, -1])
    judged = judge.pair(right, left + cap + np.array([-0.003, 0, 0]))
    rim = np.linalg.norm(right[loop] - cap, axis=1).min()
    assert judged.distance == 0.0 and 0.0 < judged.volume < 1.0 * CM3
    assert rim * 0.5 < judged.depth < rim * 1.2


def test_undefined_is_nan_with_a_reason(
    hands: HandPair, judge: Judge, clasp: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    right, left = clasp
    broken = left.copy()
    broken[5] = np.nan
    judged = judge.pair(right, broken)
    assert np.isnan([judged.volume, judged.depth, judged.distance, judged.self_volume[1]]).all()
    assert judged.self_volume[0] >= 0.0 and judged.nearest == (-1, -1)
    assert judged.fault == "left skin not finite"
    assert np.isnan(judge.region_distance(right, broken, (0, 0)))
    judged = judge.pair(-right, left)  # a mirrored skin under unmirrored faces
    assert np.isnan(judged.volume) and judged.fault == "right skin inside out"
    with pytest.raises(ValueError, match="right skin must be"):
        judge.pair(right[:100], left)
    monkeypatch.setattr(judge_module, "shared_volume", lambda *given: (1.0, 500, 50, 600))
    judged = judge.pair(right, left)
    assert np.isnan(judged.volume) and "50 of 600 rays" in judged.fault and judged.depth > 0


def test_samples_are_filled(hands: HandPair, judge: Judge) -> None:
    n = 3
    pose, betas = np.zeros((n, 2, 16, 3)), np.zeros((n, 2, 10))
    transl = np.zeros((n, 2, 3))
    pose[:, 1, 0] = (0, np.pi, np.pi)
    transl[:, 1] = (0.11, -0.03, 0.01)
    transl[1, 1] = (0.11, -0.3, 0.01)
    present = np.array([[True, True], [True, True], [True, False]])
    joints = np.stack(
        [
            hands[s].with_shape(betas[:, s]).with_pose(pose[:, s], transl[:, s]).joints
            for s in (0, 1)
        ],
        axis=1,
    )
    for array in (pose, betas, transl, joints):
        array[2, 1] = np.nan
    samples = Samples(
        sample_id=np.array(["a", "b", "c"]), pose=pose, betas=betas, transl=transl, joints=joints,
        present=present, source=np.full(n, "test"), take=np.full(n, "t"),
    )  # fmt: skip
    judged = judge.samples(samples)
    assert np.isnan(samples.penetration_volume).all()
    assert judged.penetration_volume[0] > 1e-6 and judged.penetration_depth[0] > 1e-3
    assert judged.contact_distance[0] == 0 and judged.contact_realised[0, 0] in REGIONS
    assert judged.penetration_volume[1] == 0 and judged.contact_distance[1] > 0.1
    assert np.isnan(judged.penetration_volume[2]) and np.isnan(judged.contact_distance[2])
    assert judged.contact_realised[2].tolist() == ["", ""]
    assert judged.self_penetration_volume[2, 0] == 0
    assert np.isnan(judged.self_penetration_volume[2, 1])
    one_by_one = judge.samples(samples.select([1]))
    assert one_by_one.contact_distance[0] == judged.contact_distance[1]
    assert np.array_equal(replace(judged, take=samples.take).pose, samples.pose, equal_nan=True)

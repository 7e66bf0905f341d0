"""Synthetic hands: within the anatomy, out of each other, the same in any slice, and natural."""

import re
from pathlib import Path

import numpy as np
import pytest

from twohand500k.conventions import LEFT, MANO_CHAINS, MANO_PARENTS, RIGHT, TIP_JOINTS
from twohand500k.hand import HandPair, load_hands, self_intersections
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, TWIST, Anatomy
from twohand500k.hand.measure import measure
from twohand500k.hand.rotations import matrix_from_axis_angle
from twohand500k.sources import Take
from twohand500k.sources.synthetic import SyntheticHands, draw_hands, synthetic_takes
from twohand500k.sources.synthetic.draw import BREADTH_MM, LENGTH_MM, _Body
from twohand500k.sources.synthetic.flesh import Flesh
from twohand500k.sources.synthetic.postures import load_postures
from twohand500k.sources.synthetic.synergies import synergies

FIELDS = ("angles", "betas", "side", "posture")
ZERO = np.zeros((1, 10))


@pytest.fixture(scope="module")
def hands() -> HandPair:
    return load_hands("open")


@pytest.fixture(scope="module")
def drawn(hands: HandPair) -> SyntheticHands:
    return draw_hands(3000, 11, hands)


@pytest.fixture(scope="module")
def flesh(hands: HandPair) -> Flesh:
    return Flesh.of(hands.right)


def _digit_cuts(model, angles: np.ndarray, betas: np.ndarray) -> int:
    """Pairs of faces that cut each other and belong to two digits, or a digit and the palm."""
    part = (np.argmax(model.weights, axis=1)[model.faces[:, 0]] + 2) // 3
    pose = Anatomy.of(model).pose_from_angles(angles)
    pairs = self_intersections(model.with_shape(betas).with_pose(pose).vertices, model.faces)
    return int((part[pairs[:, 0]] != part[pairs[:, 1]]).sum())


# --- the same hands whatever is asked for --------------------------------------------------------


def test_any_slice_holds_the_same_hands_bit_for_bit(hands: HandPair, drawn: SyntheticHands) -> None:
    for start, count in ((0, 1), (7, 5), (1000, 60), (1023, 2), (2990, 10)):
        part = draw_hands(count, 11, hands, start=start)
        for field in FIELDS:
            whole = getattr(drawn, field)[start : start + count]
            assert np.array_equal(getattr(part, field), whole), (field, start, count)


def test_another_seed_is_another_row(hands: HandPair, drawn: SyntheticHands) -> None:
    other = draw_hands(50, 12, hands)
    gap = np.abs(other.angles[:, None] - drawn.angles[None, :200]).max(axis=(2, 3))
    assert gap.min() > np.radians(1.0)


def test_side_is_drawn_evenly_or_as_asked(hands: HandPair, drawn: SyntheticHands) -> None:
    assert abs((drawn.side == LEFT).mean() - 0.5) < 0.04
    assert (draw_hands(20, 3, hands, side="left").side == LEFT).all()
    assert (draw_hands(20, 3, hands, side="right").side == RIGHT).all()


def test_left_hands_are_right_hands_in_the_mirror(hands: HandPair) -> None:
    right = draw_hands(40, 5, hands, side="right")
    left = draw_hands(40, 5, hands, side="left")
    # The open hand's left model is its right one mirrored: the same hand comes of the same number.
    assert np.abs(right.angles - left.angles).max() < 1e-6
    assert np.array_equal(right.posture, left.posture)


def test_none_and_misuse(hands: HandPair) -> None:
    empty = draw_hands(0, 0, hands)
    assert empty.angles.shape == (0, 15, 3) and empty.betas.shape == (0, 10)
    for wrong in ((-1, 0, 0), (1, -1, 0), (1, 0, -1)):
        with pytest.raises(ValueError, match="negative"):
            draw_hands(wrong[0], wrong[1], hands, start=wrong[2])


# --- as takes ------------------------------------------------------------------------------------


def _hands_of(takes: list[Take]) -> dict[str, tuple[str, np.ndarray]]:
    """Split and parameters of every hand by what its sample is called."""
    out = {}
    for take in takes:
        assert take.mano is not None and take.mano.given.sum() == take.recorded.sum()
        for row, frame in enumerate(take.frames.tolist()):
            id_ = f"{take.name}/{frame}"
            assert id_ not in out
            out[id_] = (take.split, np.concatenate([take.mano.pose[row].ravel(),
                                                    take.mano.betas[row].ravel()]))  # fmt: skip
    return out


def test_every_count_has_train_val_and_test_and_begins_with_the_same_hands(hands: HandPair) -> None:
    whole = _hands_of(synthetic_takes(1100, 11, hands))
    assert len(whole) == 1100
    splits = [split for split, _ in whole.values()]
    assert [splits.count(split) for split in ("train", "val", "test")] == [880, 110, 110]
    for count in (30, 1000, 1005):
        some = _hands_of(synthetic_takes(count, 11, hands))
        assert len(some) == count and {"train", "val", "test"} == {s for s, _ in some.values()}
        for id_, (split, parameters) in some.items():
            assert whole[id_][0] == split
            np.testing.assert_array_equal(whole[id_][1], parameters)


def test_takes_are_the_drawn_hands(hands: HandPair, drawn: SyntheticHands) -> None:
    takes = synthetic_takes(1020, 11, hands)
    frames = np.concatenate([take.frames for take in takes])
    betas = np.concatenate([np.nansum(take.mano.betas, axis=1) for take in takes])  # type: ignore[union-attr]
    assert sorted(frames.tolist()) == list(range(1020))
    np.testing.assert_array_equal(betas, drawn.betas[frames])


def test_sets_of_other_seeds_and_sides_have_other_names(hands: HandPair) -> None:
    asked = [(0, None), (1, None), (0, "right"), (0, "left")]
    names = [
        {take.name for take in synthetic_takes(20, seed, hands, side=side)}  # type: ignore[arg-type]
        for seed, side in asked
    ]
    assert len(set.union(*names)) == sum(map(len, names)) == 12
    assert "seed-0-right/hands-00000-val" in names[2]


def test_few_hands_have_fewer_splits_and_none_are_refused(hands: HandPair) -> None:
    assert [take.split for take in synthetic_takes(8, 0, hands)] == ["train"]
    assert [take.split for take in synthetic_takes(9, 0, hands)] == ["train", "val"]
    with pytest.raises(ValueError, match="at least 1"):
        synthetic_takes(0, 0, hands)


# --- within the anatomy --------------------------------------------------------------------------


def test_nothing_is_outside_a_limit_and_nothing_piles_up_at_one(
    hands: HandPair, drawn: SyntheticHands
) -> None:
    anatomy = Anatomy.of(hands.right)
    assert anatomy.limit_excess(drawn.angles).max() == 0.0
    low, high = anatomy.limits[..., 0], anatomy.limits[..., 1]
    nearest = np.minimum(drawn.angles - low, high - drawn.angles)
    assert ((nearest < np.radians(0.05)).mean(axis=0) < 0.002).all()


def test_hinges_neither_sway_nor_twist(drawn: SyntheticHands) -> None:
    hinges = [
        joint - 1 for chain in MANO_CHAINS for joint in chain[1:] if joint != MANO_CHAINS[0][1]
    ]
    assert np.abs(drawn.angles[:, hinges][..., [ABDUCTION, TWIST]]).max() == 0.0


def test_joints_move_together_as_in_a_hand(drawn: SyntheticHands) -> None:
    """Synergies: far fewer directions than angles; end joints follow; neighbours go along."""
    flat = drawn.angles.reshape(len(drawn.angles), -1)
    share = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2
    share = np.cumsum(share) / share.sum()
    # Santello 1998: two components hold more than 80 % of a grasping hand's variance in 15 angles;
    # gestures need more. Independent angles of this many would need over fifteen for 90 %.
    assert share[0] > 0.4 and np.argmax(share >= 0.9) + 1 <= 8
    bend = drawn.angles[..., FLEXION]
    for chain in MANO_CHAINS[1:]:
        assert np.corrcoef(bend[:, chain[1] - 1], bend[:, chain[2] - 1])[0, 1] > 0.7
    base = [chain[0] - 1 for chain in MANO_CHAINS[1:]]
    together = np.corrcoef(bend[:, base].T)
    assert together[0, 1] > together[0, 3] and together[2, 3] > 0.6


# --- out of each other ---------------------------------------------------------------------------


def test_the_skin_of_drawn_hands_does_not_cut_itself(
    hands: HandPair, drawn: SyntheticHands
) -> None:
    cut = [
        _digit_cuts(hands.right, drawn.angles[n], drawn.betas[n]) for n in range(150)
    ]  # angles mean the same on both sides
    assert np.mean(np.array(cut) > 0) < 0.06 and max(cut) < 60


@pytest.mark.parametrize("name", ["crossed fingers", "thumb in the index", "fingers in the palm"])
def test_a_planted_overlap_is_found_and_undone(hands: HandPair, flesh: Flesh, name: str) -> None:
    angles = np.zeros((1, 15, 3))
    index, middle, thumb = (MANO_CHAINS[f][0] - 1 for f in (1, 2, 0))
    if name == "crossed fingers":
        angles[0, index, ABDUCTION], angles[0, middle, ABDUCTION] = np.radians([-14, 10])
    elif name == "thumb in the index":
        angles[0, thumb, :2] = np.radians([25, -20])
        angles[0, index, FLEXION] = np.radians(20)
    else:
        for chain in MANO_CHAINS[1:]:
            angles[0, np.array(chain) - 1, FLEXION] = np.radians([95, 105, 85])
    before = _digit_cuts(hands.right, angles[0], ZERO[0])
    settled, left = flesh.settle(angles, ZERO)
    assert before > 20
    assert left[0] < 5e-4
    assert _digit_cuts(hands.right, settled[0], ZERO[0]) < before / 4
    assert flesh.anatomy.limit_excess(settled).max() == 0.0


def test_hands_without_overlap_come_back_unchanged(flesh: Flesh) -> None:
    postures = load_postures()
    free = [postures.names.index(name) for name in ("spread", "arched", "sphere_large", "claw")]
    settled, left = flesh.settle(postures.angles[free], np.zeros((4, 10)))
    assert np.array_equal(settled, postures.angles[free]) and left.max() < 2e-4


def test_a_pinch_closes_and_only_where_it_is_asked_to(hands: HandPair, flesh: Flesh) -> None:
    postures = load_postures()
    ok = postures.names.index("ok")
    angles = postures.angles[[ok]].copy()
    angles[0, MANO_CHAINS[1][0] - 1, FLEXION] -= np.radians(12)  # open it
    touch = postures.touch[[ok]]
    anatomy = Anatomy.of(hands.right)

    def gap(one: np.ndarray) -> float:
        joints = hands.right.with_shape().with_pose(anatomy.pose_from_angles(one)).joints
        return float(np.linalg.norm(joints[TIP_JOINTS[0]] - joints[TIP_JOINTS[1]]))

    opened, _ = flesh.settle(angles, ZERO)
    closed, left = flesh.settle(angles, ZERO, touch)
    assert gap(opened[0]) - gap(closed[0]) > 0.005
    assert left[0] < 5e-4 and _digit_cuts(hands.right, closed[0], ZERO[0]) == 0


def test_spheres_ride_on_the_bones_as_the_model_does(hands: HandPair, flesh: Flesh) -> None:
    """The kernel's own chain against the model: a sphere's centre is carried as its joint is."""
    from twohand500k.sources.synthetic import flesh as module

    angles = draw_hands(1, 4, hands, side="right").angles[0]
    betas = np.linspace(-1, 1, 10)
    pose = flesh.anatomy.pose_from_angles(angles)
    shaped = hands.right.with_shape(betas)
    T = shaped.with_pose(pose).T_world_joint
    R, p, axes = np.empty((16, 3, 3)), np.empty((16, 3)), np.empty((15, 3, 3))
    parents = np.array(MANO_PARENTS)
    module._place(angles, shaped.rest_joints, flesh.anatomy.A, parents, R, p, axes)
    assert np.abs(R - T[:, :3, :3]).max() < 1e-12 and np.abs(p - T[:, :3, 3]).max() < 1e-12
    # The angles' axes, against finite differences of the bones' rotations.
    h = 1e-6
    for joint in (1, 3, 9, 13, 15):
        for kind in range(3):
            moved = angles.copy()
            moved[joint - 1, kind] += h
            turned = shaped.with_pose(flesh.anatomy.pose_from_angles(moved)).T_world_joint
            expected = matrix_from_axis_angle(h * axes[joint - 1, kind]) @ R[joint]
            assert np.abs(turned[joint, :3, :3] - expected).max() < 1e-9


def test_spheres_lie_under_the_skin_at_any_shape(hands: HandPair, flesh: Flesh) -> None:
    betas = np.random.default_rng(0).normal(size=(5, 10))
    for shape in betas:
        skin = hands.right.with_shape(shape).rest_vertices
        centre = flesh.centre + flesh.d_centre @ shape
        radius = flesh.radius + flesh.d_radius @ shape
        outside = radius - np.linalg.norm(skin[:, None] - centre, axis=-1).min(axis=0)
        assert (radius > 0.002).all()
        # How far a sphere stands out past the nearest vertex, which lies beside the nearest skin.
        digits = flesh.carrier > 0
        assert np.percentile(outside[digits], 90) < 0.0015 and outside[digits].max() < 0.004
        assert outside[~digits].max() < 0.005


def test_flesh_refuses_what_it_cannot_settle(hands: HandPair, flesh: Flesh) -> None:
    with pytest.raises(ValueError, match="right hand"):
        Flesh.of(hands.left)
    for bad in (np.nan, 3.0):
        angles = np.zeros((1, 15, 3))
        angles[0, 2, 0] = bad
        with pytest.raises(ValueError, match="within the anatomical limits"):
            flesh.settle(angles, ZERO)


# --- shapes --------------------------------------------------------------------------------------


def test_shapes_are_adults_of_many_sizes(hands: HandPair, drawn: SyntheticHands) -> None:
    sizes = [measure(hands.right, betas) for betas in drawn.betas[:60]]
    length = np.array([size.length_mm for size in sizes])
    breadth = np.array([size.breadth_mm for size in sizes])
    # `measure` cuts the skin, the draw reads two of its vertices: a millimetre or so apart.
    assert (length > LENGTH_MM[0] - 0.1).all() and (length < LENGTH_MM[1] + 0.1).all()
    assert (breadth > BREADTH_MM[0] - 1.5).all() and (breadth < BREADTH_MM[1] + 1.5).all()
    assert np.ptp(length) > 30
    fast = _Body.of(hands.right).size_mm(drawn.betas[:60])
    assert np.abs(fast[0] - length).max() < 1e-6 and np.abs(fast[1] - breadth).max() < 1.5
    assert (drawn.betas.std(axis=0) > 0.85).all()
    for betas in drawn.betas[:20]:
        assert _digit_cuts(hands.right, np.zeros((15, 3)), betas) == 0


# --- the written table ---------------------------------------------------------------------------


def test_every_posture_is_within_the_limits_and_can_be_settled(flesh: Flesh) -> None:
    postures = load_postures()
    assert len(postures.names) >= 50 and len(set(postures.names)) == len(postures.names)
    assert flesh.anatomy.limit_excess(postures.angles).max() == 0.0
    for touch in (None, postures.touch):
        _, left = flesh.settle(postures.angles, np.zeros((len(postures.names), 10)), touch)
        assert left.max() < 5e-4, postures.names[int(np.argmax(left))]


def test_every_posture_is_drawn_and_named(drawn: SyntheticHands) -> None:
    postures = load_postures()
    first = {name.split(">")[0] for name in drawn.posture}
    assert first == set(postures.names)
    assert all(re.fullmatch(r"[a-z_]+(>[a-z_]+){0,2}", name) for name in drawn.posture)


def test_postures_table_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from twohand500k.sources.synthetic import postures as module

    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    good = "mcp=[1,1,1,1]\npip=[3,3,3,3]\nspread=[0,0,0,0]\nthumb=[0,0,0,0,0]\n"
    for bad in (
        good.replace("mcp=[1,1,1,1]", "mcp=[1,1,1]"), good + "touch=[0]\n", good + "grip=1\n",
        good.replace("thumb=[0,0,0,0,0]\n", ""),
    ):  # fmt: skip
        (tmp_path / "hand_postures.toml").write_text(f"[wave]\n{bad}")
        with pytest.raises(ValueError, match="wave"):
            module.load_postures.__wrapped__()
    (tmp_path / "hand_postures.toml").write_text(f"[wave]\n{good}")
    (one,) = module.load_postures.__wrapped__().angles
    assert one[MANO_CHAINS[1][2] - 1, FLEXION] == pytest.approx(np.radians(2))  # two thirds of 3


def test_synergies_turn_hinges_only_as_hinges_turn() -> None:
    rows = synergies()
    hinges = [joint - 1 for chain in MANO_CHAINS[1:] for joint in chain[1:]] + [
        MANO_CHAINS[0][2] - 1
    ]
    assert np.abs(rows[:, hinges][..., [ABDUCTION, TWIST]]).max() == 0.0
    # A finger's own bending takes its neighbour along, the nearer the more.
    index, middle, ring = (MANO_CHAINS[f][0] - 1 for f in (1, 2, 3))
    own = rows[(rows[:, index, FLEXION] > rows[:, middle, FLEXION] + 1e-9)]
    assert (own[:, middle, FLEXION] > own[:, ring, FLEXION]).any()

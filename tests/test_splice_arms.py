"""Two arms: frames against plain kinematics, natural holds pass, impossible ones do not."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from twohand500k.cli.main import twohand
from twohand500k.conventions import LEFT, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand.rotations import Array, matrix_from_axis_angle
from twohand500k.shards import Dataset
from twohand500k.splice import arms
from twohand500k.splice.arms import TwoArms

REAL = Path(os.environ.get("TWOHAND_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
MIRROR = np.diag([-1.0, 1.0, 1.0])


def _left(fingers: tuple[float, ...], palm: tuple[float, ...]) -> Array:
    """The left wrist's frame by where its fingers and palm point, in the right wrist's frame.

    There the right hand's fingers point to -x, its palm to -y, its thumb to +z.
    """
    x, y = np.array(fingers) / np.linalg.norm(fingers), -np.array(palm) / np.linalg.norm(palm)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _about(R: Array, t: tuple[float, ...], n: int = 300) -> tuple[Array, Array]:
    """Poses (n) within some degrees and centimetres of one, so that no cell's edge decides."""
    rng = np.random.default_rng(0)
    turn = Rotation.from_rotvec(rng.normal(scale=0.12, size=(n, 3))).as_matrix()
    return turn @ R, np.array(t) + rng.normal(scale=0.015, size=(n, 3))


def _swapped(R: Array, t: Array) -> tuple[Array, Array]:
    """The mirrored person's poses: what was the left hand is now the right one."""
    back = np.swapaxes(R, -1, -2)
    return MIRROR @ back @ MIRROR, np.einsum("ij,njk,nk->ni", -MIRROR, back, t)


NATURAL = {
    "prayer": (_left((-1, 0, 0), (0, 1, 0)), (0.0, -0.05, 0.0)),
    "open book": (_left((-1, 0, 0), (0, -1, 0)), (0.0, 0.0, -0.09)),
    "fingertips against fingertips": (_left((1, 0, 0), (0, -1, 0)), (-0.30, 0.0, 0.0)),
    "fingers interlocked": (_left((-0.6, 0, 0.8), (0, 1, 0)), (-0.03, -0.03, -0.05)),
    "clap": (_left((-0.8, 0, 0.6), (0, 1, 0)), (0.0, -0.04, -0.03)),
    "palm across palm": (_left((0, 0, 1), (0, 1, 0)), (-0.04, -0.04, -0.06)),
    "thumb in the other fist": (_left((-0.5, 0, 0.8), (-0.3, 0.9, 0)), (-0.08, -0.03, -0.06)),
    "hand about the wrist": (_left((0, 0, 1), (0, 1, 0)), (0.05, -0.04, -0.09)),
}
# Beyond the right hand's fingertips, its back turned to them: the left forearm would have to come
# from the right hand's own side, from the right elbow's place or beyond.
IMPOSSIBLE = {
    "back turned, from the wrong side": (_left((0, 0, 1), (-1, 0, 0)), (-0.16, 0.10, -0.04)),
    "the same, fingers up": (_left((0, 0.4, 0.9), (-1, 0, 0)), (-0.16, 0.10, -0.04)),
}


@pytest.mark.parametrize("name", NATURAL)
def test_natural_holds_are_reachable(name):
    poses = _about(*NATURAL[name])
    assert TwoArms.table().reachable(*poses).mean() > 0.9


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_holds_are_not(name):
    poses = _about(*IMPOSSIBLE[name])
    assert TwoArms.table().reachable(*poses).mean() < 0.2


def test_palm_in_palm_with_fingers_opposite_is_mostly_reachable():
    """The tightest of the natural grips: it takes nearly all of both forearms' rotation."""
    poses = _about(_left((1, 0, 0), (0, 1, 0)), (-0.12, -0.04, 0.0))
    assert TwoArms.table().reachable(*poses).mean() > 0.5


def test_the_mirrored_person_can_do_the_same():
    rng = np.random.default_rng(1)
    R, t = Rotation.random(20000, rng=rng).as_matrix(), rng.normal(size=(20000, 3))
    table = TwoArms.table()
    one, other = table.reachable(R, t), table.reachable(*_swapped(R, t))
    assert (one == other).mean() > 0.9999
    assert 0.93 < one.mean() < 0.98, "the table says no to some random poses"


def test_the_middle_frame_is_the_half_rotation():
    rng = np.random.default_rng(2)
    turns = Rotation.random(500, rng=rng)
    q, middle = np.empty(4), np.empty(3)
    for R, quaternion, half in zip(
        turns.as_matrix(),
        turns.as_quat(canonical=True, scalar_first=True),
        Rotation.from_rotvec(turns.as_rotvec() / 2),
        strict=True,
    ):
        t = rng.normal(size=3)
        arms._middle_frame(R, t, q, middle)
        np.testing.assert_allclose(q, quaternion, atol=1e-12)
        np.testing.assert_allclose(middle, half.inv().apply(t), atol=1e-12)


def test_cells_are_all_used_and_none_is_far_wider_than_others():
    rng = np.random.default_rng(3)
    R = Rotation.random(100_000, rng=rng)
    quaternions = R.as_quat(scalar_first=True)
    cell = np.array([arms._rotation_cell(q) for q in quaternions])
    share = np.bincount(cell, minlength=2048) / len(cell) * 2048
    assert len(share) == 2048 and share.min() > 0.3 and share.max() < 2.5
    order = np.argsort(cell, kind="stable")
    same = order[:-1][cell[order][:-1] == cell[order][1:]]
    next_one = order[1:][cell[order][:-1] == cell[order][1:]]
    apart = np.degrees((R[same].inv() * R[next_one]).magnitude())
    assert apart.max() < 45 and np.median(apart) < 20
    assert (cell[:500] == [arms._rotation_cell(-q) for q in quaternions[:500]]).all()
    directions = rng.normal(size=(50_000, 3))
    share = np.bincount([arms._direction_cell(d) for d in directions], minlength=96) / 50_000 * 96
    assert len(share) == 96 and share.min() > 0.6 and share.max() < 1.5


def test_an_arm_is_a_chain_of_turns_about_its_joints():
    """`_arm` solves for the elbow; built up from the shoulder with scipy the wrist is the same."""
    body, rng = arms._body(), np.random.default_rng(4)
    elbow, R, found = np.empty(3), np.empty((3, 3)), 0
    for _ in range(3000):
        wrist = np.array([rng.uniform(-0.2, 0.3), rng.uniform(-0.4, 0.2), rng.uniform(-0.5, -0.1)])
        u = rng.uniform(size=4)
        if not arms._arm(body, wrist, u, elbow, R):
            continue
        found += 1
        upper, fore = elbow - [body.half_breadth, 0, 0], wrist - elbow
        assert np.linalg.norm(upper) == pytest.approx(body.upper_arm)
        assert np.linalg.norm(fore) == pytest.approx(body.forearm)
        # Swing: the shortest turn of a hanging arm, palm inwards, to the upper arm's direction.
        swing = Rotation.align_vectors([upper], [[0.0, -1.0, 0.0]])[0]
        hanging = swing.inv()
        ahead = hanging.apply(fore)
        inwards = np.arctan2(-ahead[0], -ahead[2])
        assert body.shoulder[0] <= inwards <= body.shoulder[1]
        # Upper arm turned inwards about itself, then the elbow bent: the forearm, thumb ahead
        # of a hanging arm, fingers down, palm to the body.
        bend = np.arccos(upper @ fore / body.upper_arm / body.forearm)
        chain = swing * Rotation.from_rotvec([0, inwards, 0]) * Rotation.from_rotvec([bend, 0, 0])
        np.testing.assert_allclose(chain.apply([0, -body.forearm, 0]), fore, atol=1e-9)
        neutral = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]]).T  # x up, back out, thumb ahead
        turn = body.rotation[0] + u[1] * (body.rotation[1] - body.rotation[0])
        reach, bearing = np.sqrt(u[2]), 2 * np.pi * u[3]
        flexion, abduction = reach * np.cos(bearing), reach * np.sin(bearing)
        flexion *= body.flexion[1] if flexion > 0 else -body.flexion[0]
        abduction *= body.abduction[1] if abduction > 0 else -body.abduction[0]
        hand = Rotation.from_rotvec([-turn, 0, 0])  # about the fingers' direction, -x
        hand *= Rotation.from_rotvec([0, 0, flexion]) * Rotation.from_rotvec([0, abduction, 0])
        np.testing.assert_allclose(R, chain.as_matrix() @ neutral @ hand.as_matrix(), atol=1e-9)
    assert found > 100


def test_signs_of_the_joints():
    """Right arm, forearm ahead: supination shows the palm upwards, flexion bends to the palm."""
    body = arms._body()
    still = {"rotation": np.zeros(2), "flexion": np.zeros(2), "abduction": np.zeros(2)}
    wrist, u = np.array([0.18, -0.33, -0.26]), np.array([0.0, 0.5, 1.0, 0.0])
    elbow, R = np.empty(3), np.empty((3, 3))

    def palm_and_fingers(**changed: Array) -> tuple[Array, Array]:
        # Of the elbow's circle the lowest point that the shoulder allows.
        for swivel in np.linspace(0, 1, 361):
            u[0] = swivel
            if arms._arm(body._replace(**{**still, **changed}), wrist, u, elbow, R):
                return -R[:, 1].copy(), -R[:, 0].copy()
        raise AssertionError("no way to hold the forearm ahead")

    palm, fingers = palm_and_fingers()
    assert fingers[2] < -0.95 and palm[0] < -0.9, "fingers ahead, palm to the body's middle"
    assert palm_and_fingers(rotation=np.array([1.2, 1.2]))[0][1] > 0.9, "supine: palm up"
    assert palm_and_fingers(flexion=np.array([0.0, 0.8]))[1] @ palm > 0.6
    u[3] = 0.25
    assert palm_and_fingers(abduction=np.array([0.0, 0.4]))[1][1] > 0.3, "radial: up, to the thumb"


def test_arms_do_not_pass_through_each_other():
    body = arms._body()
    # Elbows hanging, wrists ahead, hands ahead and side by side; rows are right and left.
    elbow = np.array([[0.25, -0.32, 0.0], [-0.25, -0.32, 0.0]])
    wrist = np.array([[0.10, -0.30, -0.22], [-0.10, -0.30, -0.22]])
    knuckle = wrist - np.array([0.0, 0.0, body.palm])
    assert arms._apart(body, wrist, elbow, knuckle)
    assert not arms._apart(body, wrist[::-1].copy(), elbow, knuckle[::-1].copy()), "forearms cross"
    assert not arms._apart(body, wrist, elbow[::-1].copy(), knuckle), "upper arms cross"
    touching = wrist.copy()
    touching[0] = [-0.16, -0.31, -0.12]
    assert not arms._apart(body, touching, elbow, knuckle), "a wrist in the other forearm"
    through = knuckle.copy()
    through[0] = [-0.15, -0.30, -0.27]
    assert not arms._apart(body, wrist, elbow, through), "a palm through the other"


def test_a_table_of_few_draws_lies_within_the_shipped_one():
    few = TwoArms.table(seed=5, samples=10_000).cells
    shipped = TwoArms.table().cells
    assert few.sum() > 10_000
    assert (few & ~shipped).sum() < 0.02 * few.sum()


def test_stiff_forearms_turn_the_hands_fewer_ways(monkeypatch):
    """The table comes from the ranges: without forearm rotation and wrist, rotations go missing."""
    body, none = arms._body(), np.zeros(2)
    free = TwoArms.table(seed=6, samples=10_000).cells.any(axis=1).mean()
    stiff = body._replace(rotation=none, flexion=none, abduction=none)
    monkeypatch.setattr(arms, "_body", lambda: stiff)
    assert TwoArms.table(seed=6, samples=10_000).cells.any(axis=1).mean() < 0.75 < 0.95 < free


def test_another_arms_toml_than_the_tables_is_refused(monkeypatch):
    read = arms._asset
    monkeypatch.setattr(arms, "_asset", lambda name: read(name).replace("0.33 ", "0.34 "))
    arms._shipped.cache_clear()
    with pytest.raises(DataError, match="was not made from this arms"):
        TwoArms.table()


def test_ease_orders_holds_as_people_do():
    """A prayer is easier than palm in palm with the fingers opposite; what no arm does is not."""
    table = TwoArms.table()

    def ease(R, t):
        return np.mean([arms.one_comfort(table.comfort, a, b) for a, b in zip(R, t, strict=True)])

    prayer, tight = NATURAL["prayer"], (_left((1, 0, 0), (0, 1, 0)), (-0.12, -0.04, 0.0))
    assert ease(*_about(*prayer)) > 0.8 > 0.3 > ease(*_about(*tight))
    assert max(ease(*_about(*hold)) for hold in IMPOSSIBLE.values()) < 0.1
    assert (table.comfort > 7)[~table.cells].mean() < 0.01, "ease lies within reach"


def test_unknown_poses_are_not_reachable_and_wrong_shapes_are_named():
    R, t = np.stack([np.diag([-1.0, -1.0, 1.0])] * 3), np.full((3, 3), -0.05)
    R[0, 0, 0], t[1, 2] = np.nan, np.nan
    assert TwoArms.table().reachable(R, t).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="want R"):
        TwoArms.table().reachable(R, t[:2])


@pytest.mark.real_data
@pytest.mark.parametrize(
    "recording", ["mocap_bvh/cup1", "mocap_bvh/cyl_med3", "leap_csv/three-claps.csv"]
)
def test_what_real_people_did_is_reachable(recording, tmp_path):
    if not (REAL / recording).exists():
        pytest.skip(f"no recording {REAL / recording}; set TWOHAND_REAL_DATA")
    every = "20" if "bvh" in recording else "2"
    args = ["build", "--source", "mocap", "--input", str(REAL / recording), "--every", every]
    ran = CliRunner().invoke(twohand, [*args, "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    share = []
    for samples in Dataset(tmp_path / "out").shards():
        rows = samples.present.all(axis=1)
        R = matrix_from_axis_angle(samples.pose[rows, :, 0].astype(np.float64))
        wrist = samples.joints[rows, :, 0].astype(np.float64)
        to_right = np.swapaxes(R[:, RIGHT], -1, -2)
        t = np.einsum("nij,nj->ni", to_right, wrist[:, LEFT] - wrist[:, RIGHT])
        share.append(TwoArms.table().reachable(to_right @ R[:, LEFT], t))
    assert np.concatenate(share).mean() >= 0.98

"""Takes that bring MANO parameters: converted, checked, and refused where they do not agree."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from twohand500k.conventions import JOINT_NAMES, OPENPOSE_FROM_MANO21, TIP_SETS
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.ik.keep import choose, keep_side, keeps, left_as_annotated, plan_side
from twohand500k.ik.stage import BuildStage, Keeping, plan_take
from twohand500k.sources import InputFile, Landmark, ManoParameters, Take, Unit

N = 12
OPENGL = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def hands() -> HandPair:
    """The open hand under MANO's name: what a folder of MANO files is to the toolkit."""
    hands = load_hands("open")
    return HandPair(*(replace(hands[side], name="mano") for side in (0, 1)))


def annotated(
    hands: HandPair,
    *,
    relative_to: str = "flat",
    shapedirs: str = "mirrored",
    declared: tuple[tuple[str, ...], ...] | None = None,
    R: np.ndarray | None = None,
    joints: str = "kinematic",
    placed: bool = True,
) -> tuple[Take, np.ndarray, np.ndarray]:
    """A take of both hands annotated in a convention; its true skin (N, 2, V, 3), betas."""
    rng = np.random.default_rng(3)
    R = np.eye(3) if R is None else R
    pose, betas = np.empty((N, 2, 16, 3)), rng.normal(size=(N, 2, 10))
    transl = 0.3 * rng.normal(size=(N, 2, 3))
    points, skin = np.empty((N, 2, 21, 3)), np.empty((N, 2, 778, 3))
    for side in range(2):
        model = hands[side] if side == 0 else left_as_annotated(hands.left, shapedirs)
        limits = Anatomy.of(model).limits
        angles = rng.uniform(0.8 * limits[..., 0], 0.8 * limits[..., 1], size=(N, 15, 3))
        flat = Anatomy.of(model).pose_from_angles(angles, rng.normal(size=(N, 3)))
        posed = model.with_shape(betas[:, side]).with_pose(flat, transl[:, side])
        skin[:, side] = posed.vertices @ R.T
        own = posed.joints
        if joints == "regressed":
            tips = posed.vertices[:, list(TIP_SETS["smplx"])]
            own = np.concatenate([posed.regressed_joints, tips], 1)[:, OPENPOSE_FROM_MANO21]
        points[:, side] = own @ R.T
        pose[:, side] = flat
        if relative_to == "mean":
            pose[:, side, 1:] -= model.hands_mean.reshape(15, 3)
    mano = ManoParameters(
        pose=pose,
        betas=betas,
        transl=transl if placed else np.full_like(transl, np.nan),
        relative_to=declared[0] if declared else (relative_to,),  # type: ignore[arg-type]
        left_shapedirs=declared[1] if declared else (shapedirs,),  # type: ignore[arg-type]
        joints=declared[2] if declared else (joints,),  # type: ignore[arg-type]
        agreement=5e-3,
        R_house_dataset=R,
    )
    take = Take(
        name="t",
        subject="",
        source="set",
        frame="camera",
        sides=np.array([True, True]),
        landmarks=tuple(Landmark(name, j) for j, name in enumerate(JOINT_NAMES)),
        points=points,
        frames=np.arange(N),
        timestamps=np.full(N, np.nan),
        unit=Unit(1.0, "declared", "m"),
        shape="frame",
        split="test",
        mano=mano,
    )
    return take, skin, betas


CONVENTIONS = [
    {},
    {"relative_to": "mean"},
    {"R": OPENGL},
    {"R": OPENGL, "relative_to": "mean", "shapedirs": "as shipped"},
    {"shapedirs": "as shipped"},
    {"shapedirs": "negated"},
    {"joints": "regressed", "relative_to": "mean"},
    {"joints": "regressed", "placed": False},
    {"placed": False},
]


@pytest.mark.parametrize("how", CONVENTIONS, ids=lambda how: " ".join(map(str, how)) or "house")
def test_every_convention_gives_back_the_annotated_skin(hands: HandPair, how: dict) -> None:
    take, skin, betas = annotated(hands, **how)
    plan = plan_take(take, hands)
    assert isinstance(plan.known, Keeping)
    result = BuildStage(hands)(plan.units[0])
    samples = result.samples
    assert samples is not None and len(samples) == N and not result.rejects
    same_left = how.get("shapedirs", "mirrored") == "mirrored"
    for side in range(2):
        exact = side == 0 or same_left
        shaped = hands[side].with_shape(samples.betas[:, side].astype(np.float64))
        posed = shaped.with_pose(samples.pose[:, side], samples.transl[:, side])
        gap = np.linalg.norm(posed.vertices - skin[:, side], axis=-1)
        # A left model of other shape directions spans other shapes: betas are refitted to the skin.
        assert gap.max() < 1e-5 if exact else gap.mean() < 2.5e-3
        assert np.allclose(samples.betas[:, side], betas[:, side], atol=1e-5) == exact
        # What is stored is what is measured: the refit's rest stands in fit_error.
        assert (samples.fit_error[:, side].max() < 1e-6) == exact
        assert samples.fit_error[:, side].max() < 2e-3
    assert ("left_betas_refit_residual_m" in result.stats.summaries) == (not same_left)
    assert set(samples.split) == {"test"}


def test_of_several_conventions_the_joints_decide(hands: HandPair) -> None:
    declared = (
        ("flat", "mean"),
        ("mirrored", "as shipped", "negated"),
        ("kinematic", "regressed"),
    )
    for of in product(*declared):
        take, _, _ = annotated(
            hands, relative_to=of[0], shapedirs=of[1], joints=of[2], declared=declared
        )
        right, left = choose(take, 0, hands), choose(take, 1, hands)
        assert (right.relative_to, right.joints) == (of[0], of[2])
        assert (left.relative_to, left.left_shapedirs, left.joints) == of
        assert left.agreement < 1e-6


def test_a_wrong_convention_stops_the_take_with_both_figures(hands: HandPair) -> None:
    take, _, _ = annotated(
        hands, relative_to="mean", declared=(("flat",), ("mirrored",), ("kinematic",))
    )
    with pytest.raises(
        DataError,
        match=r"mm, read as relative to the flat hand, joints kinematic; 5 mm are allowed",
    ):
        plan_take(take, hands)


def test_without_joints_an_open_question_is_refused(hands: HandPair) -> None:
    take, _, _ = annotated(hands, declared=(("flat", "mean"), ("mirrored",), ("kinematic",)))
    with pytest.raises(DataError, match="declare it"):
        choose(replace(take, points=np.full_like(take.points, np.nan)), 0, hands)


def test_one_hand_that_disagrees_or_bends_backwards_is_refused_alone(hands: HandPair) -> None:
    take, _, _ = annotated(hands)
    assert take.mano is not None
    pose, betas = take.mano.pose.copy(), take.mano.betas.copy()
    points = take.points.copy()
    points[2, 1] += 0.02
    betas[4, 0] = np.nan
    model, limits = hands.right, Anatomy.of(hands.right)
    angles = limits.angles_from_pose(pose[6, 0])
    angles[1, 0] = limits.limits[1, 0, 0] - np.radians(50)
    pose[6, 0] = limits.pose_from_angles(angles, pose[6, 0, 0])
    posed = model.with_shape(betas[6, 0]).with_pose(pose[6, 0], take.mano.transl[6, 0])
    points[6, 0] = posed.joints
    bad = replace(take, points=points, mano=replace(take.mano, pose=pose, betas=betas))
    result = BuildStage(hands)(plan_take(bad, hands).units[0])
    assert {(r.sample_id, r.reason) for r in result.rejects} == {
        ("set/t/000002", "annotation_disagrees"),
        ("set/t/000004", "not_finite"),
        ("set/t/000006", "bent_backwards"),
    }
    assert "34.6 mm" in result.rejects[0].detail and "backwards" in result.rejects[2].detail


def test_parameters_are_kept_on_their_own_kind_of_model_only(hands: HandPair) -> None:
    take, _, _ = annotated(hands)
    opened = load_hands("open")
    assert keeps(take, hands) and not keeps(take, opened)
    with pytest.raises(DataError, match=r"no joints.*--hand-model"):
        plan_take(replace(take, points=np.full_like(take.points, np.nan)), opened)


def test_a_turned_take_is_turned_rigidly(hands: HandPair) -> None:
    """Kept in turned axes: bones and finger rotations untouched, the wrist's turned."""
    take, _, _ = annotated(hands, R=OPENGL)
    assert take.mano is not None
    side = keep_side(take, 0, plan_side(take, 0, hands), hands)
    assert np.allclose(side.pose[:, 1:], take.mano.pose[:, 0, 1:], atol=1e-12)
    turned = axis_angle_from_matrix(OPENGL @ matrix_from_axis_angle(take.mano.pose[:, 0, 0]))
    assert np.allclose(
        matrix_from_axis_angle(side.pose[:, 0]), matrix_from_axis_angle(turned), atol=1e-12
    )


def test_a_refitted_side_does_not_hang_on_how_the_take_is_cut(hands: HandPair) -> None:
    """Shapes shared by several hands are moved once for the take, by hands that are good."""
    take, _, _ = annotated(hands, shapedirs="as shipped")
    assert take.mano is not None
    betas, transl = take.mano.betas.copy(), take.mano.transl.copy()
    betas[:8, 1], betas[8:11, 1] = betas[0, 1], betas[8, 1]
    left = left_as_annotated(hands.left, "as shipped").with_shape(betas[:, 1])
    points = take.points.copy()
    points[:, 1] = left.with_pose(take.mano.pose[:, 1], transl[:, 1]).joints
    transl[4, 1] += 1e3  # refused, and must not bend the others' shape
    take = replace(take, points=points, mano=replace(take.mano, betas=betas, transl=transl))
    whole = BuildStage(hands)(plan_take(take, hands).units[0])
    plan = plan_take(take, hands, shard_size=3)
    cut = [BuildStage(hands)(unit) for unit in plan.units]
    assert len(plan.units) == 4 and whole.samples is not None
    for name in ("sample_id", "pose", "betas", "transl", "joints", "fit_error"):
        parts = [getattr(r.samples, name) for r in cut if r.samples is not None]
        assert np.array_equal(np.concatenate(parts), getattr(whole.samples, name)), name
    assert [r.sample_id for r in whole.rejects] == ["set/t/000004"]
    shapes = whole.samples.betas[:, 1]
    assert (shapes[:7] == shapes[0]).all() and (shapes[7:10] == shapes[7]).all()
    clean = replace(take, mano=replace(take.mano, transl=np.where(transl > 500, np.nan, transl)))
    again = BuildStage(hands)(plan_take(clean, hands).units[0])
    assert again.samples is not None
    assert np.abs(again.samples.betas[0, 1] - shapes[0]).max() < 0.05


@pytest.mark.parametrize("what", ["pose", "betas", "transl"])
@pytest.mark.parametrize("number", [1e200, 1e6, -np.inf])
def test_a_damaged_number_is_a_reject(hands: HandPair, what: str, number: float) -> None:
    take, _, _ = annotated(hands)
    assert take.mano is not None
    array = getattr(take.mano, what).copy()
    array.reshape(N, 2, -1)[5, 0, 0] = number
    bad = replace(take, mano=replace(take.mano, **{what: array}))
    result = BuildStage(hands)(plan_take(bad, hands).units[0])
    assert [(r.sample_id, r.reason) for r in result.rejects] == [("set/t/000005", "not_finite")]


def test_a_damaged_joint_is_not_a_missing_one(hands: HandPair) -> None:
    take, _, _ = annotated(hands)
    points = take.points.copy()
    points[5, 0, 3, 0] = 1e200
    result = BuildStage(hands)(plan_take(replace(take, points=points), hands).units[0])
    assert [r.reason for r in result.rejects] == ["annotation_disagrees"]


def test_a_side_without_any_parameters_says_so(hands: HandPair) -> None:
    take, _, _ = annotated(hands)
    assert take.mano is not None
    pose = take.mano.pose.copy()
    pose[:, 1] = np.nan
    result = BuildStage(hands)(
        plan_take(replace(take, mano=replace(take.mano, pose=pose)), hands).units[0]
    )
    assert {(r.reason, r.detail) for r in result.rejects} == {
        ("not_finite", "left: no finite MANO parameters")
    }


def test_files_of_one_name_are_inputs_of_their_own(hands: HandPair) -> None:
    take, _, _ = annotated(hands)
    files = tuple(InputFile(f"/a/{where}/convention.toml", where) for where in ("d", "sub"))
    unit = plan_take(replace(take, files=files), hands).units[0]
    assert unit.inputs["t: d/convention.toml"] == "d"
    assert unit.inputs["t: sub/convention.toml"] == "sub"

"""Pairs drawn elsewhere: hands fitted to them, judged, and written as a dataset."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn_fixture import (
    NO_HAND,
    NO_SHAPE,
    NOT_FINITE,
    Planted,
    drawn,
    hands,
    parameters,
    points_of,
)
from shards_fixture import dataset_bytes

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.drawn import (
    DrawnPairs,
    DrawOptions,
    draw_samples,
    fit_drawn,
    plausibility,
    to_samples,
)
from twohand500k.drawn.stage import BLOCK, DrawChunk, SampleStage
from twohand500k.errors import DataError
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.refit import fit_skins
from twohand500k.hand.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    mirror_axis_angle,
    mirror_points,
)
from twohand500k.shards import FIELDS, Dataset, Samples
from twohand500k.shards.verify import verify

NUMBERS = list(range(12))


def skins(fitted, rows=slice(None)) -> np.ndarray:
    """Skins (n, 2, V, 3) of fitted hands, from the drawn wrists."""
    posed = [
        hands()[s].with_shape(fitted.betas[rows, s]).with_pose(fitted.pose[rows, s]) for s in (0, 1)
    ]
    wrist = np.stack([p.joints[:, :1] for p in posed], axis=1)
    return np.stack([p.vertices for p in posed], axis=1) - wrist + fitted.wrist[rows][:, :, None]


# The record


def test_exactly_one_form_is_given_and_shapes_are_checked() -> None:
    pairs = drawn("mano", NUMBERS)
    joints = np.zeros((12, 2, 21, 3))
    for given in ({}, {"pose": pairs.pose}, {"pose": pairs.pose, "betas": pairs.betas,
                                             "joints": joints}):  # fmt: skip
        with pytest.raises(ValueError, match="exactly one form"):
            DrawnPairs(pairs.sample_id, **given)
    with pytest.raises(ValueError, match=r"joints must have shape \(12, 2, 21, 3\)"):
        DrawnPairs(pairs.sample_id, joints=joints[:, :, :20])
    with pytest.raises(ValueError, match=r"place must have shape \(12, 3\)"):
        DrawnPairs(pairs.sample_id, np.zeros((12, 2)), joints=joints)


# Fitting


def test_parameters_pass_through_with_angles_of_half_a_turn_at_most() -> None:
    pairs = drawn("mano", NUMBERS)
    assert pairs.pose is not None
    angle = np.linalg.norm(pairs.pose, axis=-1, keepdims=True)
    # The same rotation, the long way round and once more.
    other = pairs.pose * (1 + 2 * np.pi / angle)
    fitted = fit_drawn(DrawnPairs(pairs.sample_id, pose=other, betas=pairs.betas), hands())
    assert np.linalg.norm(fitted.pose, axis=-1).max() <= np.pi + 1e-12
    np.testing.assert_allclose(
        matrix_from_axis_angle(fitted.pose), matrix_from_axis_angle(pairs.pose), atol=1e-12
    )
    np.testing.assert_array_equal(fitted.betas, pairs.betas)
    assert (fitted.residual == 0).all() and (fitted.wrist == 0).all() and fitted.converged.all()
    assert fitted.limit_violation.max() < 1e-9


@pytest.mark.parametrize(
    ("form", "residual", "off", "excess"),
    [("joints", 0.6e-3, 2.5e-3, 0.02), ("vertices", 1e-6, 1e-6, 1e-3)],
)
def test_hands_are_recovered(form: str, residual: float, off: float, excess: float) -> None:
    truth = points_of(*parameters(NUMBERS)[:2])[1]
    fitted = fit_drawn(drawn(form, NUMBERS), hands())
    assert fitted.converged.all()
    assert fitted.residual.max() < residual
    assert np.linalg.norm(skins(fitted) - truth, axis=-1).mean(axis=-1).max() < off
    assert fitted.limit_violation.max() < excess


def test_the_residual_is_the_distance_of_what_was_drawn_to_the_fitted_hand() -> None:
    rng = np.random.default_rng(3)
    pose, betas, _ = parameters(NUMBERS[:4])
    joints, vertices = points_of(pose, betas)
    # A decoder is wrong smoothly: a hand stretched by a tenth along a direction of space.
    stretch = np.eye(3) + 0.1 * np.outer(*[rng.normal(size=3) / 2] * 2)
    ids = np.array(["a", "b", "c", "d"])
    by_skin = fit_drawn(DrawnPairs(ids, vertices=vertices @ stretch), hands())
    distance = np.linalg.norm(skins(by_skin) - vertices @ stretch, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(by_skin.residual, distance, rtol=1e-6)
    assert by_skin.residual.min() > 5e-5
    by_joints = fit_drawn(DrawnPairs(ids, joints=joints @ stretch), hands())
    posed = np.stack(
        [
            hands()[s].with_shape(by_joints.betas[:, s]).with_pose(by_joints.pose[:, s]).joints
            for s in (0, 1)
        ],
        axis=1,
    )
    found = posed - posed[:, :, :1] + by_joints.wrist[:, :, None]
    distance = np.linalg.norm(found - joints @ stretch, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(by_joints.residual, distance, rtol=1e-6)


@pytest.mark.parametrize("form", ["joints", "vertices"])
def test_a_mirrored_pair_is_fitted_as_the_mirrored_hands(form: str) -> None:
    pairs = drawn(form, NUMBERS[:4])
    points = getattr(pairs, form)
    mirrored = DrawnPairs(pairs.sample_id, **{form: mirror_points(points[:, ::-1])})
    fitted, other = fit_drawn(pairs, hands()), fit_drawn(mirrored, hands())
    turned = mirror_axis_angle(other.pose[:, ::-1])
    np.testing.assert_allclose(turned, fitted.pose, atol=1e-6)
    np.testing.assert_allclose(other.betas[:, ::-1], fitted.betas, atol=1e-5)


@pytest.mark.parametrize("form", ["mano", "joints", "vertices"])
def test_a_hand_that_is_not_finite_is_unknown_and_its_neighbours_are_not(form: str) -> None:
    pairs = Planted(form)(NOT_FINITE - 1, NOT_FINITE + 2)
    fitted = fit_drawn(pairs, hands())
    assert np.isnan(fitted.residual[1, LEFT]) and np.isnan(fitted.pose[1, LEFT]).all()
    assert not fitted.converged[1, LEFT] and np.isnan(fitted.limit_violation[1, LEFT])
    assert fitted.known.sum() == 5 and fitted.converged.sum() == 5


def test_joints_that_are_no_hand_s_are_told_by_the_residual_not_by_monstrous_hands() -> None:
    noise = np.random.default_rng(1).normal(scale=5e-3, size=(12, 2, 21, 3))
    pairs = drawn("joints", NUMBERS)
    assert pairs.joints is not None
    fitted = fit_drawn(DrawnPairs(pairs.sample_id, joints=pairs.joints + noise), hands())
    assert np.abs(fitted.betas).max() < 5.0
    assert np.median(fitted.limit_violation) < 0.02
    assert fitted.residual.min() > 3e-3


@pytest.mark.parametrize("form", ["joints", "vertices"])
def test_a_hand_collapsed_to_a_point_has_a_residual(form: str) -> None:
    pairs = drawn(form, NUMBERS[:2])
    points = getattr(pairs, form).copy()
    points[0, RIGHT] *= 1e-6
    fitted = fit_drawn(DrawnPairs(pairs.sample_id, **{form: points}), hands())
    assert fitted.residual[0, RIGHT] > 5e-3 and not fitted.limit_violation[0, RIGHT] > np.pi
    assert fitted.known.all() and fitted.residual[1].max() < 1e-3
    assert form == "vertices" or not fitted.converged[0, RIGHT]


def test_coordinates_beyond_all_hands_are_unknown_not_a_crash() -> None:
    pairs = drawn("joints", NUMBERS[:2])
    assert pairs.joints is not None
    far = pairs.joints.copy()
    far[0] *= 1e200
    with np.errstate(all="ignore"):
        fitted = fit_drawn(DrawnPairs(pairs.sample_id, joints=far), hands())
    assert not fitted.converged[0].any() and not (fitted.residual[0] < 1.0).any()
    assert (fitted.residual[1] < 1e-3).all()


def test_skins_are_fitted_from_afar_and_faults_of_the_caller_are_told() -> None:
    pose, betas, _ = parameters(NUMBERS)
    model = hands().left
    goal = model.with_shape(betas[:, LEFT]).with_pose(pose[:, LEFT], np.full(3, 0.1)).vertices
    rng = np.random.default_rng(0)
    begin = axis_angle_from_matrix(
        matrix_from_axis_angle(rng.normal(scale=0.2, size=(12, 16, 3)))
        @ matrix_from_axis_angle(pose[:, LEFT])
    )
    found = fit_skins(model, goal, begin, np.zeros((12, 10)), np.zeros((12, 3)))
    assert found.converged.all() and found.residual_max.max() < 1e-5
    np.testing.assert_allclose(
        matrix_from_axis_angle(found.pose), matrix_from_axis_angle(pose[:, LEFT]), atol=1e-3
    )
    assert not len(fit_skins(model, goal[:0], begin[:0], betas[:0, 0], np.zeros((0, 3))).pose)
    with pytest.raises(ValueError, match="finite"):
        fit_skins(model, goal * np.nan, begin, np.zeros((12, 10)), np.zeros((12, 3)))
    with pytest.raises(ValueError, match=r"vertices must be \(N, 778, 3\)"):
        fit_skins(model, goal[:, :700], begin, np.zeros((12, 10)), np.zeros((12, 3)))


# Plausibility


def test_planted_overlap_distance_and_a_backwards_finger_are_measured() -> None:
    pose, betas, _ = parameters([0, 0, 0])
    anatomy = Anatomy.of(hands().right)
    angles = anatomy.angles_from_pose(pose[2, RIGHT])
    angles[3, 0] = anatomy.limits[3, 0, 0] - 0.4
    pose[2, RIGHT] = anatomy.pose_from_angles(angles, pose[2, RIGHT, 0])
    # Wrist in wrist; a metre apart; a finger bent backwards.
    place = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    pairs = DrawnPairs(np.array(["a", "b", "c"]), place, pose=pose, betas=betas)
    fitted = fit_drawn(pairs, hands())
    found = plausibility(pairs, fitted, hands())
    assert found.penetration_volume[0] > 1e-5 and found.penetration_depth[0] > 5e-3
    assert (found.penetration_volume[1:] == 0).all() and found.contact_distance[0] == 0
    right, left = skins(fitted)[1]
    apart = np.linalg.norm(right[:, None] - (left + place[1])[None], axis=-1).min()
    assert apart - 5e-3 < found.contact_distance[1] <= apart + 1e-12
    np.testing.assert_allclose(found.limit_violation[2, RIGHT], 0.4, atol=1e-6)
    assert found.limit_violation[:, LEFT].max() < 1e-9
    assert (found.residual == 0).all()

    alone = DrawnPairs(pairs.sample_id, pose=pose, betas=betas)
    single = plausibility(alone, fit_drawn(alone, hands()), hands())
    for name in ("penetration_volume", "penetration_depth", "contact_distance"):
        assert np.isnan(getattr(single, name)).all()
    np.testing.assert_allclose(
        single.self_penetration_volume, found.self_penetration_volume, atol=2e-8
    )
    assert np.isfinite(single.self_penetration_volume).all()


def test_processes_change_no_number_of_plausibility_and_unknown_stays_unknown() -> None:
    pairs = Planted("mano")(0, 140)
    fitted = fit_drawn(pairs, hands())
    one, two = (plausibility(pairs, fitted, hands(), workers=w) for w in (1, 2))
    for name in ("penetration_volume", "contact_distance", "self_penetration_volume"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    unknown = np.flatnonzero(np.isnan(one.penetration_volume))
    assert unknown.tolist() == [NOT_FINITE]
    assert np.isfinite(one.self_penetration_volume[NOT_FINITE, RIGHT])


# Samples and the stage


@pytest.mark.parametrize("form", ["mano", "joints", "vertices"])
def test_samples_hold_the_drawn_pair_in_the_frame_of_the_right_wrist(form: str) -> None:
    pairs = drawn(form, NUMBERS)
    fitted = fit_drawn(pairs, hands())
    samples = to_samples(pairs, fitted, hands(), "prior:test", take="abc")
    # One rigid motion of both hands: every distance between any two joints stays.
    pose, betas, place = parameters(NUMBERS)
    truth = points_of(pose, betas)[0]
    truth[:, LEFT] += place[:, None]
    flat, told = truth.reshape(12, 42, 3), samples.joints.astype(float).reshape(12, 42, 3)
    before = np.linalg.norm(flat[:, :, None] - flat[:, None], axis=-1)
    after = np.linalg.norm(told[:, :, None] - told[:, None], axis=-1)
    assert np.abs(before - after).max() < (2e-6 if form != "joints" else 4e-3)
    assert (samples.pose[:, RIGHT, 0] == 0).all()
    assert np.abs(samples.joints[:, RIGHT, 0]).max() < 1e-7
    assert np.isnan(samples.fit_error).all() == (form == "mano")
    assert set(samples.source) == {"prior:test"} and set(samples.take) == {"abc"}
    assert set(samples.split) == {""} and (samples.frame == -1).all()


def test_without_a_place_there_is_no_interaction() -> None:
    pairs = drawn("mano", NUMBERS, placed=False)
    with pytest.raises(ValueError, match="no interactions"):
        to_samples(pairs, fit_drawn(pairs, hands()), hands(), "prior:test")


def made(stage: SampleStage, cuts: list[int]) -> tuple[Samples, dict[str, str]]:
    """The samples and the rejects (id: reason) of units between `cuts`."""
    results = [stage(DrawChunk(a, b, {})) for a, b in pairwise(cuts)]
    samples = Samples.concat([r.samples for r in results if r.samples is not None])
    return samples, {r.sample_id: r.reason for result in results for r in result.rejects}


@pytest.mark.parametrize(
    ("form", "reasons"),
    [
        ("mano", {NOT_FINITE: "not_finite", NO_SHAPE: "implausible_shape"}),
        ("joints", {NOT_FINITE: "not_finite", NO_HAND: "fit_residual"}),
    ],
)
def test_draws_that_are_no_hands_are_refused_and_cuts_change_no_bit(
    form: str, reasons: dict[int, str]
) -> None:
    stage = SampleStage(hands(), Planted(form), "prior:test", "abc", 5e-3)
    whole, rejects = made(stage, [0, 2 * BLOCK])
    assert rejects == {f"drawn/{number:04d}": reason for number, reason in reasons.items()}
    assert len(whole) == 2 * BLOCK - len(reasons)
    cut, cut_rejects = made(stage, [0, 3, 4, BLOCK - 1, BLOCK + 7, BLOCK + 30])
    assert cut_rejects == {k: v for k, v in rejects.items() if int(k[-4:]) < BLOCK + 30}
    begins = whole.select(np.arange(len(cut)))
    for field in FIELDS:
        told, again = getattr(begins, field.attribute), getattr(cut, field.attribute)
        assert (told is None) == (again is None)
        if told is not None:
            np.testing.assert_array_equal(told, again)


def test_a_dataset_of_draws_verifies_and_is_the_same_for_any_workers(tmp_path: Path) -> None:
    options = DrawOptions(count=BLOCK + 10, shard_size=30, described={"latents": "standard"})
    about = {"source": "prior:test", "take": "abc", "inputs": {"prior": "0" * 64}}

    def draw(out: Path, **changed) -> Dataset:  # type: ignore[no-untyped-def]
        given = {"options": options, "workers": 1} | changed
        draw_samples(
            Planted("joints"), hands(), out, progress=False, command="twohand sample", **about,
            **given,
        )  # fmt: skip
        return Dataset(out)

    one = draw(tmp_path / "one")
    assert [f.check for f in verify(tmp_path / "one", hands()) if not f.passed] == []
    assert len(one) == BLOCK + 8
    assert one.index.counts["prior:test"] == {"kept": BLOCK + 8, "rejected": 2}
    assert one.index.history[-1]["stage"] == "sample"
    assert one.index.history[-1]["options"]["latents"] == "standard"
    draw(tmp_path / "two", workers=2)
    assert dataset_bytes(tmp_path / "one") == dataset_bytes(tmp_path / "two")
    with pytest.raises(DataError, match="the option count = 74, this command has 75"):
        draw(tmp_path / "one", options=DrawOptions(75, shard_size=30, described=options.described))


def test_a_run_of_which_nothing_is_a_hand_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 3 draws is a pair of hands"):
        draw_samples(
            Planted("joints"), hands(), tmp_path / "out",
            DrawOptions(count=3, max_residual_mm=1e-9), source="prior:test", take="abc",
            inputs={}, progress=False, command="twohand sample",
        )  # fmt: skip

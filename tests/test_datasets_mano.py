"""Plain MANO arrays: read as declared, refused where nothing is declared."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_datasets import mano as fixture
from fixtures_datasets.common import PosedHands, random_hands
from fixtures_datasets.round_trip import build

from twohand500k.errors import DataError
from twohand500k.sources.datasets import Choice, mano, read_dataset
from twohand500k.sources.take import Take

N = 6


@pytest.fixture(scope="module")
def hands() -> PosedHands:
    return random_hands(N, seed=8)


def read_one(folder: Path, choice: Choice | None = None, **declared: object) -> Take:
    (take,) = read_dataset("mano", [folder], choice, **declared)
    return take


def refuse(folder: Path, told: str, **declared: object) -> None:
    with pytest.raises(DataError, match=told) as error:
        read_one(folder, **declared)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("unit", ["m", "cm", "mm"])
@pytest.mark.parametrize("pose_order", ["mano", "openpose"])
def test_arrays_come_back_as_declared(tmp_path, hands, unit, pose_order):
    content = fixture.arrays(hands, unit=unit, pose_order=pose_order)
    said = fixture.convention(unit=unit, pose_order=pose_order, subject="anna", split="val")
    fixture.write(tmp_path / "session/one.npz", content, said)
    take = read_one(tmp_path)
    assert (take.name, take.subject, take.split) == ("session/one", "anna", "val")
    assert (take.frame, take.shape) == ("world", "subject") and take.sides.all()
    np.testing.assert_allclose(take.points, hands.joints, atol=1e-12)
    assert take.mano is not None and take.mano.relative_to == ("flat",)
    np.testing.assert_allclose(take.mano.pose, hands.pose, atol=1e-12)
    np.testing.assert_allclose(take.mano.betas, hands.betas, atol=1e-12)
    np.testing.assert_allclose(take.mano.transl, hands.transl, atol=1e-12)


def test_what_is_declared_is_passed_on(tmp_path, hands):
    content = fixture.arrays(hands, relative_to="mean")
    said = fixture.convention(
        relative_to="mean", left_shapedirs="as shipped", joints="regressed", agreement_mm=5.0
    )
    fixture.write(tmp_path / "a.npz", content, said)
    take = read_one(tmp_path)
    assert take.mano is not None
    assert take.mano.relative_to == ("mean",) and take.mano.left_shapedirs == ("as shipped",)
    assert take.mano.joints == ("regressed",) and take.mano.agreement == 0.005
    assert any("relative to the mean hand" in note for note in take.notes)


def test_a_wrist_position_becomes_a_point_and_no_translation(tmp_path, hands):
    content = fixture.arrays(hands, translation="wrist", joints=False)
    fixture.write(tmp_path / "a.npz", content, fixture.convention(translation="wrist"))
    take = read_one(tmp_path)
    assert take.mano is not None and np.isnan(take.mano.transl).all() and take.mano.given.all()
    np.testing.assert_allclose(take.points[:, :, 0], hands.joints[:, :, 0], atol=1e-12)
    assert np.isnan(take.points[:, :, 1:]).all()


def shaped(hands: PosedHands, how: str) -> dict[str, np.ndarray]:
    """The same hands under other names and shapes."""
    plain = fixture.arrays(hands)
    both = {k: np.stack([plain[f"right_{k}"], plain[f"left_{k}"]], axis=1)
            for k in ("pose", "betas", "transl", "joints")}  # fmt: skip
    if how == "sides in an axis":
        return both
    if how == "(N, 2, 16, 3), one shape":
        return both | {"pose": hands.pose, "betas": hands.betas[0, 0]}
    if how == "ARCTIC's names":
        return {
            f"{side}/{key}": value
            for side in ("right", "left")
            for key, value in {
                "rot": plain[f"{side}_pose"][:, :3],
                "pose": plain[f"{side}_pose"][:, 3:],
                "shape": plain[f"{side}_betas"][0],
                "trans": plain[f"{side}_transl"],
                "joints": plain[f"{side}_joints"],
            }.items()
        }
    assert how == "smplx's names"
    return {
        f"{side}_{key}": value
        for side in ("right", "left")
        for key, value in {
            "global_orient": plain[f"{side}_pose"][:, :3],
            "hand_pose": plain[f"{side}_pose"][:, 3:].reshape(-1, 15, 3),
            "betas": plain[f"{side}_betas"][:1],
            "transl": plain[f"{side}_transl"],
            "joints": plain[f"{side}_joints"],
        }.items()
    }


@pytest.mark.parametrize(
    "how", ["sides in an axis", "(N, 2, 16, 3), one shape", "ARCTIC's names", "smplx's names"]
)
def test_other_names_and_shapes_mean_the_same(tmp_path, hands, how):
    fixture.write(tmp_path / "a.npz", shaped(hands, how), fixture.convention())
    take = read_one(tmp_path)
    assert take.mano is not None
    np.testing.assert_allclose(take.points, hands.joints, atol=1e-12)
    np.testing.assert_allclose(take.mano.pose, hands.pose, atol=1e-12)
    np.testing.assert_allclose(take.mano.betas, hands.betas, atol=1e-12)


def test_one_hand_without_a_side_in_its_names_must_be_declared(tmp_path, hands):
    content = {k.removeprefix("left_"): v for k, v in fixture.arrays(hands).items() if "left" in k}
    fixture.write(tmp_path / "a.npz", content, fixture.convention())
    refuse(tmp_path, 'name no side: declare .*hand = "right" or "left"')
    fixture.write(tmp_path / "a.npz", content, fixture.convention(hand="left"))
    take = read_one(tmp_path)
    assert take.sides.tolist() == [False, True]
    np.testing.assert_allclose(take.points[:, 1], hands.joints[:, 1], atol=1e-12)


def test_nothing_is_assumed(tmp_path, hands):
    path = fixture.write(tmp_path / "a.npz", fixture.arrays(hands))
    refuse(tmp_path, "a.npz: declare in a convention.toml.*relative_to.*translation.*unit.*frame")
    (tmp_path / "convention.toml").write_text(fixture.convention(left_shapedirs=""))
    refuse(tmp_path, 'left_shapedirs = "mirrored", "as shipped" or "negated"')
    right = {key: v for key, v in fixture.arrays(hands).items() if "right" in key}
    fixture.write(path, right)
    assert read_one(tmp_path).sides.tolist() == [True, False], "no left hand, nothing to say of it"


def test_the_nearer_declaration_holds(tmp_path, hands):
    content = fixture.arrays(hands, relative_to="mean")
    path = fixture.write(tmp_path / "deep/er/a.npz", content)
    (tmp_path / "convention.toml").write_text(fixture.convention(frame="camera"))
    take = read_one(tmp_path)
    assert take.frame == "camera" and len(take.files) == 2
    (tmp_path / "deep/convention.toml").write_text('frame = "world"\n')
    path.with_suffix(".toml").write_text('relative_to = "mean"\n')
    take = read_one(tmp_path)
    assert take.mano is not None and take.mano.relative_to == ("mean",) and take.frame == "world"
    assert [Path(file.path).name for file in take.files] == [
        "a.npz", "convention.toml", "convention.toml", "a.toml",
    ]  # fmt: skip
    fixture.write(path, content | {"frame": np.array("right wrist")})
    assert read_one(tmp_path).frame == "right wrist"
    fixture.write(path, content | {"flat_hand_mean": np.array(True)})
    assert read_one(tmp_path).mano.relative_to == ("flat",)  # type: ignore[union-attr]
    fixture.write(
        path, content | {"flat_hand_mean": np.array(True), "relative_to": np.array("mean")}
    )
    refuse(tmp_path, "contradict each other")


def test_the_caller_may_declare_it_all(tmp_path, hands):
    fixture.write(tmp_path / "a.npz", fixture.arrays(hands, unit="mm"), fixture.convention())
    said = tmp_path / "elsewhere.toml"
    said.write_text(fixture.convention(unit="mm"))
    for convention in (said, str(said), mano.load_convention(said)):
        take = read_one(tmp_path, convention=convention)
        np.testing.assert_allclose(take.points, hands.joints, atol=1e-12)


@pytest.mark.parametrize(
    "said, told",
    [
        ({"relative_to": "curled"}, "relative_to = 'curled' is none of 'flat', 'mean'"),
        ({"unit": "inch"}, "unit = 'inch' is none of 'm', 'cm', 'mm'"),
        ({"frame": "room"}, "frame = 'room' is none of"),
        ({"left_shapedirs": "fixed"}, "left_shapedirs = 'fixed'"),
        ({"pose_order": "thumbless"}, "pose_order is none of mano, openpose and no order of 16"),
        ({"pose_order": [0] * 16}, "pose_order is none of"),
        ({"joint_order": [0, 1, 2]}, "joint_order is none of"),
        ({"tips": "longest"}, "tips = 'longest'"),
        ({"agreement_mm": -1}, "agreement_mm = -1"),
        ({"flat_hand": "yes"}, "'flat_hand' is no convention; known are relative_to"),
    ],
)
def test_a_declaration_nobody_understands_is_refused(tmp_path, hands, said, told):
    fixture.write(tmp_path / "a.npz", fixture.arrays(hands), fixture.convention(**said))
    refuse(tmp_path, told)


def test_a_broken_declaration_is_named(tmp_path, hands):
    fixture.write(tmp_path / "a.npz", fixture.arrays(hands), "relative_to = flat")
    refuse(tmp_path, "convention.toml: not TOML")


def spoiled(hands: PosedHands, key: str, row: int, value: float) -> dict[str, np.ndarray]:
    content = {name: array.copy() for name, array in fixture.arrays(hands).items()}
    content[key][row].reshape(-1)[4 % content[key][row].size] = value
    return content


@pytest.mark.parametrize(
    "key, value, told",
    [
        ("right_pose", np.nan, "right pose is not finite"),
        ("left_betas", np.inf, "left betas is not finite"),
        ("right_transl", np.nan, "right transl is not finite"),
        ("left_joints", np.nan, "left joints are not finite"),
        ("right_pose", 90.0, "not in radians"),
        ("right_pose", 1e200, "right pose is beyond 1e+06"),
        ("left_betas", 1e200, "left betas is beyond 1e+06"),
        ("left_transl", -1e7, "left transl is beyond 1e+06"),
        ("right_joints", 1e200, "right joints are beyond 1e+06"),
    ],
)
def test_one_corrupt_frame_is_one_fault(tmp_path, hands, key, value, told):
    content = spoiled(hands, key, 2, value)
    fixture.write(tmp_path / "a.npz", content, fixture.convention())
    take = read_one(tmp_path, Choice(subset="interacting"))
    assert np.flatnonzero(take.faults != "").tolist() == [2] and told in take.faults[2]
    good = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(take.points[good], hands.joints[good], atol=1e-12)
    assert np.isnan(take.points[2]).all() and not take.mano.given[2].any()  # type: ignore[union-attr]


def test_one_person_may_have_a_right_and_a_left_shape(tmp_path, hands):
    content = fixture.arrays(hands)
    content["left_betas"] = content["left_betas"] + 0.5
    path = fixture.write(tmp_path / "a.npz", content, fixture.convention())
    assert read_one(tmp_path).shape == "subject"
    content["left_betas"][3:] += 0.1
    fixture.write(path, content)
    assert read_one(tmp_path).shape == "frame"


def test_a_hand_whose_pose_is_nan_is_not_there(tmp_path, hands):
    content = {name: array.copy() for name, array in fixture.arrays(hands).items()}
    for row, side in ((1, "left"), (4, "right")):
        for name in ("pose", "betas", "transl", "joints"):
            content[f"{side}_{name}"][row] = np.nan
    fixture.write(tmp_path / "a.npz", content, fixture.convention())
    take = read_one(tmp_path)
    assert not take.faults.any()
    assert take.recorded[[1, 4]].tolist() == [[True, False], [False, True]]
    single = read_one(tmp_path, Choice(subset="single", most=1))
    assert single.frames.tolist() == [1]


@pytest.mark.parametrize(
    "change, told",
    [
        ({"right_pose": np.zeros((N, 45))}, r"right_pose has shape \(6, 45\); \(N, 48\)"),
        ({"right_pose": np.zeros((N, 2, 48))}, r"one hand has \(N, 48\)"),
        ({"right_betas": np.zeros((N - 1, 10))}, "right_betas has shape"),
        ({"right_betas": np.zeros(11)}, "right_betas has shape"),
        ({"left_transl": np.zeros(3)}, "left_transl has shape"),
        ({"left_joints": np.zeros((N, 16, 3))}, "left_joints has shape"),
        ({"left_pose": np.array(["a"] * N)}, "left_pose holds <U1, not numbers"),
        ({"left_pose": np.zeros((N, 48)), "left_mano_pose": np.zeros((N, 48))}, "both say pose"),
        ({"pose": np.zeros((N, 48)), "betas": np.zeros(10), "transl": np.zeros((N, 3))},
         "with a side in their names and without"),
        ({"frames": np.zeros(N, dtype=int)}, "frames holds a number twice"),
        ({"frames": np.zeros(N)}, "frames must be 6 whole numbers"),
        ({"fps": np.array(0.0)}, "fps must be one number above 0"),
        ({"timestamps": np.zeros(2)}, "timestamps must be 6 numbers"),
        ({"right_pose": np.full((N, 48), np.nan), "left_pose": np.full((N, 48), np.nan)},
         "no frame holds a hand"),
    ],
)  # fmt: skip
def test_arrays_of_a_wrong_shape_are_named(tmp_path, hands, change, told):
    fixture.write(tmp_path / "a.npz", fixture.arrays(hands) | change, fixture.convention())
    refuse(tmp_path, told)


@pytest.mark.parametrize("lacking", ["right_betas", "left_transl"])
def test_a_missing_array_is_named(tmp_path, hands, lacking):
    content = {key: value for key, value in fixture.arrays(hands).items() if key != lacking}
    fixture.write(tmp_path / "a.npz", content, fixture.convention())
    refuse(tmp_path, f"but no {lacking}")
    fixture.write(tmp_path / "a.npz", {"poses": np.zeros((N, 48))})
    refuse(tmp_path, "holds no pose, right_pose or left_pose; it has poses")


def test_times_and_frame_numbers(tmp_path, hands):
    content = fixture.arrays(hands) | {"frames": np.arange(10, 16), "fps": np.array(30.0)}
    fixture.write(tmp_path / "a.npz", content, fixture.convention())
    take = read_one(tmp_path / "a.npz")
    assert take.name == "a" and take.frames.tolist() == list(range(10, 16))
    np.testing.assert_allclose(take.timestamps, np.arange(10, 16) / 30)


def test_broken_archives_and_pickled_objects(tmp_path, hands):
    path = fixture.write(tmp_path / "a.npz", fixture.arrays(hands), fixture.convention())
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PK\x03\x04 nonsense"):
        path.write_bytes(content)
        refuse(tmp_path, "a.npz: not a whole .npz of plain arrays")
    np.savez(path, pose=np.array([{"right": 1}], dtype=object), allow_pickle=True)
    refuse(tmp_path, "holds pickled objects")
    path.unlink()
    np.save(tmp_path / "s01.mano.npy", np.array({"right": 1}, dtype=object), allow_pickle=True)
    refuse(tmp_path, r"s01.mano.npy: pickled objects .* numpy.savez\('NAME.npz', right_pose=")
    refuse(tmp_path / "s01.mano.npy", "numpy.savez")
    (tmp_path / "s01.mano.npy").unlink()
    refuse(tmp_path, r"has no \*.npz.*docs/datasets.md")
    refuse(tmp_path / "nowhere", "is not a folder")


def test_no_splits_of_its_own(tmp_path, hands):
    fixture.write(tmp_path / "a.npz", fixture.arrays(hands), fixture.convention())
    with pytest.raises(DataError, match="mano has no splits"):
        read_one(tmp_path, Choice(splits=("train",)))


@pytest.mark.parametrize("relative_to", ["flat", "mean"])
@pytest.mark.parametrize("translation", ["transl", "wrist"])
@pytest.mark.parametrize("joints", [True, False])
def test_built_on_mano_the_joints_are_the_authors(
    tmp_path, hands, relative_to, translation, joints
):
    said = {"relative_to": relative_to, "translation": translation}
    content = fixture.arrays(hands, joints=joints, unit="mm", pose_order="openpose", **said)
    content["right_betas"] = content["right_betas"].copy()
    content["right_betas"][2, 0] = np.nan
    toml = fixture.convention(unit="mm", pose_order="openpose", **said)
    fixture.write(tmp_path / "set/a.npz", content, toml)
    built = build("mano", tmp_path / "set", tmp_path, mano=True)
    assert built.samples.frame.tolist() == [0, 1, 3, 4, 5] and built.samples.present.all()
    assert built.gap(hands.joints, tips="smplx").max() < 1e-6
    assert built.rejects[0]["detail"].endswith("right betas is not finite")


def test_a_wrong_declaration_is_contradicted_by_the_joints(tmp_path, hands):
    content = fixture.arrays(hands, relative_to="mean")
    fixture.write(tmp_path / "set/a.npz", content, fixture.convention(relative_to="flat"))
    with pytest.raises(
        DataError, match="mm, read as relative to the flat hand, joints kinematic; 2 mm are"
    ):
        build("mano", tmp_path / "set", tmp_path, mano=True)


def test_the_command_line_takes_the_declaration(tmp_path, hands):
    fixture.write(tmp_path / "set/a.npz", fixture.arrays(hands, unit="mm"))
    said = tmp_path / "mine.toml"
    said.write_text(fixture.convention(unit="mm"))
    built = build("mano", tmp_path / "set", tmp_path, "--convention", str(said), mano=True)
    assert built.gap(hands.joints, tips="smplx").max() < 1e-6


def test_on_the_open_hand_joints_are_fitted_and_parameters_alone_refused(tmp_path, hands):
    fixture.write(tmp_path / "set/a.npz", fixture.arrays(hands), fixture.convention())
    built = build("mano", tmp_path / "set", tmp_path, mano=False)
    assert built.samples.present.all() and len(built.samples.frame) == N
    assert built.gap(hands.joints, tips="smplx").max() < 0.01e-3
    for translation in ("transl", "wrist"):
        content = fixture.arrays(hands, joints=False, translation=translation)
        fixture.write(
            tmp_path / translation / "a.npz", content, fixture.convention(translation=translation)
        )
        with pytest.raises(DataError, match="give --hand-model the folder of MANO_RIGHT"):
            build("mano", tmp_path / translation, tmp_path / f"out-{translation}", mano=False)

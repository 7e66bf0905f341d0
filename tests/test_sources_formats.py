"""Every format, written from known joints and read back; the BVH reader against scipy."""

import os
from pathlib import Path

import ezc3d
import numpy as np
import pytest
from fixtures_mocap import (
    hand_tree,
    named,
    reencode_c3d,
    two_hands,
    write_bvh,
    write_c3d,
    write_csv,
    write_motive,
    write_trc,
)
from scipy.spatial.transform import Rotation

from twohand500k.conventions import JOINT_NAMES, SIDES
from twohand500k.errors import DataError
from twohand500k.sources import Landmark, read_takes
from twohand500k.sources.recordings.bvh import read_bvh
from twohand500k.sources.recordings.c3d import read_c3d


def assert_same(take, joints, atol=1e-6):
    """A take equals joints (T, 2, 21, 3), where both hands were written."""
    assert [landmark.joint for landmark in take.landmarks] == list(range(21))
    np.testing.assert_allclose(take.points, joints, atol=atol)


@pytest.mark.parametrize("unit, scale", [("mm", 1e-3), ("cm", 1e-2), ("m", 1.0), ("inch", 0.0254)])
def test_csv_round_trip_finds_the_unit(tmp_path, unit, scale):
    joints = two_hands()
    (take,) = read_takes(write_csv(tmp_path / "a.csv", named(joints / scale)))
    assert_same(take, joints)
    assert (take.unit.name, take.unit.how, take.unit.scale_to_m) == (unit, "inferred", scale)
    np.testing.assert_allclose(take.timestamps, np.arange(len(joints)) / 100, atol=1e-6)
    assert take.sides.tolist() == [True, True] and take.name == "a" and len(take.files) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("opensim", [False, True])
def test_trc_round_trip_with_blanks(tmp_path, newline, opensim):
    joints = two_hands()
    joints[3, 0, 7] = np.nan
    joints[5, 1, 20] = np.nan  # the last cells of a line
    path = write_trc(tmp_path / "a.trc", named(joints * 1000), newline=newline, opensim=opensim)
    (take,) = read_takes(path)
    assert_same(take, joints)
    assert take.unit.how == "file" and take.frames[0] == 1


def test_c3d_round_trip_drops_unlabelled_and_marks_missing(tmp_path):
    joints = two_hands()
    joints[2, 0, 4] = np.nan
    points = {f"Anna:{k}": v for k, v in named(joints * 1000).items()}
    points["*7"] = points["Anna:right_wrist"] + 1
    (take,) = read_takes(write_c3d(tmp_path / "a.c3d", points))
    assert_same(take, joints, atol=1e-6)
    assert take.subject == "Anna" and take.unit.how == "file"
    assert "1 unlabelled points dropped" in take.notes


def test_c3d_with_more_than_255_labels(tmp_path):
    joints = two_hands(8)
    points = {f"body{i:03d}": np.full((8, 3), float(i + 1)) for i in range(260)}
    points |= named(joints * 1000)
    (take,) = read_takes(write_c3d(tmp_path / "a.c3d", points))
    assert_same(take, joints)


@pytest.mark.parametrize("processor", ["intel", "dec", "mips"])
@pytest.mark.parametrize("integers", [False, True])
def test_c3d_of_other_machines_and_number_types(tmp_path, processor, integers):
    """The same points as another machine stores them read the same, and as ezc3d reads them."""
    joints = two_hands(9)
    joints[2, 0, 4] = np.nan
    path = write_c3d(tmp_path / "a.c3d", named(joints * 1000))
    reencode_c3d(path, processor, integers, scale=0.05)
    (take,) = read_takes(path)
    assert_same(take, joints, atol=6e-5 if integers else 1e-6)
    if processor != "mips":
        twin = ezc3d.c3d(str(path))["data"]["points"]
        ours = read_c3d(path).positions
        np.testing.assert_allclose(ours, np.moveaxis(twin[:3], 0, -1).swapaxes(0, 1), atol=1e-3)


def test_motive_round_trip_bones_and_glove_names(tmp_path):
    joints = two_hands()
    joints[4, 1] = np.nan
    finger = {"little": "Pinky", "middle": "Middle"}
    points = {}
    for s, letter in enumerate("RL"):
        points[f"Skeleton 001:{letter}Hand"] = joints[:, s, 0]
        for j, name in enumerate(JOINT_NAMES[1:], start=1):
            base = name[:-1]
            if name[-1] != "4":
                title = finger.get(base, base.capitalize())
                points[f"Skeleton 001:{letter}{title}{name[-1]}"] = joints[:, s, j]
    (take,) = read_takes(write_motive(tmp_path / "a.csv", points))
    expected = joints[:, :, [landmark.joint for landmark in take.landmarks]]
    assert len(take.landmarks) == 16 and take.source == "motive-hand"
    np.testing.assert_allclose(take.points, expected, atol=1e-6)
    assert take.unit.name == "m" and take.unit.how == "file"
    assert np.isnan(take.points[4, 1]).all() and np.isfinite(take.points[4, 0]).all()


def test_arrays_round_trip(tmp_path):
    joints = two_hands()
    np.save(tmp_path / "both.npy", joints.astype(np.float32))
    (take,) = read_takes(tmp_path / "both.npy")
    assert_same(take, joints)
    np.savez(
        tmp_path / "named.npz", right=joints[:, 0] * 1e3, left=joints[:, 1] * 1e3, fps=60, unit="mm"
    )
    (take,) = read_takes(tmp_path / "named.npz")
    assert_same(take, joints)
    assert take.unit.how == "file" and take.timestamps[1] == pytest.approx(1 / 60)
    np.save(tmp_path / "left_hand.npy", joints[:, 1])
    (take,) = read_takes(tmp_path / "left_hand.npy")
    assert take.sides.tolist() == [False, True] and np.isnan(take.points[:, 0]).all()
    np.testing.assert_allclose(take.points[:, 1], joints[:, 1])


def test_arrays_in_other_orders(tmp_path):
    joints = two_hands()
    order = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    mano = np.empty_like(joints)
    mano[:, :, order] = joints
    np.save(tmp_path / "m.npy", mano)
    assert_same(read_takes(tmp_path / "m.npy", map="mano21")[0], joints)
    np.save(tmp_path / "m16.npy", mano[:, :, :16])
    (take,) = read_takes(tmp_path / "m16.npy")  # 16 joints can only be MANO's
    expected = joints[:, :, [landmark.joint for landmark in take.landmarks]]
    np.testing.assert_allclose(take.points, expected)


def test_wrong_array_order_is_told_by_the_proportions(tmp_path):
    joints = two_hands()
    tip_to_base = [20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16]
    shuffled = np.empty_like(joints)
    shuffled[:, :, tip_to_base] = joints
    np.save(tmp_path / "i.npy", shuffled)
    with pytest.raises(DataError, match="proportions"):
        read_takes(tmp_path / "i.npy")
    assert_same(read_takes(tmp_path / "i.npy", map="interhand26m-order", unit="m")[0], joints)


def test_bvh_round_trip_any_euler_order_per_joint(tmp_path):
    joints = two_hands()
    hands = [hand_tree(joints * 100, side) for side in range(2)]
    points = {"mixamorig:Hips": np.tile([0.0, 90.0, 0.0], (len(joints), 1))}
    parents = [-1]
    for tree, tree_parents in hands:
        start = len(points)
        points |= tree
        parents += [0 if p < 0 else start + p for p in tree_parents]
    (take,) = read_takes(write_bvh(tmp_path / "a.bvh", points, parents))
    assert_same(take, joints, atol=2e-6)
    assert take.source == "mixamo" and take.unit.name == "cm"


@pytest.mark.parametrize("seed", range(4))
def test_bvh_agrees_with_scipy_on_random_hierarchies(tmp_path, seed):
    """Twin: offsets and rotation channels only, random order and number of channels per joint."""
    rng = np.random.default_rng(seed)
    n_joints, n_frames = 12, 15
    parents = [-1, *(int(rng.integers(0, j)) for j in range(1, n_joints))]
    children = [[c for c in range(n_joints) if parents[c] == j] for j in range(n_joints)]
    offsets = rng.normal(size=(n_joints, 3))
    offsets[0] = 0
    orders = ["".join(rng.permutation(list("XYZ"))[: rng.integers(1, 4)]) for _ in range(n_joints)]
    lines, sequence = ["HIERARCHY"], []

    def emit(j, depth):
        sequence.append(j)
        channels = [f"{a}rotation" for a in orders[j]]
        if depth == 0:
            channels = ["Zposition", "Xposition", *channels, "Yposition"]  # mixed on purpose
        lines.extend(
            [
                f"{'ROOT' if depth == 0 else 'JOINT'} j{j}",
                "{",
                "OFFSET " + " ".join(map(repr, map(float, offsets[j]))),
                f"CHANNELS {len(channels)} " + " ".join(channels),
            ]
        )
        for child in children[j]:
            emit(child, depth + 1)
        if not children[j]:
            lines.extend(["End Site", "{", "OFFSET 0 1.5 0", "}"])
        lines.append("}")

    emit(0, 0)
    angles = {j: rng.uniform(-180, 180, (n_frames, len(orders[j]))) for j in range(n_joints)}
    root = rng.normal(size=(n_frames, 3))
    lines += ["MOTION", f"Frames: {n_frames}", "Frame Time: 0.01"]
    for t in range(n_frames):
        row = []
        for j in sequence:
            values = list(angles[j][t])
            if j == 0:
                values = [root[t, 2], root[t, 0], *values, root[t, 1]]
            row += values
        lines.append(" ".join(repr(float(v)) for v in row))
    path = tmp_path / "x.bvh"
    path.write_text("\n".join(lines) + "\n")
    points = read_bvh(path)

    for t in range(n_frames):
        position, rotation = {}, {}
        for j in sequence:
            local = Rotation.from_euler(orders[j], angles[j][t], degrees=True)
            if j == 0:
                position[j], rotation[j] = root[t], local
            else:
                p = parents[j]
                position[j] = position[p] + rotation[p].apply(offsets[j])
                rotation[j] = rotation[p] * local
            at = points.positions[t, points.names.index(f"j{j}")]
            np.testing.assert_allclose(at, position[j], atol=1e-12)
            if not children[j]:
                tip = points.positions[t, points.names.index(f"j{j}.end")]
                expected = position[j] + rotation[j].apply([0, 1.5, 0])
                np.testing.assert_allclose(tip, expected, atol=1e-12)


def test_bvh_is_read_fast_enough(tmp_path):
    """4,000 frames of 126 channels parse well within a build of 1,000 interactions/s."""
    import time

    joints = two_hands(4000)
    path = write_bvh(tmp_path / "right.bvh", *hand_tree(joints * 100, 0))
    start = time.perf_counter()
    read_bvh(path)
    assert time.perf_counter() - start < 4.0  # about 0.25 s on one free core


@pytest.mark.parametrize("suffix", [".trc", ".csv", ".bvh", ".npy"])
def test_left_and_right_files_are_one_take(tmp_path, suffix):
    joints = two_hands()
    folder = tmp_path / "cup7"
    folder.mkdir()
    for s, side in enumerate(SIDES):
        path = folder / f"{side}Hand{suffix}"
        points = {name: joints[:, s, j] * 1000 for j, name in enumerate(JOINT_NAMES)}
        if suffix == ".trc":
            write_trc(path, points)
        elif suffix == ".csv":
            write_csv(path, points)
        elif suffix == ".bvh":
            write_bvh(path, *hand_tree(joints * 1000, s), seed=s)
        else:
            np.save(path, joints[:, s] * 1000)
    (take,) = read_takes(tmp_path)
    assert_same(take, joints, atol=1e-5)
    assert take.name == "cup7" and len(take.files) == 2
    (again,) = read_takes([folder / f"leftHand{suffix}", folder / f"rightHand{suffix}"])
    np.testing.assert_array_equal(again.points, take.points)
    (right,) = read_takes(folder, side="right")[:1]
    assert right.sides.tolist() == [True, False]


def test_an_object_beside_the_hands_is_left_out_and_noted(tmp_path):
    joints = two_hands()
    for s, side in enumerate(SIDES):
        write_bvh(tmp_path / f"{side}Hand.bvh", *hand_tree(joints * 100, s))
    cup = write_bvh(tmp_path / "cup.bvh", {"cup": joints[:, 0, 0]}, [-1])
    (take,) = read_takes(tmp_path)
    assert_same(take, joints, atol=1e-5)
    assert "cup.bvh beside it holds no hand and was left out" in take.notes
    with pytest.raises(DataError, match="no joint map fits its 1 names"):
        read_takes(cup)


def test_pair_is_cut_to_common_frames_and_says_so(tmp_path):
    joints = two_hands(40)
    for s, side in enumerate(SIDES):
        points = {name: joints[:, s, j] * 1000 for j, name in enumerate(JOINT_NAMES)}
        first, last = (0, 38) if s == 0 else (2, 40)
        # Frame numbers and times both start later in the left file.
        shifted = {k: v[first:last] for k, v in points.items()}
        path = write_trc(tmp_path / f"x_{side}.trc", shifted, first_frame=first + 1)
        if s:
            lines = path.read_text().splitlines()
            for i in range(5, len(lines)):
                cells = lines[i].split("\t")
                cells[1] = f"{(int(cells[0]) - 1) / 100:.6f}"
                lines[i] = "\t".join(cells)
            path.write_text("\n".join(lines) + "\n")
    (take,) = read_takes(tmp_path)
    np.testing.assert_allclose(take.points, joints[2:38], atol=1e-6)
    assert take.frames.tolist() == list(range(3, 39))
    assert any("right 38 and left 38" in note and "36 common" in note for note in take.notes)


def test_pair_of_different_times_or_rates_is_refused(tmp_path):
    joints = two_hands(20)
    for s, side in enumerate(SIDES):
        points = {name: joints[:, s, j] * 1000 for j, name in enumerate(JOINT_NAMES)}
        write_trc(tmp_path / f"x_{side}.trc", points, fps=100 if s else 50)
    with pytest.raises(DataError, match="frames/s; resample"):
        read_takes(tmp_path)


def names_of(*paths):
    return [take.name for take in read_takes(list(paths))]


def test_a_take_is_named_by_its_own_files_whatever_else_is_read(tmp_path):
    """Sample ids and splits hang on the name: alone or beside others, it must be the same."""
    joints = two_hands(5)
    both = {
        "q1/cupR.npy": "cupR",
        "q2/take.npz": "take",
        "q2/joints.npy": "joints",
        "q1/right take 1.npy": "right take 1",
        "q1/right-take-1.npy": "right-take-1",
        "q3/手.npy": "手",
        "q3/足.npy": "足",
        "q3/e\u0301.npy": "\u00e9",
    }
    for file in both:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        np.savez(path, joints) if path.suffix == ".npz" else np.save(path, joints)
    for side in SIDES:  # a pair of files whose names say the side and nothing else, and one more
        for file in (f"q4/{side}Hand.npy", f"q4/山_{side}.npy", f"q5/{side}/clap.npy"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / file, joints[:, SIDES.index(side)])
    pairs = {
        "q4": ("q4/rightHand.npy", "q4/leftHand.npy"),
        "山": ("q4/山_right.npy", "q4/山_left.npy"),
        "clap": ("q5/right/clap.npy", "q5/left/clap.npy"),
    }
    for file, name in both.items():
        assert names_of(tmp_path / file) == [name]
    for name, files in pairs.items():
        assert names_of(*(tmp_path / file for file in files)) == [name]
    assert names_of(tmp_path / "q4/rightHand.npy") == ["q4-rightHand"]
    assert sorted(names_of(tmp_path)) == sorted([*both.values(), *pairs])


def test_two_takes_of_one_name_are_refused_by_both_their_files(tmp_path):
    for file in ("q1/cupR.npy", "q2/cupR.npy"):
        (tmp_path / file).parent.mkdir()
        np.save(tmp_path / file, two_hands(5))
    with pytest.raises(DataError) as error:
        read_takes(tmp_path)
    text = str(error.value)
    assert str(tmp_path / "q1/cupR.npy") in text and str(tmp_path / "q2/cupR.npy") in text
    assert "both would be the take 'cupR'" in text and "rename" in text and "build them" in text
    assert "\n" not in text


def test_a_file_given_twice_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cup").mkdir()
    for s, side in enumerate(SIDES):
        np.save(f"cup/{side}.npy", two_hands(5)[:, s])
    np.save("a.npy", two_hands(5))
    Path("b.npy").symlink_to("a.npy")
    assert names_of("a.npy", tmp_path / "a.npy", "./cup/../a.npy", "b.npy") == ["a"]
    # The two hands belong together however their paths are written.
    (take,) = read_takes(["cup/left.npy", tmp_path / "cup" / "right.npy", "cup"])
    assert take.name == "cup" and take.sides.all() and len(take.files) == 2


def test_three_files_of_which_no_two_are_the_pair(tmp_path):
    for name in ("x_left", "x_right", "left_x"):
        np.save(tmp_path / f"{name}.npy", two_hands(5)[:, 0])
    with pytest.raises(DataError, match="which of them are one recording's two hands"):
        read_takes(tmp_path)


def test_a_file_name_that_is_no_text_is_refused(tmp_path):
    for name in (b"a\nb.npy", b"a\xff.npy"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        np.save(path, two_hands(5))
        with pytest.raises(DataError, match="rename the file") as error:
            read_takes(path)
        assert "\n" not in str(error.value)


def test_rows_gives_chunks_that_share_memory(tmp_path):
    np.save(tmp_path / "x.npy", two_hands(20))
    (take,) = read_takes(tmp_path / "x.npy")
    part = take.rows(slice(5, 9))
    assert part.n_frames == 4 and np.shares_memory(part.points, take.points)
    assert part.frames.tolist() == [5, 6, 7, 8] and part.landmarks == take.landmarks
    assert take.rows([3, 1]).frames.tolist() == [3, 1]


def test_landmark_knows_its_carrier_and_refuses_nonsense():
    assert Landmark("index4", 8).carrier == 3  # a tip rides on the distal joint
    assert Landmark("back", 0, "marker", surface="dorsal").carrier == 0
    with pytest.raises(ValueError, match="surface"):
        Landmark("back", 0, "marker")
    with pytest.raises(ValueError, match=r"0\.\.20"):
        Landmark("index5", 21)
    with pytest.raises(ValueError, match="weight"):
        Landmark("index4", 8, weight=0.0)


def test_left_handed_coordinates_are_turned(tmp_path):
    joints = two_hands()
    np.save(tmp_path / "x.npy", joints * [-1, 1, 1])
    (take,) = read_takes(tmp_path / "x.npy", coordinates="left-handed")
    assert_same(take, joints)
    assert any("x negated" in note for note in take.notes)
    with pytest.raises(DataError, match="coordinates 'unity'"):
        read_takes(tmp_path / "x.npy", coordinates="unity")

"""Broken and hostile files: one clear line, never a silent loss of frames, never a crash."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from fixtures_mocap import (
    hand_tree,
    named,
    two_hands,
    write_bvh,
    write_c3d,
    write_csv,
    write_motive,
    write_trc,
)

from twohand500k.conventions import JOINT_NAMES
from twohand500k.errors import DataError
from twohand500k.sources import read_takes
from twohand500k.sources.recordings.c3d import read_c3d

N = 12


def make(folder: Path, kind: str) -> Path:
    """A good right-hand recording of N frames in the format of that kind."""
    joints = two_hands(N)
    points = {f"right_{name}": joints[:, 0, j] * 1000 for j, name in enumerate(JOINT_NAMES)}
    if kind == "bvh":
        return write_bvh(folder / "right.bvh", *hand_tree(joints * 1000, 0))
    if kind == "motive":
        return write_motive(folder / "a.csv", points, unit="Millimeters", kind="Marker")
    if kind == "npz":
        np.savez(folder / "a.npz", right=joints[:, 0])
        return folder / "a.npz"
    writer = {"trc": write_trc, "csv": write_csv, "c3d": write_c3d}[kind]
    return writer(folder / f"a.{kind}", points)


def refuse(path: Path, told: str, **options) -> str:
    with pytest.raises(DataError, match=told) as error:
        read_takes(path, **options)
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    return text


KINDS = ["bvh", "c3d", "trc", "csv", "motive", "npz"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_good_file_is_good(tmp_path, kind):
    (take,) = read_takes(make(tmp_path, kind))
    assert take.n_frames == N and take.sides.tolist() == [True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_never_loses_frames_silently(tmp_path, kind):
    """Cut anywhere: refused, or (a cut inside the last number) all frames and a note.

    A plain CSV says nowhere how many frames it has. Cut inside the last number of a line it reads
    as a shorter recording, with the note; cut exactly between two lines nothing can tell.
    """
    path = make(tmp_path, kind)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    cuts = sorted({*rng.integers(1, len(data), 60).tolist(), *range(len(data) - 25, len(data))})
    for cut in cuts:
        path.write_bytes(data[:cut])
        try:
            (take,) = read_takes(path)
        except DataError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
            continue
        told = any("newline" in note for note in take.notes)
        between_lines = data[cut - 1] == 10
        assert take.n_frames == N or (kind == "csv" and (between_lines or told))
        assert told or between_lines or kind in ("c3d", "npz")
    assert refused > 55


@pytest.mark.parametrize("kind", KINDS)
def test_empty_and_foreign_bytes(tmp_path, kind):
    path = make(tmp_path, kind)
    for junk in (b"", b"\n", b"hello", bytes(range(256)) * 40, b"\0" * 3000, b"PK\x03\x04" * 50):
        path.write_bytes(junk)
        with pytest.raises(DataError) as error:
            read_takes(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_raises_data_errors_only(tmp_path, kind):
    path = make(tmp_path, kind)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for k in range(120):
        broken = bytearray(data)
        for at in rng.integers(0, len(data) if k % 2 else min(len(data), 2048), 3):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(broken)
        try:
            read_takes(path)
        except DataError as error:
            assert str(path) in str(error)


def test_frame_counts_told_and_found(tmp_path):
    for kind, line in (("bvh", "Frames: 12"), ("trc", "\t12\t"), ("motive", "Frames,12")):
        path = make(tmp_path, kind)
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[:-3]) + "\n")
        assert line in "\n".join(lines[:200])
        refuse(path, "declares 12 .*and holds 9")


def test_non_numbers_name_line_and_column(tmp_path):
    path = make(tmp_path, "csv")
    lines = path.read_text().splitlines()
    cells = lines[5].split(",")
    cells[7] = "oops"
    lines[5] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    refuse(path, "line 6, column 8: 'oops' is not a number; leave a missing value blank")
    path = make(tmp_path, "bvh")
    text = path.read_text().replace("OFFSET ", "OFFSET x", 1)
    path.write_text(text)
    refuse(path, "line 4: needs 3 numbers")


def test_counts_and_names_that_do_not_agree(tmp_path):
    path = make(tmp_path, "trc")
    text = path.read_text()
    path.write_text(text.replace("\t21\tmm", "\t20\tmm"))
    refuse(path, "declares 20 marker names and holds 21")
    path.write_text(text.replace("right_index2", "right_index1"))
    refuse(path, "'right_index1' stands twice")
    path = make(tmp_path, "bvh")
    text = path.read_text()
    path.write_text(text.replace("CHANNELS 6", "CHANNELS 7", 1))
    refuse(path, "CHANNELS announces 7 and lists 6")
    path.write_text(text.replace("}", "", 1))
    refuse(path, "a '}' is missing")
    path = make(tmp_path, "csv")
    path.write_text(path.read_text().replace("right_index1_y", "right_index1_x"))
    refuse(path, "'right_index1_x' stands twice")


def test_frame_numbers_must_increase(tmp_path):
    path = make(tmp_path, "csv")
    lines = path.read_text().splitlines()
    lines[4], lines[5] = lines[5], lines[4]
    path.write_text("\n".join(lines) + "\n")
    refuse(path, "frame 4 is followed by frame 3; frame numbers must increase")


def test_encodings(tmp_path):
    path = make(tmp_path, "csv")
    good = read_takes(path)[0].points
    text = path.read_text()
    for encoded in (text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), text.encode("latin-1")):
        path.write_bytes(encoded)
        np.testing.assert_array_equal(read_takes(path)[0].points, good)
    path.write_bytes(text.encode("utf-16")[:-3] + b"\xd8")
    refuse(path, "UTF-16|values where")


def test_missing_values_stay_missing(tmp_path):
    joints = two_hands(N)
    points = {f"right_{name}": joints[:, 0, j].copy() for j, name in enumerate(JOINT_NAMES)}
    points["right_ring3"][:] = np.nan  # a column never seen
    points["right_index1"][2] = np.inf
    points["right_index2"][3] = [0.0, 0.0, 0.0]  # the zeros of a lost marker
    points["right_index3"][4, 1] = np.nan  # half a point
    points["right_thumb3"][5] = [40.0, 2.0, 1.0]  # 40 m away
    (take,) = read_takes(write_csv(tmp_path / "a.csv", points))
    at = {landmark.name: k for k, landmark in enumerate(take.landmarks)}
    assert "ring3" not in at and len(take.landmarks) == 20
    for frame, name in ((2, "index1"), (3, "index2"), (4, "index3"), (5, "thumb3")):
        assert np.isnan(take.points[frame, 0, at[name]]).all()
    assert int(take.seen[:, 0].sum()) == 20 * N - 4
    notes = " | ".join(take.notes)
    for told in ("infinite", "(0, 0, 0)", "farther than 0.5 m", "left out: ring3"):
        assert told in notes


def test_a_hand_lost_as_zeros_is_missing_but_a_wrist_at_the_origin_is_not(tmp_path):
    joints = two_hands(N)[:, :1]
    relative = joints[:, 0] - joints[:, 0, :1]
    relative[4] = 0.0
    np.save(tmp_path / "right.npy", relative)
    (take,) = read_takes(tmp_path / "right.npy")
    assert np.isnan(take.points[4]).all() and np.isfinite(take.points[3, 0]).all()
    assert any("relative to the wrist" in note for note in take.notes)


def test_two_hands_each_in_its_own_wrist_frame_are_refused(tmp_path):
    joints = two_hands(N)
    np.save(tmp_path / "both.npy", joints - joints[:, :, :1])
    refuse(tmp_path / "both.npy", "where the hands are to each other is lost")
    (take,) = read_takes(tmp_path / "both.npy", side="left")
    assert take.sides.tolist() == [False, True]


def test_takes_without_any_hand(tmp_path):
    np.save(tmp_path / "right.npy", np.full((5, 21, 3), np.nan))
    refuse(tmp_path / "right.npy", "no point of any hand is seen in any of its 5 frames")
    np.save(tmp_path / "right.npy", np.zeros((0, 21, 3)))
    refuse(tmp_path / "right.npy", "holds no frames")
    np.save(tmp_path / "right.npy", np.zeros((5, 20, 3)))
    refuse(tmp_path / "right.npy", "no joint map fits")
    np.save(tmp_path / "right.npy", np.zeros((5, 63)))
    refuse(tmp_path / "right.npy", "no joint map fits|give \\(T, J, 3\\)|end in")


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_pickles_in_array_files_do_not_run(tmp_path):
    marker = tmp_path / "pickle-ran"
    pickle.loads(pickle.dumps(_Bomb(marker))).close()
    assert marker.exists()  # the bomb is live
    marker.unlink()
    path = tmp_path / "right.npy"
    np.save(path, np.array([_Bomb(marker)], dtype=object), allow_pickle=True)
    refuse(path, "pickled objects")
    path.write_bytes(pickle.dumps(_Bomb(marker)))
    refuse(path, "not a readable array file")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["bvh", "trc", "csv", "motive"])
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf \n\n"])
def test_a_byte_order_mark_and_nothing_else(tmp_path, kind, mark):
    path = make(tmp_path, kind)
    path.write_bytes(mark)
    refuse(path, f"holds no {path.suffix[1:].upper()} text .* export it again")


def test_a_cell_longer_than_any_name(tmp_path):
    path = make(tmp_path, "csv")
    path.write_text("x" * 200_000 + path.read_text())
    refuse(path, "line 1: .*cells")


def test_units_and_frame_numbers_in_arrays(tmp_path):
    joints, path = two_hands(3), tmp_path / "a.npz"
    for unit in (np.array(["mm", "mm"]), np.array([], dtype=str)):
        np.savez(path, joints=joints, unit=unit)
        refuse(path, 'unit holds [02] values; give one, such as "mm"')
    for last in (1e30, 2.0**53, np.inf, np.nan, 2.5):
        np.savez(path, joints=joints, frames=np.array([0, 1, last]))
        refuse(path, "is no whole number below 2")
    np.savez(path, joints=joints, frames=np.array([0, 1, 2**63], dtype=np.uint64))
    refuse(path, "is no whole number below 2")
    np.savez(path, joints=joints, frames=np.array([0, 1, 2**53 - 1]))
    assert read_takes(path)[0].frames.tolist() == [0, 1, 2**53 - 1]
    np.savez(path, joints=joints, fps=np.inf)
    refuse(path, "fps must be one positive number")


def test_any_damaged_byte_of_a_c3d_header_is_a_data_error_at_most(tmp_path):
    """Every byte of header and parameters: as 0, and as the types float and text."""
    path = make(tmp_path, "c3d")
    data = path.read_bytes()
    start = (int.from_bytes(data[16:18], "little") - 1) * 512
    refused: list[str] = []
    for at in range(start):
        for value in {0, 4, 0xFF} - {data[at]}:
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                read_c3d(path)
            except DataError as error:
                refused.append(str(error))
                assert str(path) in refused[-1] and "\n" not in refused[-1]
    assert any("POINT:USED is" in line for line in refused)
    assert any("POINT:RATE is" in line for line in refused)


def test_inputs_that_are_not_there(tmp_path):
    refuse(tmp_path / "nowhere", "no such file or folder")
    refuse(tmp_path, "no recordings inside")
    (tmp_path / "a.fbx").write_bytes(b"x")
    refuse(tmp_path / "a.fbx", r"\.fbx is not read; give \.bvh")
    with pytest.raises(DataError, match="no input given"):
        read_takes([])
    with pytest.raises(DataError, match="side 'both' is unknown"):
        read_takes(tmp_path, side="both")  # type: ignore[arg-type]


def test_motive_in_local_coordinates_is_refused(tmp_path):
    points = named(two_hands(N))
    path = write_motive(tmp_path / "a.csv", points, space="Local")
    refuse(path, "export it from Motive with Global coordinates")

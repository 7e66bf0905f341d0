"""Joint maps find the right names or say what they wanted; units are told by the hand's size."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_mocap import HAND_LENGTH_M, named, two_hands, write_c3d, write_csv, write_trc

from twohand500k.conventions import JOINT_NAMES, SIDES
from twohand500k.errors import DataError
from twohand500k.sources import Landmark, list_maps, load_map, read_takes
from twohand500k.sources.recordings.joint_map import choose_map, plain_name, side_of, without_side
from twohand500k.sources.recordings.units import UNITS, find_unit, measure

ALL_JOINTS = tuple(Landmark(name, j) for j, name in enumerate(JOINT_NAMES))
OWN_MAP = """
name = "mine"
unit = "mm"
optional = ["thumb4"]
[joints]
wrist = "{side}Root"
index1 = ["{side}Zeigefinger1", "{side}Zeige1"]
index2 = "{side}Zeigefinger2"
thumb4 = "{side}DaumenSpitze"
middle1 = { names = "{side}Mittel1", weight = 0.5 }
[markers]
back = { names = "{side}Ruecken", joint = "wrist", surface = "dorsal", carrier = "wrist" }
"""


def test_every_shipped_map_parses_and_finds_its_own_names(tmp_path):
    assert {m.name for m in list_maps()} >= {
        "manipnet", "sig18", "leap", "mixamo", "rokoko", "perception-neuron", "motive-hand",
        "openpose21", "webxr25", "mano21", "interhand26m-order", "named21",
    }  # fmt: skip
    for joint_map in list_maps():
        # Names of both hands where the map can say a side, else of one.
        sided = any("{side}" in name for e in joint_map.entries for name in e.names)
        words = [w[0] for w in joint_map.side_words.values()] if sided else [""]
        names = []
        for word in words:
            for e in joint_map.entries:
                names += [n.replace("{side}", word) for n in (e.names[0], e.towards) if n]
            if joint_map.n_joints:
                names = list(
                    dict.fromkeys([*names, *(f"{word}{i}" for i in range(joint_map.n_joints))])
                )
            names += [n.replace("{side}", word) for n in joint_map.evidence]
        names = list(dict.fromkeys(names))
        if joint_map.auto:
            chosen, hands = choose_map(None, joint_map.formats[0], names, tmp_path)
            assert chosen.name == joint_map.name
        chosen, hands = choose_map(joint_map, joint_map.formats[0], names, tmp_path)
        assert [hand.slot for hand in hands] == (list(SIDES) if sided else [""])
        assert all(not hand.missing for hand in hands)
        joints = [e.landmark.joint for e in joint_map.entries]
        assert joint_map.name == "sig18" or len(set(joints)) == len(joints)


def test_every_map_of_a_named_source_says_its_licence_and_citation():
    for joint_map in list_maps():
        if joint_map.url:
            assert joint_map.license and joint_map.citation, joint_map.name


def test_names_are_compared_without_case_prefix_or_separators():
    assert plain_name("mixamorig:LeftHandIndex1") == plain_name("left_hand_index_1")
    assert plain_name("RightHand:Index Tip") == "rightindextip"  # a marker set named after its hand
    assert side_of("leftHand") == side_of("take_l_03") == side_of("LHand") == "left"
    assert side_of("ringfinger") == side_of("left_and_right") == side_of("clear") == ""
    assert without_side("sequence.16_dense_left") == "sequence.16_dense"


def test_own_map(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(OWN_MAP)
    joint_map = load_map(file)
    assert joint_map.entries[-1].landmark.kind == "marker"
    joints = two_hands() * 1000
    words = {"Root": 0, "Zeige1": 5, "zeigefinger 2": 6, "Mittel1": 9, "Ruecken": 0}
    points = {f"{s}_{w}": joints[:, i, j] for i, s in enumerate(SIDES) for w, j in words.items()}
    (take,) = read_takes(write_csv(tmp_path / "a.csv", points), map=file)
    assert [m.name for m in take.landmarks] == ["wrist", "index1", "index2", "middle1", "back"]
    assert take.landmarks[3].weight == 0.5 and take.source == "mine"
    np.testing.assert_allclose(take.points[:, 1, 1], joints[:, 1, 5] / 1000, atol=1e-6)


def test_wrong_map_says_what_it_wanted_and_what_is_there(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(OWN_MAP)
    points = named(two_hands(), "{side}_Zeige_finger_{joint}")
    path = write_csv(tmp_path / "a.csv", points)
    with pytest.raises(DataError) as error:
        read_takes(path, map=file)
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    assert "rightRoot" in text and "closest" in text and "right_Zeige_finger_" in text


def test_no_map_fits(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"foot": np.ones((3, 3)), "knee": np.ones((3, 3))})
    with pytest.raises(DataError, match=r"no joint map fits its 2 names \(foot, knee\).*manipnet"):
        read_takes(path)
    with pytest.raises(DataError, match="no such file, and no map of that name"):
        read_takes(path, map="manipnett")


@pytest.mark.parametrize(
    "text, told",
    [
        ("name = 'x'\n[joints]\nindex5 = 'a'", "did you mean 'index"),
        ("name = 'x'\n[joints]\nwrist = 3", "text or a list of texts"),
        ("[joints]\nwrist = 'a'", "needs a name"),
        ("name = 'x'\nunit = 'km'\n[joints]\nwrist = 'a'", "unit 'km'"),
        ("name = 'x'\njoint = 1", "unknown key 'joint'"),
        ("name = 'x'\n[markers]\nm = { names = 'a', joint = 'wrist' }", "both joint and surface"),
        ("name = 'x'\norder = [1, 2]", "21 joint numbers"),
        ("name = 'x'\n[joints", "not valid TOML"),
        ("name = 'x'\nlicense = 3\n[joints]\nwrist = 'a'", "license 3 should be a text"),
        ("name = 'x'\njoints = 3", "joints 3 should be a table"),
        ("name = 'x'\nsides = 'R'\n[joints]\nwrist = 'a'", "sides 'R' should be a table"),
        ("name = 'x'\nauto = 'no'\n[joints]\nwrist = 'a'", "auto 'no' should be true or false"),
        ("name = 'x'\norder = 3", "21 joint numbers"),
        ("name = 'x'\nframe = 'moon'\n[joints]\nwrist = 'a'", "frame 'moon' is not one of world"),
        ("name = 'x'\nunit = ['m']\n[joints]\nwrist = 'a'", "unit .'m'. should be a text"),
        ("name = 'x'\n[joints]\nwrist = { names = 'a', towards = 'b', at = 'c' }", "towards needs"),
        ("name = 'x'\n[joints]\nwrist = { names = 'a', towards = 1, at = 0.5 }", "towards needs"),
        (
            f"name = 'x'\ncount = 'all'\norder = {list(range(21))}",
            "count 'all' should be a whole number",
        ),
        ("name = 'x'\noptional = ['ring1']\n[joints]\nwrist = 'a'", "optional names 'ring1'"),
    ],
)
def test_broken_map_is_one_clear_line(tmp_path, text, told):
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=told) as error:
        load_map(file)
    assert str(file) in str(error.value)


def test_two_maps_that_read_one_file_differently_are_an_error(tmp_path, monkeypatch):
    from twohand500k.sources.recordings import joint_map as module

    first = load_map("named21")
    file = tmp_path / "other.toml"
    swapped = {"index1": "middle1", "middle1": "index1"}
    lines = [f"{n} = '{{side}}_{swapped.get(n, n)}'" for n in JOINT_NAMES]
    file.write_text("name = 'other'\n[joints]\n" + "\n".join(lines))
    second = load_map(file)
    monkeypatch.setattr(module, "list_maps", lambda: (first, second))
    path = write_csv(tmp_path / "a.csv", named(two_hands()))
    with pytest.raises(DataError, match=r"several joint maps \(named21, other\)"):
        read_takes(path)


def test_one_of_two_hands_incomplete_is_not_dropped_silently(tmp_path):
    points = named(two_hands())
    del points["left_ring2"]
    path = write_csv(tmp_path / "a.csv", points)
    with pytest.raises(DataError, match="lacks left_ring2"):
        read_takes(path)
    (take,) = read_takes(path, side="right")
    assert take.sides.tolist() == [True, False]


def test_side_from_argument_or_refused(tmp_path):
    joints = two_hands()
    points = {name: joints[:, 1, j] for j, name in enumerate(JOINT_NAMES)}
    path = write_csv(tmp_path / "x.csv", points)
    with pytest.raises(DataError, match="which hand it is; give a side"):
        read_takes(path)
    (take,) = read_takes(path, side="left")
    assert take.sides.tolist() == [False, True]
    named_right = write_csv(tmp_path / "x_right.csv", points)
    with pytest.raises(DataError, match="holds no left hand"):
        read_takes(named_right, side="left")


def test_two_subjects_in_one_file(tmp_path):
    joints = two_hands() * 1000
    points = {f"Anna:{k}": v for k, v in named(joints).items()}
    points |= {f"Ben:{k}": v + 500 for k, v in named(joints).items()}
    path = write_c3d(tmp_path / "a.c3d", points)
    with pytest.raises(DataError, match="choose a subject \\(Anna, Ben\\)"):
        read_takes(path)
    (take,) = read_takes(path, subject="Ben")
    assert take.subject == "Ben"
    np.testing.assert_allclose(take.points, joints / 1000 + 0.5, atol=1e-6)
    with pytest.raises(DataError, match="no subject 'Carl'"):
        read_takes(path, subject="Carl")


def test_landmark_between_two_points(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text(
        "name='m'\nunit='m'\n[joints]\nwrist='{side}_wrist'\nindex1='{side}_index1'\n"
        "index2='{side}_index2'\nmiddle1='{side}_middle1'\n"
        "thumb1={names='{side}_thumb1', towards='{side}_wrist', at=0.25, weight=0.3, note='made'}"
    )
    joints = two_hands()
    (take,) = read_takes(write_csv(tmp_path / "a.csv", named(joints)), map=file)
    expected = 0.75 * joints[:, :, 1] + 0.25 * joints[:, :, 0]
    np.testing.assert_allclose(take.points[:, :, 4], expected, atol=1e-6)
    assert "made" in take.notes


@pytest.mark.parametrize("length", [0.115, 0.15, 0.189, 0.225])
@pytest.mark.parametrize("unit", list(UNITS))
def test_every_unit_is_inferred_from_child_to_large_adult(unit, length):
    points = two_hands(hand_length=length) / UNITS[unit]
    found, _ = find_unit(points, ALL_JOINTS, None, None, "x")
    assert (found.name, found.how) == (unit, "inferred")
    assert measure(points, ALL_JOINTS).hand_length * UNITS[unit] == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("unit", list(UNITS))
@pytest.mark.parametrize("declared", list(UNITS))
def test_a_wrong_unit_is_caught_and_the_right_one_named(unit, declared):
    points = two_hands() / UNITS[unit]
    if unit == declared:
        assert find_unit(points, ALL_JOINTS, declared, None, "x")[0].how == "declared"
        return
    with pytest.raises(DataError, match=rf"{unit} would make it {HAND_LENGTH_M * 1e3:.0f} mm"):
        find_unit(points, ALL_JOINTS, declared, None, "x")


def test_unit_in_the_file_is_checked_and_may_be_overruled(tmp_path):
    joints = two_hands()
    path = write_trc(tmp_path / "a.trc", named(joints * 1000), unit="m")
    with pytest.raises(DataError, match=r"in m \(file\) its hand is 1.85e\+05 mm long; mm would"):
        read_takes(path)
    (take,) = read_takes(path, unit="mm")
    np.testing.assert_allclose(take.points, joints, atol=1e-6)
    path = write_trc(tmp_path / "b.trc", named(joints * 1000), unit="furlong")
    (take,) = read_takes(path)
    assert take.unit.how == "inferred" and any("furlong" in note for note in take.notes)
    with pytest.raises(DataError, match="unit 'furlong' is unknown"):
        read_takes(path, unit="furlong")


def test_hands_in_two_units_are_caught():
    points = two_hands()
    points[:, 1] *= 1000
    with pytest.raises(DataError, match="in one unit"):
        find_unit(points, ALL_JOINTS, None, None, "x")


def test_unit_survives_noise_dropouts_and_missing_ends():
    rng = np.random.default_rng(0)
    points = two_hands(200) * 1000 + rng.normal(scale=3.0, size=(200, 2, 21, 3))
    points[rng.random((200, 2, 21)) < 0.3] = np.nan
    keep = [j for j in range(21) if j not in (0, 4, 8, 12, 16, 20)]  # no wrist, no tips
    landmarks = tuple(ALL_JOINTS[j] for j in keep)
    assert find_unit(points[:, :, keep], landmarks, None, None, "x")[0].name == "mm"


def test_surface_markers_find_their_unit():
    joints = two_hands(100) * 1000
    keep = [j for j in range(1, 21) if j % 4 != 3 or j < 4]  # no DIP, as SIG18
    rng = np.random.default_rng(1)
    points = joints[:, :, keep] + rng.normal(scale=8.0, size=(1, 2, len(keep), 3))
    landmarks = tuple(Landmark(JOINT_NAMES[j], j, "marker", surface="dorsal") for j in keep)
    assert find_unit(points, landmarks, None, None, "x")[0].name == "mm"


def test_unit_that_cannot_be_measured():
    tips = (4, 8, 12)
    points = two_hands()[:, :, tips]
    landmarks = tuple(ALL_JOINTS[j] for j in tips)
    with pytest.raises(DataError, match="declare the unit"):
        find_unit(points, landmarks, None, None, "x")
    unit, notes = find_unit(points, landmarks, "m", None, "x")
    assert unit.how == "declared" and "could not be checked" in notes[0]


def test_the_map_in_the_docs_loads(tmp_path):
    docs = Path(__file__).parents[1] / "docs" / "sources.md"
    block = docs.read_text("utf8").split("```toml\n")[1].split("```")[0]
    (tmp_path / "m.toml").write_text(block, "utf8")
    joint_map = load_map(tmp_path / "m.toml")
    assert joint_map.coordinates == "left-handed" and len(joint_map.entries) == 6
    # ... and the docs list every shipped map.
    assert all(f"| `{m.name}`" in docs.read_text("utf8") for m in list_maps())

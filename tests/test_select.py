"""`twohand select`: the condition's language, exact shares, merging, what is refused."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from physics_fixture import DrawPairs, Frames, StandIn, hands, pairs
from shards_fixture import dataset_bytes
from splice_fixture import DrawHands, Hands

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.physics.run import PhysicsFixOptions, physics_fix, plan_physics_fix
from twohand500k.pipeline import UnitResult, run
from twohand500k.select.run import SelectOptions, plan_select, select_samples
from twohand500k.select.shares import counts_of, largest_remainder
from twohand500k.select.where import NAMES, column_of, parse_where
from twohand500k.shards import Dataset
from twohand500k.shards.verify import verify


@dataclass(frozen=True)
class InTrain:
    """The samples of a stage under other ids, in the split train."""

    stage: DrawPairs

    def __call__(self, unit):
        samples = self.stage(unit).samples
        ids = np.char.add(samples.sample_id, "-again")
        split = np.full(len(samples), "train")
        return UnitResult(replace(samples, sample_id=ids, split=split), (), len(samples))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """wrist, world: pairs, not repaired; fixed: `world` with its overlap repaired by rote."""
    folder = tmp_path_factory.mktemp("select")
    pairs(folder / "wrist", Frames("a", tuple(range(40))), frame="right wrist")
    pairs(folder / "world", Frames("b", tuple(range(30))), Frames("c", tuple(range(25)), single=3))
    plan = plan_physics_fix(folder / "world", hands(), PhysicsFixOptions(), make=StandIn)
    physics_fix(plan, folder / "fixed", PhysicsFixOptions(), progress=False)
    return folder


def selected(out: Path, folders, seed=0, workers=1, **options):
    chosen = SelectOptions(**options)
    plan = plan_select(folders, hands(), chosen, seed)
    select_samples(plan, out, chosen, workers=workers, progress=False)
    return Dataset(out)


def assert_verifies(dataset):
    findings = verify(dataset.path, hands())
    assert all(f.passed for f in findings), [str(x) for f in findings for x in f.faults]


# The language


def test_condition_agrees_with_numpy(made):
    dataset = Dataset(made / "fixed")
    volume = 1e6 * dataset.array("volume_before").astype(np.float64)
    depth = 1e3 * dataset.array("penetration_depth").astype(np.float64)
    verdict, take = dataset.array("repair_verdict"), dataset.array("take")
    hand = dataset.array("present").sum(axis=1)
    realised = dataset.array("contact_realised")
    frame = dataset.array("frame")
    cases = {
        "volume_before_cm3 < 2": volume < 2,
        "not volume_before_cm3 < 2": volume >= 2,
        "1 <= volume_before_cm3 < 2 and hands == 2": (volume >= 1) & (volume < 2) & (hand == 2),
        'verdict == "repaired" or take in ("c",)': (verdict == "repaired") | (take == "c"),
        'verdict != "repaired"': verdict != "repaired",
        'verdict.startswith("re") and "pair" in verdict': verdict == "repaired",
        'verdict not in ("repaired", "untouched")': ~np.isin(verdict, ["repaired", "untouched"]),
        "penetration_depth_mm < volume_before_cm3": depth < volume,
        "frame in (3, 5, 7)": np.isin(frame, [3, 5, 7]),
        "known(volume_before_cm3)": ~np.isnan(volume),
        f'contact == "{realised[-1, 1]}"': (realised == realised[-1, 1]).any(axis=1),
        "contact == contact_right": np.ones(len(dataset), bool),
        "-1 < frame": frame > -1,
    }
    assert np.isnan(volume).any() and (volume < 2).any() and (volume >= 2).any()
    for text, expected in cases.items():
        np.testing.assert_array_equal(parse_where(text).mask(dataset), expected, err_msg=text)


def test_what_is_not_known_is_neither_chosen_nor_refused(made):
    dataset = Dataset(made / "world")
    assert np.isnan(dataset.array("penetration_volume")).all()
    for text in ("penetration_volume_cm3 < 1", "not penetration_volume_cm3 < 1",
                 "volume_before_cm3 > 0", "displacement_mm in (0, 1)",
                 "not displacement_mm in (0, 1)"):  # fmt: skip
        assert not parse_where(text).mask(dataset).any(), text
    assert parse_where('penetration_volume_cm3 < 1 or take == "b"').mask(dataset).sum() == 30
    assert parse_where('not (penetration_volume_cm3 < 1 and take == "c")').mask(dataset).sum() == 30


def test_a_per_hand_field_is_that_of_the_worse_hand(made):
    dataset = Dataset(made / "fixed")
    told = column_of(dataset, "limit_violation_deg")
    both = np.degrees(dataset.array("limit_violation").astype(np.float64))
    known = dataset.array("repair_verdict") != "single_hand"
    assert 40 < known.sum() < len(dataset)
    np.testing.assert_allclose(told[known], both[known].max(axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    "text, told",
    [
        ("volum < 3", "fields: penetration_volume_cm3"),
        ("penetration_volume_cm3 <", "cannot be read"),
        ("", "cannot be read"),
        ('source < "a"', "orders texts"),
        ("source == 3", "compares a text with a number"),
        ('source in "splice"', "is one text"),
        ("1 < 2", "names no field"),
        ("hands", "is no condition"),
        ("hands + 1 == 2", "is not a field"),
        ("hands == True", "is not a field"),
        ("take.upper() == 'A'", "is not a field"),
        ("__import__('os').system('true')", "is no condition"),
        ("(lambda: hands)() == 2", "is not a field"),
        ("[x for x in take]", "is no condition"),
        ("take.__class__ == 'a'", "is not a field"),
        ("hands is 2", "compares in a way"),
        ("known('a')", "is no condition"),
        ("frame.startswith('a')", "is a number"),
        ("not " * 5000 + "hands == 2", "nested too deeply|cannot be read"),
    ],
)
def test_what_the_language_does_not_know_is_refused_in_a_line(text, told):
    with pytest.raises(DataError, match=told) as error:
        parse_where(text)
    assert "\n" not in str(error.value)


def test_every_word_reads_from_any_dataset(made):
    for folder in ("wrist", "fixed"):
        dataset = Dataset(made / folder)
        for name in NAMES:
            assert len(column_of(dataset, name)) == len(dataset)


# How many


def test_shares_are_exact():
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights = dict(zip("abcd", rng.uniform(0, 1, 4), strict=True))
        count = int(rng.integers(1, 1000))
        counts = largest_remainder(weights, count)
        assert sum(counts.values()) == count
        whole = sum(weights.values())
        assert all(abs(counts[k] - count * w / whole) < 1 for k, w in weights.items())
    have = {"a": 10, "b": 100, "c": 50}
    assert counts_of(have, 30, {"a": 1, "b": 2}) == {"a": 10, "b": 20, "c": 0}
    assert counts_of(have, None, {"a": 1, "b": 3}) == {"a": 10, "b": 30, "c": 0}
    with pytest.raises(DataError, match=r"a has 10 samples.*its share of 60 is 20"):
        counts_of(have, 60, {"a": 1, "b": 2})
    lines: list[str] = []
    filled = counts_of(have, 60, {"a": 1, "b": 1, "c": 0.5}, fill=True, log=lines.append)
    assert sum(filled.values()) == 60 and filled["a"] == 10 and "a has 10" in lines[0]
    with pytest.raises(DataError, match=r"110 samples.* 120 are wanted"):
        counts_of(have, 120, {"a": 1, "b": 1}, fill=True)


def test_a_draw_is_its_seeds_and_keeps_the_order(made):
    def ids(seed, **options):
        chosen = SelectOptions(**options)
        plan = plan_select([made / "wrist", made / "world"], hands(), chosen, seed)
        return [list(part.rows) for part in plan.chosen]

    assert ids(0, count=30) == ids(0, count=30) != ids(1, count=30)
    a, b = ids(3, count=30, shares={"world": 2.0, "wrist": 1.0})
    assert (len(a), len(b)) == (10, 20) and a == sorted(set(a)) and b == sorted(set(b))
    with pytest.raises(DataError, match="96 samples are wanted, only 95"):
        ids(0, count=96)
    with pytest.raises(DataError, match="is none of the folders: wrist, world"):
        ids(0, shares={"wirst": 1.0})


# Merging


def test_rows_come_back_as_they_were(made, tmp_path):
    out = selected(tmp_path / "out", [made / "fixed"], where='verdict == "repaired"', count=20)
    assert_verifies(out)
    whole = Dataset(made / "fixed").samples()
    taken = out.samples()
    assert len(taken) == 20 and set(taken.repair_verdict) == {"repaired"}
    row = {i: k for k, i in enumerate(whole.sample_id)}
    again = whole.select([row[i] for i in taken.sample_id])
    for name in ("pose", "transl", "joints", "pose_before", "displacement", "penetration_volume"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(again, name))
    assert not list(out.rejects())
    assert [r["stage"] for r in out.index.history] == ["splice", "physics-fix", "select"]


def test_frames_that_differ_meet_at_the_right_wrist(made, tmp_path):
    out = selected(tmp_path / "out", [made / "wrist", made / "world"], shard_size=32)
    assert_verifies(out)
    assert out.conventions["frame"] == "right wrist"
    assert [s.samples for s in out.index.shards] == [32, 32, 31]
    new, old = out.samples(np.arange(40, 95)), Dataset(made / "world").samples()
    assert (new.sample_id == old.sample_id).all()
    assert (new.pose[:, 0, 0] == 0).all() and np.abs(new.joints[:, 0, 0]).max() < 1e-7
    both = old.present.all(axis=1)
    assert both.sum() == 52

    def distances(joints):
        flat = joints[both].reshape(-1, 42, 3).astype(np.float64)
        return np.linalg.norm(flat[:, :, None] - flat[:, None], axis=-1)

    # All distances of all joints of both hands: the pair moved as one.
    assert np.abs(distances(new.joints) - distances(old.joints)).max() < 1e-6
    kept = out.samples(np.arange(40))
    np.testing.assert_array_equal(kept.pose, Dataset(made / "wrist").samples().pose)


def test_a_repaired_pair_moves_with_its_before(made, tmp_path):
    out = selected(tmp_path / "out", [made / "fixed"], frame="right wrist")
    assert_verifies(out)
    new, old = out.samples(), Dataset(made / "fixed").samples()
    assert (new.pose_before[:, 0, 0] == 0).all()
    still = old.repair_verdict == "untouched"
    assert still.any()
    np.testing.assert_array_equal(new.pose_before[still], new.pose[still])
    np.testing.assert_allclose(new.displacement, old.displacement, atol=1e-6)


def test_the_same_bytes_whatever_the_workers_and_left_alone_when_finished(made, tmp_path):
    options = {"count": 60, "shard_size": 16, "seed": 5}
    folders = [made / "wrist", made / "world"]
    selected(tmp_path / "one", folders, **options)
    selected(tmp_path / "two", folders, workers=2, **options)
    assert dataset_bytes(tmp_path / "one") == dataset_bytes(tmp_path / "two")
    chosen = SelectOptions(count=60, shard_size=16)
    again = select_samples(
        plan_select(folders, hands(), chosen, 5), tmp_path / "one", chosen, progress=False
    )
    assert again.was_finished
    with pytest.raises(DataError, match="option count = 60, this command has 50"):
        selected(tmp_path / "one", folders, count=50, shard_size=16, seed=5)


def test_what_does_not_fit_is_refused_with_a_remedy(made, tmp_path):
    def refuse(told, folders, **options):
        with pytest.raises(DataError, match=told):
            plan_select([made / f for f in folders], hands(), SelectOptions(**options))

    refuse("physics-fix --input .*wrist.* --drop repair", ["fixed", "wrist"])
    refuse("in more than one dataset, as 'drawn/b/0000'.*world.*fixed", ["world", "fixed"])
    refuse("'world', where it lay in the frame 'camera'", ["world"], frame="camera")
    refuse("none of 40 samples is chosen", ["wrist"], where='take == "z"')
    refuse("none of 40 samples is chosen.*train", ["wrist"], splits=("train",))
    merged = plan_select([made / "fixed", made / "wrist"], hands(), SelectOptions(drop=("repair",)))
    assert merged.stage.groups == ("splice",)
    first = plan_select(
        [made / "world", made / "fixed"], hands(),
        SelectOptions(on_duplicate="first", drop=("repair",)),
    )  # fmt: skip
    assert [len(part.rows) for part in first.chosen] == [55, 0]


def test_another_hand_model_and_a_split_told_twice_are_refused(made, tmp_path):
    from shards_fixture import build, synthetic_hands

    build(tmp_path / "other")
    with pytest.raises(DataError, match="twohand hand convert"):
        plan_select([made / "wrist", tmp_path / "other"], hands(), SelectOptions())
    with pytest.raises(DataError, match="twohand hand convert"):
        plan_select([made / "wrist"], synthetic_hands(), SelectOptions())
    run(InTrain(DrawPairs("world")), [Frames("b", (50, 51))], tmp_path / "x", name="splice",
        options={}, hands=hands(), progress=False, command="twohand splice")  # fmt: skip
    folders = [made / "world", tmp_path / "x"]
    told = "subject 'subject of b' of drawn is in the split val of world and train of x"
    with pytest.raises(DataError, match=told):
        plan_select(folders, hands(), SelectOptions())
    assert plan_select(folders, hands(), SelectOptions(splits=("train",))).samples == 2


def test_a_dataset_without_the_splice_group_gets_it_unknown(made, tmp_path):
    units = [Hands("bank", "both", "train", 6)]
    run(DrawHands(hands()), units, tmp_path / "bank", name="build", options={}, hands=hands(),
        progress=False, command="twohand build")  # fmt: skip
    out = selected(tmp_path / "out", [tmp_path / "bank", made / "world"])
    assert_verifies(out)
    taken = out.samples()
    assert (taken.bank_id[:6] == "").all() and np.isnan(taken.placement_standoff[:6]).all()
    assert (taken.bank_id[6:] == "bank/1").all()


def test_a_left_hand_alone_has_no_right_wrist(made, tmp_path):
    units = [Hands("bank", "left", "train", 6)]
    run(DrawHands(hands()), units, tmp_path / "bank", name="build", options={}, hands=hands(),
        progress=False, command="twohand build")  # fmt: skip
    with pytest.raises(DataError, match=r"6 samples without a right hand.*hands == 2"):
        plan_select([tmp_path / "bank", made / "wrist"], hands(), SelectOptions())


# The command


def test_command_counts_selects_and_explains_itself(made, tmp_path):
    base = [
        "select",
        str(made / "wrist"),
        str(made / "world"),
        "--out",
        str(tmp_path / "out"),
        "-q",
    ]
    shown = CliRunner().invoke(
        twohand, [*base, "--share", "wrist=1", "--share", "world=1", "--where", "hands == 2",
                  "--where", "frame < 20", "--count", "20", "--dry-run", "--json"]
    )  # fmt: skip
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.output)
    assert told["samples"] == 20 and [d["chosen"] for d in told["datasets"]] == [10, 10]
    assert [d["meeting"] for d in told["datasets"]] == [20, 37] and told["frame"] == "right wrist"
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(twohand, [*base, "--workers", "1"])
    assert done.exit_code == 0 and "95" in done.output, done.output
    assert_verifies(Dataset(tmp_path / "out"))
    fields = CliRunner().invoke(twohand, ["select", "--fields"])
    assert fields.exit_code == 0 and all(name in fields.output for name in NAMES)
    assert CliRunner().invoke(twohand, [*base, "--share", "wrist"]).exit_code == 2

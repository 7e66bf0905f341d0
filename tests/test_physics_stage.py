"""The repair's stage: nothing lost, before kept, frames kept, the same bytes however it is run."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from physics_fixture import DiesOnce, Frames, StandIn, hands, pairs
from shards_fixture import dataset_bytes

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.measure import pair_displacement
from twohand500k.ik.convert import convert_dataset
from twohand500k.physics import preview
from twohand500k.physics import stage as physics_stage
from twohand500k.physics.repair import MOST_DEPTH, MOST_VOLUME, RepairOptions
from twohand500k.physics.run import PhysicsFixOptions, physics_fix, plan_physics_fix
from twohand500k.physics.stage import bin_name, joints_of, pair_input
from twohand500k.physics.windows import RUN_IN, WINDOW, frame_order, takes_in_order
from twohand500k.pipeline import RunSummary, UnitResult, rng_for, run
from twohand500k.shards import Dataset, Samples, verify

N = 70


@pytest.fixture(scope="module", params=["world", "right wrist"])
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("given") / "pairs"
    none = (-1,) * 30
    return pairs(
        out, Frames("a", tuple(range(40))), Frames("b", none, single=3), frame=request.param
    )


@pytest.fixture(scope="module")
def fixed(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fix(given, tmp_path_factory.mktemp("fixed") / "out").folder


def fix(  # type: ignore[no-untyped-def]
    folder: Path, out: Path, workers: int = 1, seed: int = 0, make=StandIn, **options
) -> RunSummary:
    chosen = PhysicsFixOptions(**{"shard_size": 16, **options})
    plan = plan_physics_fix(folder, hands(), chosen, seed, make)
    return physics_fix(
        plan, out, chosen, workers=workers, progress=False, command="twohand physics-fix"
    )


def by_id(folder: Path) -> dict[str, Samples]:
    samples = Dataset(folder).samples()
    return {str(i): samples.select([k]) for k, i in enumerate(samples.sample_id)}


def told(samples: Samples) -> physics_stage.Repaired:
    """What the stand-in says about a sample given alone."""
    rng = rng_for(0, str(samples.sample_id[0]))
    return StandIn(hands(), RepairOptions()).repair(pair_input(samples, 0), rng)


def test_every_sample_is_kept_or_refused_and_verify_passes(given: Path, fixed: Path) -> None:
    before, after = by_id(given), by_id(fixed)
    rejects = {reject.sample_id: reject for reject in Dataset(fixed).rejects()}
    assert {*after, *rejects} == {*before} and not {*after} & {*rejects}
    single = 0
    for sample_id, sample in before.items():
        if not sample.present.all():
            assert after[sample_id].repair_verdict[0] == "single_hand"
            single += 1
            continue
        verdict = told(sample).verdict
        if sample_id in rejects:
            assert rejects[sample_id].reason == verdict and rejects[sample_id].source == "drawn"
        else:
            assert after[sample_id].repair_verdict[0] == verdict
    assert single == 3 and {r.reason for r in rejects.values()} == {
        "penetration_left", "self_penetration",
    }  # fmt: skip
    findings = {f.check: f for f in verify.verify(fixed, hands())}
    assert not [f for f in findings.values() if not f.passed]
    assert "67 pairs" not in findings["repair"].summary
    assert f"{len(after) - 3} pairs" in findings["repair"].summary


def test_rejects_tell_their_numbers(fixed: Path) -> None:
    details = {reject.reason: reject.detail for reject in Dataset(fixed).rejects()}
    assert details["penetration_left"].startswith("0.300 cm3 inside both hands, ")
    assert "mm before the repair; at most 0.1 cm3 and 2 mm are kept" in details["penetration_left"]
    assert details["self_penetration"] == (
        "0.001 / 0.100 cm3 of right / left inside itself, 0.001 / 0.002 before the repair"
    )


def test_before_is_what_came_in_and_after_is_what_the_repair_made(given: Path, fixed: Path) -> None:
    frame = Dataset(fixed).conventions["frame"]
    assert frame == Dataset(given).conventions["frame"]
    moved = 0
    for sample_id, after in by_id(fixed).items():
        before = by_id_cached(given)[sample_id]
        assert after.pose_before is not None and after.transl_before is not None
        np.testing.assert_array_equal(after.pose_before, before.pose)
        np.testing.assert_array_equal(after.transl_before, before.transl)
        for name in (
            "betas", "present", "source", "subject", "take", "frame", "split", "fit_error",
            "contact_intended", "bank_id", "placement", "placement_standoff", "mirrored",
        ):  # fmt: skip
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        if not before.present.all():
            np.testing.assert_array_equal(after.pose, before.pose)
            assert np.isnan([after.volume_before, after.depth_before, after.displacement]).all()
            assert np.isnan(after.penetration_volume).all() and after.evaluations[0] == 0
            continue
        result = told(before)
        assert after.penetration_volume[0] == np.float32(result.after.volume)
        assert after.volume_before[0] == np.float32(result.before.volume)
        assert after.depth_before[0] == np.float32(result.before.depth)
        assert after.displacement[0] == pytest.approx(result.displacement, abs=1e-6)
        assert after.evaluations[0] == 7
        assert after.contact_realised[0].tolist() == ["index tip", "index pad"]
        # The pair's shape is the repair's; in the world its place is too.
        made = joints_of(
            hands(), result.pose[None], before.betas.astype(float), result.transl[None]
        )[0]
        assert pair_displacement(made, after.joints[0]) < 1e-6
        if frame == "world":
            assert np.abs(made - after.joints[0]).max() < 1e-6
        else:
            assert (after.pose[0, 0, 0] == 0).all() and np.abs(after.joints[0, 0, 0]).max() < 1e-7
        if result.verdict == "untouched":
            np.testing.assert_array_equal(after.pose, before.pose)
            np.testing.assert_array_equal(after.transl, before.transl)
            assert after.displacement[0] == 0
        moved += after.displacement[0] > 1e-4
    assert moved > 20


def by_id_cached(folder: Path) -> dict[str, Samples]:
    if folder not in _READ:
        _READ[folder] = by_id(folder)
    return _READ[folder]


_READ: dict[Path, dict[str, Samples]] = {}


def test_the_run_counts_what_became_of_the_samples(given: Path, tmp_path: Path) -> None:
    summary = fix(given, tmp_path / "out")
    counts = summary.stats.counts
    verdicts = ("untouched", "repaired", "single_hand", "penetration_left", "self_penetration")
    assert sum(counts[v] for v in verdicts) == summary.n_in == N
    assert summary.n_kept == sum(counts[v] for v in verdicts[:3])
    starts = [name for name in counts if name.startswith("from ")]
    assert sum(counts[name] for name in starts) == N - 3
    assert sum(counts[f"kept {name}"] for name in starts) == summary.n_kept - 3
    assert summary.stats.summaries["displacement_m"].n == summary.n_kept - 3
    record = Dataset(tmp_path / "out").index.history[-1]
    assert record["stage"] == "physics-fix" and record["options"]["method"] == "guided"


def test_same_bytes_for_any_workers_and_after_a_kill(
    given: Path, fixed: Path, tmp_path: Path
) -> None:
    fix(given, tmp_path / "two", workers=2)
    assert dataset_bytes(tmp_path / "two") == dataset_bytes(fixed)
    dies = DiesOnce(tmp_path / "died")
    with pytest.raises(DataError, match="a worker process died"):
        fix(given, tmp_path / "killed", workers=2, make=dies)
    assert (tmp_path / "died").exists() and not (tmp_path / "killed/index.json").exists()
    again = fix(given, tmp_path / "killed", workers=2, make=dies)
    assert again.n_in == N
    assert dataset_bytes(tmp_path / "killed") == dataset_bytes(fixed)


@pytest.mark.parametrize("options", [{"shard_size": 7}, {"limit": 55}, {"seed": 1}])
def test_a_sample_does_not_depend_on_its_unit_but_on_the_seed(
    fixed: Path, given: Path, tmp_path: Path, options: dict
) -> None:
    other = by_id(fix(given, tmp_path / "out", **options).folder)
    mine = by_id(fixed)
    shared = sorted({*mine} & {*other})
    same = [np.array_equal(mine[i].pose, other[i].pose, equal_nan=True) for i in shared]
    assert all(same) != ("seed" in options)
    if "shard_size" in options:
        assert {*mine} == {*other}
    if "limit" in options:
        assert Dataset(tmp_path / "out").run["counts"]["in"] == 55


def test_a_second_repair_keeps_the_first_before(fixed: Path, given: Path, tmp_path: Path) -> None:
    twice = by_id(fix(fixed, tmp_path / "out", seed=5).folder)
    first = by_id(fixed)
    assert len(twice) > 20
    for sample_id, after in twice.items():
        once = first[sample_id]
        np.testing.assert_array_equal(after.pose_before, once.pose_before)
        np.testing.assert_array_equal(after.volume_before, once.volume_before)
        if not after.present.all():
            assert after.repair_verdict[0] == "single_hand" and after.evaluations[0] == 0
            continue
        assert after.evaluations[0] == 14
        same = (after.pose == once.pose).all() and (after.transl == once.transl).all()
        assert (after.repair_verdict[0] == once.repair_verdict[0]) or not same
    assert not [f for f in verify.verify(tmp_path / "out", hands()) if not f.passed]


def test_faults_of_the_data_and_of_the_code(given: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(hands().right, v_template=hands().right.v_template * 1.01)
    pair = dataclasses.replace(hands(), right=other)
    with pytest.raises(DataError, match=r"was made on the right hand model 'open.*hand convert"):
        plan_physics_fix(given, pair, PhysicsFixOptions())

    @dataclasses.dataclass(frozen=True)
    class TooMuch(StandIn):
        def repair(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            result = super().repair(*args, **kwargs)
            much = dataclasses.replace(result.after, volume=2e-7)
            return dataclasses.replace(result, verdict="repaired", after=much)

    with pytest.raises(ValueError, match=r"kept a pair with 0.2 cm3") as caught:
        fix(given, tmp_path / "code", make=TooMuch)
    assert any("while the sample 'drawn/" in note for note in caught.value.__notes__)


def test_a_dataset_made_again_meanwhile_is_not_mixed_in(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "pairs", Frames("a", tuple(range(20))))
    chosen = PhysicsFixOptions(shard_size=16)
    plan = plan_physics_fix(folder, hands(), chosen, make=StandIn)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    for path in (folder / ".work").iterdir():
        path.unlink()
    pairs(folder, Frames("b", tuple(range(20))))
    with pytest.raises(DataError, match="another one than when this run began"):
        physics_fix(plan, tmp_path / "out", chosen, progress=False)


def test_verify_holds_the_same_limits_as_the_repair() -> None:
    assert (verify.KEPT_VOLUME_M3, verify.KEPT_DEPTH_M) == (MOST_VOLUME, MOST_DEPTH)


@pytest.mark.parametrize(
    ("volume", "name"),
    [(0.0, "0-2 cm3"), (2e-6, "2-5 cm3"), (14.9e-6, "5-15 cm3"), (80e-6, "over 60 cm3"),
     (np.nan, "unknown")],
)  # fmt: skip
def test_bins(volume: float, name: str) -> None:
    assert bin_name(volume) == name


# Smooth takes


def test_the_next_frame_of_a_take(tmp_path: Path) -> None:
    """Steps of two are the take's usual step; a gap of 40 is none; no hand, no number: nothing."""
    shuffled = (8, 2, 0, 4, 6, 50, 52, 12)
    folder = pairs(
        tmp_path / "pairs", Frames("a", shuffled), Frames("b", (-1, -1)),
        Frames("c", (0, 1, 2), single=2),
    )  # fmt: skip
    order, follows = frame_order(Dataset(folder))
    frames = Dataset(folder).array("frame")[order].tolist()
    assert frames == [0, 2, 4, 6, 8, 12, 50, 52, -1, -1, 0, 1, 2]
    assert follows.tolist() == [
        False, True, True, True, True, True, False, True, False, False, False, False, False,
    ]  # fmt: skip


def test_windows_cover_every_frame_once_with_a_run_in_of_their_own(tmp_path: Path) -> None:
    long = WINDOW * 2 + 30
    folder = pairs(
        tmp_path / "pairs", Frames("a", tuple(range(long))), Frames("b", tuple(range(100, 140)))
    )
    for size in (100, 300, 10_000):
        units = takes_in_order(Dataset(folder), size)
        rows = np.concatenate([unit.rows[unit.written] for unit in units])
        assert rows.tolist() == list(range(long + 40))
        for unit in units:
            # Where a chain begins: the take's own begin, or a run-in before the window.
            for k in np.flatnonzero(~unit.follows):
                row = int(unit.rows[k])
                if row in (0, long):
                    assert unit.written[k]
                else:
                    assert (row + RUN_IN) % WINDOW == 0
                    assert not unit.written[k : k + RUN_IN].any() and unit.written[k + RUN_IN]


def test_a_smooth_take_is_the_same_for_any_units_and_workers(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "pairs", Frames("a", tuple(range(300))), Frames("b", (-1,) * 5))
    small = by_id(fix(folder, tmp_path / "small", smooth=True, shard_size=10).folder)
    large = by_id(fix(folder, tmp_path / "large", smooth=True, shard_size=1000, workers=2).folder)
    plain = by_id(fix(folder, tmp_path / "plain").folder)
    assert {*small} == {*large} == {*plain}
    assert all(np.array_equal(small[i].transl, large[i].transl) for i in small)
    differ = [i for i in small if not np.array_equal(small[i].transl, plain[i].transl)]
    assert len(differ) > 100 and all("/a/" in i for i in differ)
    assert Dataset(tmp_path / "small").index.history[-1]["options"]["smooth"] == {
        "window": WINDOW, "run_in": RUN_IN,
    }  # fmt: skip


def test_what_stands_still_cannot_be_kept_smooth(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "pairs", Frames("b", (-1,) * 5))
    with pytest.raises(DataError, match="no two neighbouring frames"):
        plan_physics_fix(folder, hands(), PhysicsFixOptions(smooth=True), make=StandIn)


# What verify holds of a repair


def test_verify_catches_a_repair_that_is_not_what_it_says(fixed: Path, tmp_path: Path) -> None:
    samples = Dataset(fixed).samples()
    assert samples.displacement is not None and samples.pose_before is not None
    both = np.flatnonzero(samples.present.all(axis=1))
    moved = both[samples.displacement[both] > 1e-3]
    still = both[samples.displacement[both] == 0]
    displacement = samples.displacement.copy()
    displacement[moved[0]] += 1e-4
    pose_before = samples.pose_before.copy()
    pose_before[still[0], 0, 3, 2] += 0.01
    volume, depth = samples.penetration_volume.copy(), samples.penetration_depth.copy()
    volume[moved[1]], depth[moved[2]] = 2e-7, 3e-3
    verdict = samples.repair_verdict.copy()
    verdict[moved[3]] = ""
    planted = dataclasses.replace(
        samples, displacement=displacement, pose_before=pose_before, penetration_volume=volume,
        penetration_depth=depth, repair_verdict=verdict,
    )  # fmt: skip
    frame = Dataset(fixed).conventions["frame"]
    unit = Frames("a", ())
    run(
        HandsOver(planted), [unit], tmp_path / "out", name="planted", options={}, hands=hands(),
        frame=frame, progress=False,
    )  # fmt: skip
    finding = {f.check: f for f in verify.verify(tmp_path / "out", hands())}["repair"]
    found = {(fault.row, fault.dataset) for fault in finding.faults}
    assert found == {
        (moved[0], "repair/displacement"), (still[0], "repair/displacement"),
        (still[0], "repair/verdict"), (moved[1], "quality/penetration_volume"),
        (moved[2], "quality/penetration_depth"), (moved[3], "repair/verdict"),
    }  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class HandsOver:
    """A stage that keeps what it is given."""

    samples: Samples

    def __call__(self, unit: Frames) -> UnitResult:
        return UnitResult(self.samples, (), len(self.samples))


def test_a_repair_moved_to_another_hand_model_still_verifies(fixed: Path, tmp_path: Path) -> None:
    size = 1.04
    models = []
    for model in (hands().right, hands().left):
        models.append(
            dataclasses.replace(
                model, name="larger", v_template=model.v_template * size,
                shapedirs=model.shapedirs * size, posedirs=model.posedirs * size,
            )
        )  # fmt: skip
    larger = HandPair(*models)
    convert_dataset(
        fixed, hands(), larger, tmp_path / "out", max_residual_m=0.01, workers=1, progress=False
    )
    assert not [f for f in verify.verify(tmp_path / "out", larger) if not f.passed]
    moved = Dataset(tmp_path / "out").array("displacement")
    here = Dataset(fixed).array("displacement")
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(here))
    assert (moved[here == 0] == 0).all() and (here == 0).sum() > 3
    assert np.nanmax(np.abs(moved - here)) < 5e-4


# The command, with the real repair


def test_the_command_repairs_draws_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two drawn pairs through Bullet and judge; the second call finds the dataset finished."""
    folder = pairs(tmp_path / "pairs", Frames("a", (0, 1, 2, 3)), frame="right wrist")
    out = tmp_path / "out"
    command = ["physics-fix", "--input", str(folder), "--out", str(out), "--workers", "1", "-q"]
    shown = CliRunner().invoke(twohand, [*command, "--dry-run"])
    assert "would repair 4 pairs of 4 samples (1 pairs of hand shapes, frame right wrist)" in (
        shown.output
    )
    assert not out.exists()
    monkeypatch.setattr(preview, "_LARGE", (64, 60))
    shown = CliRunner().invoke(twohand, [*command, "--json", "--limit", "3", "--preview", "1"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert told["in"] == 3 == sum(told["verdicts"].values())
    assert told["kept"] == sum(told["verdicts"][v] for v in ("repaired", "untouched"))
    assert sum(n["in"] for n in told["kept_by_volume_before"].values()) == 3
    assert not [f for f in verify.verify(out, hands()) if not f.passed]
    assert told["verdicts"]["repaired"]
    assert Path(told["pictures"][0]).name == "preview.png"
    assert len(list((out / "preview").iterdir())) == 1
    again = CliRunner().invoke(twohand, [*command, "--limit", "3"])
    assert "was already finished" in again.output and f"twohand verify {out}" in again.output
    other = CliRunner().invoke(twohand, [*command, "--limit", "3", "--effort", "fast"])
    assert isinstance(other.exception, DataError) and "effort" in str(other.exception)

"""The audit: every planted fault is found and named, and nothing else is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_fixture import HANDS, bent, draw, mirrored
from click.testing import CliRunner

from twohand500k.audit import AUDITED, AuditOptions, AuditReport, audit
from twohand500k.audit.detect import understand
from twohand500k.audit.facts import BENT, Facts
from twohand500k.audit.findings import findings_of, verdict_of
from twohand500k.audit.points import reject_sides
from twohand500k.cli.audit import _SOURCES
from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.shards import Dataset
from twohand500k.shards.verify import verify

N = 16
SOME = np.array([1, 6, 11])
TIP_TO_BASE = [0, *(4 * f + k for f in range(5) for k in (4, 3, 2, 1))]


def run(path: Path, out: Path, **given: object) -> AuditReport:
    options = AuditOptions(**{k: given.pop(k) for k in ("judge", "limit", "anew") if k in given})  # type: ignore[arg-type]
    return audit(path, out, HANDS, options=options, progress=False, **given)  # type: ignore[arg-type]


def found(report: AuditReport, name: str) -> set[tuple[int, int]]:
    """(frame, side) of all that have a finding."""
    (finding,) = [f for f in report.findings if f.name == name]
    rows, sides = finding.rows.tolist(), finding.sides.tolist()
    return {(int(report.facts.frame[r]), s) for r, s in zip(rows, sides, strict=True)}


def wrong(report: AuditReport) -> list[str]:
    return [f.name for f in report.findings if f.level == "wrong"]


@pytest.fixture(scope="module")
def joints() -> np.ndarray:
    return draw(N).joints


def save(folder: Path, name: str = "set", **arrays: np.ndarray) -> Path:
    np.savez(folder / f"{name}.npz", **arrays)
    return folder / f"{name}.npz"


# --- what PATH is --------------------------------------------------------------------------------


def test_sources_of_the_command_are_those_of_the_room() -> None:
    assert set(_SOURCES) == set(AUDITED)


@pytest.mark.parametrize(
    ("arrays", "source"),
    [
        ({"joints": (4, 2, 21, 3)}, "joints"),
        ({"right": (4, 21, 3), "left": (4, 21, 3)}, "joints"),
        ({"vertices": (4, 2, 778, 3)}, "vertices"),
        ({"predicted": (4, 2, 778, 3)}, "vertices"),
        ({"right_verts": (4, 60, 3), "left_verts": (4, 60, 3)}, "vertices"),
        ({"right_pose": (4, 48), "right_betas": (10,), "right_transl": (4, 3)}, "mano"),
    ],
)
def test_arrays_are_known_by_name_and_shape(
    tmp_path: Path, arrays: dict[str, tuple[int, ...]], source: str
) -> None:
    path = save(tmp_path, **{name: np.zeros(shape) for name, shape in arrays.items()})
    assert understand(path, None).source == source


def test_what_fits_two_ways_or_none_names_the_declaration(tmp_path: Path) -> None:
    both = save(tmp_path, "both", vertices=np.zeros((2, 2, 778, 3)), pose=np.zeros((2, 48)))
    with pytest.raises(DataError, match="--source vertices or --source mano"):
        understand(both, None)
    assert understand(both, "vertices").kind == "vertices"
    neither = save(tmp_path, "neither", labels=np.zeros(5))
    with pytest.raises(DataError, match="holds labels"):
        understand(neither, None)
    (tmp_path / "ho3d/train/ABF10/meta").mkdir(parents=True)
    (tmp_path / "ho3d/train/ABF10/meta/0000.pkl").touch()
    with pytest.raises(DataError, match="--source ho3d or h2o3d"):
        understand(tmp_path / "ho3d", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="say --source"):
        understand(tmp_path / "empty", None)
    with pytest.raises(DataError, match="no such file"):
        understand(tmp_path / "nowhere", None)


# --- joints --------------------------------------------------------------------------------------


def test_clean_joints_have_no_finding_and_keep_every_frame(
    joints: np.ndarray, tmp_path: Path
) -> None:
    report = run(save(tmp_path, joints=joints), tmp_path / "out")
    assert not report.findings and not report.failed
    assert "pass every gate" in report.verdict and "None of 16 pairs" in report.verdict
    assert report.data["quantities"]["residual_mm"]["largest"] < 0.5
    assert all(check.passed for check in verify(tmp_path / "out/dataset", HANDS))
    assert len(Dataset(tmp_path / "out/dataset")) == N
    told = json.loads((tmp_path / "out/audit.json").read_text())
    assert told["frames"] == N and told["verdict"] == report.verdict
    again = run(tmp_path / "set.npz", tmp_path / "out")
    assert again.data == report.data


def test_each_planted_hand_is_found_and_named(joints: np.ndarray, tmp_path: Path) -> None:
    planted = joints.copy()
    planted[1, 0] = mirrored(planted[1, 0] - planted[1, 0, 0]) + planted[1, 0, 0]
    planted[2] *= 1000.0
    planted[3, 1, 7, 1] = np.nan
    planted[4, 0, 9] = np.inf
    planted[5, 1] = planted[5, 1, TIP_TO_BASE]
    planted[6] = joints[6, ::-1]
    planted[7, 0, 5:9] = np.nan
    planted[9, 1] = np.nan
    planted[8] = bent(draw(N), np.array([8])).joints[8]
    report = run(save(tmp_path, joints=planted), tmp_path / "out")
    assert found(report, "mirrored") == {(1, 0), (6, 0), (6, 1)}
    assert found(report, "wrong_units") == {(2, 0), (2, 1)}
    assert found(report, "not_finite") == {(3, 1), (4, 0)}
    assert found(report, "tip_to_base") == {(5, 1)}
    assert found(report, "too_few_joints") == {(7, 0)}
    assert found(report, "bent_backwards") == {(8, 0)}
    assert int(report.facts.there.sum()) == 2 * N - 1, "a hand that is not given is not missed"
    assert report.data["joints_bent_backwards"] == {"index2 flexion": 1}
    kept = set(Dataset(tmp_path / "out/dataset").array("frame").tolist())
    assert kept == set(range(N)) - set(range(1, 9))


@pytest.mark.parametrize("how", ["mirrored", "swapped"])
def test_a_whole_take_of_the_other_side_is_a_finding_not_an_end(
    joints: np.ndarray, tmp_path: Path, how: str
) -> None:
    planted = mirrored(joints) if how == "mirrored" else joints[:, ::-1]
    report = run(save(tmp_path, joints=planted), tmp_path / "out")
    assert found(report, "mirrored") == {(frame, side) for frame in range(N) for side in (0, 1)}
    assert "swapped, or the coordinates are left-handed" in report.verdict
    # A mirror changes no overlap and no distance: the pairs are judged all the same.
    good = run(save(tmp_path, "good", joints=joints), tmp_path / "good-out")
    np.testing.assert_allclose(report.facts.distance, good.facts.distance, atol=1e-5)


def test_a_take_of_which_more_than_half_is_mirrored(joints: np.ndarray, tmp_path: Path) -> None:
    planted = joints[:, 0].copy()
    most = np.arange(N) % 3 > 0
    planted[most] = mirrored(planted[most])
    path = save(tmp_path, "set_right", joints=planted)
    report = run(path, tmp_path / "out")
    assert found(report, "mirrored") == {(frame, 0) for frame in np.flatnonzero(most).tolist()}


def test_one_side_of_a_take_mirrored(joints: np.ndarray, tmp_path: Path) -> None:
    planted = joints.copy()
    wrist = planted[:, 1, :1]
    planted[:, 1] = mirrored(planted[:, 1] - wrist) + wrist
    report = run(save(tmp_path, joints=planted), tmp_path / "out")
    assert found(report, "mirrored") == {(frame, 1) for frame in range(N)}
    assert "The left hands" in report.verdict and "is not known" in report.verdict
    assert np.isnan(report.facts.volume).all()


def test_root_relative_hands_pass_the_gates_and_are_not_judged_as_pairs(
    joints: np.ndarray, tmp_path: Path
) -> None:
    report = run(save(tmp_path, joints=joints - joints[:, :, :1]), tmp_path / "out")
    assert not wrong(report) and report.data["hands_ok"] == 2 * N
    assert "both wrists lie at the origin" in report.verdict


def test_millimetres_are_told_and_against_a_declaration_refused(
    joints: np.ndarray, tmp_path: Path
) -> None:
    path = save(tmp_path, joints=1000 * joints)
    assert "The numbers are mm" in run(path, tmp_path / "told").verdict
    report = run(path, tmp_path / "refused", declared={"unit": "m"})
    assert len(found(report, "wrong_units")) == 2 * N
    assert report.data["dataset_kept"] == 0, "nothing kept is a report, not an error"


def test_overlapping_pairs_are_found(tmp_path: Path) -> None:
    near, far = draw(N, together=True).joints, draw(N).joints
    far[SOME] = near[SOME]
    report = run(save(tmp_path, joints=far), tmp_path / "out")
    assert {frame for frame, _ in found(report, "overlap")} == set(SOME.tolist())
    assert wrong(report) == ["overlap"] and report.failed


# --- vertices ------------------------------------------------------------------------------------


def test_each_planted_mesh_is_found_and_named(tmp_path: Path) -> None:
    pairs = bent(draw(N), np.array([7]))
    planted = pairs.vertices
    planted[8] = draw(N, together=True).vertices[8]
    planted[1, 0] = mirrored(planted[1, 0])
    planted[2] *= 1000.0
    planted[3, 1, 5] = np.nan
    planted[4, 0] = planted[4, 0, np.random.default_rng(0).permutation(778)]
    planted[5] = planted[5, ::-1]
    planted[6, 1] = np.nan
    report = run(save(tmp_path, vertices=planted), tmp_path / "out")
    assert found(report, "mirrored") == {(1, 0), (5, 0), (5, 1)}
    assert found(report, "wrong_units") == {(2, 0), (2, 1)}
    assert found(report, "not_finite") == {(3, 1)}
    assert found(report, "vertex_order") == {(4, 0)}
    assert found(report, "bent_backwards") == {(7, 0)}
    assert {frame for frame, _ in found(report, "overlap")} == {8}
    assert int(report.facts.there.sum()) == 2 * N - 1
    assert np.isfinite(report.facts.volume[[0, 5, 7, 8]]).all(), "swapped pairs are judged too"
    assert np.isnan(report.facts.volume[[1, 2, 3, 4, 6]]).all()


def test_clean_meshes_have_no_finding(tmp_path: Path) -> None:
    report = run(save(tmp_path, vertices=draw(N).vertices), tmp_path / "out")
    assert not report.findings


def test_meshes_of_another_topology_need_their_faces(tmp_path: Path) -> None:
    vertices = draw(4, together=True).vertices
    order = np.random.default_rng(0).permutation(778)
    shuffled = vertices[:, :, order]
    with pytest.raises(DataError, match="not in the order of the hand model"):
        run(save(tmp_path, vertices=shuffled), tmp_path / "none")
    place = np.argsort(order)
    faces = {f"{s}_faces": place[HANDS[k].faces] for k, s in enumerate(("right", "left"))}
    own = run(save(tmp_path, "own", vertices=shuffled, **faces), tmp_path / "own")
    model = run(save(tmp_path, "model", vertices=vertices), tmp_path / "model")
    np.testing.assert_allclose(own.facts.volume, model.facts.volume, rtol=0.02, atol=1e-9)
    assert (own.facts.volume > 1e-7).all()


# --- MANO parameters -----------------------------------------------------------------------------


def test_mano_parameters_without_their_model_are_refused_with_the_reason(tmp_path: Path) -> None:
    pairs = draw(4)
    arrays = {
        f"{side}_{name}": getattr(pairs, name)[:, k].reshape(4, -1)
        for k, side in enumerate(("right", "left"))
        for name in ("pose", "betas", "transl")
    }
    path = save(tmp_path, **arrays)
    with pytest.raises(DataError, match="relative_to"):
        run(path, tmp_path / "undeclared")
    convention = tmp_path / "convention.toml"
    convention.write_text(
        'relative_to = "flat"\ntranslation = "transl"\nunit = "m"\nframe = "world"\n'
        'left_shapedirs = "mirrored"\n'
    )
    with pytest.raises(DataError, match="not the hand model they were made for"):
        run(path, tmp_path / "no-model")
    joints = {f"{side}_joints": pairs.joints[:, k] for k, side in enumerate(("right", "left"))}
    report = run(save(tmp_path, **arrays, **joints), tmp_path / "fitted")
    assert not wrong(report) and report.data["hands_ok"] == 8


def test_kept_parameters_are_held_to_the_limits_and_judged(tmp_path: Path) -> None:
    """With the model that the parameters were made for nothing is fitted."""
    mano = HandPair(replace(HANDS.right, name="mano"), replace(HANDS.left, name="mano"))
    pairs, near = bent(draw(N), SOME), draw(N, together=True)
    transl = pairs.transl.copy()
    transl[3] = near.transl[3]
    pairs = replace(pairs, transl=transl)
    arrays = {
        f"{side}_{name}": getattr(pairs, name)[:, k].reshape(N, -1)
        for k, side in enumerate(("right", "left"))
        for name in ("pose", "betas", "transl")
    }
    (tmp_path / "convention.toml").write_text(
        'relative_to = "flat"\ntranslation = "transl"\nunit = "m"\nframe = "world"\n'
        'left_shapedirs = "mirrored"\n'
    )
    report = audit(save(tmp_path, **arrays), tmp_path / "out", mano, progress=False)
    assert found(report, "bent_backwards") == {(frame, 0) for frame in SOME.tolist()}
    assert {frame for frame, _ in found(report, "overlap")} == {3}


# --- our own datasets ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(joints: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    run(save(folder, joints=joints), folder / "out")
    return folder / "out/dataset"


def test_a_sound_dataset_is_verified_and_judged_as_stored(dataset: Path, tmp_path: Path) -> None:
    report = run(dataset, tmp_path / "out", anew=5)
    assert not report.findings and not report.failed
    assert report.data["rejudged"]["stored"] == 5 and report.data["rejudged"]["differ"] == 0
    assert not (tmp_path / "out/dataset").exists(), "a dataset is not fitted again"


def test_a_judgement_that_was_changed_is_found(dataset: Path, tmp_path: Path) -> None:
    import shutil

    import h5py

    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    with h5py.File(copy / "shard-00000.h5", "r+") as file:
        file["quality/penetration_volume"][3] = 5e-6
    report = run(copy, tmp_path / "out")
    assert report.failed and report.data["rejudged"]["differ"] == 1
    assert "fails its own checks (hashes)" in report.verdict
    assert "1 stored judgements are not what the judge finds" in report.verdict


def test_a_dataset_of_bent_hands_is_found(tmp_path: Path) -> None:
    from twohand500k.audit.dataset import facts_of_samples
    from twohand500k.shards import Samples

    pairs = bent(draw(N), SOME, side=1)
    samples = Samples(
        sample_id=np.array([f"s{k}" for k in range(N)]),
        pose=pairs.pose,
        betas=pairs.betas,
        transl=pairs.transl,
        joints=pairs.joints,
        present=np.ones((N, 2), dtype=bool),
        source=np.full(N, "planted"),
        take=np.full(N, "t"),
    )
    facts = facts_of_samples(samples, HANDS)
    rows, sides = np.nonzero(facts.reason == "bent_backwards")
    assert set(rows) == set(SOME.tolist()) and set(sides) == {1}
    assert (facts.excess[rows, sides] > BENT).all()
    assert all("index2 flexion" in said for said in facts.detail.values())


def test_another_hand_model_is_refused(dataset: Path, tmp_path: Path) -> None:
    right = replace(HANDS.right, v_template=1.01 * HANDS.right.v_template)
    with pytest.raises(DataError, match="--hand-model"):
        audit(dataset, tmp_path / "out", HandPair(right, right.mirrored()), progress=False)


# --- words and numbers ---------------------------------------------------------------------------


def test_rejects_say_what_each_hand_is(joints: np.ndarray, tmp_path: Path) -> None:
    planted = joints.copy()
    planted[2, 1] *= 1000.0
    planted[3] = planted[3, ::-1]
    run(save(tmp_path, joints=planted), tmp_path / "out")
    told = [reject_sides(r) for r in Dataset(tmp_path / "out/dataset").rejects()]
    assert [{s: why for s, (why, _) in one.items()} for one in told] == [
        {0: "ok", 1: "wrong_units"},
        {0: "mirrored", 1: "mirrored"},
    ]
    assert "mm read as m" in told[0][1][1]


def test_findings_without_a_measure_are_spread_over_the_data() -> None:
    n = 37
    reason = np.full((n, 2), "mirrored")
    there = np.ones((n, 2), dtype=bool)
    facts = Facts.unknown(np.arange(n).astype(str), np.full(n, "t"), np.arange(n), there, reason)
    (finding,) = findings_of(facts)
    assert sorted(zip(finding.rows, finding.sides, strict=True)) == [
        (row, side) for row in range(n) for side in (0, 1)
    ]
    assert np.ptp(finding.rows[:4]) > n / 2
    assert "74 of 74 hands (100 %) fail a gate" in verdict_of(facts, [finding])


def test_command_writes_a_page_and_counts_for_strict(joints: np.ndarray, tmp_path: Path) -> None:
    planted = joints.copy()
    planted[2] *= 1000.0
    path = save(tmp_path, joints=planted)

    def command(*more: str) -> tuple[int, str]:
        asked = ["audit", str(path), "--out", str(tmp_path / "out"), "--workers", "1", "-q"]
        done = CliRunner().invoke(twohand, [*asked, *more])
        return done.exit_code, done.output

    code, said = command("--json", "--pictures", "1")
    assert code == 0 and json.loads(said)["findings"]["wrong_units"]["count"] == 2
    page = (tmp_path / "out/audit.html").read_text()
    code, said = command("--strict", "--pictures", "0")
    assert code == 1 and "wrong_units" in said and "2 of 32 hands" in said
    assert command("--strict", "--tolerate", "0.1", "--pictures", "0")[0] == 0
    assert command("--tolerate", "0.1")[0] == 2
    assert command("--source", "synthetic")[0] == 2
    assert "2 of 32 hands" in page and "data:image/png" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page

"""Placement and the stage: what touches, what is recorded, the same bytes however it is run."""

import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numba import njit
from numba.core.dispatcher import Dispatcher
from shards_fixture import dataset_bytes
from splice_fixture import Hands, bank, hands

from twohand500k.cli.main import twohand
from twohand500k.conventions import LEFT, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.capsules import segment_distance
from twohand500k.hand.contact_regions import REGIONS, ContactRegions
from twohand500k.hand.rotations import matrix_from_axis_angle, mirror_points
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.verify import verify
from twohand500k.splice import (
    SpliceOptions,
    _kernels,
    _search,
    load_contacts,
    plan_splice,
    splice_pairs,
)
from twohand500k.splice.arms import TwoArms, one_comfort
from twohand500k.splice.tables import HandTables

COUNT = 120


def folders(where: Path) -> list[Path]:
    return [
        bank(
            where / "a",
            Hands("one", "right", "train", 50),
            Hands("two", "left", "train", 20, spread=True),
        ),
        bank(where / "b", Hands("three", "both", "val", 15)),
    ]


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return folders(tmp_path_factory.mktemp("banks"))


def splice(banks: list[Path], out: Path, workers: int = 1, seed: int = 0, **options):  # type: ignore[no-untyped-def]
    options = {"count": COUNT, "thin_mm": 0.0, "shard_size": 50, **options}
    chosen = SpliceOptions(**options)
    plan = plan_splice(banks, hands(), chosen, seed)
    splice_pairs(
        plan, out, chosen, seed=seed, workers=workers, progress=False, command="twohand splice"
    )
    return out


@pytest.fixture(scope="module")
def made(banks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return splice(banks, tmp_path_factory.mktemp("made") / "out")


def skins(samples: Samples, row: int) -> list[np.ndarray]:
    return [
        hands()[side]
        .with_shape(samples.betas[row, side])
        .with_pose(samples.pose[row, side], samples.transl[row, side])
        .vertices
        for side in (RIGHT, LEFT)
    ]


def naive_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Smallest distance of two skins that do not cut each other: every vertex near the other skin
    against every face, every edge against every edge."""
    faces = [hands()[side].closed_faces for side in (RIGHT, LEFT)]
    near = np.linalg.norm(a[:, None] - b[None], axis=-1)
    reach = near.min() + 0.02
    kept = [f[(near.min(axis=1 - side)[f] <= reach).any(axis=1)] for side, f in enumerate(faces)]
    best = np.inf
    for points, other, f in ((a, b, kept[1]), (b, a, kept[0])):
        close = points[near.min(axis=1 if points is a else 0) <= reach]
        grid = np.linspace(0, 1, 17)
        u, v = (g.ravel() for g in np.meshgrid(grid, grid))
        inside = u + v <= 1
        bary = np.stack([1 - u - v, u, v], axis=1)[inside]
        surface = np.einsum("kc,fcx->fkx", bary, other[f]).reshape(-1, 3)
        for p in close:
            best = min(best, float(np.linalg.norm(surface - p, axis=1).min()))
    edges = [np.unique(np.sort(f[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0) for f in kept]
    (a0, a1), (b0, b1) = ((s[e[:, 0]], s[e[:, 1]]) for s, e in zip((a, b), edges, strict=True))
    return min(best, float(segment_distance(a0[:, None], a1[:, None], b0, b1).min()))


def test_as_many_pairs_as_asked_for_and_verify_passes(made: Path) -> None:
    dataset = Dataset(made)
    assert len(dataset) == COUNT and dataset.conventions["frame"] == "right wrist"
    assert all(finding.passed for finding in verify(made, hands()))
    samples = dataset.samples()
    assert samples.present.all() and (samples.source == "splice").all()
    assert (samples.pose[:, RIGHT, 0] == 0).all()
    assert np.abs(samples.joints[:, RIGHT, 0]).max() < 1e-6
    assert np.isnan(samples.penetration_volume).all()
    stages = [record["stage"] for record in dataset.index.history]
    assert stages == ["build", "splice"] or stages == ["build", "build", "splice"]
    assert set(dataset.index.history[-1]["inputs"]) == {"bank 1", "bank 2"}


def test_provenance_names_both_bank_hands(made: Path, banks: list[Path]) -> None:
    samples = Dataset(made).samples()
    by_id = {}
    for folder in banks:
        for part in Dataset(folder).shards():
            by_id |= {str(i): (part, row) for row, i in enumerate(part.sample_id)}
    pairs = {
        (*map(str, ids), *flips)
        for ids, flips in zip(samples.bank_id, samples.mirrored.tolist(), strict=True)
    }
    assert len(pairs) == COUNT
    for row in range(0, COUNT, 9):
        placed = skins(samples, row)
        for side in (RIGHT, LEFT):
            part, at = by_id[str(samples.bank_id[row, side])]
            recorded = 1 - side if samples.mirrored[row, side] else side
            assert part.present[at, recorded] and part.split[at] == samples.split[row]
            pose = part.pose[at, recorded].copy()
            pose[0] = 0
            skin = hands()[recorded].with_shape(part.betas[at, recorded]).with_pose(pose).vertices
            skin = mirror_points(skin) if samples.mirrored[row, side] else skin
            root = hands()[side].with_shape(samples.betas[row, side]).rest_joints[0]
            R = matrix_from_axis_angle(samples.pose[row, side, 0])
            there = (skin - root) @ R.T + root + samples.transl[row, side]
            np.testing.assert_allclose(there, placed[side], atol=1e-6)


def test_every_pair_touches_where_it_was_meant_to(made: Path) -> None:
    samples = Dataset(made).samples()
    regions = [ContactRegions.of(hands()[side]).of_vertex for side in (RIGHT, LEFT)]
    assert (samples.contact_distance <= 0.005).all()
    for row in range(0, COUNT, 4):
        a, b = skins(samples, row)
        meant = [REGIONS.index(str(name)) for name in samples.contact_intended[row]]
        near = np.linalg.norm(
            a[regions[RIGHT] == meant[RIGHT]][:, None] - b[regions[LEFT] == meant[LEFT]], axis=-1
        )
        # Vertices are some millimetres apart; the search measures to the faces between them.
        assert near.min() < 0.005 + 0.006, samples.sample_id[row]
        touched = [REGIONS.index(str(name)) for name in samples.contact_realised[row]]
        least = np.linalg.norm(
            a[regions[RIGHT] == touched[RIGHT]][:, None] - b[regions[LEFT] == touched[LEFT]],
            axis=-1,
        ).min()
        assert least < samples.contact_distance[row] + 0.012


def test_contact_distance_is_the_naive_one(made: Path) -> None:
    samples = Dataset(made).samples()
    apart = np.flatnonzero(samples.contact_distance > 0)
    assert 3 <= len(apart) < COUNT
    for row in apart[:3]:
        naive = naive_distance(*skins(samples, int(row)))
        # The naive faces are sampled on a grid: never less, and a little more at the most (more
        # the nearer the skins).
        assert -1e-6 <= naive - samples.contact_distance[row] < 4e-4
    for row in np.flatnonzero(samples.contact_distance == 0)[:2]:
        assert naive_distance(*skins(samples, int(row))) < 0.002


def test_two_arms_can_hold_every_pair(made: Path) -> None:
    samples = Dataset(made).samples()
    R = matrix_from_axis_angle(samples.pose[:, LEFT, 0])
    tau = samples.joints[:, LEFT, 0].astype(np.float64)
    # Rounding to float32 may carry a pose on the border of a cell across it.
    assert TwoArms.table().reachable(R, tau).mean() > 0.98


def test_the_same_bytes_for_any_workers_and_the_same_pairs_for_any_shards(
    made: Path, banks: list[Path], tmp_path: Path
) -> None:
    assert dataset_bytes(splice(banks, tmp_path / "two", workers=2)) == dataset_bytes(made)
    a, b = (
        Dataset(made).samples(),
        Dataset(splice(banks, tmp_path / "big", shard_size=500)).samples(),
    )
    for name in ("sample_id", "pose", "betas", "transl", "joints", "contact_realised", "bank_id",
                 "contact_distance", "placement_spin"):  # fmt: skip
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    c = Dataset(splice(banks, tmp_path / "seed", seed=1)).samples()
    assert not np.intersect1d(a.sample_id, c.sample_id).size
    assert (a.pose[:, LEFT, 0] != c.pose[:, LEFT, 0]).any()


def test_a_killed_run_goes_on(made: Path, banks: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, banks), str(out)],
        cwd=Path(__file__).parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(out.glob(".work/unit-*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    splice(banks, out)
    assert dataset_bytes(out) == dataset_bytes(made)


def test_interlocked_fingers_alternate(banks: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "locked.toml"
    file.write_text("interlocked = 1\n")
    out = splice(banks[:1], tmp_path / "out", count=12, contacts=str(file))
    samples = Dataset(out).samples()
    assert len(samples) >= 10 and (samples.placement == "interlocked").all()
    for row in range(len(samples)):
        right, left = samples.joints[row].astype(np.float64)
        # From index to little finger across both hands, where the fingers cross.
        knuckles, tips = [5, 9, 13, 17], [8, 12, 16, 20]
        u = (right[tips] - right[knuckles]).mean(axis=0)
        u /= np.linalg.norm(u)
        w = right[18] - right[6]
        w -= (w @ u) * u
        order = []
        for g in range(4):
            chain = [left[5 + 4 * g + k] for k in range(4)]
            beyond = 0
            for f in range(4):
                own = [right[5 + 4 * f + k] for k in range(4)]
                near = min(
                    (
                        (np.linalg.norm(p - q), (p - q) @ w)
                        for i in range(3)
                        for j in range(3)
                        for s in np.linspace(0, 1, 8)
                        for t in np.linspace(0, 1, 8)
                        for p in [chain[i] * (1 - s) + chain[i + 1] * s]
                        for q in [own[j] * (1 - t) + own[j + 1] * t]
                    ),
                    key=lambda found: found[0],
                )
                beyond += near[1] > 0
            order.append(beyond)
        # Four fingers of the left hand, each one gap further than the last, all gaps filled.
        filled = [o for o in order if 1 <= o <= 3]
        assert sorted(set(filled)) == [1, 2, 3] and order == sorted(order)


def test_contacts_drawn_evenly_come_out_evenly(banks: list[Path], tmp_path: Path) -> None:
    out = splice(banks, tmp_path / "out", count=450, contacts="uniform", shard_size=450)
    found = Dataset(out).array("contact_realised")
    _, counts = np.unique(found, axis=0, return_counts=True)
    share = counts / counts.sum()
    # Of so few pairs not even an even draw shows more than this.
    rng = np.random.default_rng(0)
    _, even = np.unique(rng.integers(0, 900, len(found)), return_counts=True)
    best = -np.sum(even / len(found) * np.log(even / len(found)))
    assert -np.sum(share * np.log(share)) > 0.9 * best


def test_learned_placement(made: Path, banks: list[Path], tmp_path: Path) -> None:
    out = splice(banks, tmp_path / "out", count=40, learn_from=(made,))
    samples, source = Dataset(out).samples(), Dataset(made).samples()
    assert (samples.placement == "learned").all() and np.isnan(samples.placement_spin).all()
    assert (samples.contact_distance <= 0.005).all()
    # Near one of the relative poses it was learned from, of its own split.
    R = matrix_from_axis_angle(samples.pose[:, LEFT, 0])
    from_R = matrix_from_axis_angle(source.pose[:, LEFT, 0])
    for k in range(len(samples)):
        same = source.split == samples.split[k]
        cosine = (np.einsum("nij,ij->n", from_R[same], R[k]) - 1) / 2
        assert np.degrees(np.arccos(np.clip(cosine.max(), -1, 1))) < 45
    single = bank(tmp_path / "single", Hands("one", "right", "train", 4))
    with pytest.raises(DataError, match="no two hands within"):
        splice(banks, tmp_path / "never", learn_from=(single,))


@pytest.mark.parametrize(
    "text, said",
    [
        ("interlocked = ", "is not TOML"),
        ("colour = 1", "unknown key 'colour'"),
        ("interlocked = 0", "no contact has a weight"),
        ('lifelike = "yes"', "lifelike must be true or false"),
        ("interlocked = -1", "must be a number, 0 or more"),
        ('[[contact]]\nbetween = ["palm"]\nweight = 1', "must name two"),
        ('[[contact]]\nbetween = ["palm", "elbow"]\nweight = 1', "'elbow' is no contact region"),
        ('[[contact]]\nbetween = ["palm", "palm"]\nweight = "much"', "must be a number"),
        ('[groups]\npalm = ["palm"]', "called like a region"),
        ('[groups]\nmine = ["elbow"]', "names 'elbow'"),
        ('[[contact]]\nbetween = ["palm", "palm"]\nweight = 1\nspin = 2', "unknown key 'spin'"),
    ],
)
def test_bad_contact_files(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        load_contacts(str(file))


def test_contact_weights() -> None:
    natural, uniform = load_contacts("natural"), load_contacts("uniform")
    for weights in (natural, uniform):
        assert weights.pair.sum() + weights.interlocked == pytest.approx(1)
        np.testing.assert_allclose(weights.pair, weights.pair.T)
    flat = uniform.pair[uniform.pair > 0]
    assert np.ptp(flat) < 1e-12 and uniform.interlocked == 0
    with pytest.raises(DataError, match="give natural or uniform, or a TOML file"):
        load_contacts("nothing.toml")


def test_command_line(banks: list[Path], tmp_path: Path) -> None:
    def call(*more: str) -> tuple[int, str]:
        ran = CliRunner().invoke(
            twohand,
            ["splice", "--bank", str(banks[0]), "--thin", "0", *more],
            catch_exceptions=True,
        )
        return ran.exit_code, ran.output + str(ran.exception or "")

    out = str(tmp_path / "out")
    status, said = call("--count", "20", "--out", out, "--dry-run")
    assert status == 0 and "would place 20 pairs" in said and not Path(out).exists()
    assert call("--count", "20", "--out", out, "--placement", "learned")[0] == 2
    assert call("--count", "20", "--out", out, "--from", str(banks[0]))[0] == 2
    assert "has no 'moon'" in call("--count", "20", "--out", out, "--share", "moon=1")[1]
    assert "lower --count" in call("--count", "100000000", "--out", out)[1]
    status, said = call("--count", "20", "--out", out, "--workers", "1", "--preview", "2")
    assert status == 0 and "20 pairs kept of 20" in said, said
    assert (tmp_path / "out" / "preview.png").stat().st_size > 1000
    status, said = call("--count", "20", "--out", out, "--workers", "1", "--json", "-q")
    assert status == 0 and '"was_finished": true' in said
    status, said = call("--count", "20", "--out", out, "--seed", "5")
    assert status != 0 and "seed" in said


def test_lifelike_pairs_are_easier_to_hold_than_others(banks: list[Path], tmp_path: Path) -> None:
    """The same contacts with and without: only the choice of placements differs."""
    ease = []
    for lifelike in ("false", "true"):
        file = tmp_path / f"{lifelike}.toml"
        file.write_text(
            f'lifelike = {lifelike}\n[[contact]]\nbetween = ["palm", "hand back"]\nweight = 1\n'
            '[[contact]]\nbetween = ["index pad", "palm"]\nweight = 1\n'
        )
        out = splice(banks, tmp_path / lifelike, count=150, contacts=str(file))
        samples = Dataset(out).samples()
        R = matrix_from_axis_angle(samples.pose[:, LEFT, 0].astype(np.float64))
        tau = samples.joints[:, LEFT, 0].astype(np.float64)
        comfort = TwoArms.table().comfort
        ease.append(np.mean([one_comfort(comfort, a, b) for a, b in zip(R, tau, strict=True)]))
    assert ease[1] > ease[0] + 0.15


def test_a_palm_in_its_own_fist_is_not_exposed() -> None:
    """A flat hand's palm is, and the fist's back is too."""
    tables = HandTables.of(hands().right)
    palm, back = REGIONS.index("palm"), REGIONS.index("hand back")
    anatomy = Anatomy.of(hands().right)
    found = []
    for bend in (0.0, 1.4):
        angles = np.zeros((15, 3))
        angles[:12, 0] = bend
        posed = (
            hands()
            .right.with_shape(np.zeros(10))
            .with_pose(anatomy.pose_from_angles(angles, np.zeros(3)))
        )
        normals, radius = np.empty_like(posed.vertices), np.empty(20)
        ends = np.empty((20, 2, 3))
        asked = (tables, posed.vertices, posed.joints, normals, radius, ends)
        found.append([_exposed(*asked, region) for region in (palm, back)])
    assert found == [[True, True], [False, True]]


@njit
def _exposed(tables, skin, joints, normals, radius, ends, region):  # type: ignore[no-untyped-def]
    _kernels.vertex_normals(tables.faces, skin, normals)
    _kernels.bone_capsules(tables.bones, skin, joints, radius, ends)
    return _kernels.exposed(tables, skin, normals, ends, radius, region)


def test_a_slot_without_a_placement_is_refused(banks: list[Path]) -> None:
    """No arms can hold anything: every slot gives up, with its reason."""
    import twohand500k.splice.stage as module

    plan = plan_splice(banks, hands(), SpliceOptions(count=2, thin_mm=0.0, shard_size=2))
    stage = replace(plan.stage, stem="hopeless")
    tools = module._tools(stage)
    module._made[:] = [
        replace(tools, arms=replace(tools.arms, cells=np.zeros_like(tools.arms.cells)))
    ]
    result = stage(plan.units[0])
    module._made.clear()
    assert result.samples is None and {r.reason for r in result.rejects} == {"no_placement"}


def test_a_cached_search_knows_every_file_it_is_compiled_from() -> None:
    """Else an edited function would go on working in its old form inside the cached one."""
    todo, seen = [_search], {_search}
    while todo:
        module = todo.pop()
        for value in vars(module).values():
            home = sys.modules.get(getattr(value, "__module__", "") or "")
            if isinstance(value, Dispatcher) and home is not None and home not in seen:
                seen.add(home)
                todo.append(home)
    assert {m.__name__ for m in seen - {_search}} == {m.__name__ for m in _search.COMPILED_FROM}


if __name__ == "__main__":
    splice([Path(sys.argv[1]), Path(sys.argv[2])], Path(sys.argv[3]))


def test_without_a_bank_hands_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("twohand500k.cli.splice")
    monkeypatch.setattr(module, "_DRAWN_HANDS", 300)
    out = tmp_path / "pairs"
    ask = ["splice", "--count", "20", "--out", str(out), "--workers", "1", "-q"]
    ran = CliRunner().invoke(twohand, ask)
    assert ran.exit_code == 0, ran.output
    drawn = Dataset(tmp_path / "pairs-bank")
    assert len(drawn) == 300 and set(drawn.array("source")) == {"synthetic"}
    pairs = Dataset(out)
    assert set(pairs.array("bank_id").ravel()) <= set(drawn.array("sample_id"))
    assert CliRunner().invoke(twohand, [*ask, "--dry-run"]).exit_code == 2

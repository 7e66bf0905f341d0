"""`twohand export`: every format is read back by others' code, and a changed value is found."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from physics_fixture import Frames, StandIn, hands, pairs
from splice_fixture import DrawHands, Hands

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.export.licences import licences_of
from twohand500k.export.run import ExportOptions, export_dataset
from twohand500k.export.verify import verify_export
from twohand500k.physics.run import PhysicsFixOptions, physics_fix, plan_physics_fix
from twohand500k.pipeline import run
from twohand500k.shards import FIELDS, Dataset
from twohand500k.sources.datasets import read_dataset

ALL = ("parquet", "npz", "interhand", "obj", "glb", "ply")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """fixed: 2 shards of repaired pairs, three with a right hand alone; out: all formats of it."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("trimesh")
    folder = tmp_path_factory.mktemp("export")
    pairs(folder / "world", Frames("b", tuple(range(9))), Frames("c", tuple(range(9)), single=3))
    plan = plan_physics_fix(folder / "world", hands(), PhysicsFixOptions(), make=StandIn)
    physics_fix(plan, folder / "fixed", PhysicsFixOptions(), progress=False)
    export_dataset(Dataset(folder / "fixed"), folder / "out", hands(), ExportOptions(ALL))
    return folder


@pytest.fixture
def out(made, tmp_path):
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out"


def failed(folder, **against):
    return {f.check: [str(x) for x in f.faults] for f in verify_export(folder, **against)
            if not f.passed}  # fmt: skip


def test_an_export_verifies_alone_and_against_its_dataset(made):
    assert failed(made / "out") == {}
    assert failed(made / "out", against=made / "fixed", hands=hands()) == {}
    other = failed(made / "out", against=made / "world", hands=hands())
    assert "is not the dataset 'fixed'" in other["dataset"][0]


# Each format, read by code that is not the exporter's

# What a repaired splice has: everything but pictures.
_STORED = [spec for spec in FIELDS if spec.group != "image"]


def test_parquet_holds_every_field_bit_for_bit(made):
    import pyarrow.parquet as pq

    dataset = Dataset(made / "fixed")
    samples = dataset.samples()
    file = pq.ParquetFile(made / "out" / "parquet" / "samples.parquet")
    assert file.num_row_groups == len(dataset.index.shards) == 2
    table = file.read()
    for spec in _STORED:
        column = table.column(spec.path.replace("/", "_"))
        stored = getattr(samples, spec.attribute)
        back = np.array(column.to_pylist(), dtype=stored.dtype)
        np.testing.assert_array_equal(back, stored, err_msg=spec.path)
        metadata = table.schema.field(spec.path.replace("/", "_")).metadata
        assert metadata[b"unit"].decode() == spec.unit
        assert metadata[b"meaning"].decode() == spec.meaning
    told = json.loads(table.schema.metadata[b"twohand500k"])
    assert told["conventions"]["frame"] == "world"
    assert np.isnan(np.array(table.column("mano_pose").to_pylist()[9][1])).all()


def test_npz_goes_into_smplx_as_it_is(made):
    torch = pytest.importorskip("torch")
    pytest.importorskip("smplx")
    samples, first = Dataset(made / "fixed").samples(), 0
    for path in sorted((made / "out" / "npz").glob("*.npz")):
        with np.load(path) as file:
            n = len(file["sample_id"])
            for side, name in enumerate(("right", "left")):
                there = file["present"][:, side]
                layer = hands()[side].to_smplx()
                given = {
                    key: torch.from_numpy(file[f"{name}_{key}"][there])
                    for key in ("global_orient", "hand_pose", "betas", "transl")
                }
                wrist = layer(**given).joints[:, 0].numpy()
                stored = samples.joints[first : first + n][there, side, 0]
                assert np.abs(wrist - stored).max() < 1e-6
        first += n
    assert first == len(samples)


def test_our_own_reader_reads_interhands_files(made):
    samples = Dataset(made / "fixed").samples()
    takes = read_dataset("interhand26m", [made / "out" / "interhand"])
    assert {take.name for take in takes} == {"val/capture0/b", "val/capture1/c"}
    assert {take.split for take in takes} == {"val"} and len({t.subject for t in takes}) == 2
    seen = 0
    for take in takes:
        mine = samples.select(samples.take == take.name[-1])
        both = mine.present
        np.testing.assert_array_equal(take.recorded, both)
        # Rounded to a micrometre, and to 1e-6.
        assert np.abs(take.points[both] - mine.joints[both]).max() <= 0.51e-6
        assert take.mano is not None
        flat = take.mano.pose.copy()
        for side in (0, 1):
            flat[:, side, 1:] += hands()[side].hands_mean.reshape(15, 3)
        assert np.abs(flat[both] - mine.pose[both]).max() <= 0.51e-6
        assert np.abs(take.mano.betas[both] - mine.betas[both]).max() <= 0.51e-6
        assert np.abs(take.mano.transl[both] - mine.transl[both]).max() <= 0.51e-6
        seen += len(mine)
    assert seen == len(samples)


@pytest.mark.parametrize("kind, tolerance", [("obj", 0.51e-6), ("glb", 0), ("ply", 0)])
def test_meshes_are_the_skin_of_both_hands_by_name(made, kind, tolerance):
    import trimesh

    dataset = Dataset(made / "fixed")
    listed = sorted((made / "out" / kind).glob(f"*.{kind}"))
    assert len(listed) == len(dataset)
    for row in (0, len(dataset) - 1):
        sample = dataset.samples([row])
        skins = {
            name: hands()[side]
            .with_shape(sample.betas[0, side].astype(np.float64))
            .with_pose(sample.pose[0, side].astype(float), sample.transl[0, side].astype(float))
            .vertices.astype(np.float32)
            for side, name in enumerate(("right_hand", "left_hand"))
        }
        path = made / "out" / kind / (str(sample.sample_id[0]).replace("/", "_") + f".{kind}")
        if kind == "ply":
            mesh = trimesh.load(path, process=False)
            found = dict(zip(skins, np.split(np.asarray(mesh.vertices), 2), strict=True))
            assert mesh.faces.shape == (2 * 1538, 3)
        else:
            scene = trimesh.load_scene(path, process=False, split_groups=True)
            found = {name: np.asarray(g.vertices) for name, g in scene.geometry.items()}
        assert set(found) == set(skins)
        for name, skin in skins.items():
            np.testing.assert_allclose(found[name], skin, atol=tolerance, rtol=0)


def test_closed_meshes_are_watertight(made, tmp_path):
    import trimesh

    options = ExportOptions(("ply",), closed=True)
    export_dataset(Dataset(made / "fixed"), tmp_path / "x", hands(), options, rows=[0, 1])
    for path in (tmp_path / "x" / "ply").iterdir():
        mesh = trimesh.load(path, process=False)
        assert mesh.is_watertight and mesh.volume > 0 and mesh.body_count == 2


# Card and metadata


def test_croissant_is_valid_and_its_records_are_the_samples(made):
    mlc = pytest.importorskip("mlcroissant")
    described = mlc.Dataset(str(made / "out" / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    (records,) = described.metadata.record_sets
    assert {f.name for f in records.fields} == {f.path.replace("/", "_") for f in _STORED}
    hashes = {file.name: file.sha256 for file in described.metadata.distribution}
    assert len(hashes) == len(list((made / "out").rglob("*"))) - 3 - len(
        [p for p in (made / "out").rglob("*") if p.is_dir()]
    )
    samples = Dataset(made / "fixed").samples()
    for row, record in enumerate(described.records("samples")):
        assert record["samples/sample_id"].decode() == samples.sample_id[row]
        np.testing.assert_array_equal(
            np.array(record["samples/joints"], dtype=np.float32), samples.joints[row]
        )
        if row == 4:
            break


def test_the_card_says_plainly_whose_data_it_is(made, tmp_path):
    units = [Hands("interhand26m", "both", "train", 4), Hands("nobodys", "both", "val", 2)]
    run(DrawHands(hands()), units, tmp_path / "d", name="build",
        options={"source": "interhand26m"}, hands=hands(), progress=False, command="x",
        history=[{"stage": "build", "version": "1", "seed": 0, "inputs": {},
                  "options": {"source": "h2o3d"}}])  # fmt: skip
    dataset = Dataset(tmp_path / "d")
    found = {item.source: item for item in licences_of(dataset)}
    assert list(found) == ["h2o3d", "interhand26m", "nobodys", "hand model: open"]
    assert found["interhand26m"].terms == "CC-BY-NC 4.0" and found["interhand26m"].non_commercial
    assert found["h2o3d"].no_derivatives and not found["nobodys"].known
    export_dataset(dataset, tmp_path / "x", hands(), ExportOptions(("npz",), name="Mine"))
    text = (tmp_path / "x" / "README.md").read_text()
    for told in ("CC-BY-NC 4.0", "non-commercial", "forbids redistribution",
                 "The licence of `nobodys` is not known", "InterHand2.6M: A Dataset and Baseline",
                 "source: interhand26m 4, nobodys 2", "fit error, mm | not measured"):  # fmt: skip
        assert told in text, told
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    yaml = pytest.importorskip("yaml")
    assert head is not None
    front = yaml.safe_load(head[1])
    assert front["pretty_name"] == "Mine" and front["size_categories"] == ["n<1K"]


def test_every_shipped_licence_is_read_as_it_is_meant():
    from twohand500k.export.licences import _of
    from twohand500k.sources.manifest import load_manifest

    def flags(name):
        item = _of(name, load_manifest(name))
        return item.known, item.non_commercial, item.no_derivatives

    assert flags("synthetic") == (True, False, False)
    assert flags("freihand") == flags("rhd") == (True, True, False)
    assert flags("ho3d") == flags("h2o3d") == (True, True, True)
    assert flags("lsmv")[0] is flags("stb")[0] is flags("hic")[0] is flags("mano")[0] is False
    sa = replace(load_manifest("interhand26m"), license="CC-BY-SA 4.0")
    assert _of("x", sa).share_alike and not _of("x", sa).non_commercial


# What is wrong is found


def test_a_changed_value_is_found_in_every_format(out):
    import pyarrow.parquet as pq

    path = out / "parquet" / "samples.parquet"
    table = pq.read_table(path)
    takes = table.column("provenance_take").to_pylist()
    at = table.schema.get_field_index("provenance_take")
    changed = table.set_column(at, table.schema.field(at), [[*takes[:-1], "z"]])
    pq.write_table(changed, path)
    path = next(iter(sorted((out / "npz").iterdir())))
    with np.load(path) as file:
        arrays = {name: file[name].copy() for name in file.files}
    arrays["right_betas"][0, 3] += 1e-3
    np.savez(path, **arrays)
    path = next(out.rglob("*MANO_NeuralAnnot.json"))
    path.write_text(re.sub(r'"trans": \[(-?)0\.', r'"trans": [\g<1>1.', path.read_text(), count=1))
    for kind in ("obj", "glb", "ply"):
        a, b = sorted((out / kind).iterdir())[:2]
        shutil.copy(b, a)
    found = failed(out)
    assert set(found) == {"files", *ALL}
    assert found["parquet"] == ["parquet provenance_take: is not what was written"]
    assert found["npz"] == ["npz right_betas: is not what was written"]
    assert found["interhand"] == ["interhand transl: is not what was written"]
    assert all("vertices" in found[kind][0] for kind in ("obj", "glb", "ply"))


def test_a_cut_a_missing_and_a_strange_file_are_found(out):
    parquet = out / "parquet" / "samples.parquet"
    parquet.write_bytes(parquet.read_bytes()[:-100])
    next((out / "glb").iterdir()).unlink()
    (out / "note.txt").write_text("x")
    found = failed(out)
    assert set(found) == {"files", "listed", "parquet", "glb"}
    assert "cannot be read as Parquet" in found["parquet"][0]


def test_the_same_again_is_left_alone_and_something_else_is_refused(made, out, tmp_path):
    dataset = Dataset(made / "fixed")
    stamp = (out / "export.json").stat().st_mtime_ns
    assert export_dataset(dataset, out, hands(), ExportOptions(ALL)).was_finished
    assert (out / "export.json").stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match="export with formats"):
        export_dataset(dataset, out, hands(), ExportOptions(("npz",)))
    with pytest.raises(DataError, match="export with dataset"):
        export_dataset(Dataset(made / "world"), out, hands(), ExportOptions(ALL))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match=r"already holds other files \(thesis.tex"):
        export_dataset(dataset, tmp_path / "mine", hands(), ExportOptions(ALL))


def test_a_killed_export_is_made_again_to_the_same_bytes(made, tmp_path, monkeypatch):
    dataset, options = Dataset(made / "fixed"), ExportOptions(("npz", "obj"))
    from twohand500k.export import run as export_run

    def dies(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export_run.card, "card", dies)
        with pytest.raises(KeyboardInterrupt):
            export_dataset(dataset, tmp_path / "x", hands(), options)
    assert not (tmp_path / "x" / "export.json").exists()
    export_dataset(dataset, tmp_path / "x", hands(), options)
    export_dataset(dataset, tmp_path / "y", hands(), options)
    a, b = (
        {p.relative_to(f): p.read_bytes() for p in sorted(f.rglob("*")) if p.is_file()}
        for f in (tmp_path / "x", tmp_path / "y")
    )
    assert a == b and failed(tmp_path / "x") == {}


def test_command_exports_a_choice_and_verify_finds_its_rows(made, tmp_path):
    target = str(tmp_path / "x")
    base = ["export", str(made / "fixed"), "--format", "npz", "--out", target, "-q"]
    where = ["--where", 'take == "c" and hands == 2', "--limit", "3"]
    shown = CliRunner().invoke(twohand, [*base, *where, "--dry-run"])
    assert "would write 3 of" in shown.output and not Path(target).exists()
    done = CliRunner().invoke(twohand, [*base, *where])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "x" / "samples.png").stat().st_size > 10_000
    checked = CliRunner().invoke(twohand, ["verify", target, "--against", str(made / "fixed")])
    assert checked.exit_code == 0 and "every check passed" in checked.output, checked.output
    with np.load(tmp_path / "x" / "npz" / "shard-00000.npz") as file:
        assert set(file["take"]) == {"c"} and file["present"].all() and len(file["take"]) == 3
    (tmp_path / "x" / "README.md").write_text("better")
    checked = CliRunner().invoke(twohand, ["verify", target])
    assert checked.exit_code == 1 and "README.md: changed" in checked.output
    plain = CliRunner().invoke(twohand, ["verify", str(made / "fixed"), "--against", target])
    assert isinstance(plain.exception, DataError)

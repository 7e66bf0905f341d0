"""`verify` on planted faults: each is found, by the right check, at the right place."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from shards_fixture import build, synthetic_hands

from twohand500k.cli import verify as verify_module
from twohand500k.errors import DataError
from twohand500k.hand.anatomy import Anatomy
from twohand500k.shards.files import json_bytes
from twohand500k.shards.hdf5 import Stored, arrays_sha256, read_stored, shard_bytes
from twohand500k.shards.verify import Finding, verify

SHARD = "shard-00001.h5"
Datasets = dict[str, Stored]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "dataset"
    build(folder, units=5)
    return folder


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dataset"))


def failed(folder: Path, **kwargs: object) -> dict[str, Finding]:
    findings = verify(folder, synthetic_hands(), **kwargs)  # type: ignore[arg-type]
    return {finding.check: finding for finding in findings if not finding.passed}


def edit_index(folder: Path, change: Callable[[dict], object]) -> None:
    index = json.loads((folder / "index.json").read_text())
    change(index)
    (folder / "index.json").write_bytes(json_bytes(index))


def edit_shard(
    folder: Path, change: Callable[[Datasets, dict], object], name: str = SHARD, sign: bool = True
) -> None:
    """Change a shard's arrays or attributes; `sign` puts the new hash into the index, so that the
    other checks must find the fault."""
    stored, root = read_stored(folder / name)
    stored = {
        path: Stored(item.array.copy(), dict(item.attributes)) for path, item in stored.items()
    }
    change(stored, root)
    (folder / name).write_bytes(shard_bytes(stored, root))
    if sign:

        def resign(index: dict) -> None:
            (entry,) = [e for e in index["shards"] if e["file"] == name]
            entry["arrays_sha256"] = arrays_sha256(stored, root)

        edit_index(folder, resign)


def test_a_whole_dataset_passes(dataset: Path) -> None:
    findings = verify(dataset, synthetic_hands())
    assert [f.check for f in findings if not f.passed] == []
    assert len({f.check for f in findings}) == len(findings) >= 12


def test_more_processes_find_the_same(dataset: Path) -> None:
    edit_shard(dataset, lambda stored, _: stored["joints"].array.__setitem__((3, 0, 8, 1), 0.5))
    one, two = (verify(dataset, synthetic_hands(), workers=w) for w in (1, 2))
    assert one == two


def set_item(path: str, place: tuple, value: object) -> Callable[[Datasets, dict], object]:
    return lambda stored, root: stored[path].array.__setitem__(place, value)


def swap_sides(*paths: str) -> Callable[[Datasets, dict], object]:
    def change(stored: Datasets, root: dict) -> None:
        for path in paths:
            stored[path].array[:] = stored[path].array[:, ::-1].copy()

    return change


def scale(path: str, factor: float) -> Callable[[Datasets, dict], object]:
    def change(stored: Datasets, root: dict) -> None:
        stored[path].array[:] *= factor

    return change


def add_mean_pose(stored: Datasets, root: dict) -> None:
    mean = np.stack([synthetic_hands()[s].hands_mean.reshape(15, 3) for s in (0, 1)])
    stored["mano/pose"].array[:, :, 1:] += mean


def tip_to_base(stored: Datasets, root: dict) -> None:
    order = [0, *(4 * f + k for f in range(5) for k in (4, 3, 2, 1))]
    stored["joints"].array[:] = stored["joints"].array[:, :, order].copy()


def shift_transl(stored: Datasets, root: dict) -> None:
    stored["mano/transl"].array[:] += np.float32(0.01)


def lose_dataset(stored: Datasets, root: dict) -> None:
    del stored["contact/realised"]


def shorten_dataset(stored: Datasets, root: dict) -> None:
    item = stored["mano/betas"]
    stored["mano/betas"] = Stored(item.array[:-1], item.attributes)


def widen_dataset(stored: Datasets, root: dict) -> None:
    item = stored["joints"]
    stored["joints"] = Stored(item.array.astype("<f8"), item.attributes)


def add_dataset(stored: Datasets, root: dict) -> None:
    stored["vertices"] = Stored(np.zeros((3, 2), "<f4"), {})


def repeat_id(stored: Datasets, root: dict) -> None:
    stored["sample_id"].array[5] = stored["sample_id"].array[2]


def two_splits(stored: Datasets, root: dict) -> None:
    array = stored["split"].array
    array[4] = (array[4] + 1) % 3


def forget_hand(stored: Datasets, root: dict) -> None:
    stored["present"].array[6, 1] = False


# fault: (how, the check that must fail, what the first fault must say, its dataset, its row)
PLANTED: dict[str, tuple[Callable[[Datasets, dict], object], str, str, str | None, int | None]] = {
    "pose edited by a milliradian": (
        set_item("mano/pose", (7, 0, 1, 2), 1e-3), "joints", "from where", "joints", 7),
    "joint moved by 10 um": (
        lambda s, r: s["joints"].array[9, 1].__iadd__(np.float32(1e-5)),
        "joints", "the left hand's", "joints", 9),
    "one joint elsewhere": (
        set_item("joints", (3, 0, 8, 1), 0.05), "joints", "right hand's index4", "joints", 3),
    "joints swapped right and left": (
        swap_sides("joints"), "joints", "right and left are swapped", "joints", 0),
    "everything swapped right and left": (
        swap_sides("joints", "mano/pose", "mano/betas", "mano/transl"),
        "joints", "right and left are swapped", "joints", 0),
    "parameters swapped right and left": (
        swap_sides("mano/pose", "mano/betas", "mano/transl"),
        "joints", "right and left are swapped", "joints", 0),
    "mean pose added": (add_mean_pose, "joints", "the mean hand was added", "joints", 0),
    "tip to base": (tip_to_base, "joints", "from tip to base", "joints", 0),
    "joints in millimetres": (scale("joints", 1e3), "joints", "in millimetres", "joints", 0),
    "millimetres, by size": (scale("joints", 1e3), "ranges", "wrong unit", "joints", 0),
    "other meaning of transl": (shift_transl, "joints", "displaced by 17.3", "joints", 0),
    "degrees": (scale("mano/pose", 57.3), "ranges", "is outside", "mano/pose", 0),
    "negative error": (
        set_item("quality/fit_error", (2, 0), -0.001), "ranges", "-0.001", "quality/fit_error", 2),
    "nan joint": (set_item("joints", (8, 1, 4, 0), np.nan), "presence", "NaN", "joints", 8),
    "infinite beta": (
        set_item("mano/betas", (8, 1, 4), np.inf), "presence", "infinite", "mano/betas", 8),
    "hand taken for absent": (forget_hand, "presence", "absent but has", "mano/pose", 6),
    "limit excess that is not so": (
        set_item("quality/limit_violation", (4, 0), 3.0),
        "limits", "the shard says 3", "quality/limit_violation", 4),
    "dataset lost": (lose_dataset, "schema", "contact/realised is missing", None, None),
    "dataset short": (shorten_dataset, "schema", "mano/betas has", None, None),
    "dataset of doubles": (widen_dataset, "schema", "joints has type <f8", None, None),
    "dataset unknown": (add_dataset, "schema", "vertices is not in", None, None),
    "code beyond names": (
        set_item("provenance/source", (1,), 9), "schema", "row 1 has a code", None, None),
    "id twice in a shard": (
        repeat_id, "sample ids", "is also shard-00001.h5 row 2", "sample_id", 5),
    "subject in two splits": (two_splits, "splits", "subject 'subject-take0'", "split", None),
    "convention": (
        lambda s, r: r.__setitem__("joint_order", "MANO"),
        "conventions", "joint_order", None, None),
    "frame": (lambda s, r: r.__setitem__("frame", "camera"), "conventions", "frame", None, None),
    "hand model": (
        lambda s, r: r.__setitem__("hand_model_right_sha256", "0" * 64),
        "conventions", "hand_model_right_sha256", None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found_even_when_the_hash_is_made_to_fit(dataset: Path, name: str) -> None:
    change, check, says, path, row = PLANTED[name]
    edit_shard(dataset, change)
    findings = failed(dataset)
    assert check in findings and "hashes" not in findings
    first = findings[check].faults[0]
    assert says in first.what
    assert first.file == ("shards" if check == "splits" else SHARD)
    assert (first.dataset, first.row) == (path, row)


def test_any_edit_fails_the_hash(dataset: Path) -> None:
    edit_shard(dataset, set_item("provenance/frame", (0,), 12345), sign=False)
    findings = failed(dataset)
    assert list(findings) == ["hashes"] and findings["hashes"].faults[0].file == SHARD


def test_flipped_byte_deleted_shard_foreign_shard_and_leftover(dataset: Path) -> None:
    with h5py.File(dataset / SHARD) as file:
        chunk = file["mano/pose"].id.get_chunk_info(0)
    content = bytearray((dataset / SHARD).read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    (dataset / SHARD).write_bytes(content)
    (dataset / "shard-00003.h5").unlink()
    shutil.copy(dataset / "shard-00000.h5", dataset / "shard-00002.h5")
    (dataset / ".shard-00009.h5.77.tmp").write_bytes(b"half")
    findings = failed(dataset)
    text = "\n".join(str(fault) for finding in findings.values() for fault in finding.faults)
    assert f"{SHARD}: " in text and ("hashes" in findings or "cannot be read" in text)
    assert "shard-00003.h5: missing" in text
    assert "shard-00002.h5: is not in the index" in text
    assert ".shard-00009.h5.77.tmp: left by a writer" in text
    assert "counts" in findings


def test_id_in_two_shards(dataset: Path) -> None:
    stored, _ = read_stored(dataset / "shard-00000.h5")
    first = stored["sample_id"].array[0]
    edit_shard(dataset, lambda s, r: s["sample_id"].array.__setitem__(4, first))
    (fault,) = failed(dataset)["sample ids"].faults
    assert (fault.file, fault.row) == (SHARD, 4) and "shard-00000.h5 row 0" in fault.what


def test_whole_shard_twice(dataset: Path) -> None:
    shutil.copy(dataset / "shard-00000.h5", dataset / "shard-00009.h5")

    def change(index: dict) -> None:
        index["shards"].append(index["shards"][0] | {"file": "shard-00009.h5"})
        index["samples"] += index["shards"][0]["samples"]

    edit_index(dataset, change)
    findings = failed(dataset)
    assert {"sample ids", "counts"} <= set(findings)


def test_rejects_and_run_record_must_agree(dataset: Path) -> None:
    lines = (dataset / "rejects.jsonl").read_text().splitlines(keepends=True)
    (dataset / "rejects.jsonl").write_text("".join(lines[1:]))
    assert "counts" in failed(dataset)
    (dataset / "rejects.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    assert "line 59" in failed(dataset)["rejects"].faults[0].what
    stored, _ = read_stored(dataset / SHARD)
    kept = json.loads(lines[0]) | {"sample_id": stored["sample_id"].array[0].decode()}
    (dataset / "rejects.jsonl").write_text("".join(lines[1:]) + json.dumps(kept) + "\n")
    assert "was kept as well" in failed(dataset)["sample ids"].faults[0].what
    (dataset / "rejects.jsonl").write_text("".join(lines))
    assert failed(dataset) == {}
    run = json.loads((dataset / "run.json").read_text())
    run["counts"]["kept"] += 1
    (dataset / "run.json").write_bytes(json_bytes(run))
    assert list(failed(dataset)) == ["counts"]
    (dataset / "run.json").unlink()
    assert list(failed(dataset)) == ["run record"]


def test_another_hand_model_is_said_and_nothing_passes_unchecked(dataset: Path) -> None:
    findings = {f.check: f for f in verify(dataset, synthetic_hands(seed=1))}
    assert (
        not findings["hand model"].passed
        and "--hand-model" in findings["hand model"].faults[0].what
    )
    assert not findings["joints"].passed and "not checked" in findings["joints"].summary


def test_limit_excess_is_recomputed(dataset: Path) -> None:
    def measure(stored: Datasets, root: dict) -> None:
        for side in (0, 1):
            anatomy = Anatomy.of(synthetic_hands()[side])
            angles = anatomy.angles_from_pose(stored["mano/pose"].array[:, side])
            excess = anatomy.limit_excess(angles).max(axis=(1, 2))
            stored["quality/limit_violation"].array[:, side] = excess

    edit_shard(dataset, measure)
    assert failed(dataset) == {}
    finding = next(f for f in verify(dataset, synthetic_hands()) if f.check == "limits")
    assert " 0 hands" not in finding.summary


def test_unfinished_run_is_refused_with_the_command(dataset: Path) -> None:
    (dataset / "index.json").unlink()
    with pytest.raises(DataError, match="finish it with: twohand build"):
        verify(dataset, synthetic_hands())


def test_command_prints_a_line_a_check_and_exits_1(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "load_hands", lambda where: synthetic_hands())
    good = CliRunner().invoke(verify_module.verify, [str(dataset)])
    assert good.exit_code == 0 and good.output.count("ok ") >= 12
    edit_shard(dataset, set_item("joints", (3, 0, 8, 1), 0.05))
    bad = CliRunner().invoke(verify_module.verify, [str(dataset)])
    assert bad.exit_code == 1 and f"{SHARD} joints row 3" in bad.output
    told = CliRunner().invoke(verify_module.verify, [str(dataset), "--json"])
    assert told.exit_code == 1
    by_check = {finding["check"]: finding for finding in json.loads(told.output)}
    assert by_check["joints"]["faults"][0]["row"] == 3 and by_check["hashes"]["passed"]


def test_findings_are_plain_records() -> None:
    finding = Finding("joints", True, "fine")
    assert replace(finding, passed=False) != finding

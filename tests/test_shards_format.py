"""Shards: what is written comes back, the same bytes every time, and nothing wrong is read."""

import errno
import json
import os
import subprocess
import sys
import types
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from shards_fixture import build, make_samples, synthetic_hands

from twohand500k.errors import DataError
from twohand500k.shards import (
    FIELDS,
    Dataset,
    Index,
    Samples,
    ShardEntry,
    conventions_for,
    write_index,
    write_shard,
)
from twohand500k.shards.files import json_bytes
from twohand500k.shards.format_doc import render
from twohand500k.shards.hdf5 import arrays_sha256, read_stored, shard_bytes, to_stored

ROOT = Path(__file__).resolve().parents[1]
CONVENTIONS = conventions_for(synthetic_hands())


def ids(n: int, prefix: str = "s") -> list[str]:
    return [f"{prefix}{i:04d}" for i in range(n)]


def equal(a: Samples, b: Samples) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(Samples)]
    return all(
        (x is None and y is None) or np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in pairs
    )


def one_handed(n: int) -> Samples:
    """Samples whose left hand is absent in every other row."""
    whole = make_samples(ids(n))
    present = whole.present.copy()
    present[::2, 1] = False
    gone = {"present": present}
    for name in ("pose", "betas", "transl", "joints", "fit_error"):
        array = getattr(whole, name).copy()
        array[~present] = np.nan
        gone[name] = array
    return replace(whole, **gone)


def repaired(n: int) -> Samples:
    whole = make_samples(ids(n))
    return replace(
        whole,
        pose_before=whole.pose,
        transl_before=whole.transl,
        volume_before=np.full(n, 1e-6),
        depth_before=np.full(n, 2e-3),
        displacement=np.full(n, 3e-3),
        evaluations=np.arange(n),
        repair_verdict=np.where(np.arange(n) % 2, "moved", "untouched"),
    )


def dataset_of(folder: Path, *parts: Samples) -> Dataset:
    folder.mkdir(exist_ok=True)
    entries = [
        write_shard(folder / f"shard-{i:05d}.h5", part, CONVENTIONS) for i, part in enumerate(parts)
    ]
    counts = {"synthetic-test": {"kept": sum(map(len, parts)), "rejected": 0}}
    write_index(folder, Index(tuple(entries), counts, CONVENTIONS, ()))
    return Dataset(folder)


def test_samples_and_schema_have_the_same_fields() -> None:
    assert {f.name for f in fields(Samples)} == {f.attribute for f in FIELDS}
    assert len({f.path for f in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize("make", [lambda n: make_samples(ids(n)), one_handed, repaired])
def test_what_is_written_comes_back(tmp_path: Path, make: "object") -> None:
    samples = make(37)  # type: ignore[operator]
    assert equal(dataset_of(tmp_path, samples).samples(), samples)


def test_text_keeps_names_from_all_over_the_world(tmp_path: Path) -> None:
    take = np.array(["Händeklatschen", "拍手", "a"])
    samples = replace(make_samples(ids(3)), take=take, source=np.array(["b", "a", "b"]))
    back = dataset_of(tmp_path, samples).samples()
    assert back.take.tolist() == take.tolist() and back.source.tolist() == ["b", "a", "b"]


def test_rows_across_shards_come_in_the_order_asked_for(tmp_path: Path) -> None:
    parts = [make_samples(ids(n, prefix)) for n, prefix in ((1100, "a"), (3, "b"), (700, "c"))]
    dataset = dataset_of(tmp_path, *parts)
    whole = Samples.concat(parts)
    rows = np.random.default_rng(1).permutation(len(whole))[:200]
    assert len(dataset) == len(whole) and equal(dataset.samples(rows), whole.select(rows))
    assert np.array_equal(dataset.array("joints", [1101, 5, 5]), whole.joints[[1101, 5, 5]])
    assert np.array_equal(dataset.array("take"), whole.take)
    assert equal(Samples.concat(list(dataset.shards())), whole)
    with pytest.raises(IndexError):
        dataset.samples([len(whole)])
    with pytest.raises(ValueError, match="jionts"):
        dataset.array("jionts")


@pytest.mark.parametrize("make", [lambda n: make_samples(ids(n)), one_handed, repaired])
def test_no_rows_are_no_samples_of_the_same_types(tmp_path: Path, make: "object") -> None:
    whole = make(5)  # type: ignore[operator]
    dataset = dataset_of(tmp_path, whole)
    for rows in ([], np.zeros(5, dtype=bool), np.array([], dtype=np.int64)):
        none = dataset.samples(rows)
        assert len(none) == 0 and equal(none, whole.select([]))
    for field in FIELDS:
        if (kept := getattr(whole, field.attribute)) is not None:
            empty = dataset.array(field.attribute, [])
            assert empty.shape == (0, *kept.shape[1:]) and empty.dtype.kind == kept.dtype.kind
            if field.kind not in ("text", "name"):
                assert empty.dtype == dataset.array(field.attribute).dtype, field.path


def test_select_and_concat_undo_each_other() -> None:
    whole = one_handed(10)
    parts = [whole.select(np.arange(10) < 4), whole.select([4, 5, 6, 7, 8, 9])]
    assert equal(Samples.concat(parts), whole)
    with pytest.raises(ValueError, match="more than once"):
        Samples.concat([whole, whole])
    with pytest.raises(ValueError, match="'repair'"):
        Samples.concat([make_samples(ids(2, "x")), repaired(2)])


WRONG = {
    "shape": ({"pose": np.zeros((4, 2, 15, 3))}, "pose must have shape"),
    "infinite": ({"betas": np.full((4, 2, 10), np.inf)}, "infinite"),
    "nan in a present hand": ({"transl": np.full((4, 2, 3), np.nan)}, "not finite"),
    "numbers in an absent hand": (
        {"present": np.array([[1, 0]] * 4, dtype=bool)},
        "the hand is absent",
    ),
    "no hand": ({"present": np.zeros((4, 2), dtype=bool)}, "no hand"),
    "split": ({"split": np.full(4, "training")}, "'training'"),
    "id": ({"sample_id": np.array(["a", "b", "c", "ü"])}, "ASCII"),
    "repeated id": ({"sample_id": np.array(["a", "b", "c", "b"])}, "more than once"),
    "float frame": ({"frame": np.zeros(4)}, "integer"),
    "bytes": ({"take": np.full(4, b"x")}, "str"),
    "half a group": ({"volume_before": np.zeros(4)}, "lacks"),
}


@pytest.mark.parametrize("name", WRONG)
def test_samples_refuse(name: str) -> None:
    change, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        replace(make_samples(ids(4)), **change)


def test_samples_are_read_only_and_leave_the_given_array_alone() -> None:
    given = np.zeros((4, 2), dtype=np.float32)
    samples = replace(make_samples(ids(4)), fit_error=given)
    with pytest.raises(ValueError, match="read-only"):
        samples.fit_error[0] = 1
    given[0] = 1


def test_the_same_samples_are_the_same_bytes_in_another_process_and_second(
    tmp_path: Path,
) -> None:
    script = (
        "import sys; from pathlib import Path; from shards_fixture import *\n"
        "from twohand500k.shards import write_shard, conventions_for\n"
        "write_shard(Path(sys.argv[1]), make_samples([f's{i:04d}' for i in range(600)]),"
        " conventions_for(synthetic_hands()))"
    )
    here = write_shard(tmp_path / "here.h5", make_samples(ids(600)), CONVENTIONS)
    # HDF5 stores times in whole seconds.
    os.utime(tmp_path / "here.h5", (0, 0))
    subprocess.run(
        [sys.executable, "-c", "import time; time.sleep(1.1)\n" + script, tmp_path / "there.h5"],
        cwd=Path(__file__).parent, check=True, timeout=60,
    )  # fmt: skip
    assert (tmp_path / "here.h5").read_bytes() == (tmp_path / "there.h5").read_bytes()
    assert here.samples == 600


def test_the_hash_is_of_content_not_of_layout(tmp_path: Path) -> None:
    samples = make_samples(ids(20))
    entry = write_shard(tmp_path / "a.h5", samples, CONVENTIONS)
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5", "w") as b:
        for key, value in a.attrs.items():
            b.attrs[key] = value
        for field in FIELDS:
            if field.path in a:
                plain = b.create_dataset(field.path, data=a[field.path][:])
                for key, value in a[field.path].attrs.items():
                    plain.attrs[key] = value
    assert arrays_sha256(*read_stored(tmp_path / "b.h5")) == entry.arrays_sha256
    assert arrays_sha256(to_stored(samples), CONVENTIONS) == entry.arrays_sha256


@pytest.mark.parametrize("field", [f.attribute for f in FIELDS if f.group == "core"])
def test_the_hash_sees_every_dataset(field: str) -> None:
    samples = make_samples(ids(3))
    array = getattr(samples, field).copy()
    first = {"U": "other", "b": True, "f": 0.5, "i": 7}[array.dtype.kind]
    if field == "split":
        first = "val" if array[0] != "val" else "test"
    if field == "present":
        pytest.skip("cannot change alone")
    array = array.astype("<U20") if array.dtype.kind == "U" else array
    array.flat[0] = first
    changed = replace(samples, **{field: array})
    assert arrays_sha256(to_stored(samples), CONVENTIONS) != arrays_sha256(
        to_stored(changed), CONVENTIONS
    )


# Reading what is not right


def rewrite_root(path: Path, key: str, value: object) -> None:
    with h5py.File(path, "a") as file:
        file.attrs[key] = value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pose_relative_to", "mean hand"),
        ("length_unit", "mm"),
        ("sides", [b"left", b"right"]),
        ("joint_definition", "regressed"),
        ("tip_vertex_ids", [745, 317, 444, 556, 673]),
        ("frame", "camera"),
        ("hand_model_left_sha256", "0" * 64),
        ("extra", "something"),
    ],
)
def test_a_shard_of_other_conventions_is_refused_by_name(
    tmp_path: Path, key: str, value: object
) -> None:
    dataset = dataset_of(tmp_path, make_samples(ids(5)))
    rewrite_root(tmp_path / "shard-00000.h5", key, value)
    for read in (lambda: dataset.samples(), lambda: dataset.array("joints")):
        with pytest.raises(DataError, match=rf"shard-00000\.h5 declares '?{key}"):
            read()


def test_folders_that_are_no_dataset_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        Dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no index\.json"):
        Dataset(tmp_path)
    build(tmp_path / "half", units=3)
    (tmp_path / "half" / "index.json").unlink()
    with pytest.raises(DataError, match=r"unfinished run \(3 of 3 units done\).*twohand build"):
        Dataset(tmp_path / "half")


def test_newer_or_damaged_index_says_so(tmp_path: Path) -> None:
    dataset_of(tmp_path, make_samples(ids(5)))
    path = tmp_path / "index.json"
    value = json.loads(path.read_text())
    for change, message in [
        ({"format": 2}, "newer than the format 1.*upgrade"),
        ({"samples": 6}, "says 6 samples"),
        ({"shards": [{"file": "../x.h5", "samples": 5, "arrays_sha256": ""}]}, "outside"),
        ({"shards": 3}, "damaged"),
        ({"conventions": value["conventions"] | {"angle_unit": "deg"}}, "angle_unit"),
    ]:
        path.write_bytes(json_bytes(value | change))
        with pytest.raises(DataError, match=message):
            Dataset(tmp_path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match="not JSON"):
        Dataset(tmp_path)


def test_missing_and_damaged_shards_are_named(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, make_samples(ids(600, "a")), make_samples(ids(5, "b")))
    shard = tmp_path / "shard-00000.h5"
    content = bytearray(shard.read_bytes())
    shard.unlink()
    with pytest.raises(DataError, match=r"shard-00000\.h5 is missing"):
        dataset.samples()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"shard-00000\.h5"):
        dataset.samples()
    shard.write_bytes((tmp_path / "shard-00001.h5").read_bytes())
    with pytest.raises(DataError, match=r"shard-00000\.h5 was changed after it was written"):
        dataset.samples()
    assert len(dataset.shard(1)) == 5


def test_no_byte_of_a_shard_changes_unnoticed(tmp_path: Path) -> None:
    """A flipped bit is refused, or lies where HDF5 keeps nothing that is read."""
    dataset = dataset_of(tmp_path, make_samples(ids(30)))
    before = dataset.samples()
    shard = tmp_path / "shard-00000.h5"
    content = shard.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.choice(len(content), 60, replace=False):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(8))
        shard.write_bytes(flipped)
        try:
            after = Dataset(tmp_path).shard(0)
        except DataError:
            refused += 1
        else:
            assert equal(before, after)
    assert refused > 30


# The disk


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"the disk is full.*run the same command again"):
        write_shard(tmp_path / "a.h5", make_samples(ids(3)), CONVENTIONS)
    assert not list(tmp_path.iterdir())


def test_a_replaced_file_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = write_shard(tmp_path / "a.h5", make_samples(ids(3)), CONVENTIONS)
    before = (tmp_path / "a.h5").read_bytes()

    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError, match="input/output error"):
        write_shard(tmp_path / "a.h5", make_samples(ids(4)), CONVENTIONS)
    assert (tmp_path / "a.h5").read_bytes() == before and entry == ShardEntry(
        "a.h5", 3, entry.arrays_sha256
    )


def test_an_empty_shard_is_not_written(tmp_path: Path) -> None:
    none = make_samples(ids(3)).select([])
    with pytest.raises(ValueError, match="without samples"):
        write_shard(tmp_path / "a.h5", none, CONVENTIONS)


def test_format_page_is_in_step_with_the_schema() -> None:
    written = (ROOT / "docs" / "format.md").read_text()
    assert written == render(), "run: python -m twohand500k.shards.format_doc > docs/format.md"


@pytest.mark.parametrize("held", range(0, 20, 3))
def test_a_thread_that_looks_at_the_stack_does_not_change_a_byte(held: int) -> None:
    """A profiler keeps frames, and with them HDF5 datasets, alive a little longer."""
    stored = to_stored(make_samples(ids(30)))
    reference = shard_bytes(stored, CONVENTIONS)
    frames: list[object] = []
    created = 0

    def profiler(frame: types.FrameType, event: str, argument: object) -> None:
        nonlocal created
        if event == "call" and frame.f_code.co_name == "create_dataset":
            if created == held:
                frames.append(frame)
            if created == held + 4:
                frames.clear()
            created += 1

    sys.setprofile(profiler)
    try:
        profiled = shard_bytes(stored, CONVENTIONS)
    finally:
        sys.setprofile(None)
    assert created > 20 and profiled == reference

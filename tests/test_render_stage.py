"""`twohand render` from outside: pictures of a dataset, resumed, checked, handed on; and photos."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_datasets import interhand26m as fixture
from fixtures_datasets.common import random_hands
from PIL import Image
from shards_fixture import dataset_bytes
from splice_fixture import Hands, bank, hands

from twohand500k.cli.main import main
from twohand500k.errors import DataError
from twohand500k.hand.rigid import moved_rigidly
from twohand500k.render import RenderOptions, plan_render, render
from twohand500k.render.photos import plan_photos
from twohand500k.shards import Dataset
from twohand500k.shards.hdf5 import read_stored
from twohand500k.shards.verify import verify
from twohand500k.shards.verify_pictures import picture_faults


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pairs and one single hand, in two shards."""
    units = (Hands("drawn", "both", "train", 5), Hands("drawn", "left", "val", 1))
    return bank(tmp_path_factory.mktemp("render") / "pairs", *units)


@pytest.fixture(scope="module")
def pictures(pairs: Path) -> Path:
    out = pairs.with_name("pictures")
    render(plan_render(pairs, hands(), RenderOptions(views=2, shard_size=4)), out, progress=False)
    return out


def call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 0


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.count("\n") == 1, said
    return said


def test_every_picture_shows_its_sample_from_its_camera(pairs: Path, pictures: Path) -> None:
    of, shown = Dataset(pairs).samples(), Dataset(pictures).samples()
    assert Dataset(pictures).conventions["frame"] == "camera"
    assert len(shown) == 12 and set(shown.pose_id) == set(of.sample_id)
    place = {name: k for k, name in enumerate(of.sample_id.tolist())}
    for k in range(len(shown)):
        row = place[str(shown.pose_id[k])]
        assert shown.sample_id[k] == f"{shown.pose_id[k]}/view{k % 2}"
        assert (shown.split[k], shown.take[k]) == (of.split[row], of.take[row])
        T = shown.T_camera_world[k].astype(float)
        for side in np.flatnonzero(of.present[row]).tolist():
            moved = of.joints[row, side] @ T[:3, :3].T + T[:3, 3]
            assert np.abs(moved - shown.joints[k, side]).max() < 2e-6
            J0 = hands()[side].with_shape(of.betas[row, side]).rest_joints[0]
            pose, transl = moved_rigidly(
                of.pose[row, side], of.transl[row, side], J0, T[:3, :3], T[:3, 3]
            )
            assert np.abs(pose - shown.pose[k, side]).max() < 1e-5
            assert np.abs(transl - shown.transl[k, side]).max() < 2e-6
    # Two views of one sample are two pictures.
    assert (shown.image[0] != shown.image[1]).mean() > 0.5
    assert np.isnan(shown.uv[~shown.present]).all() and np.isnan(shown.hidden[~shown.present]).all()
    assert all(finding.passed for finding in verify(pictures, hands()))


def test_same_bytes_whatever_the_workers_and_restarts(
    pairs: Path, pictures: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    call("render", pairs, "--out", again, "--views", 2, "--shard-size", 4, "--workers", 2, "-q")
    assert dataset_bytes(again) == dataset_bytes(pictures)
    # A run that was killed after some units: no index yet, a shard without its marker.
    (again / "index.json").unlink()
    marker = sorted((again / ".work").glob("*.json"))[-1]
    marker.unlink()
    call("render", pairs, "--out", again, "--views", 2, "--shard-size", 4, "-q")
    assert dataset_bytes(again) == dataset_bytes(pictures)


def test_another_way_of_cutting_shards_gives_the_same_pictures(
    pairs: Path, pictures: Path, tmp_path: Path
) -> None:
    options = RenderOptions(views=2, shard_size=64)
    render(plan_render(pairs, hands(), options), tmp_path / "o", progress=False)
    ours, theirs = (Dataset(f).samples() for f in (tmp_path / "o", pictures))
    assert (ours.sample_id == theirs.sample_id).all() and (ours.image == theirs.image).all()


def test_a_changed_option_is_refused_by_name(
    pairs: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, "render", pairs, "--out", pictures, "--views", 3, "-q",
                   "--shard-size", 4)  # fmt: skip
    assert "views = 2" in said


def test_dry_run_and_preview(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("render", pairs, "--out", tmp_path / "o", "--views", 3, "--dry-run", "--json")
    assert json.loads(capsys.readouterr().out) == {
        "samples": 6, "pictures": 18, "work_units": 2,
    }  # fmt: skip
    assert not (tmp_path / "o").exists()
    call("render", pairs, "--out", tmp_path / "o", "--limit", 3, "--preview", 2, "-q")
    said = capsys.readouterr().out
    assert "3 pictures of 3 samples" in said and "joints can be seen" in said
    with Image.open(tmp_path / "o/preview.png") as sheet:
        assert sheet.width > 4 * 256


@pytest.mark.parametrize(
    ("dataset", "spoil", "what"),
    [
        ("image/uv", lambda a: a.__iadd__(0.1), "px from where K puts them"),
        ("image/visible", lambda a: a.__setitem__((0, 0), True), "visible, but outside"),
        ("image/hidden", lambda a: a.__setitem__((0, 0), 1.5), "is no share"),
        ("image/mask", lambda a: a.__setitem__(0, 255), "more than the whole"),
        ("image/T_camera_world", lambda a: a.__setitem__((0, 0, 0), 2.0), "no rigid motion"),
    ],
)
def test_verify_finds_planted_faults(pictures: Path, dataset: str, spoil: Any, what: str) -> None:
    stored, _ = read_stored(pictures / "shard-00000.h5")
    arrays = {name: item.array.copy() for name, item in stored.items()}
    if dataset == "image/visible":
        arrays["image/uv"][0, 0] = -3.0
    spoil(arrays[dataset])
    spoilt = {name: replace(item, array=arrays[name]) for name, item in stored.items()}
    faults, _ = picture_faults(spoilt, arrays["present"])
    assert any(where == dataset and what in told for where, _, told in faults), faults


def test_what_would_part_pictures_from_their_hands_is_refused(
    pairs: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "holds pictures" in refusal(capsys, "render", pictures, "--out", out)
    assert "holds pictures" in refusal(capsys, "physics-fix", "--input", pictures, "--out", out)
    both = ("--where", "hands == 2")
    moved = refusal(capsys, "select", pictures, *both, "--frame", "right wrist", "--out", out)
    assert "--frame camera" in moved
    call("select", pictures, "--split", "train", "--out", tmp_path / "kept", "-q")
    assert "image" in Dataset(tmp_path / "kept").groups and len(Dataset(tmp_path / "kept")) == 10
    bare = tmp_path / "bare"
    call("select", pictures, "--split", "val", "--drop", "image", "--out", bare, "-q")
    assert "twohand render" in refusal(capsys, "select", tmp_path / "kept", bare, "--out", out)
    call("select", pictures, *both, "--frame", "right wrist", "--drop", "image", "--out", out, "-q")
    assert all(finding.passed for finding in verify(out, hands()))


# Photos


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Path]:
    """A tiny InterHand2.6M whose camera sees its hands, its photos grey ramps, and what `build`
    makes of it."""
    posed = random_hands(3, seed=5, tips="interhand26m", one_shape=False, centre=(0.0, 0.0, 0.9))
    content = fixture.tables(posed, capture=2)
    content["camera"] = {"2": {
        "campos": {"400262": [0, 0, 0]}, "camrot": {"400262": np.eye(3).tolist()},
        "focal": {"400262": [500.0, 505.0]}, "princpt": {"400262": [170.0, 250.0]},
    }}  # fmt: skip
    content.pop("MANO_NeuralAnnot")
    folder = fixture.write(tmp_path / "interhand", content)
    ramp = np.broadcast_to(np.arange(334)[:, None].clip(0, 255).astype(np.uint8), (512, 334, 3))
    for entry in content["data"]["images"][:2]:
        path = folder / "images/test" / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(ramp)).save(path.with_suffix(".jpg"), quality=95)
    call("build", "--source", "interhand26m", "--input", folder, "--out", tmp_path / "built", "-q")
    return folder, tmp_path / "built"


def test_photos_are_cropped_about_the_projected_skin(
    recorded: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, built = recorded
    call("render", built, "--photos", folder, "--out", tmp_path / "photos", "-q")
    shown = Dataset(tmp_path / "photos").samples()
    # The third frame's photo is not there.
    assert len(shown) == 2 and str(shown.sample_id[0]).endswith("/camera400262")
    assert all(finding.passed for finding in verify(tmp_path / "photos", hands()))
    for k in range(2):
        K = shown.K[k].astype(float)
        # Both axes are scaled alike; a crop's pixel shows the photo's.
        assert K[0, 0] / K[1, 1] == pytest.approx(500 / 505)
        zoom = 500 / K[0, 0]
        u = np.arange(256)[60:200] + 0.5
        column = 170 + zoom * (u - K[0, 2])
        inside = (column > 2) & (column < 250)
        seen = shown.image[k, 128, 60:200, 0].astype(float)
        assert np.abs(seen[inside] - (column[inside] - 0.5)).max() < 4
        # Hands fill the crop: their joints lie within, their outline comes near its border.
        assert ((shown.uv[k] > 0) & (shown.uv[k] < 256)).all()
        assert np.ptp(shown.uv[k].reshape(-1, 2), axis=0).max() > 120
        assert shown.mask[k].any(axis=(1, 2)).all() and shown.visible[k].any()


def test_photos_that_cannot_be_had_are_said(
    recorded: tuple[Path, Path], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, built = recorded
    out = tmp_path / "photos"
    broken = next(iter(sorted((folder / "images").rglob("*.jpg"))))
    broken.write_bytes(broken.read_bytes()[:200])
    call("render", built, "--photos", folder, "--out", out, "-q")
    (reject,) = Dataset(out).rejects()
    assert reject.reason == "photo" and broken.name in reject.detail
    assert "interhand26m" in refusal(capsys, "render", pairs, "--photos", folder, "--out", out)
    shutil.rmtree(folder / "images")
    with pytest.raises(DataError, match="images/ beside annotations/"):
        plan_photos(built, folder, hands())

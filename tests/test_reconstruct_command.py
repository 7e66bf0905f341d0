"""`twohand reconstruct`: files in, files out, with a network whose answers are known."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from recon_fixture import TrueAnswers, Truth, truth_of  # noqa: E402

from interaction_prior.reconstruction import Reconstructor  # noqa: E402
from interaction_prior.reconstruction.crop import MARGIN, crop_around  # noqa: E402
from twohand500k.cli import reconstruct_outputs  # noqa: E402
from twohand500k.cli.main import twohand  # noqa: E402
from twohand500k.cli.reconstruct_inputs import Known, find_pictures, read_still  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.export import meshes  # noqa: E402
from twohand500k.hand import load_hands  # noqa: E402
from twohand500k.shards import Dataset  # noqa: E402

WIDTH, HEIGHT = 160, 120
K = np.array([[175.0, 0.0, 80.5], [0.0, 176.0, 59.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def truth() -> Truth:
    torch.set_num_threads(1)
    return truth_of(np.array([[0.0, 0.0, 0.6], [0.12, 0.02, 0.6], [-0.1, -0.05, 0.7]]), seed=2)


@pytest.fixture
def photos(tmp_path: Path, truth: Truth) -> Path:
    """A folder of three pictures, a.jpg, b.png, c.png, and what is known of them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    known = {}
    for row, name in enumerate(("a.jpg", "b.png", "c.png")):
        pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
        known[name] = {"box": truth.box(row, K).tolist(), "K": K.tolist()}
    (tmp_path / "known.json").write_text(json.dumps(known))
    return folder


@pytest.fixture
def run(tmp_path: Path, truth: Truth, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command with a network that answers truly of the rows asked for."""

    def call(*args: str | Path, rows: tuple[int, ...] = (0, 1, 2), sha: str = "f00", **spoilt: str):
        views = [(r, crop_around(truth.box(r, K), K)) for r in rows]
        network = TrueAnswers(truth, views, size=64, **spoilt)
        look = Reconstructor(network, truth.hands, name="run", sha256=sha)
        monkeypatch.setattr(Reconstructor, "load", lambda *a, **k: look)
        words = ["reconstruct", "--model", "run", "--out", tmp_path / "out", "--workers", "1"]
        result = CliRunner().invoke(twohand, [*map(str, words), *map(str, args)])
        if result.exception and not isinstance(result.exception, DataError | SystemExit):
            raise result.exception
        return result

    return call


def known(photos: Path) -> tuple[str, Path]:
    return "--known", photos.parent / "known.json"


def test_writes_parameters_meshes_and_pictures(
    run: Callable[..., Result], photos: Path, truth: Truth
) -> None:
    out = photos.parent / "out"
    result = run(photos, *known(photos), "--mesh", "glb", "--mesh", "obj")
    assert result.exit_code == 0, result.output
    kinds = ("json", "glb", "obj")
    expected = {f"{n}.{kind}" for n in "abc" for kind in kinds} | {
        f"{n}_overlay.png" for n in "abc"
    }
    assert {f.name for f in out.iterdir()} == expected
    hands = load_hands("open")
    for row, name in enumerate("abc"):
        told = json.loads((out / f"{name}.json").read_text())
        assert (told["width"], told["height"], told["K_assumed"]) == (WIDTH, HEIGHT, False)
        assert told["box_from"] == "given" and told["made_by"]["network_sha256"] == "f00"
        for side, key in enumerate(("right", "left")):
            hand = told["hands"][key]
            posed = hands[side].with_shape(hand["betas"]).with_pose(hand["pose"], hand["transl"])
            assert np.abs(posed.joints - truth.joints[row, side]).max() < 2e-4
            assert np.abs(np.array(hand["joints"]) - posed.joints).max() < 1e-5
            assert hand["fit_error"] is None and len(hand["peaks"]) == 21
        for kind in ("glb", "obj"):
            (read,) = meshes.read(kind, out, [f"{name}.{kind}"])
            scale = 1e-6 if kind == "obj" else 1.0
            skin = truth.posed[0].vertices[row]
            assert np.abs(scale * read["vertices"][0, 0] - skin).max() < 2e-4
        assert np.asarray(Image.open(out / f"{name}_overlay.png")).shape[1] > 4 * 360


def test_goes_on_where_it_stopped_and_refuses_another_networks_files(
    run: Callable[..., Result], photos: Path
) -> None:
    out = photos.parent / "out"
    args = (*known(photos), "--no-overlay", "--mesh", "none")
    assert run(photos / "a.jpg", photos / "b.png", photos / "c.png", *args).exit_code == 0
    before = {f.name: f.stat().st_mtime_ns for f in out.iterdir()}
    (out / "b.json").unlink()
    again = run(photos, *args, rows=(1,))
    assert again.exit_code == 0 and "2 of them from before" in again.output
    after = {f.name: f.stat().st_mtime_ns for f in out.iterdir()}
    assert [n for n in before if after[n] == before[n]] == ["a.json", "c.json"]
    # More is wanted than was written: the pictures are done again.
    assert run(photos, *args[:2], "--no-overlay", "--mesh", "ply").exit_code == 0
    assert (out / "a.ply").exists()
    other = run(photos, *args, sha="ba5")
    assert other.exit_code == 1 and "network_sha256" in str(other.exception)
    assert "--overwrite" in str(other.exception)
    boxed = run(photos, "--box", "1,1,90,90", "--no-overlay", "--mesh", "none")
    assert boxed.exit_code == 1 and "another box" in str(boxed.exception)
    assert run(photos, *args, "--overwrite", sha="ba5").exit_code == 0


def test_a_bad_picture_is_refused_and_the_others_go_on(
    run: Callable[..., Result], photos: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    cut = (photos / "b.png").read_bytes()
    (photos / "cut.png").write_bytes(cut[: len(cut) // 2])
    Image.new("RGB", (9, 200)).save(photos / "thin.png")
    table = json.loads((photos.parent / "known.json").read_text())
    Image.new("RGB", (WIDTH, HEIGHT)).save(photos / "outside.png")
    table["outside.png"] = {"box": [500, 0, 600, 90]}
    (photos.parent / "known.json").write_text(json.dumps(table))
    result = run(photos, *known(photos), "--no-overlay", "--json")
    assert result.exit_code == 1
    assert "4 pictures were refused" in str(result.exception)
    told = json.loads(result.stdout[: result.stdout.rindex("}") + 1])
    assert told["pictures"] == 3 and len(told["refused"]) == 4
    out = photos.parent / "out"
    assert {f.stem for f in out.glob("*.glb")} == {"a", "b", "c"}
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    said = {r["picture"]: r["detail"] for r in rejects}
    assert "cannot be read" in said["cut"] or "no picture" in said["cut"]
    assert "broken.jpg" in said["broken"] and "too small" in said["thin"]
    assert "outside the picture" in said["outside"]
    for name in ("broken.jpg", "cut.png", "thin.png", "outside.png"):
        (photos / name).unlink()
    del table["outside.png"]
    (photos.parent / "known.json").write_text(json.dumps(table))
    assert run(photos, *known(photos), "--no-overlay").exit_code == 0
    assert not (out / "rejects.jsonl").exists()


def test_hands_become_a_dataset_that_verifies(
    run: Callable[..., Result], photos: Path, truth: Truth
) -> None:
    data = photos.parent / "data"
    args = (photos, *known(photos), "--no-overlay", "--mesh", "none", "--as-dataset", data)
    (photos / "broken.jpg").write_bytes(b"nothing")
    result = run(*args)
    assert result.exit_code == 1 and "broken" in str(result.exception)
    dataset = Dataset(data)
    samples = dataset.samples(np.arange(3))
    assert dataset.conventions["frame"] == "camera"
    assert samples.sample_id.tolist() == [f"reconstruct:run/{n}" for n in "abc"]
    assert samples.take.tolist() == ["photos"] * 3 and samples.frame.tolist() == [0, 1, 3]
    assert np.abs(samples.joints - truth.joints).max() < 2e-4
    assert json.loads((data / "rejects.jsonl").read_text())["reason"] == "unreadable_picture"
    verified = CliRunner().invoke(twohand, ["verify", str(data), "--workers", "1"])
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize("form", ["joints", "vertices"])
def test_hands_are_fitted_to_what_a_network_of_points_says(
    run: Callable[..., Result], photos: Path, truth: Truth, form: str
) -> None:
    result = run(photos / "a.jpg", *known(photos), "--no-overlay", rows=(0,), form=form)
    # The other pictures' entries are no pictures here.
    assert result.exit_code == 1 and "no picture is called so" in str(result.exception)
    told = json.loads((photos.parent / "out" / "a.json").read_text())
    for side, key in enumerate(("right", "left")):
        hand = told["hands"][key]
        assert hand["fit_error"] < 0.005
        posed = truth.hands[side].with_shape(hand["betas"]).with_pose(hand["pose"], hand["transl"])
        off = np.linalg.norm(posed.joints - truth.joints[0, side], axis=-1)
        assert off.mean() < 0.006


def test_several_processes_write_what_one_does(
    run: Callable[..., Result], photos: Path, tmp_path: Path
) -> None:
    assert run(photos, *known(photos), "--batch", "2", "--no-overlay").exit_code == 0
    one = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    args = (
        photos,
        *known(photos),
        "--no-overlay",
        "--batch",
        "2",
        "--workers",
        "2",
        "--out",
        tmp_path / "two",
    )
    assert run(*args).exit_code == 0
    assert {f.name: f.read_bytes() for f in (tmp_path / "two").iterdir()} == one


def test_frames_of_a_video_are_pictures_of_one_take(
    run: Callable[..., Result], photos: Path, truth: Truth
) -> None:
    rng = np.random.default_rng(1)
    frames = [
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)).quantize(32)
        for _ in range(5)
    ]
    video = photos.parent / "clip.gif"
    frames[0].save(video, save_all=True, append_images=frames[1:], duration=40)
    box = ",".join(f"{x:.12g}" for x in truth.box(0, K))
    args = (video, "--every", "2", "--box", box, "--K", "175,176,80.5,59", "--no-overlay")
    result = run(*args, rows=(0, 0, 0))
    assert result.exit_code == 0, result.output
    names = sorted(f.stem for f in (photos.parent / "out").glob("*.json"))
    assert names == ["clip_000000", "clip_000002", "clip_000004"]
    told = json.loads((photos.parent / "out" / "clip_000004.json").read_text())
    assert (told["take"], told["number"]) == ("clip", 4)


def test_a_video_without_a_decoder_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\0" * 64)
    with pytest.raises(DataError, match=r"imageio.*ffmpeg -i VIDEO"):
        list(find_pictures([tmp_path / "film.mp4"]).each)


def test_pictures_of_every_kind_come_upright_and_in_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)
    turned = Image.fromarray(rgb)
    exif = turned.getexif()
    exif[274] = 6  # to be shown turned by a quarter, clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_still(tmp_path / "turned.png"), np.rot90(rgb, -1))
    grey = rgb[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert read_still(tmp_path / "grey.png").shape == (40, 60, 3)
    Image.fromarray(257 * grey.astype(np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_still(tmp_path / "deep.png"), grey)
    clear = np.dstack([rgb, np.zeros((40, 60), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert read_still(tmp_path / "clear.png").shape == (40, 60, 4)
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "print.jpg")
    assert read_still(tmp_path / "print.jpg").shape == (40, 60, 3)


def test_names_of_pictures_are_their_own(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.png", "two.jpg", "ü x.png", "notes.txt"):
        Image.new("RGB", (20, 20)).save(tmp_path / name, format="PNG")
    names = [p.name for p in find_pictures([tmp_path]).each]
    assert names == ["one", "two_jpg", "two_png", "__x"]
    again = find_pictures([tmp_path / "one.jpg", tmp_path, tmp_path / "one.jpg"])
    assert again.count == 4 and [p.name for p in again.each] == names
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "sub" / "one.jpg")
    with pytest.raises(DataError, match="two folders"):
        find_pictures([tmp_path / "one.jpg", tmp_path / "sub" / "one.jpg"])
    with pytest.raises(DataError, match="is not there"):
        find_pictures([tmp_path / "three.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        find_pictures([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("content", "says"),
    [("[1, 2]", "not a table"), ("{", "not JSON"), ('{"a.jpg": {"Box": []}}', "is not"),
     ('{"a.jpg": [1]}', "is not")],
)  # fmt: skip
def test_a_malformed_table_of_boxes_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "known.json").write_text(content)
    with pytest.raises(DataError, match=says):
        Known.read(tmp_path / "known.json", None, None)


def test_the_overlay_shows_what_the_network_saw() -> None:
    # Written twice: a worker that draws needs no torch.
    assert reconstruct_outputs._MARGIN == MARGIN


def test_misuse(run: Callable[..., Result], photos: Path) -> None:
    assert run(photos, "--mesh", "none", "--mesh", "glb").exit_code == 2
    assert run().exit_code == 2
    for option, value in (("--K", "500,500"), ("--box", "1,2,3,nan"), ("--K", "f")):
        result = run(photos, option, value)
        assert result.exit_code == 1 and option in str(result.exception)

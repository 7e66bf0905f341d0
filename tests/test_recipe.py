"""Recipes: read and checked, shares counted out, a whole one made, killed and gone on with."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.recipe import make as make_module
from twohand500k.recipe.estimate import estimate, table
from twohand500k.recipe.make import Made, make, seed_of, shares_of, spliced_count
from twohand500k.recipe.recipe import Recipe, list_recipes, load_recipe
from twohand500k.recipe.steps import fingerprint, steps_of
from twohand500k.shards import Dataset

SMALL = """
samples = 30
shard_size = 16
[builds.hands]
source = "synthetic"
count = 60
[parts.natural]
share = 0.6
splice = ["hands"]
[parts.uniform]
share = 0.4
splice = ["hands"]
contacts = "uniform"
[repair]
effort = "fast"
shard_size = 8
[report]
gallery = 1
"""


def _recipe(folder: Path, text: str = SMALL, name: str = "small", **how: object) -> Recipe:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return load_recipe(str(path), **how)  # type: ignore[arg-type]


# Reading


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_whole(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.title and recipe.about
    assert recipe.builds and recipe.parts


def test_open_recipe_needs_nothing_but_the_toolkit() -> None:
    assert all(build.reading.source == "synthetic" for build in load_recipe("open-500k").builds)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("samples = 'x'", "samples"),
        ("title = 'no samples'", "samples is missing"),
        ("samples = 5", "parts"),
        ("samples = 0\n[parts.p]\ntake = 'b'\n[builds.b]\nsource = 'synthetic'\ncount = 3",
         "samples is 0"),
        (SMALL.replace("count = 60", "cuont = 60"), "'count'"),
        (SMALL.replace('"synthetic"', '"sinthetic"'), "builds.hands.source"),
        (SMALL.replace('splice = ["hands"]', 'splice = ["feet"]', 1), "'feet'"),
        (SMALL.replace("share = 0.6", "share = 0"), "parts.natural.share"),
        (SMALL.replace("share = 0.6", "take = 'hands'"), "either take"),
        (SMALL.replace('effort = "fast"', 'effort = "slow"'), "'fast' or 'best'"),
        (SMALL.replace("share = 0.6", 'share = 0.6\nwhere = "volume < 3"'), "'volume' is no field"),
        (SMALL + "[builds.idle]\nsource = 'synthetic'\ncount = 3", "builds.idle"),
        (SMALL + "[builds.x]\nsource = 'freihand'", "needs input"),
        (SMALL + "[builds.x]\nsource = 'freihand'\ninput = 'a'\ncount = 4", "goes with synthetic"),
        (SMALL.replace("[repair]", "[repare]"), "'repair'"),
        ("samples = = 3", "not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_its_place(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(DataError, match=r"small\.toml") as error:
        _recipe(tmp_path, text)
    assert names in str(error.value) and "\n" not in str(error.value)


def test_unknown_recipe_names_the_shipped_ones(tmp_path: Path) -> None:
    for which in ("no-such", str(tmp_path / "no.toml")):
        with pytest.raises(DataError, match="open-500k"):
            load_recipe(which)


def test_without_and_changes(tmp_path: Path) -> None:
    whole = load_recipe("two-hand-500k")
    fewer = load_recipe("two-hand-500k", without=["lsmv", "mocap"], changes={"samples": 9})
    assert fewer.samples == 9
    gone = {b.name for b in whole.builds} - {b.name for b in fewer.builds}
    assert gone == {"lsmv", "mocap"}
    assert {p.name for p in whole.parts} - {p.name for p in fewer.parts} == {"mocap"}
    assert all("lsmv" not in part.splice for part in fewer.parts)
    with pytest.raises(DataError, match="lsmw"):
        load_recipe("two-hand-500k", without=["lsmw"])


def test_places_of_the_data(tmp_path: Path) -> None:
    recipe = load_recipe("two-hand-500k", data=tmp_path, places={"rhd": Path("/elsewhere")})
    assert recipe.build("stb").reading.inputs == (tmp_path / "stb",)
    assert recipe.build("rhd").reading.inputs == (Path("/elsewhere"),)
    with pytest.raises(DataError, match="rdh"):
        load_recipe("two-hand-500k", places={"rdh": tmp_path})


# Counts


@given(
    samples=st.integers(1, 500_000),
    shares=st.lists(st.floats(0.01, 10), min_size=1, max_size=6),
    data=st.data(),
)
def test_shares_fill_the_dataset(samples: int, shares: list[float], data: st.DataObject) -> None:
    takes = data.draw(st.lists(st.booleans(), min_size=len(shares), max_size=len(shares)))
    have = data.draw(st.lists(st.integers(0, 10**6), min_size=len(shares), max_size=len(shares)))
    names = [f"p{k}" for k in range(len(shares))]
    recipe = load_recipe("demo")
    part = recipe.parts[0]
    parts = tuple(
        dataclasses.replace(
            part, name=n, share=s, take="take" if t else "", splice=() if t else ("hands",)
        )
        for n, s, t in zip(names, shares, takes, strict=True)
    )
    recipe = dataclasses.replace(recipe, samples=samples, parts=parts)
    recorded = {n: h for n, h, t in zip(names, have, takes, strict=True) if t}
    counts = shares_of(recipe, recorded)
    assert all(counts[n] <= recorded[n] for n in recorded) and min(counts.values()) >= 0
    if not all(takes):
        assert sum(counts.values()) == samples
        wanted = samples * np.array(shares) / sum(shares)
        for n, w, t in zip(names, wanted, takes, strict=True):
            assert counts[n] >= np.floor(w) or t
    else:
        assert sum(counts.values()) <= samples


def test_spare_pairs_and_seeds_of_parts() -> None:
    assert spliced_count(1000, 0.02) == 1020 and spliced_count(10, 0.0) == 10
    recipe = load_recipe("open-500k")
    assert len({seed_of(recipe, part) for part in recipe.parts}) == len(recipe.parts)


def test_fingerprint_sees_a_changed_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "x.csv"
    file.write_text("1")
    before = fingerprint([tmp_path])
    assert before == fingerprint([tmp_path])
    file.write_text("12")
    assert before != fingerprint([tmp_path])


# Before it is made


def test_estimate_says_samples_time_and_disk(tmp_path: Path) -> None:
    hands = load_hands("open")
    recipe = load_recipe("open-500k")
    rows = estimate(recipe, tmp_path / "out", hands, workers=2)
    assert [row.step for row in rows] == list(steps_of(recipe))
    assert all(row.samples and row.seconds > 0 for row in rows)
    four = estimate(recipe, tmp_path / "out", hands, workers=4)
    assert sum(r.seconds for r in four) == pytest.approx(sum(r.seconds for r in rows) / 2)
    assert "500,000 samples in about" in table(rows, recipe, 2)
    assert not (tmp_path / "out").exists()


def test_estimate_without_the_data_says_what_is_missing(tmp_path: Path) -> None:
    rows = estimate(
        load_recipe("two-hand-500k", data=tmp_path), tmp_path / "o", load_hands("open"), 1
    )
    mocap = next(row for row in rows if str(row.step) == "build mocap")
    assert mocap.samples is None and np.isnan(mocap.seconds) and "not there" in mocap.note
    told = table(rows, load_recipe("two-hand-500k"), 1)
    assert "unknown" in told and "at least" in told


# Making


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Made, Path]:
    folder = tmp_path_factory.mktemp("made")
    recipe = _recipe(folder)
    return recipe, make(recipe, folder / "out", load_hands("open"), progress=False), folder


@pytest.fixture
def plain_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the page, which takes long to draw and is tested elsewhere."""

    def write(folders, out, hands, options, *, log) -> None:  # type: ignore[no-untyped-def]
        out.mkdir(parents=True, exist_ok=True)
        (out / "index.html").write_text(options.title)
        (out / "numbers.json").write_text(json.dumps([len(Dataset(f)) for f in folders]))

    monkeypatch.setattr(make_module, "make_report", write)


def _bytes_of(folder: Path) -> dict[str, str]:
    files = [*folder.glob("*.h5"), folder / "index.json", folder / "rejects.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def test_a_recipe_makes_a_verified_dataset_and_its_page(made: tuple[Recipe, Made, Path]) -> None:
    from twohand500k.shards.verify import verify

    recipe, result, folder = made
    dataset = Dataset(folder / "out" / "dataset")
    assert len(dataset) == recipe.samples == result.samples and result.short == 0
    assert all(finding.passed for finding in verify(dataset.path, load_hands("open")))
    assert dataset.conventions["frame"] == "right wrist"
    assert [record["stage"] for record in dataset.index.history].count("splice") == 2
    pairs = {tuple(ids) for ids in dataset.array("bank_id").tolist()}
    assert len(pairs) == len(dataset), "two parts joined the same two hands"
    assert (folder / "out" / "report" / "index.html").is_file()
    told = json.loads((folder / "out" / "make.json").read_text())
    assert told["samples"] == 30 and next(s["step"] for s in told["steps"]) == "build hands"


def test_again_does_nothing(
    made: tuple[Recipe, Made, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, _, folder = made
    before = {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.h5")}
    for name in ("build_takes", "plan_splice", "plan_physics_fix", "plan_select", "make_report"):
        monkeypatch.setattr(make_module, name, None)
    again = make(recipe, folder / "out", load_hands("open"), progress=False)
    assert all(report.reused for report in again.steps) and again.samples == 30
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.h5")}


def test_a_changed_option_is_refused_by_name(made: tuple[Recipe, Made, Path]) -> None:
    _, _, folder = made
    for key, value in (("parts.natural.share", 0.7), ("repair.effort", "best"), ("samples", 31),
                       ("builds.hands.count", 61)):  # fmt: skip
        other = load_recipe(str(folder / "small.toml"), changes={key: value})
        with pytest.raises(DataError, match="another --out") as error:
            make(other, folder / "out", load_hands("open"), progress=False)
        assert key.split(".")[-1] in str(error.value) and str(value) in str(error.value)


@pytest.mark.usefixtures("plain_report")
def test_a_new_title_is_no_other_dataset(made: tuple[Recipe, Made, Path]) -> None:
    _, _, folder = made
    other = load_recipe(str(folder / "small.toml"), changes={"title": "A new name"})
    again = make(other, folder / "out", load_hands("open"), progress=False)
    assert [str(r.step) for r in again.steps if not r.reused] == ["report all"]
    assert "A new name" in (folder / "out" / "report" / "index.html").read_text()


@pytest.mark.parametrize("fails", ["plan_splice", "physics_fix", "select_samples", "make_report"])
def test_stopped_at_any_step_it_goes_on_to_the_same_bytes(
    made: tuple[Recipe, Made, Path],
    tmp_path: Path,
    plain_report: None,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    recipe, _, folder = made

    def stop(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(make_module, fails, stop)
        with pytest.raises(KeyboardInterrupt):
            make(recipe, out, load_hands("open"), progress=False)
    make(recipe, out, load_hands("open"), progress=False, workers=2)
    assert _bytes_of(out / "dataset") == _bytes_of(folder / "out" / "dataset")


@pytest.mark.usefixtures("plain_report")
def test_a_damaged_step_is_made_again(made: tuple[Recipe, Made, Path], tmp_path: Path) -> None:
    recipe, _, folder = made
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    shutil.rmtree(out / "repaired" / "uniform")
    again = make(recipe, out, load_hands("open"), progress=False)
    made_again = {str(r.step) for r in again.steps if not r.reused}
    assert "physics-fix uniform" in made_again <= {"physics-fix uniform", "report all"}
    assert _bytes_of(out / "dataset") == _bytes_of(folder / "out" / "dataset")


def test_missing_data_is_told_at_once_and_writes_nothing(tmp_path: Path) -> None:
    recipe = load_recipe("two-hand-500k", data=tmp_path, without=["mocap"])
    with pytest.raises(DataError, match="--without") as error:
        make(recipe, tmp_path / "out", load_hands("open"), progress=False)
    assert all(name in str(error.value) for name in ("freihand", "stb", "h2o3d"))
    assert not (tmp_path / "out").exists()


def test_a_stage_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    recipe = _recipe(
        tmp_path,
        SMALL.replace('source = "synthetic"\ncount = 60', 'source = "rhd"\ninput = "x"'),
        data=tmp_path,
    )
    with pytest.raises(DataError, match="build hands: "):
        make(recipe, tmp_path / "out", load_hands("open"), progress=False)

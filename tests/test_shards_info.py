"""`twohand info`: the numbers it prints are the dataset's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from shards_fixture import build

from twohand500k.cli.info import info
from twohand500k.errors import DataError
from twohand500k.shards import Dataset
from twohand500k.sources.datasets import READERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("info") / "dataset"
    build(out)
    return out


def test_numbers_are_the_datasets_own(folder: Path) -> None:
    dataset = Dataset(folder)
    told = json.loads(CliRunner().invoke(info, [str(folder), "--json"]).output)
    assert told["samples"] == len(dataset) == told["hands"]["both"]
    assert sum(told["takes"].values()) == sum(told["splits"].values()) == len(dataset)
    assert sum(told["rejects"].values()) == len(list(dataset.rejects()))
    assert told["quality"]["fit_error_mm"]["median"] == pytest.approx(1.0)
    assert told["quality"]["fit_error_mm"]["n"] == 2 * len(dataset)
    assert "penetration_volume_cm3" not in told["quality"]
    assert told["bytes"] == sum(p.stat().st_size for p in folder.glob("*.h5"))
    assert told["conventions"]["frame"] == "world"
    assert np.isclose(told["bytes_per_sample"], told["bytes"] / len(dataset))


def test_text_names_what_matters(folder: Path) -> None:
    text = CliRunner().invoke(info, [str(folder)]).output
    for word in (
        "141 samples",
        "drawn",
        "synthetic-test",
        "frame world",
        "noise 2.0",
        "take1",
    ):
        assert word in text


def test_without_a_folder_it_tells_of_itself() -> None:
    assert "numpy" in CliRunner().invoke(info, []).output
    listed = json.loads(CliRunner().invoke(info, ["--sources", "--json"]).output)
    assert {"leap", "mixamo"} <= {joint_map["name"] for joint_map in listed["joint_maps"]}
    assert set(READERS) <= {source["name"] for source in listed["sources"]}
    assert all(s["license"] and s["citation"] and s["get"] for s in listed["sources"])
    text = CliRunner().invoke(info, ["--sources"]).output
    assert "leap: " in text and all(f"\n{name}: " in text for name in READERS)


def test_a_lost_shard_is_one_line(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "shard-00003.h5").unlink()
    raised = CliRunner().invoke(info, [str(copy)]).exception
    assert isinstance(raised, DataError)
    assert "shard-00003.h5 is missing" in str(raised) and "\n" not in str(raised)


def test_misuse_and_wrong_folders(folder: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(info, [str(folder), "--sources"]).exit_code == 2
    assert isinstance(CliRunner().invoke(info, [str(tmp_path)]).exception, DataError)

"""Numbers of whole datasets: shape and honesty of numbers.json, and the planted bad sets."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from splice_fixture import Hands, bank, hands

from twohand500k.cli.main import twohand
from twohand500k.errors import DataError
from twohand500k.report import gather
from twohand500k.report.distributions import QUALITIES
from twohand500k.report.gather import DatasetFacts
from twohand500k.report.numbers import numbers_of
from twohand500k.shards import Dataset
from twohand500k.shards.files import json_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import report_planted


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bank(tmp_path_factory.mktemp("bank") / "bank", Hands("a", "both", "train", 150))


@pytest.fixture(scope="module")
def good(singles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 judged splices."""
    out = tmp_path_factory.mktemp("good") / "good"
    arguments = ["splice", "--bank", str(singles), "--count", "300", "--out", str(out), "--judge"]
    done = CliRunner().invoke(twohand, [*arguments, "-q"])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def numbers(good: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folders = report_planted.write_sets(
        good, tmp_path_factory.mktemp("planted"), hands(), count=150, seed=0
    )
    return numbers_of([gather.read(folder, name) for name, folder in folders.items()])


def entry(numbers: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e for e in numbers["datasets"] if e["name"] == name)
    return found


def against(numbers: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e for e in numbers["between"] if e["a"] == name)
    return found


def test_another_good_set_is_not_called_bad(numbers: dict[str, Any]) -> None:
    again = against(numbers, "good again")
    assert again["frechet"] < 1.5 * again["floor"]["frechet"]
    assert again["hands"]["frechet"] < 1.5 * again["hands"]["floor"]["frechet"]
    assert again["recall"] > 0.8 and again["coverage"] > 0.8


def test_one_pose_repeated_stands_out(numbers: dict[str, Any]) -> None:
    one, same = against(numbers, "one pose"), against(numbers, "good again")
    assert one["recall"] < 0.05 and one["coverage"] < 0.2 < same["coverage"]
    assert one["frechet"] > 3 * one["floor"]["frechet"]
    about, fine = entry(numbers, "one pose"), entry(numbers, "good")
    distance = [e["diversity"]["pair_distance_mm"] for e in (about, fine)]
    assert distance[0] < 0.2 * distance[1]
    entropy = [e["contacts"]["realised"]["entropy_bits_corrected"] for e in (about, fine)]
    assert entropy[0] < entropy[1] - 2


def test_fingers_bent_backwards_stand_out(numbers: dict[str, Any]) -> None:
    past = [
        entry(numbers, name)["quality"]["limit_violation_deg"]["median"]
        for name in ("backwards", "good")
    ]
    assert past[0] > 20 and past[1] < 1
    alone = against(numbers, "backwards")["hands"]
    assert alone["frechet"] > 2 * alone["floor"]["frechet"]
    assert alone["recall"] < 0.8 * alone["floor"]["recall"]


def test_hands_in_each_other_stand_out(numbers: dict[str, Any]) -> None:
    volume = [
        entry(numbers, name)["quality"]["penetration_volume_cm3"]["median"]
        for name in ("overlapping", "good")
    ]
    assert volume[0] > 10 > 2 > volume[1]
    assert against(numbers, "overlapping")["recall"] < 0.5


def test_every_null_says_why_and_the_rest_is_plain_data(good: Path, tmp_path: Path) -> None:
    singles = bank(tmp_path / "singles", Hands("b", "right", "train", 60))
    found = numbers_of([gather.read(good, "good"), gather.read(singles, "singles")])
    assert json.loads(json_bytes(found)) == json.loads(json.dumps(found))
    one_handed = entry(found, "singles")
    assert one_handed["diversity"] is None and "0 pairs" in one_handed["diversity_reason"]
    assert "no pairs" in one_handed["contacts"]["realised_reason"]
    assert against(found, "singles")["frechet"] is None
    assert "0 pairs" in against(found, "singles")["reason"]
    for quality in QUALITIES:
        told = one_handed["quality"][quality.key]
        assert told["n"] > 0 or (told["median"] is None and told["reason"])
    assert one_handed["quality"]["self_penetration_volume_cm3"]["unknown"] == 60
    assert one_handed["quality"]["limit_violation_deg"]["n"] == 60
    assert entry(found, "good")["contacts"]["intended"]["pairs_seen"] == 300


def test_counts_are_the_datasets_own(good: Path) -> None:
    dataset = Dataset(good)
    about = entry(numbers_of([gather.read(good, "good")]), "good")
    assert about["samples"] == about["pairs"] == len(dataset) == 300
    assert about["sources"]["splice"]["kept"] == 300
    volume = dataset.array("penetration_volume").astype(np.float64) * 1e6
    told = about["quality"]["penetration_volume_cm3"]
    assert told["p95"] == pytest.approx(np.quantile(volume, 0.95), rel=1e-4)
    histogram = told["histogram"]
    assert histogram["below"] + sum(histogram["counts"]) == 300
    near = dataset.array("contact_distance") <= 0.005
    assert about["contacts"]["realised"]["pairs_seen"] == near.sum()


def test_the_same_seed_gives_the_same_numbers_and_a_wrong_reference_is_named(good: Path) -> None:
    facts: list[DatasetFacts] = [gather.read(good, "a"), gather.read(good, "b")]
    assert numbers_of(facts, seed=4) == numbers_of(facts, seed=4)
    assert against(numbers_of(facts, reference="a"), "b")["nearest_mm"]["p5"] == 0.0
    with pytest.raises(DataError, match="there are: a, b"):
        numbers_of(facts, reference="c")
    with pytest.raises(ValueError, match="different names"):
        numbers_of([facts[0], facts[0]])

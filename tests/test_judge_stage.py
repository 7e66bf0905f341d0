"""`--judge`: a stage's pairs judged as they are made, recorded, the same with any workers."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from twohand500k.cli.main import twohand
from twohand500k.hand import load_hands
from twohand500k.physics.judge import Judge
from twohand500k.physics.judging import UNJUDGED, Judging
from twohand500k.pipeline import UnitResult
from twohand500k.shards import Dataset, Reject


def command(*given: object) -> str:
    done = CliRunner().invoke(twohand, [str(word) for word in given])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def spliced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    said = command("build", "--source", "synthetic", "--count", 40, "--judge", "--workers", 1,
                   "--out", folder / "bank", "-q")  # fmt: skip
    assert "judged 0 pairs" in said and "40 hands" in said
    said = command("splice", "--bank", folder / "bank", "--count", 12, "--shard-size", 6, "--judge",
                   "--workers", 1, "--out", folder / "pairs", "-q")  # fmt: skip
    assert "judged 1" in said and "0 pairs could not be judged" in said
    return folder


def test_fields_are_those_of_the_judge(spliced: Path) -> None:
    bank, pairs = Dataset(spliced / "bank"), Dataset(spliced / "pairs")
    hands = bank.samples(range(len(bank)))
    assert np.isnan(hands.penetration_volume).all()
    assert np.array_equal(np.isfinite(hands.self_penetration_volume), hands.present)
    samples = pairs.samples(range(len(pairs)))
    again = Judge.of(load_hands("open")).samples(samples)
    for name in ("penetration_volume", "penetration_depth", "contact_distance", "contact_realised",
                 "self_penetration_volume"):  # fmt: skip
        assert np.array_equal(getattr(samples, name), getattr(again, name)), name
    assert (samples.contact_realised != "").all()
    command("verify", spliced / "pairs")


def test_workers_change_nothing(spliced: Path, tmp_path: Path) -> None:
    command("splice", "--bank", spliced / "bank", "--count", 12, "--shard-size", 6, "--judge",
            "--workers", 2, "--out", tmp_path / "pairs", "-q")  # fmt: skip
    one, two = Dataset(spliced / "pairs"), Dataset(tmp_path / "pairs")
    assert one.index.shards == two.index.shards


def test_resuming_without_it_is_refused(spliced: Path) -> None:
    again = CliRunner().invoke(twohand, [
        "splice", "--bank", str(spliced / "bank"), "--count", "12", "--shard-size", "6", "--out",
        str(spliced / "pairs"), "-q",
    ])  # fmt: skip
    assert again.exit_code == 1 and "the option judge = True" in str(again.exception)


def _refuse_all(unit: str) -> UnitResult:
    return UnitResult(None, (Reject(unit, "test", "no"),), 1)


def test_rejects_pass_and_the_stage_pickles() -> None:
    stage = pickle.loads(pickle.dumps(Judging(_refuse_all, load_hands("open"))))
    result = stage("a")
    assert result.samples is None and result.rejects[0].sample_id == "a"
    assert UNJUDGED not in result.stats.counts

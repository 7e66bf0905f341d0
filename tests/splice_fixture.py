"""Small pose banks on the open hand for the tests of splice: drawn poses, written as datasets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.pipeline import UnitResult, rng_for, run, runner
from twohand500k.shards import Samples

# The plan of a run holds a hash of the code; see shards_fixture.
VERSIONS = {"twohand500k": "1.2.3", "numpy": "2.1"}
runner.versions = lambda: VERSIONS  # type: ignore[assignment]


@cache
def hands() -> HandPair:
    return load_hands("open")


@dataclass(frozen=True)
class Hands:
    """A unit: `count` hands of one source, side ("right", "left", "both") and split."""

    source: str
    side: str
    split: str
    count: int
    spread: bool = False
    still: bool = False
    ambiguous: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.source} {self.side} {self.split}"


@dataclass(frozen=True)
class DrawHands:
    """Drawn poses: `spread`, straight fingers held apart; `still`, one pose all the time."""

    pair: HandPair

    def __call__(self, unit: Hands) -> UnitResult:
        return _drawn(unit, self.pair)


def _drawn(unit: Hands, pair: HandPair) -> UnitResult:
    n = unit.count
    ids = [f"{unit.source}/{unit.split}/{unit.side}{k:04d}" for k in range(n)]
    present = np.zeros((n, 2), dtype=bool)
    present[:, 0] = unit.side in ("right", "both")
    present[:, 1] = unit.side in ("left", "both")
    arrays = {
        "pose": np.full((n, 2, 16, 3), np.nan),
        "betas": np.full((n, 2, 10), np.nan),
        "transl": np.full((n, 2, 3), np.nan),
        "joints": np.full((n, 2, 21, 3), np.nan),
        "limit_violation": np.full((n, 2), np.nan),
    }
    for side in np.flatnonzero(present[0]).tolist():
        model, anatomy = pair[side], Anatomy.of(pair[side])
        rngs = [rng_for(side, ids[0] if unit.still else i) for i in ids]
        angles = np.stack([_angles(rng, unit.spread) for rng in rngs])
        turn = np.stack([rng.normal(scale=0.8, size=3) for rng in rngs])
        pose = anatomy.pose_from_angles(angles, turn).astype(np.float32)
        betas = np.stack([rng.normal(scale=0.5, size=10) for rng in rngs]).astype(np.float32)
        transl = np.stack([rng.normal(scale=0.2, size=3) for rng in rngs]).astype(np.float32)
        arrays["pose"][:, side], arrays["betas"][:, side] = pose, betas
        arrays["transl"][:, side] = transl
        arrays["joints"][:, side] = model.with_shape(betas).with_pose(pose, transl).joints
        excess = anatomy.limit_excess(anatomy.angles_from_pose(pose))
        arrays["limit_violation"][:, side] = excess.max(axis=(1, 2))
    unsure = np.zeros((n, 2), dtype=bool)
    unsure[: unit.ambiguous] = present[: unit.ambiguous]
    samples = Samples(
        sample_id=np.array(ids),
        present=present,
        source=np.full(n, unit.source),
        take=np.full(n, f"take {unit.split}"),
        subject=np.full(n, f"{unit.source} {unit.split}"),
        frame=np.arange(n),
        split=np.full(n, unit.split),
        side_ambiguous=unsure,
        **arrays,
    )
    return UnitResult(samples, (), n)


def _angles(rng: np.random.Generator, spread: bool) -> np.ndarray:
    """Angles (15, 3) rad: one degree of bending a finger and a little of each joint's own."""
    angles = np.zeros((15, 3))
    bend = rng.uniform(0.0, 0.15, size=4) if spread else rng.uniform(0.4, 1.2, size=4)
    for finger, chain in enumerate(((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))):
        angles[list(chain), 0] = bend[finger] * np.array([0.9, 1.1, 0.7]) + rng.normal(0, 0.05, 3)
        angles[chain[0], 1] = rng.normal(0.0, 0.06)
    if spread:
        # index, middle, little, ring: away from the middle finger
        angles[[0, 3, 6, 9], 1] += np.array([0.22, 0.04, -0.40, -0.18])
    angles[12:, 0] = rng.uniform(0.0, 0.4, size=3)
    return angles


def bank(out: Path, *units: Hands, pair: HandPair | None = None) -> Path:
    """A dataset of these units in `out`, on the open hand or another pair."""
    pair = pair or hands()
    run(
        DrawHands(pair), list(units), out, name="build", options={}, hands=pair, progress=False,
        command="twohand build",
    )  # fmt: skip
    return out

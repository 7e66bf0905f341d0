"""Pairs of open hands as datasets for the tests of the repair's stage, and a stand-in repairer.

The stand-in moves hands by amounts drawn from the random numbers it is given, and says what it is
told to: the stage is tested apart from Bullet and the judge.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.hand.measure import pair_displacement
from twohand500k.hand.rigid import in_right_wrist
from twohand500k.physics.judge import Judgement
from twohand500k.physics.repair import PairInput, Repaired, RepairOptions
from twohand500k.physics.stage import joints_of
from twohand500k.pipeline import UnitResult, rng_for, run, runner
from twohand500k.shards import Samples

# The plan of a run holds a hash of the code; see shards_fixture.
VERSIONS = {"twohand500k": "1.2.3", "numpy": "2.1"}
runner.versions = lambda: VERSIONS  # type: ignore[assignment]


@cache
def hands() -> HandPair:
    return load_hands("open")


@dataclass(frozen=True)
class Frames:
    """A unit: these frames of a take, in this order; negative numbers stand for none."""

    take: str
    frames: tuple[int, ...]
    single: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.take


@dataclass(frozen=True)
class DrawPairs:
    """Two hands a palm apart in the world, turned at will; the first `single` have one hand."""

    frame: str

    def __call__(self, unit: Frames) -> UnitResult:
        n = len(unit.frames)
        ids = [f"drawn/{unit.take}/{k:04d}" for k in range(n)]
        rngs = [rng_for(0, i) for i in ids]
        pose = np.stack([rng.normal(scale=0.15, size=(2, 16, 3)) for rng in rngs])
        betas = np.broadcast_to(rng_for(1, unit.take).normal(scale=0.4, size=(2, 10)), (n, 2, 10))
        transl = np.stack([rng.normal(scale=0.02, size=(2, 3)) for rng in rngs])
        transl[:, 1, 2] += 0.06
        if self.frame == "right wrist":
            pose, transl = in_right_wrist(hands(), pose, betas, transl)
        pose, betas, transl = (a.astype(np.float32) for a in (pose, betas, transl))
        arrays = {
            "pose": pose,
            "betas": np.array(betas),
            "transl": transl,
            "joints": joints_of(hands(), pose, betas, transl),
        }
        present = np.ones((n, 2), dtype=bool)
        present[: unit.single, 1] = False
        for array in arrays.values():
            array[: unit.single, 1] = np.nan
        intended = np.full((n, 2), "", dtype="<U20")
        intended[n // 2 :] = [REGIONS[0], REGIONS[7]]
        samples = Samples(
            sample_id=np.array(ids),
            present=present,
            source=np.full(n, "drawn"),
            take=np.full(n, unit.take),
            subject=np.full(n, f"subject of {unit.take}"),
            frame=np.array(unit.frames),
            split=np.full(n, "val"),
            fit_error=np.where(present, 1e-3, np.nan),
            contact_intended=intended,
            bank_id=np.full((n, 2), "bank/1"),
            placement=np.full(n, "contact"),
            placement_spin=np.full(n, np.nan),
            placement_standoff=np.full(n, 0.001),
            **arrays,
        )
        return UnitResult(samples, (), n)


def pairs(out: Path, *units: Frames, frame: str = "world") -> Path:
    """A dataset of these units in `out`."""
    run(
        DrawPairs(frame), list(units), out, name="splice", options={}, hands=hands(), frame=frame,
        progress=False, command="twohand splice",
    )  # fmt: skip
    return out


@dataclass(frozen=True)
class StandIn:
    """Repairs by rote: of ten pairs two pass, two are refused, six are moved at random.

    With a `previous` frame the shift is half its own and half the previous one's, so that a result
    tells what it was given.
    """

    hands: HandPair
    options: RepairOptions

    def repair(
        self,
        pair: PairInput,
        rng: np.random.Generator,
        previous: Repaired | None = None,
        record: bool = False,
    ) -> Repaired:
        kind = int(rng.integers(10))
        own = rng.uniform(0.0, 0.002, size=2)
        before = Judgement(
            volume=rng.uniform(0, 4e-6), depth=rng.uniform(0, 8e-3), distance=0.0,
            self_volume=np.array([1e-9, 2e-9]), nearest=(3, 4), fault="",
        )  # fmt: skip
        pose, transl = pair.pose.copy(), pair.transl.copy()
        verdict = "untouched"
        if kind >= 2:
            verdict = ("penetration_left", "self_penetration", *["repaired"] * 6)[kind - 2]
            shift = 5e-3 + rng.normal(scale=1e-3, size=3)
            if previous is not None:
                shift = 0.5 * shift + 0.5 * (previous.transl[1] - _start(previous))
            transl[1] += shift
            pose[0, 0] += rng.normal(scale=0.02, size=3)
            pose[1, 4] += rng.normal(scale=0.02, size=3)
            START[pose.tobytes()] = pair.transl[1]
        left = 3e-7 if verdict == "penetration_left" else own[0] * 1e-5
        after = Judgement(
            volume=left, depth=own[1] * 0.5, distance=0.0,
            self_volume=np.array([1e-9, 1e-7 if verdict == "self_penetration" else 2e-9]),
            nearest=(5, 6), fault="",
        )  # fmt: skip
        moved = joints_of(self.hands, *(a[None] for a in (pose, pair.betas, transl)))[0]
        given = joints_of(self.hands, *(a[None] for a in (pair.pose, pair.betas, pair.transl)))[0]
        return Repaired(
            pose, transl, verdict, 7, pair_displacement(given, moved),
            before, after,
            ((pair.pose, pair.transl), (pose, transl)) if record else (),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""


# Where the left hand of a pair stood before, by its pose after: what `StandIn` carries on.
START: dict[bytes, np.ndarray] = {}


def _start(previous: Repaired) -> np.ndarray:
    return START.get(previous.pose.tobytes(), previous.transl[1])


@dataclass(frozen=True)
class DiesOnce:
    """Makes a stand-in that kills its process at the 30th pair, unless the file `flag` is there."""

    flag: Path

    def __call__(self, pair: HandPair, options: RepairOptions) -> "Dies":
        return Dies(pair, options, self.flag)


@dataclass(frozen=True)
class Dies(StandIn):
    """What `DiesOnce` makes."""

    flag: Path
    seen: list[None] = field(default_factory=list)

    def repair(
        self,
        pair: PairInput,
        rng: np.random.Generator,
        previous: Repaired | None = None,
        record: bool = False,
    ) -> Repaired:
        self.seen.append(None)
        if len(self.seen) == 30 and not self.flag.exists():
            self.flag.touch()
            os._exit(9)
        return super().repair(pair, rng, previous, record)

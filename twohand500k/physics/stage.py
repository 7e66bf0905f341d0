"""The repair as a stage: samples of a finished dataset in, the same samples without overlap out.

Comes in: a `RepairUnit`, some samples of the input dataset. Goes out: each of them repaired, passed
as it is, or refused with its reason, with what it was before in the group `repair`. What a sample
is, whose, from where, in which split and which contact was meant stays; parameters, joints and
quality are those after. A sample's result is a function of (seed, its id, the sample itself) alone,
in a smooth take also of the frames before it in its window; never of workers or units.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from twohand500k.conventions import LEFT, N_JOINTS, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.contact_regions import REGIONS
from twohand500k.hand.measure import pair_displacement
from twohand500k.hand.rigid import in_right_wrist
from twohand500k.physics.repair import (
    MOST_DEPTH,
    MOST_VOLUME,
    PairInput,
    Repaired,
    RepairOptions,
)
from twohand500k.physics.windows import RepairUnit
from twohand500k.pipeline import Stats, Summary, UnitResult, rng_for
from twohand500k.shards import Reject, Samples
from twohand500k.shards.slices import read_rows

Array = np.ndarray

UNTOUCHED, REPAIRED, SINGLE_HAND = "untouched", "repaired", "single_hand"
PENETRATION_LEFT = "penetration_left"
SELF_PENETRATION = "self_penetration"
UNJUDGEABLE = "unjudgeable"
REFUSED = (PENETRATION_LEFT, SELF_PENETRATION, UNJUDGEABLE)
RIGHT_WRIST = "right wrist"
# Kept and refused are counted by the volume that samples begin with, cm3.
BINS_CM3 = (0.0, 2.0, 5.0, 15.0, 60.0)
# In a smooth take a good frame starts the next ones, over at most so many refused in between.
_MOST_REFUSED = 3

_REGION_NUMBER = {name: number for number, name in enumerate(REGIONS)}
_REGION_NAMES = np.array([*REGIONS, ""])


class Repairs(Protocol):
    """What repairs one pair at a time; `physics.repair.Repairer` is one."""

    def repair(
        self,
        pair: PairInput,
        rng: np.random.Generator,
        previous: Repaired | None = None,
        record: bool = False,
    ) -> Repaired: ...

    def close(self) -> None: ...


MakeRepairer = Callable[[HandPair, RepairOptions], Repairs]


@dataclass(frozen=True, eq=False)
class PhysicsFixStage:
    """What a worker does with a `RepairUnit`.

    folder: the input dataset; frame: its frame of space. make: makes a process's repairer; it is
    called once a process, and must be picklable.
    """

    folder: Path
    frame: str
    hands: HandPair
    options: RepairOptions
    seed: int
    make: MakeRepairer

    def __call__(self, unit: RepairUnit) -> UnitResult:
        # Each row once, and which of them each of the unit's rows is.
        rows, place = np.unique(unit.rows, return_inverse=True)
        samples = read_rows(self.folder, rows, unit.inputs)
        results = self._repaired(samples, place, unit)
        # Rows of `samples` in the order in which they are written.
        order = place[unit.written].tolist()
        kept = [k for k in order if not _is_refused(results[k])]
        rejects = tuple(
            Reject(str(samples.sample_id[k]), str(samples.source[k]), result.verdict, _told(result))
            for k in order
            if (result := results[k]) is not None and not result.kept
        )
        out = self._after(samples.select(kept), [results[k] for k in kept]) if kept else None
        return UnitResult(out, rejects, n_in=len(order), stats=_stats(list(results.values()), out))

    def _repaired(
        self, samples: Samples, place: Array, unit: RepairUnit
    ) -> dict[int, Repaired | None]:
        """What became of each row of `samples` that is written; None for a single hand."""
        repairer = _repairer(self)
        both: Array = np.all(samples.present, axis=1)
        results: dict[int, Repaired | None] = {}
        previous: Repaired | None = None
        refused = 0
        for k, written, follows in zip(place.tolist(), unit.written, unit.follows, strict=True):
            if not both[k]:
                results[k] = None
                continue
            if not follows:
                previous, refused = None, 0
            sample_id = str(samples.sample_id[k])
            try:
                result = repairer.repair(
                    pair_input(samples, k), rng_for(self.seed, sample_id), previous
                )
                _check(result)
            except Exception as error:
                error.add_note(f"while the sample {sample_id!r} was repaired")
                raise
            refused = 0 if result.kept else refused + 1
            if result.kept or refused > _MOST_REFUSED:
                previous = result if result.kept else None
            if written:
                results[k] = result
        return results

    def _after(self, samples: Samples, results: Sequence[Repaired | None]) -> Samples:
        """The samples as they are after their repair; None passes as it is."""
        row = np.array([k for k, result in enumerate(results) if result is not None], dtype=int)
        repaired = [result for result in results if result is not None]
        changed = {name: np.array(getattr(samples, name)) for name in _CHANGED}
        changed["contact_realised"] = samples.contact_realised.astype(_REGION_NAMES.dtype)
        if repaired:
            pose, transl = self._placed(samples.select(row), repaired)
            changed["pose"][row], changed["transl"][row] = pose, transl
            changed["joints"][row] = joints_of(self.hands, pose, samples.betas[row], transl)
            judged = [result.after for result in repaired]
            changed["penetration_volume"][row] = [j.volume for j in judged]
            changed["penetration_depth"][row] = [j.depth for j in judged]
            changed["contact_distance"][row] = [j.distance for j in judged]
            changed["self_penetration_volume"][row] = [j.self_volume for j in judged]
            changed["contact_realised"][row] = _REGION_NAMES[[j.nearest for j in judged]]
            for side in (RIGHT, LEFT):
                anatomy = Anatomy.of(self.hands[side])
                angles = anatomy.angles_from_pose(changed["pose"][row, side].astype(np.float64))
                excess = anatomy.limit_excess(angles)
                changed["limit_violation"][row, side] = excess.max(axis=(1, 2))
        after = dataclasses.replace(samples, **changed)
        return dataclasses.replace(after, **self._before(samples, after, results))

    def _placed(self, samples: Samples, repaired: Sequence[Repaired]) -> tuple[Array, Array]:
        """Pose (n, 2, 16, 3) and transl (n, 2, 3) in the dataset's frame; bits that did not move
        stay."""
        pose = np.stack([result.pose for result in repaired])
        transl = np.stack([result.transl for result in repaired])
        if self.frame == RIGHT_WRIST:
            moved = (pose[:, RIGHT, 0] != samples.pose[:, RIGHT, 0]).any(axis=1)
            moved |= (transl[:, RIGHT] != samples.transl[:, RIGHT]).any(axis=1)
            if moved.any():
                pose[moved], transl[moved] = in_right_wrist(
                    self.hands, pose[moved], samples.betas[moved], transl[moved]
                )
        return pose, transl

    def _before(
        self, samples: Samples, after: Samples, results: Sequence[Repaired | None]
    ) -> dict[str, Any]:
        """The group `repair`. A dataset repaired before keeps its first before."""
        verdict = np.array([SINGLE_HAND if r is None else r.verdict for r in results])
        evaluations = np.array([0 if r is None else r.evaluations for r in results])
        volume = np.array([np.nan if r is None else r.before.volume for r in results])
        depth = np.array([np.nan if r is None else r.before.depth for r in results])
        pose, transl = samples.pose, samples.transl
        if samples.pose_before is not None:
            earlier = samples
            assert earlier.evaluations is not None and earlier.repair_verdict is not None
            assert earlier.transl_before is not None
            assert earlier.volume_before is not None and earlier.depth_before is not None
            pose, transl = samples.pose_before, earlier.transl_before
            volume, depth = earlier.volume_before, earlier.depth_before
            evaluations = np.where(
                earlier.evaluations < 0, earlier.evaluations, earlier.evaluations + evaluations
            )
            verdict = np.where(verdict == UNTOUCHED, earlier.repair_verdict, verdict)
        both = samples.present.all(axis=1)
        displacement = np.full(len(samples), np.nan)
        joints = joints_of(self.hands, pose[both], samples.betas[both], transl[both])
        displacement[both] = [
            pair_displacement(a, b)
            for a, b in zip(
                joints,
                joints_of(self.hands, after.pose[both], after.betas[both], after.transl[both]),
                strict=True,
            )
        ]
        return {
            "pose_before": pose,
            "transl_before": transl,
            "volume_before": volume,
            "depth_before": depth,
            "displacement": displacement,
            "evaluations": evaluations,
            "repair_verdict": verdict,
        }


# What a repair changes, besides the group `repair`.
_CHANGED = (
    "pose", "transl", "joints", "limit_violation", "penetration_volume", "penetration_depth",
    "contact_distance", "self_penetration_volume",
)  # fmt: skip


def pair_input(samples: Samples, row: int, before: bool = False) -> PairInput:
    """The pair of one row in float64. before: as it was before its repair."""
    pose = samples.pose_before if before else samples.pose
    transl = samples.transl_before if before else samples.transl
    assert pose is not None and transl is not None
    intended = [_REGION_NUMBER.get(str(name), -1) for name in samples.contact_intended[row]]
    right, left = intended if min(intended) >= 0 else (-1, -1)
    return PairInput(
        pose=pose[row].astype(np.float64),
        betas=samples.betas[row].astype(np.float64),
        transl=transl[row].astype(np.float64),
        intended=(right, left),
    )


def joints_of(hands: HandPair, pose: Array, betas: Array, transl: Array) -> Array:
    """Joints (n, 2, 21, 3) m of pairs, from parameters as they are stored (float32)."""
    pose, betas, transl = (
        np.asarray(a, dtype=np.float32).astype(np.float64) for a in (pose, betas, transl)
    )
    joints = np.empty((len(pose), 2, N_JOINTS, 3))
    for side in (RIGHT, LEFT):
        shaped = hands[side].with_shape(betas[:, side])
        joints[:, side] = shaped.with_pose(pose[:, side], transl[:, side]).joints
    return joints


_made: list[tuple[tuple[Any, ...], Repairs]] = []


def _repairer(stage: PhysicsFixStage) -> Repairs:
    """This process's repairer; another stage's is closed. A unit may come with its own copy of the
    stage, so they are told apart by what they hold."""
    key = (stage.hands.sha256, stage.options, stage.make)
    if not _made or _made[0][0] != key:
        for _, repairer in _made:
            repairer.close()
        _made[:] = [(key, stage.make(stage.hands, stage.options))]
    return _made[0][1]


def _is_refused(result: Repaired | None) -> bool:
    return result is not None and not result.kept


def _check(result: Repaired) -> None:
    """A verdict says what the judge found; anything else is a fault of the code."""
    if result.verdict not in (UNTOUCHED, REPAIRED, *REFUSED):
        raise ValueError(f"the repair gave the verdict {result.verdict!r}, which does not exist")
    after = result.after
    within = after.volume <= MOST_VOLUME and after.depth <= MOST_DEPTH
    if result.kept and not within:
        raise ValueError(
            f"the repair kept a pair with {1e6 * after.volume:.3g} cm3 and "
            f"{1e3 * after.depth:.3g} mm left as {result.verdict!r}"
        )


def _told(result: Repaired) -> str:
    """Why a sample is refused, in numbers."""
    before, after = result.before, result.after
    if result.verdict == UNJUDGEABLE:
        return after.fault or before.fault or "the judge gives no reason"
    if result.verdict == SELF_PENETRATION:
        a, b = (
            " / ".join(f"{1e6 * volume:.3f}" for volume in judged.self_volume)
            for judged in (before, after)
        )
        return f"{b} cm3 of right / left inside itself, {a} before the repair"
    return (
        f"{1e6 * after.volume:.3f} cm3 inside both hands, {1e3 * after.depth:.2f} mm deep; "
        f"{1e6 * before.volume:.3f} cm3, {1e3 * before.depth:.2f} mm before the repair; "
        f"at most {1e6 * MOST_VOLUME:g} cm3 and {1e3 * MOST_DEPTH:g} mm are kept"
    )


def bin_name(volume: float) -> str:
    """The bin of `BINS_CM3` that a volume (m3) lies in, in words; "unknown" for NaN."""
    if np.isnan(volume):
        return "unknown"
    at = int(np.searchsorted(BINS_CM3, 1e6 * volume, side="right"))
    if at == len(BINS_CM3):
        return f"over {BINS_CM3[-1]:g} cm3"
    return f"{BINS_CM3[at - 1]:g}-{BINS_CM3[at]:g} cm3"


def _stats(results: Sequence[Repaired | None], out: Samples | None) -> Stats:
    """Verdicts and starting volumes counted, before and after of those kept summed up."""
    counts: Counter[str] = Counter(SINGLE_HAND if r is None else r.verdict for r in results)
    for result in results:
        if result is not None:
            name = bin_name(result.before.volume)
            counts[f"from {name}"] += 1
            counts[f"kept from {name}"] += result.kept
    kept = [r for r in results if r is not None and r.kept]
    moved = np.empty(0) if out is None or out.displacement is None else out.displacement
    return Stats(
        counts=counts,
        summaries={
            "volume_before_m3": Summary.of([r.before.volume for r in kept]),
            "volume_after_m3": Summary.of([r.after.volume for r in kept]),
            "depth_before_m": Summary.of([r.before.depth for r in kept]),
            "depth_after_m": Summary.of([r.after.depth for r in kept]),
            "displacement_m": Summary.of(moved),
            "evaluations": Summary.of([r.evaluations for r in results if r is not None]),
        },
    )

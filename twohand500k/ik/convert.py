"""A dataset moved to another hand model: the stage behind `twohand hand convert --data`.

Comes in: a finished dataset, the models it was made on and is to go to. Goes out: a dataset of the
same samples whose skins agree, its joints, limit excess and displacement recomputed. What was
judged on the old skin (penetration, contact) is not known on the new one and becomes NaN; so does
the fit error, because the recorded points are not at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twohand500k.conventions import LEFT, N_BETAS, RIGHT
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.measure import pair_displacement
from twohand500k.hand.refit import Refit, is_mirrored, refit_pair, shape_groups, spread
from twohand500k.pipeline import RunSummary, Stats, Summary, UnitResult, run
from twohand500k.shards import Dataset, Reject, Samples
from twohand500k.shards.slices import require_no_pictures

Array = np.ndarray

STAGE = "hand-convert"
# Side (0 for both where a subject's two hands are one shape) and old betas as bytes: new betas.
Shapes = Mapping[tuple[int, bytes], np.ndarray]


@dataclass(frozen=True)
class ShardUnit:
    """One shard of the input dataset."""

    number: int
    name: str
    inputs: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ConvertShard:
    """The stage: one input shard in, the same samples on the target model out.

    shapes: betas already found for shapes that more than one shard holds. A sample is refused
    when a hand's skin stays further than max_residual_m away on average.
    """

    folder: Path
    source: HandPair
    target: HandPair
    shapes: Shapes
    max_residual_m: float

    def __call__(self, unit: ShardUnit) -> UnitResult:
        samples = Dataset(self.folder).shard(unit.number)
        known = np.full((len(samples), 2, N_BETAS), np.nan)
        one_shape = _one_shape(self.source, self.target)
        for row, side in np.argwhere(samples.present):
            key = _key(samples.betas[row, side], side, one_shape)
            known[row, side] = self.shapes.get(key, np.nan)
        found = refit_pair(
            self.source, self.target, samples.pose, samples.betas, samples.transl, known_betas=known
        )
        converted = self._on_target(samples, found)
        worst = np.nanmax(found.residual_mean, axis=1)
        keep = worst <= self.max_residual_m
        rejects = tuple(
            Reject(
                str(samples.sample_id[row]),
                str(samples.source[row]),
                "refit_residual",
                f"mean skin distance {worst[row] * 1e3:.2f} mm on the new model, "
                f"at most {self.max_residual_m * 1e3:g} mm allowed",
            )
            for row in np.flatnonzero(~keep)
        )
        moved = np.linalg.norm(converted.joints - samples.joints, axis=-1)
        stats = Stats(
            counts={"hands_not_converged": int((samples.present & ~found.converged).sum())},
            summaries={
                "residual_mean_m": Summary.of(found.residual_mean),
                "residual_max_m": Summary.of(found.residual_max),
                "joint_shift_m": Summary.of(moved),
            },
        )
        kept = converted.select(keep) if keep.any() else None
        return UnitResult(samples=kept, rejects=rejects, n_in=len(samples), stats=stats)

    def _on_target(self, samples: Samples, found: Refit) -> Samples:
        # What is stored is float32; the joints are to follow from what is stored.
        pose, betas, transl = (
            a.astype(np.float32).astype(np.float64) for a in (found.pose, found.betas, found.transl)
        )
        joints = np.full(samples.joints.shape, np.nan)
        limit_violation = np.full(samples.limit_violation.shape, np.nan)
        for side in (RIGHT, LEFT):
            rows = samples.present[:, side]
            model = self.target[side]
            shaped = model.with_shape(betas[rows, side])
            joints[rows, side] = shaped.with_pose(pose[rows, side], transl[rows, side]).joints
            anatomy = Anatomy.of(model)
            excess = anatomy.limit_excess(anatomy.angles_from_pose(pose[rows, side]))
            limit_violation[rows, side] = excess.max(axis=(1, 2), initial=0.0)
        not_known = {
            name: np.full(np.shape(getattr(samples, name)), np.nan)
            for name in (
                "fit_error",
                "penetration_volume",
                "penetration_depth",
                "contact_distance",
                "self_penetration_volume",
            )
        }
        changed = {
            "pose": pose,
            "betas": betas,
            "transl": transl,
            "joints": joints,
            "limit_violation": limit_violation,
            "contact_realised": np.full(samples.contact_realised.shape, ""),
            **not_known,
        }
        if samples.pose_before is not None and samples.transl_before is not None:
            before = refit_pair(
                self.source, self.target, samples.pose_before, samples.betas,
                samples.transl_before, known_betas=betas,
            )  # fmt: skip
            # Two fits of one pose may differ a little: what stood still is to stand still here too.
            still = _same(samples.pose, samples.pose_before)
            still &= _same(samples.transl, samples.transl_before)
            pose_before = np.where(still[:, None, None, None], pose, before.pose)
            transl_before = np.where(still[:, None, None], transl, before.transl)
            changed |= {
                "pose_before": pose_before,
                "transl_before": transl_before,
                "volume_before": np.full(len(samples), np.nan),
                "depth_before": np.full(len(samples), np.nan),
                "displacement": self._displacement(pose_before, betas, transl_before, joints),
            }
        return replace(samples, **changed)

    def _displacement(
        self, pose_before: Array, betas: Array, transl_before: Array, joints: Array
    ) -> Array:
        """How far the joints moved (n,) m on the target model, NaN where a hand is absent."""
        pose, transl = (
            a.astype(np.float32).astype(np.float64) for a in (pose_before, transl_before)
        )
        before = [
            self.target[s].with_shape(betas[:, s]).with_pose(pose[:, s], transl[:, s]).joints
            for s in (RIGHT, LEFT)
        ]
        pairs = zip(np.stack(before, axis=1), joints, strict=True)
        return np.array([pair_displacement(a, b) for a, b in pairs])


def convert_dataset(
    folder: Path,
    source: HandPair,
    target: HandPair,
    out: Path,
    *,
    max_residual_m: float,
    workers: int,
    progress: bool = True,
) -> RunSummary:
    """Move the dataset in `folder` from `source` to `target`, into `out`; resumable.

    Raises DataError if the dataset was not made on `source`, or already is on `target`.
    """
    dataset = Dataset(folder)
    declared = dataset.conventions
    for side in (RIGHT, LEFT):
        model = source[side]
        sha256 = declared[f"hand_model_{model.side}_sha256"]
        if sha256 != model.sha256:
            raise DataError(
                f"{folder} was made on the {model.side} hand model "
                f"{declared['hand_model'][side]!r} {sha256[:12]}…, --hand-model is "
                f"{model.name!r} {model.sha256[:12]}…; give the model it was made on"
            )
    require_no_pictures(dataset)
    if source.sha256 == target.sha256:
        raise DataError(f"{folder} is on that hand model already ({target.right.name!r})")
    with threadpool_limits(limits=1, user_api="blas"):
        shapes = _shapes_across_shards(dataset, source, target)
    units = [
        ShardUnit(number, entry.file, {entry.file: entry.arrays_sha256})
        for number, entry in enumerate(dataset.index.shards)
    ]
    return run(
        ConvertShard(folder, source, target, shapes, max_residual_m),
        units,
        out,
        name=STAGE,
        options={
            "from": source.sha256,
            "to": target.sha256,
            "max_residual_m": max_residual_m,
        },
        hands=target,
        frame=declared["frame"],
        history=dataset.index.history,
        workers=workers,
        progress=progress,
    )


def _shapes_across_shards(dataset: Dataset, source: HandPair, target: HandPair) -> Shapes:
    """New betas of every shape that stands in more than one shard, so that it stays one shape."""
    present = dataset.array("present")
    betas = dataset.array("betas")
    row, side = np.nonzero(present)
    sizes = [entry.samples for entry in dataset.index.shards]
    shard = np.repeat(np.arange(len(sizes)), sizes)[row]
    one_shape = _one_shape(source, target)
    keyed = betas[row, side].astype(np.float64)
    if not one_shape:
        keyed = np.concatenate([keyed, side[:, None]], axis=1)
    group = shape_groups(keyed)
    n_groups = int(group.max(initial=-1)) + 1
    first, last = np.full(n_groups, len(sizes)), np.full(n_groups, -1)
    np.minimum.at(first, group, shard)
    np.maximum.at(last, group, shard)
    crossing = np.flatnonzero((first < last)[group])
    chosen = crossing[spread(group[crossing])]
    if not len(chosen):
        return {}
    rows = np.unique(row[chosen])
    place = np.searchsorted(rows, row[chosen])
    wanted = np.zeros((len(rows), 2), dtype=np.bool_)
    wanted[place, side[chosen]] = True
    pose = np.where(wanted[..., None, None], dataset.array("pose", rows), np.nan)
    found = refit_pair(source, target, pose, betas[rows], dataset.array("transl", rows))
    return {
        _key(betas[r, s], s, one_shape): found.betas[p, s]
        for r, p, s in zip(row[chosen], place, side[chosen], strict=True)
    }


def _same(a: Array, b: Array) -> Array:
    """Which samples (n,) have the same numbers in both, NaN where the other has NaN."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    every: Array = np.all(same.reshape(len(a), -1), axis=1)
    return every


def _one_shape(source: HandPair, target: HandPair) -> bool:
    """Whether a subject's two hands are fitted as one shape (see `refit_pair`)."""
    return is_mirrored(source) and is_mirrored(target)


def _key(betas: np.ndarray, side: int, one_shape: bool) -> tuple[int, bytes]:
    return (0 if one_shape else int(side), betas.astype(np.float64).tobytes())

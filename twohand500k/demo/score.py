"""How near a built dataset comes to the truth that the demo's take was made from.

In: the dataset's folder and the `DemoTake`. Out: a `Score`, numbers in the units of its names. Rows
are matched by frame number, hands by side; what the build refused or never saw is counted, not
guessed.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twohand500k.demo.sensor import FIRST_FRAME
from twohand500k.demo.take import DemoTake
from twohand500k.errors import DataError
from twohand500k.pictures import FittedFrames, skeleton_edges
from twohand500k.shards.reader import Dataset


@dataclass(frozen=True)
class Score:
    """Means and percentiles over the hands kept. NaN where nothing was kept.

    noise: input point to true joint, seen joints only. error: fitted joint to true joint, on the
    joints that were seen, and on those that were not. residual: fitted joint to input point, as the
    dataset has it (mean over a hand).
    """

    frames: int
    interactions_kept: int
    hands_recorded: int
    hands_kept: int
    rejects: dict[str, int]
    noise_mean_mm: float
    error_seen_mean_mm: float
    error_seen_p95_mm: float
    error_hidden_mean_mm: float
    error_hidden_p95_mm: float
    hidden_joints: int
    residual_median_mm: float
    residual_p95_mm: float


def score(dataset: Dataset, take: DemoTake) -> Score:
    """Compare a dataset built from `take.c3d` with the take's truth."""
    rejects = Counter(reject.reason for reject in dataset.rejects())
    if not len(dataset):
        raise DataError(
            f"{dataset.path}: the build kept nothing of the demo's take; rejects by reason: "
            + (", ".join(f"{reason} {n}" for reason, n in rejects.most_common()) or "none")
        )
    frame = take_rows(dataset, take)
    present = dataset.array("present")
    joints = dataset.array("joints").astype(np.float64)
    off_truth = 1e3 * np.linalg.norm(joints - take.joints[frame], axis=-1)[present]
    off_input = 1e3 * np.linalg.norm(take.points - take.joints, axis=-1)[frame][present]
    seen = np.isfinite(off_input)
    residual = 1e3 * dataset.array("fit_error")[present]
    hidden = off_truth[~seen]
    return Score(
        frames=len(take.joints),
        interactions_kept=int(present.all(axis=1).sum()),
        hands_recorded=int(np.isfinite(take.points).any(axis=(-1, -2)).sum()),
        hands_kept=int(present.sum()),
        rejects=dict(rejects.most_common()),
        noise_mean_mm=float(off_input[seen].mean()),
        error_seen_mean_mm=float(off_truth[seen].mean()),
        error_seen_p95_mm=float(np.percentile(off_truth[seen], 95)),
        error_hidden_mean_mm=float(hidden.mean()) if len(hidden) else float("nan"),
        error_hidden_p95_mm=float(np.percentile(hidden, 95)) if len(hidden) else float("nan"),
        hidden_joints=len(hidden),
        residual_median_mm=float(np.nanmedian(residual)),
        residual_p95_mm=float(np.nanpercentile(residual, 95)),
    )


def take_rows(dataset: Dataset, take: DemoTake) -> np.ndarray:
    """For every sample of the dataset (N,) the row of the take it was made from."""
    row = dataset.array("frame") - FIRST_FRAME
    if len(row) and (row.min() < 0 or row.max() >= len(take.joints)):
        raise DataError(
            f"{dataset.path} has frames {row.min() + FIRST_FRAME} to {row.max() + FIRST_FRAME}, "
            f"the take has {FIRST_FRAME} to {len(take.joints) - 1 + FIRST_FRAME}: it was built "
            "from another recording"
        )
    return np.asarray(row)


def moments(dataset: Dataset, take: DemoTake) -> dict[int, str]:
    """Samples worth a picture and why: every phase's closest moment, and the worst fit of all.

    Closest: the mean distance of a true joint to the other hand's nearest joint is least; a lost
    point counts as 2 mm, so that of moments alike a well seen one is shown. Both hands or nothing.
    """
    row = take_rows(dataset, take)
    both = np.asarray(dataset.array("present").all(axis=1))
    phase = np.array(take.phase)[row]
    lost = np.asarray(np.isnan(take.points[row]).any(axis=-1).sum(axis=(1, 2)))
    chosen: dict[int, str] = {}
    for name in dict.fromkeys(take.phase):
        here = np.flatnonzero(both & (phase == name))
        if name == "rest" or not len(here):
            continue
        joints = take.joints[row[here]].astype(np.float32)
        apart = np.linalg.norm(joints[:, 0, :, None] - joints[:, 1, None, :], axis=-1)
        closeness = (apart.min(axis=1).mean(axis=1) + apart.min(axis=2).mean(axis=1)) / 2
        chosen[int(here[np.argmin(closeness + 0.002 * lost[here])])] = name
    if both.any():
        error = np.where(both[:, None], dataset.array("fit_error"), -np.inf).max(axis=1)
        worst = int(np.argmax(error))
        for sample in list(chosen):  # half a second apart, the two would look the same
            if abs(row[sample] - row[worst]) < take.fps / 2:
                del chosen[sample]
        chosen[worst] = f"{phase[worst]}, largest residual"
    return dict(sorted(chosen.items()))


def fitted_frames(dataset: Dataset, take: DemoTake, chosen: Mapping[int, str]) -> FittedFrames:
    """Chosen samples of the dataset beside the points they were fitted to, to be drawn."""
    samples = np.array(list(chosen), dtype=np.int64)
    row = take_rows(dataset, take)[samples]
    return FittedFrames(
        betas=dataset.array("betas", samples).astype(np.float64),
        pose=dataset.array("pose", samples).astype(np.float64),
        transl=dataset.array("transl", samples).astype(np.float64),
        points=take.points[row],
        edges=skeleton_edges(range(take.points.shape[2])),
        captions=[
            f"{why}, {k / take.fps:.2f} s" for why, k in zip(chosen.values(), row, strict=True)
        ],
        fit_error=dataset.array("fit_error", samples).astype(np.float64),
    )

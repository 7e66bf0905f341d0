"""Our solver against what people do today: Adam through `smplx.MANO`, frame by frame.

    python benchmarks/ik_vs_smplx_adam.py [--frames 256] [--steps 500] [--takes NAME ...]
                                          [--speed-only]

needs torch and smplx (the companion tier) and the recordings in $TWOHAND_REAL_DATA. Both sides fit
the same hand model (`HandModel.to_smplx`), the same points with the same weights and the same
calibrated skin offsets of markers, and report the same numbers over hands: the weighted root mean
square distance of a hand's present points from the fitted ones, which is what both minimise, and
the plain mean distance, in which points that the calibration trusts little count in full.

How Adam is treated, so that the comparison is a fair one:
  start     orientation and translation from the rigid motion that lays the palm on its points,
            pose = the model's mean pose (flat is worse)
  pose      45 free axis-angle numbers (flat_hand_mean=True, use_pca=False); no prior and no limits,
            nothing pulls on it but the points
  shape     fixed to our calibrated betas, or free: ten more unknowns in every frame
  rate      the best of `RATES` on 16 frames of the same side of the same take
  loss      mean squared distance over the present points, in cm^2 (Adam does not mind the scale,
            its epsilon minds gradients of 1e-6)
The hands of a batch are independent problems, so a batch of 256 gives the fits of 256 separate
loops, only faster. Our solver is shown twice: as the build uses it, with limits and prior, and with
both let go, which is the problem Adam has. "past limits" is the share of hands with an angle 10
degrees or more outside the anatomy's limits: what the lower distance of a free fit is bought with.
"""

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from smplx import MANO
from smplx.lbs import batch_rodrigues

from twohand500k.conventions import MANO_PARENTS, OPENPOSE_FROM_MANO21, SIDES
from twohand500k.hand import HandModel, load_hands
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.rotations import axis_angle_from_matrix
from twohand500k.ik.attachments import Attachments
from twohand500k.ik.calibrate import calibrate
from twohand500k.ik.solver import Settings, solve
from twohand500k.sources import Take, read_takes

RATES = ((0.01, "constant"), (0.02, "cosine"), (0.05, "cosine"), (0.1, "cosine"))
TAKES = (
    "mocap_bvh/cup1",
    "mocap_bvh/cyl_med3",
    "leap_csv/three-claps.csv",
    "mocap_trc/sequence.16_training_dense_left.trc,mocap_trc/sequence.16_training_dense_right.trc",
    "mocap_trc/sequence.38_training_dense_left.trc,mocap_trc/sequence.38_training_dense_right.trc",
)
PALM = (0, 1, 5, 9, 13, 17)
CM = 100.0
PAST_LIMITS = np.radians(10)


@dataclass(frozen=True, eq=False)
class Problem:
    """N hands of one side: points (N, K, 3) m, NaN where missing, and all that is known of them."""

    points: np.ndarray
    attachments: Attachments
    betas: np.ndarray
    sigma: float
    model: HandModel

    def rows(self, which: np.ndarray | slice) -> "Problem":
        return replace(self, points=self.points[which])


@dataclass(frozen=True, eq=False)
class Fitted:
    """distance (N, K) m, NaN where a point is missing; weight (K,); pose (N, 16, 3)."""

    distance: np.ndarray
    weight: np.ndarray
    pose: np.ndarray

    def rms(self) -> np.ndarray:
        """Weighted root mean square distance of every hand (N,), m: the objective of both."""
        square = (self.weight * self.distance) ** 2
        weight = np.where(np.isfinite(self.distance), self.weight**2, 0.0)
        return np.sqrt(np.nansum(square, axis=1) / weight.sum(axis=1))


def predict(mano: MANO, problem: Problem, unknowns: dict[str, torch.Tensor]) -> torch.Tensor:
    """Where smplx puts the K points of every hand (N, K, 3), metres."""
    at = problem.attachments
    n = len(unknowns["transl"])
    out = mano(
        betas=unknowns["betas"].expand(n, -1),
        global_orient=unknowns["global_orient"],
        hand_pose=unknowns["hand_pose"],
        transl=unknowns["transl"],
    )
    tips = out.vertices[:, list(problem.model.tip_vertex_ids)]
    joints = out.joints[:, :16]
    points = torch.cat([joints, tips], dim=1)[:, list(OPENPOSE_FROM_MANO21)][:, at.joint]
    moved = np.flatnonzero((at.tip < 0) & (at.offset != 0).any(axis=1))
    if len(moved):
        pose = torch.cat([unknowns["global_orient"], unknowns["hand_pose"]], dim=1)
        local = batch_rodrigues(pose.reshape(-1, 3)).reshape(n, 16, 3, 3)
        R = [local[:, 0]]
        for joint in range(1, 16):
            R.append(R[MANO_PARENTS[joint]] @ local[:, joint])
        carrier = at.carrier[moved]
        offset = torch.as_tensor(at.offset[moved], dtype=points.dtype)
        turned = torch.einsum("nkab,kb->nka", torch.stack(R, dim=1)[:, carrier], offset)
        points = points.clone()
        points[:, moved] = joints[:, carrier] + turned
    return points


def start(mano: MANO, problem: Problem) -> dict[str, torch.Tensor]:
    """Mean pose, oriented and placed by the best rigid motion onto the points."""
    n = len(problem.points)
    mean_pose = torch.as_tensor(problem.model.hands_mean, dtype=torch.float32)
    unknowns = {
        "betas": torch.as_tensor(problem.betas, dtype=torch.float32)[None],
        "global_orient": torch.zeros(n, 3),
        "hand_pose": mean_pose.expand(n, -1).clone(),
        "transl": torch.zeros(n, 3),
    }
    one = {k: v[:1] for k, v in unknowns.items()}
    with torch.no_grad():
        rest = predict(mano, problem, one)[0].double().numpy()
    root = problem.model.with_shape(problem.betas).rest_joints[0]
    palm = np.isin(problem.attachments.joint, PALM)
    for k in range(n):
        seen = np.isfinite(problem.points[k]).all(axis=-1)
        use = seen & palm if (seen & palm).sum() >= 3 else seen
        a, b = rest[use], problem.points[k, use]
        u, _, vt = np.linalg.svd((a - a.mean(axis=0)).T @ (b - b.mean(axis=0)))
        R = vt.T @ np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
        unknowns["global_orient"][k] = torch.as_tensor(axis_angle_from_matrix(R))
        # smplx turns the hand about its root
        place = b.mean(axis=0) - R @ (a.mean(axis=0) - root) - root
        unknowns["transl"][k] = torch.as_tensor(place)
    return unknowns


def adam(
    mano: MANO, problem: Problem, rate: float, schedule: str, steps: int, free_shape: bool
) -> Fitted:
    """Every hand after `steps` of Adam."""
    seen = torch.as_tensor(np.isfinite(problem.points).all(axis=-1))
    points = torch.as_tensor(np.nan_to_num(problem.points), dtype=torch.float32)
    # Residuals are divided by sigma / weight, so the squared loss takes the weight squared.
    weight = torch.as_tensor(problem.attachments.weight, dtype=torch.float32) ** 2 * seen
    unknowns = start(mano, problem)
    if free_shape:
        unknowns["betas"] = unknowns["betas"].repeat(len(points), 1)
    free = [v.requires_grad_() for k, v in unknowns.items() if free_shape or k != "betas"]
    optimizer = torch.optim.Adam(free, lr=rate)
    turn = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=rate * 1e-3)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        square = ((predict(mano, problem, unknowns) - points) * CM).square().sum(dim=-1)
        # Summed over hands: each is its own problem, whatever the batch.
        ((weight * square).sum(dim=1) / weight.sum(dim=1)).sum().backward()
        optimizer.step()
        if schedule == "cosine":
            turn.step()
    with torch.no_grad():
        distance = (predict(mano, problem, unknowns) - points).norm(dim=-1)
        distance = torch.where(seen, distance, torch.nan)
        pose = torch.cat([unknowns["global_orient"], unknowns["hand_pose"]], dim=1)
    return Fitted(
        distance.double().numpy(),
        problem.attachments.weight,
        pose.double().reshape(-1, 16, 3).numpy(),
    )


def best_rate(mano: MANO, problem: Problem, steps: int, free_shape: bool) -> tuple[float, str]:
    """The rate and schedule of `RATES` with the least mean distance on 16 hands."""
    rows = np.unique(np.linspace(0, len(problem.points) - 1, 16).astype(int))
    few = problem.rows(rows)
    return min(RATES, key=lambda r: float(adam(mano, few, *r, steps, free_shape).rms().mean()))


def ours(problem: Problem, free: bool = False, threads: int | None = None) -> Fitted:
    """Our solver as the build uses it; free: limits and prior let go, Adam's own problem."""
    shaped = problem.model.with_shape(problem.betas)
    settings = Settings(sigma_point=problem.sigma)
    if free:
        settings = replace(settings, sigma_limit=1e3, prior_scale=1e3, max_iterations=200)
    fit = solve(problem.points, shaped, problem.attachments, settings, threads=threads)
    return Fitted(fit.residual, problem.attachments.weight, fit.pose)


def problems_of(take: Take, frames: int, hands: object) -> list[Problem]:
    """Both sides of evenly spaced frames of a take, calibrated on the whole take."""
    calibration = calibrate(take, hands)  # type: ignore[arg-type]
    rows = np.unique(np.linspace(0, take.n_frames - 1, min(frames, take.n_frames)).astype(int))
    problems = []
    for side in np.flatnonzero(take.sides):
        points = take.points[rows, side]
        points = points[np.isfinite(points).all(axis=-1).sum(axis=1) >= 9]
        problems.append(
            Problem(
                points,
                calibration.attachments[side],
                calibration.betas[side],
                float(calibration.sigma[side]),
                hands[int(side)],  # type: ignore[index]
            )
        )
    return problems


def compare(take: Take, frames: int, steps: int, hands: object) -> Problem:
    """One take's table; its first side for the speed test."""
    problems = problems_of(take, frames, hands)
    layers = [p.model.to_smplx() for p in problems]
    count = sum(len(p.points) for p in problems)
    sigma = ", ".join(f"{SIDES[k]} {p.sigma * 1e3:.2f} mm" for k, p in enumerate(problems))
    print(f"\n{take.name}: {count} hands, calibrated noise {sigma}")
    print(f"  {'':48s} {'mean':>7s} {'median':>7s} {'p95':>7s} {'mean':>9s}")
    print(f"  {'mm':48s} {'weighted rms a hand':>23s} {'distance':>9s}  past limits")
    report("ours, as the build fits", problems, [ours(p) for p in problems])
    report("ours, without limits and prior", problems, [ours(p, free=True) for p in problems])
    for free_shape in (False, True):
        rates = [best_rate(m, p, steps, free_shape) for m, p in zip(layers, problems, strict=True)]
        fits = [
            adam(m, p, *rate, steps, free_shape)
            for m, p, rate in zip(layers, problems, rates, strict=True)
        ]
        used = " / ".join(f"{rate:g} {schedule}" for rate, schedule in rates)
        report(f"Adam, {'free' if free_shape else 'our'} shape ({used})", problems, fits)
    return problems[0]


def report(name: str, problems: list[Problem], fits: list[Fitted]) -> None:
    """One line: distances in mm, and the share of hands past the limits."""
    rms = 1e3 * np.concatenate([fit.rms() for fit in fits])
    mean = 1e3 * np.concatenate([np.nanmean(fit.distance, axis=1) for fit in fits])
    past = []
    for problem, fit in zip(problems, fits, strict=True):
        anatomy = Anatomy.of(problem.model)
        excess = anatomy.limit_excess(anatomy.angles_from_pose(fit.pose))
        past.append((excess >= PAST_LIMITS).any(axis=(1, 2)))
    print(
        f"  {name:48s} {rms.mean():7.3f} {np.median(rms):7.3f} {np.percentile(rms, 95):7.3f}"
        f" {mean.mean():9.3f} {100 * np.concatenate(past).mean():8.1f} %",
        flush=True,
    )


def speed(problem: Problem, steps: int) -> None:
    """Hands a second of both, in this run, on this machine."""
    layer = problem.model.to_smplx()
    print(f"\nspeed, hands/s ({torch.get_num_threads()} torch threads, {steps} steps of Adam)")
    rates = {}
    for batch, count in ((1, 2), (256, 256)):
        some = np.resize(np.arange(len(problem.points)), count)
        few = problem.rows(some)
        adam(layer, few.rows(slice(0, batch)), 0.02, "cosine", 3, False)
        began = time.perf_counter()
        for first in range(0, count, batch):
            adam(layer, few.rows(slice(first, first + batch)), 0.02, "cosine", steps, False)
        rates[batch] = count / (time.perf_counter() - began)
        print(f"  Adam through smplx, batch {batch:<4d} {rates[batch]:12.2f}")
    many = problem.rows(np.resize(np.arange(len(problem.points)), 20000))
    for threads in (1, None):
        ours(many.rows(slice(0, 600)), threads=threads)
        began = time.perf_counter()
        ours(many, threads=threads)
        mine = len(many.points) / (time.perf_counter() - began)
        said = "1 thread" if threads else "all cores"
        print(
            f"  ours, {said:24s} {mine:12.0f}   = {mine / rates[1]:8.0f} x the per-frame loop, "
            f"{mine / rates[256]:6.0f} x batch 256"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--takes", nargs="*", default=list(TAKES), help="paths in the data folder")
    parser.add_argument("--hand-model", default="open")
    parser.add_argument("--speed-only", action="store_true", help="leave the residuals out")
    args = parser.parse_args()
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("TWOHAND_REAL_DATA", default))
    if not data.is_dir():
        raise SystemExit(f"no recordings at {data}; set TWOHAND_REAL_DATA")
    hands = load_hands(args.hand_model)
    torch.manual_seed(0)
    first = None
    for name in args.takes:
        for take in read_takes([data / part for part in name.split(",")]):
            if not args.speed_only:
                problem = compare(take, args.frames, args.steps, hands)
                first = first or problem
            first = first or problems_of(take, args.frames, hands)[0]
    if first is not None:
        speed(first, args.steps)


if __name__ == "__main__":
    main()

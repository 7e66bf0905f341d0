"""Does the penetration loss see what the judge sees? On posed pairs, both kinds of error counted.

    python benchmarks/penetration_loss.py --pairs DIR [--pairs DIR …] [--prior open] [--count 2000]

Pairs of datasets (before a repair and after it), pairs that a prior draws, and datasets' pairs with
the left hand moved at random by a few millimetres. The judge of physics-fix says the exact volume
inside both closed skins; a pair penetrates above 0.01 cm3. Of the loss's depths two readings: any
vertex inside at all, and their volume, half the sum over both hands of depth times the vertex's
area, above 0.01 cm3. Printed: agreement, missed and false alarms, the largest volume missed.

Then the speed: forward and backward of a batch, against solid angles over all faces.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interaction_prior.fusion.penetration import penetration_depths, penetration_loss
from interaction_prior.hands import HandLayer
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.prior import InteractionPrior
from twohand500k.hand import HandPair, load_hands
from twohand500k.physics.judge import Judge
from twohand500k.shards import Dataset

THRESHOLD_CM3 = 0.01
_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", action="append", required=True, type=Path)
    parser.add_argument("--prior", default="open")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--move-mm", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hands = load_hands("open")
    layer = HandLayer(hands)
    rng = np.random.default_rng(args.seed)
    sets: dict[str, tuple[Tensor, Tensor]] = {}
    for folder in args.pairs:
        skins, tau = of_dataset(folder, layer, args.count, rng)
        sets[folder.name] = skins, tau
        moved = torch.as_tensor(rng.normal(0, 1e-3 * args.move_mm, tau.shape), dtype=tau.dtype)
        sets[f"{folder.name}, moved"] = skins, tau + moved
    drawn = InteractionPrior.load(args.prior).sample(args.count, seed=args.seed)
    sets["drawn by the prior"] = drawn.vertices, drawn.place
    print(
        f"{'pairs':24} {'n':>6} {'overlap':>8}   {'any vertex inside':>34}   "
        f"{'their volume > 0.01 cm3':>34}"
    )
    head = f"{'agree':>8} {'missed':>7} {'false':>6} {'most':>9}"
    print(f"{'':24} {'':6} {'':8}   {head:>34}   {head:>34}")
    total = np.zeros((2, 3), dtype=int)
    for name, (skins, tau) in sets.items():
        exact = judged(skins, tau, hands)
        deepest, volume = seen(skins, tau, layer)
        known = np.isfinite(exact)
        over = exact > THRESHOLD_CM3
        cells = []
        for k, said in enumerate((deepest > 0, volume > THRESHOLD_CM3)):
            missed, false = over & ~said & known, ~over & said & known
            worst = exact[missed].max(initial=0.0)
            agree = 1 - (missed | false).sum() / known.sum()
            total[k] += (missed.sum(), false.sum(), known.sum())
            cells.append(f"{agree:8.2%} {missed.sum():7} {false.sum():6} {worst:7.3f}cm3")
        print(
            f"{name:24} {known.sum():6} {over[known].mean():8.1%}   {cells[0]:>34}   "
            f"{cells[1]:>34}",
            flush=True,
        )
    for k, name in enumerate(("any vertex inside", "volume above 0.01 cm3")):
        missed, false, n = total[k]
        print(f"all {n:,} pairs, {name}: {1 - (missed + false) / n:.2%} agree, {missed} missed, "
              f"{false} false alarms")  # fmt: skip
    speed(sets[args.pairs[0].name], layer)


def of_dataset(
    folder: Path, layer: HandLayer, count: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Skins (n, 2, V, 3), each from its wrist, and tau (n, 3) of pairs of a dataset."""
    dataset = Dataset(folder)
    both = np.flatnonzero(dataset.array("present").all(axis=1))
    rows = np.sort(rng.permutation(both)[:count])
    pose, betas, joints = (torch.as_tensor(dataset.array(n, rows)) for n in
                           ("pose", "betas", "joints"))  # fmt: skip
    skins = torch.cat(
        [
            layer.vertices(matrix_from_axis_angle(p), b)
            for p, b in zip(pose.split(_BATCH), betas.split(_BATCH), strict=True)
        ]
    )
    return skins, joints[:, 1, 0] - joints[:, 0, 0]


def judged(skins: Tensor, tau: Tensor, hands: HandPair) -> np.ndarray:
    """cm3 inside both hands (n,), exact."""
    judge = Judge.of(hands)
    both = skins.double().numpy()
    moved = both[:, 1] + tau.double().numpy()[:, None]
    return np.array([1e6 * judge.pair(r, l).volume for r, l in zip(both[:, 0], moved, strict=True)])


@torch.no_grad()
def seen(skins: Tensor, tau: Tensor, layer: HandLayer) -> tuple[np.ndarray, np.ndarray]:
    """The deepest vertex, m, and the depths' volume, cm3, of each pair."""
    deepest, volume = [], []
    for s, t in zip(skins.split(_BATCH), tau.split(_BATCH), strict=True):
        depth = penetration_depths(s, t, layer)
        area = torch.stack([vertex_areas(s[:, k], layer.closed_faces[k]) for k in (0, 1)], dim=1)
        deepest.append(depth.flatten(1).amax(-1))
        volume.append(0.5e6 * (depth * area).flatten(1).sum(-1))
    return torch.cat(deepest).numpy(), torch.cat(volume).numpy()


def vertex_areas(skin: Tensor, faces: Tensor) -> Tensor:
    """A third of the faces about each vertex (B, V), m2."""
    a, b, c = skin[:, faces].unbind(-2)
    third = torch.linalg.cross(b - a, c - a, dim=-1).norm(dim=-1) / 6
    out = skin.new_zeros(skin.shape[:2])
    for k in range(3):
        out.index_add_(1, faces[:, k], third)
    return out


def speed(pairs: tuple[Tensor, Tensor], layer: HandLayer, rounds: int = 7) -> None:
    """Milliseconds of a batch of 32, against the naive way: solid angles for every vertex."""
    torch.set_num_threads(1)
    skins, tau = pairs[0][:32].clone().requires_grad_(), pairs[1][:32]
    ours, naive = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        penetration_loss(skins, tau, layer).backward()
        ours.append(1e3 * (time.perf_counter() - start))
        start = time.perf_counter()
        with torch.no_grad():
            moved = skins[:, 1] + tau[:, None]
            for points, other, side in ((skins[:, 0], moved, 1), (moved, skins[:, 0], 0)):
                for k in range(len(points)):
                    solid_angles(points[k], other[k], layer.closed_faces[side])
        naive.append(1e3 * (time.perf_counter() - start))
    a, b = statistics.median(ours), statistics.median(naive)
    print(f"a batch of 32, one thread: {a:.0f} ms with gradient, {b / a:.0f} times as fast as "
          f"telling inside from outside by solid angles over all faces ({b:.0f} ms)")  # fmt: skip


def solid_angles(points: Tensor, skin: Tensor, faces: Tensor) -> Tensor:
    """How often a skin winds around points (P,) (van Oosterom and Strackee)."""
    rays = skin - points[:, None]
    length = rays.norm(dim=-1)
    a, b, c = (rays[:, faces[:, i]] for i in range(3))
    la, lb, lc = (length[:, faces[:, i]] for i in range(3))
    volume = (a * torch.linalg.cross(b, c, dim=-1)).sum(-1)
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return torch.atan2(volume, below).sum(-1) / (2 * torch.pi)


if __name__ == "__main__":
    main()

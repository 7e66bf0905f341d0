"""Does the penetration loss see what the judge sees? On posed pairs, both kinds of error counted.

    python benchmarks/penetration_loss.py --pairs DIR [--pairs DIR …] [--prior open] [--count 400]

Pairs of datasets (before a repair and after it), the same with the left hand moved at random by
some millimetres, and pairs that a prior draws. The judge of physics-fix says the exact volume
inside both closed skins; a pair penetrates above 0.01 cm3. Two readings of the loss's depths:

(a) as it is trained with: any vertex inside. Held against pairs that penetrate and pairs that do
not touch inside at all (exact volume 0); between lie contacts, counted apart.
(b) the volume that the depths enclose, half the sum over both hands of depth times area, on skins
whose faces are cut in four twice, for vertices alone are too few to tell 0.01 cm3: above 0.01 cm3,
held against all pairs.

Then the speed: forward and backward of a batch, against solid angles over all faces.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interaction_prior.fusion.penetration import depths_in, penetration_depths, penetration_loss
from interaction_prior.hands import HandLayer
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.prior import InteractionPrior
from twohand500k.hand import HandPair, load_hands
from twohand500k.physics.judge import Judge
from twohand500k.shards import Dataset

THRESHOLD_CM3 = 0.01
_BATCH = 16
# How often faces are cut in four, for volumes.
_CUTS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", action="append", required=True, type=Path)
    parser.add_argument("--prior", default="open")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--move-mm", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hands = load_hands("open")
    layer = HandLayer(hands)
    rng = np.random.default_rng(args.seed)
    sets: dict[str, tuple[Tensor, Tensor]] = {}
    for folder in args.pairs:
        skins, tau = of_dataset(folder, layer, args.count, rng)
        name = folder.name if folder.name != "dataset" else f"{folder.parent.name}/dataset"
        sets[name] = skins, tau
        moved = torch.as_tensor(rng.normal(0, 1e-3 * args.move_mm, tau.shape), dtype=tau.dtype)
        sets[f"{name}, moved"] = skins, tau + moved
    drawn = InteractionPrior.load(args.prior).sample(args.count, seed=args.seed)
    sets["drawn by the prior"] = drawn.vertices, drawn.place
    print(f"{'':28} {'':>6} {'pene-':>7} {'con-':>7}   {'(a) any vertex inside':^24}   "
          f"{'(b) volume, cut twice':^34}")  # fmt: skip
    print(f"{'pairs':28} {'n':>6} {'trate':>7} {'tacts':>7}   {'agree':>8} {'missed':>8} "
          f"{'false':>6}   {'agree':>8} {'missed':>8} {'false':>6} {'most, cm3':>9}")  # fmt: skip
    total = np.zeros((2, 3), dtype=int)
    for name, (skins, tau) in sets.items():
        exact = judged(skins, tau, hands)
        known = np.isfinite(exact)
        over, contact = exact > THRESHOLD_CM3, (exact > 0) & (exact <= THRESHOLD_CM3)
        inside, volume = seen(skins, tau, layer)
        cells = []
        for k, (said, counted) in enumerate(
            ((inside, known & ~contact), (volume > THRESHOLD_CM3, known))
        ):
            missed, false = over & ~said & counted, ~over & said & counted
            total[k] += (missed.sum(), false.sum(), counted.sum())
            agree = 1 - (missed | false).sum() / max(counted.sum(), 1)
            cells.append(f"{agree:8.2%} {missed.sum():8} {false.sum():6}")
        wrong = over != (volume > THRESHOLD_CM3)
        print(
            f"{name:28} {known.sum():6} {over[known].mean():7.1%} {contact[known].mean():7.1%}   "
            f"{cells[0]}   {cells[1]} {exact[wrong & known].max(initial=0.0):9.3f}",
            flush=True,
        )
    for k, name in enumerate(("(a)", "(b)")):
        missed, false, n = total[k]
        print(f"{name}, {n:,} pairs: {1 - (missed + false) / n:.2%} agree, {missed} missed, "
              f"{false} false alarms")  # fmt: skip
    speed(next(iter(sets.values())), layer)


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
    return np.array(
        [
            1e6 * judge.pair(right, left).volume
            for right, left in zip(both[:, 0], moved, strict=True)
        ]
    )


@torch.no_grad()
def seen(skins: Tensor, tau: Tensor, layer: HandLayer) -> tuple[np.ndarray, np.ndarray]:
    """Whether any vertex of a pair is inside, and the depths' volume on finer skins, cm3."""
    cuts = [Cut.of(layer.closed_faces[k], skins.shape[2], _CUTS) for k in (0, 1)]
    inside, volume = [], []
    for s, t in zip(skins.split(_BATCH), tau.split(_BATCH), strict=True):
        inside.append(penetration_depths(s, t, layer).flatten(1).amax(-1) > 0)
        right, left = s[:, 0], s[:, 1] + t[:, None]
        total = torch.zeros(len(s))
        for k, (own, other) in enumerate(((right, left), (left, right))):
            points = cuts[k].points(own)
            depth = depths_in(points, other, layer.closed_faces[1 - k], layer.faces_about[1 - k])
            total += 0.5e6 * (depth * vertex_areas(points, cuts[k].faces)).sum(-1)
        volume.append(total)
    return torch.cat(inside).numpy(), torch.cat(volume).numpy()


@dataclass(frozen=True, eq=False)
class Cut:
    """Each face cut in four, some times. edges: of each time, whose middles are new points."""

    edges: tuple[Tensor, ...]
    faces: Tensor

    @staticmethod
    def of(faces: Tensor, n: int, times: int) -> "Cut":
        edges, now = [], faces.numpy()
        for _ in range(times):
            every = np.sort(np.concatenate([now[:, [0, 1]], now[:, [1, 2]], now[:, [2, 0]]]), 1)
            own, which = np.unique(every, axis=0, return_inverse=True)
            ab, bc, ca = which.reshape(3, -1) + n
            a, b, c = now.T
            corners = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
            now = np.concatenate([np.stack(three, axis=1) for three in corners])
            edges.append(torch.as_tensor(own))
            n += len(own)
        return Cut(tuple(edges), torch.as_tensor(now))

    def points(self, skin: Tensor) -> Tensor:
        """Points (B, P, 3) of skins (B, V, 3), theirs first."""
        for edges in self.edges:
            skin = torch.cat([skin, skin[:, edges].mean(dim=2)], dim=1)
        return skin


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

"""What a trained prior is good for: completing a pair, judging one, steadying a fit.

    python benchmarks/prior_use.py --data DATASET [--prior RUN] [--part energy|complete|fit]

DATASET has a test split that the prior was not trained on. `--part energy`: how well candidates
for an energy tell held-out pairs from spoiled ones (area under the ROC curve, 0.5 is chance),
against a Gaussian on principal components and against a classifier trained for the purpose. `--part
complete`: the hidden hand drawn from the given one, against random pairs of the training split.
`--part fit`: hands fitted to noisy joints with and without an energy. For a mano prior with
translation.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from interaction_prior import InteractionPrior
from interaction_prior.data import read_pairs
from interaction_prior.hands.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    random_rotations,
)
from interaction_prior.prior import complete
from interaction_prior.prior.energy import error_weight, vector_energy
from interaction_prior.prior.loss import divergence
from twohand500k.conventions import LEFT, MANO_CHAINS, RIGHT
from twohand500k.hand.anatomy import FLEXION, Anatomy

Mano = tuple[Tensor, Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--prior", default="open")
    parser.add_argument("--part", choices=("energy", "complete", "fit"), action="append")
    parser.add_argument("--pairs", type=int, default=150, help="of complete and fit")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    prior = InteractionPrior.load(args.prior)
    train, test = (_mano(prior, args.data, split) for split in ("train", "test"))
    print(f"{args.prior}: {prior.representation}, {prior.model}; {len(test[0]):,} test pairs")
    for part in args.part or ("energy", "complete", "fit"):
        print(f"\n{part}")
        {"energy": energies, "complete": completing, "fit": fitting}[part](
            prior, train, test, args.pairs
        )


def _mano(prior: InteractionPrior, folder: str, split: str) -> Mano:
    """Pairs of a split in the right wrist's frame."""
    pairs = read_pairs([folder], prior.hands, split)  # type: ignore[arg-type]
    pose, betas, place = (torch.tensor(a).double() for a in (pairs.pose, pairs.betas, pairs.place))
    R = matrix_from_axis_angle(pose[:, :, 0])
    to_wrist = R[:, RIGHT].mT
    pose[:, :, 0] = axis_angle_from_matrix(to_wrist[:, None] @ R)
    place = (to_wrist @ place[..., None])[..., 0]
    return pose.float(), betas.float(), place.float()


def _vectors(prior: InteractionPrior, hands: Mano) -> Tensor:
    return prior.representation.vectors(prior.layer, *hands)


# Energy


def spoiled(prior: InteractionPrior, test: Mano) -> dict[str, Mano]:
    """Pairs that are wrong in one way each."""
    rng = np.random.default_rng(0)
    pose, betas, place = test
    n = len(pose)
    sets: dict[str, Mano] = {}
    for degrees in (30, 60):
        sets[f"finger back {degrees} deg"] = (_bent_back(prior, pose, degrees, rng), betas, place)
    for degrees in (5, 10):
        noisy = pose.clone()
        noise = rng.normal(scale=np.radians(degrees), size=(n, 2, 15, 3))
        noisy[:, :, 1:] += torch.tensor(noise).float()
        sets[f"noise {degrees} deg"] = (noisy, betas, place)
    other = np.roll(np.arange(n), n // 2)
    mixed, shapes = pose.clone(), betas.clone()
    mixed[:, LEFT], shapes[:, LEFT] = pose[other, LEFT], betas[other, LEFT]
    sets["another's left hand"] = (mixed, shapes, place[other])
    turned = pose.clone()
    turned[:, LEFT, 0] = pose[other, LEFT, 0]
    sets["left hand turned"] = (turned, betas, place)
    away = torch.tensor(rng.normal(size=(n, 3))).float()
    away = away / away.norm(dim=-1, keepdim=True)
    sets["left hand 8 cm off"] = (pose, betas, place + 0.08 * away)
    return sets


def _bent_back(
    prior: InteractionPrior, pose: Tensor, degrees: float, rng: np.random.Generator
) -> Tensor:
    """The middle joint of one finger, not the thumb, bent backwards."""
    out = pose.numpy().astype(np.float64)
    sides = rng.integers(2, size=len(out))
    for side in (RIGHT, LEFT):
        anatomy = Anatomy.of(prior.hands[side])
        rows = np.flatnonzero(sides == side)
        joint = np.array(MANO_CHAINS)[rng.integers(1, 5, size=len(rows)), 1]
        angles = anatomy.angles_from_pose(out[rows, side])
        angles[np.arange(len(rows)), joint - 1, FLEXION] = -np.radians(degrees)
        out[rows, side, 1:] = anatomy.pose_from_angles(angles)[:, 1:]
    return torch.tensor(out).float()


def candidates(
    prior: InteractionPrior, train: Tensor, taught: bool = True
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Energies of raw vectors (N, D) in the right wrist's frame; taught: the classifier too."""
    weight = error_weight(prior.record)

    def parts(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = prior.normalisation.applied(x)
        mean, log_variance = prior.network.encode(y)
        error = (prior.network.decode(mean) - y).square().sum(-1)
        return mean, divergence(mean, log_variance).sum(-1), weight * error

    fit = prior.record.latents
    precision = torch.linalg.inv(fit["covariance"].double()).float()

    def codes(mean: Tensor) -> Tensor:
        off = mean - fit["mean"]
        return 0.5 * ((off @ precision) * off).sum(-1)

    return {
        "prior.energy": lambda x: vector_energy(prior, x),
        "  with the codes' own normal": lambda x: codes(parts(x)[0]) + parts(x)[2],
        "  and a tenth of the error": lambda x: codes(parts(x)[0]) + 0.1 * parts(x)[2],
        "|z|2/2 (VPoser's)": lambda x: 0.5 * parts(x)[0].square().sum(-1),
        "error alone": lambda x: parts(x)[2],
        "KL + error (-ELBO at the mean)": lambda x: parts(x)[1] + parts(x)[2],
        "PCA + Gaussian, all": Gaussian.of(prior, train, 0).energy,
        "PCA + Gaussian, 64 + rest": Gaussian.of(prior, train, 64).energy,
        **({"classifier trained for it": classifier(prior, train)} if taught else {}),
    }


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal of normalised vectors by principal components, the rest shared by one variance."""

    prior: InteractionPrior
    mean: Tensor
    axes: Tensor
    variance: Tensor

    @staticmethod
    def of(prior: InteractionPrior, train: Tensor, components: int) -> "Gaussian":
        """components 0: all that vary. train: raw vectors in the right wrist's frame."""
        both = torch.cat([train, _in_right_wrist(prior, prior.representation.mirrored(train))])
        y = prior.normalisation.applied(both).double()
        variance, axes = torch.linalg.eigh(torch.cov(y.T))
        variance, axes = variance.flip(0), axes.flip(1)
        if components:
            variance[components:] = variance[components:].mean()
        else:
            axes, variance = axes[:, variance > 1e-6], variance[variance > 1e-6]
        return Gaussian(prior, y.mean(0), axes, variance)

    def energy(self, x: Tensor) -> Tensor:
        scores = (self.prior.normalisation.applied(x).double() - self.mean) @ self.axes
        return (0.5 * (scores.square() / self.variance).sum(-1)).float()


def classifier(prior: InteractionPrior, train: Tensor) -> Callable[[Tensor], Tensor]:
    """What can be told at all: a network taught pairs from pairs with another's left hand."""
    left = complete.numbers_of_hand(prior.representation, LEFT)
    right = complete.numbers_of_hand(prior.representation, RIGHT)
    place = ~(left | right)
    network = nn.Sequential(
        nn.Linear(train.shape[1], 512), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 1),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    loss_of = nn.functional.binary_cross_entropy_with_logits
    for epoch in range(20):
        other = train[torch.randperm(len(train))]
        false = torch.where((left | place) if epoch % 2 else place, other, train)
        for rows in torch.randperm(len(train)).split(256):
            x = prior.normalisation.applied(torch.cat([train[rows], false[rows]]))
            truth = torch.arange(len(x)) < len(rows)
            loss = loss_of(network(x).squeeze(-1), truth.float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    network.eval()
    return lambda x: -network(prior.normalisation.applied(x)).squeeze(-1)


def _in_right_wrist(prior: InteractionPrior, x: Tensor) -> Tensor:
    R = prior.representation.rotations(x)[0][:, RIGHT, 0]
    return prior.representation.turned(x, R.mT)


def energies(prior: InteractionPrior, train: Mano, test: Mano, _: int) -> None:
    """Table: each candidate's area under the curve for each kind of spoiled pair."""
    functions = candidates(prior, _vectors(prior, train))
    data = _vectors(prior, test)
    sets = {name: _vectors(prior, hands) for name, hands in spoiled(prior, test).items()}
    print(" " * 32 + "".join(f"{name:>20}" for name in sets))
    with torch.no_grad():
        for name, energy in functions.items():
            of_data = energy(data)
            areas = []
            for x in sets.values():
                scores = torch.cat([of_data, energy(x)]).numpy()
                areas.append(roc_auc_score(np.arange(len(scores)) >= len(data), scores))
            print(f"{name:32}" + "".join(f"{area:20.3f}" for area in areas))
        turned = torch.stack(
            [
                vector_energy(prior, prior.representation.turned(data, Q))
                for Q in random_rotations(24, torch.Generator().manual_seed(0))
            ]
        )
        mirrored = vector_energy(prior, _in_right_wrist(prior, prior.representation.mirrored(data)))
        here = vector_energy(prior, data)
    print(
        f"energy of test pairs: median {here.median():.0f}, deviation over pairs {here.std():.0f}; "
        f"over 24 orientations of one pair {turned.std(0).mean():.1f}; its mirror image "
        f"{(mirrored - here).abs().mean():.1f} off; as `prior.energy` gives it, over orientations "
        f"{_over_orientations(prior, test):.3f}"
    )


def _over_orientations(prior: InteractionPrior, test: Mano) -> float:
    pose, betas, place = (a[:200] for a in test)
    found = []
    for Q in random_rotations(8, torch.Generator().manual_seed(1)):
        turned = pose.clone()
        turned[:, :, 0] = axis_angle_from_matrix(Q @ matrix_from_axis_angle(pose[:, :, 0]))
        found.append(prior.energy(turned, betas, place @ Q.T))
    return float(torch.stack(found).std(0).mean())


# Completing


def completing(prior: InteractionPrior, train: Mano, test: Mano, count: int) -> None:
    """Table: the hidden left hand of `count` test pairs, eight completions each."""
    representation, n = prior.representation, 8
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(test[0]), generator=generator)[:count]
    x = representation.turned(
        _vectors(prior, tuple(a[rows] for a in test)),  # type: ignore[arg-type]
        random_rotations(count, generator),
    )
    many = x[:, None].expand(count, n, -1)
    given = complete.numbers_of_hand(representation, RIGHT)
    pool = _vectors(prior, train)
    picked = pool[torch.randint(len(pool), (count, n), generator=generator)]
    hand = pool[:, given][:, 6:]
    nearest = torch.cdist(x[:, given][:, 6:], hand).topk(n, largest=False).indices
    completed = prior.complete(x, given="right", n=n).x
    # What the network itself made of the given hand, before it was put back.
    own = prior.decode(prior.encode(completed).mean).x
    rivals = {
        "the truth": many,
        "completed": completed,
        "random training pairs": complete._turned_to(representation, picked, many, RIGHT),
        "8 nearest by the given hand": complete._turned_to(
            representation, pool[nearest], many, RIGHT
        ),
        "samples of the prior": complete._turned_to(
            representation, prior.sample(count * n).x.unflatten(0, (count, n)), many, RIGHT
        ),
    }
    off = (representation.joints(prior.layer, own)[:, :, RIGHT]
           - representation.joints(prior.layer, x)[:, None, RIGHT])  # fmt: skip
    print(f"given hand, read back through the network: {off.norm(dim=-1).mean() * 1e3:.1f} mm off")
    print(f"{'left hand':30}{'own wrist, mean':>17}{'best':>6}{'in place, mean':>17}{'best':>6}"
          f"{'apart':>7}{'touching':>10}{'energy':>8}")  # fmt: skip
    for name, vectors in rivals.items():
        vectors = torch.where(given, many, vectors)
        own_wrist, in_place, apart = _errors(prior, vectors, x)
        energy = vector_energy(prior, _in_right_wrist(prior, vectors.flatten(0, 1))).median()
        numbers = [own_wrist.mean(), own_wrist.amin(1).mean(), in_place.mean(),
                   in_place.amin(1).mean(), apart]  # fmt: skip
        widths = (17, 6, 17, 6, 7)
        told = [f"{float(v) * 1e3:{w}.0f}" for v, w in zip(numbers, widths, strict=True)]
        print(f"{name:30}{''.join(told)}{_touching(prior, vectors[:60, :2]):10.2f}{energy:8.0f}")
    print(
        "mm: mean joint error of the left hand from its own wrist, and where it is; apart: of two "
        "completions of a pair; touching: skins within 3 mm"
    )


def _errors(prior: InteractionPrior, x: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean joint error (N, n) of left hands from their wrists, and in place; spread of the n."""
    joints, places = prior.pairs(x).joints[..., LEFT, :, :], prior.pairs(x).place
    true, true_place = prior.pairs(truth).joints[:, None, LEFT], prior.pairs(truth).place[:, None]
    own_wrist = (joints - true).norm(dim=-1).mean(-1)
    here = joints + places[..., None, :]
    in_place = (here - true - true_place[..., None, :]).norm(dim=-1).mean(-1)
    n = x.shape[1]
    i, j = torch.triu_indices(n, n, offset=1)
    return own_wrist, in_place, (here[:, i] - here[:, j]).norm(dim=-1).mean()


def _touching(prior: InteractionPrior, x: Tensor) -> float:
    pairs = prior.pairs(x.flatten(0, 1))
    skin = pairs.vertices
    left = skin[:, LEFT] + pairs.place[:, None]
    return float((torch.cdist(skin[:, RIGHT], left).amin((1, 2)) < 0.003).float().mean())


# Fitting


def fitting(prior: InteractionPrior, train: Mano, test: Mano, count: int) -> None:
    """Table: pose, shape and place of noisy joints, found with and without an energy."""
    truth: Mano = tuple(a[:count] for a in test)  # type: ignore[assignment]
    of = candidates(prior, _vectors(prior, train), taught=False)

    def of_hands(name: str) -> Callable[..., Tensor]:
        return lambda *hands: of[name](_in_right_wrist(prior, _vectors(prior, hands)))

    print(f"{'noise':8}{'prior':34}{'angle error, deg':>18}{'joint error, mm':>17}")
    for sigma in (0.003, 0.01):
        observed = _joints(prior, truth)
        noise = torch.randn(observed.shape, generator=torch.Generator().manual_seed(0))
        observed = observed + sigma * noise
        for name, energy in {
            "none": None,
            "|pose|2": lambda *p: 0.5 * (p[0][:, :, 1:] / 0.5).square().sum((1, 2, 3)),
            "prior.energy": prior.energy,
            **{k: of_hands(k) for k in of if k.startswith(("  ", "PCA"))},
        }.items():
            found = fit_joints(prior, observed, sigma, energy, train)
            degrees, millimetres = _fit_errors(prior, found, truth)
            print(f"{sigma * 1e3:3.0f} mm  {name:34}{degrees:18.1f}{millimetres:17.1f}")


def fit_joints(
    prior: InteractionPrior,
    observed: Tensor,
    sigma: float,
    energy: Callable[..., Tensor] | None,
    train: Mano,
    steps: int = 300,
) -> Mano:
    """MANO parameters of joints (N, 2, 21, 3) seen with noise sigma (m), from the mean pose on.

    Minimises |joints - observed|^2 / (2 sigma^2) + |betas|^2 / 2 + energy, all in nats.
    """
    n = len(observed)
    pose = train[0].mean(0).expand(n, 2, 16, 3).clone()
    pose[:, :, 0] = 0.0
    betas = torch.zeros(n, 2, 10)
    place = observed[:, LEFT, 0] - observed[:, RIGHT, 0]
    # Each wrist turned onto the observed palm (wrist and knuckles) before anything else.
    palm = [0, 1, 5, 9, 13, 17]
    R = matrix_from_axis_angle(pose)
    still = prior.layer.joints(R, betas)[..., palm, :]
    seen = (observed - observed[..., :1, :])[..., palm, :]
    U, _, Vh = torch.linalg.svd(seen.mT @ still)
    U = torch.cat([U[..., :2], U[..., 2:] * torch.linalg.det(U @ Vh).sign()[..., None, None]], -1)
    pose[:, :, 0] = axis_angle_from_matrix(U @ Vh)
    wrist = observed[:, RIGHT, 0].clone()
    unknown = [a.requires_grad_() for a in (pose, betas, place.clone(), wrist)]
    optimiser = torch.optim.Adam(unknown[:2], 0.03)
    optimiser.add_param_group({"params": unknown[2:], "lr": 0.003})
    for step in range(steps):
        for group, rate in zip(optimiser.param_groups, (0.03, 0.003), strict=True):
            group["lr"] = rate * (1 - step / steps)
        pose, betas, place, wrist = unknown
        joints = _joints(prior, (pose, betas, place)) + wrist[:, None, None]
        loss = (joints - observed).square().sum() / (2 * sigma**2) + 0.5 * betas.square().sum()
        if energy is not None:
            loss = loss + energy(pose, betas, place).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return pose.detach(), betas.detach(), place.detach()


def _joints(prior: InteractionPrior, hands: Mano) -> Tensor:
    """Joints (N, 2, 21, 3) with the right wrist in the origin, metres."""
    pose, betas, place = hands
    joints = prior.layer.joints(matrix_from_axis_angle(pose), betas)
    return joints + torch.stack([torch.zeros_like(place), place], dim=1)[:, :, None]


def _fit_errors(prior: InteractionPrior, found: Mano, truth: Mano) -> tuple[float, float]:
    """Mean angle (deg) of local rotations to the true ones, without the wrists; joints, mm."""
    R, R_true = (matrix_from_axis_angle(p[0])[:, :, 1:] for p in (found, truth))
    angle = axis_angle_from_matrix(R.mT @ R_true).norm(dim=-1).mean()
    joints = (_joints(prior, found) - _joints(prior, truth)).norm(dim=-1).mean()
    return float(torch.rad2deg(angle)), float(joints) * 1e3


if __name__ == "__main__":
    main()

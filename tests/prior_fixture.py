"""Pairs, datasets and a small trained prior for the tests of `interaction_prior`.

Hands are the synthetic pair of `shards_fixture` (left the right's mirror image), poses are random
but lawful; nothing is read from outside. The prior is a real VAE, trained in a second or two on
pairs whose left hand follows from the right one, so that there is something to learn.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from shards_fixture import build, synthetic_hands
from torch import Tensor

from interaction_prior.data import Batches, Draw, ResidentRows, augmented
from interaction_prior.data.batches import Rotation
from interaction_prior.hands import HandLayer
from interaction_prior.prior import Architecture, InteractionPrior, PriorNetwork, PriorRecord
from interaction_prior.prior.loss import prior_loss
from interaction_prior.prior.network import Model
from interaction_prior.representations import Representation, fit_normalisation
from twohand500k.conventions import LEFT, RIGHT, WRIST

REPRESENTATIONS = tuple(
    Representation(name, rotation, with_translation=place)  # type: ignore[arg-type]
    for name, rotation in (
        ("joints", "6d"),
        ("vertices", "6d"),
        ("mano", "axis-angle"),
        ("mano", "6d"),
    )
    for place in (False, True)
)


@cache
def layer() -> HandLayer:
    """The synthetic hands in torch, float64, so that differences are the code's own."""
    return HandLayer(synthetic_hands()).double()


def random_pairs(n: int, seed: int = 0, scale: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """pose (n, 2, 16, 3), betas (n, 2, 10), place (n, 3), float64; wrists turned any way."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(scale=scale, size=(n, 2, 16, 3))
    pose[:, :, 0] = rng.normal(scale=1.5, size=(n, 2, 3))
    betas, place = rng.normal(size=(n, 2, 10)), rng.normal(scale=0.1, size=(n, 3))
    return torch.tensor(pose), torch.tensor(betas), torch.tensor(place)


def paired_hands(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of two numbers: how far both hands close, how far the left one tilts; float32.

    The left hand is the right one's mirror image but for a tilt of its wrist, so each hand says how
    far the other closes. The fingers bend one way only: a finger bent backwards is never seen.
    """
    rng = np.random.default_rng(seed)
    closed, tilt = rng.uniform(0.1, 1.0, size=n), rng.normal(scale=0.3, size=n)
    pose = np.zeros((n, 2, 16, 3))
    pose[:, :, 1:, 2] = closed[:, None, None] * np.array([1.0, -1.0])[None, :, None]
    pose[:, 0, 0], pose[:, 1, 0] = [0.0, 0.4, 0.0], [0.0, -0.4, 0.0]
    pose[:, 1, 0, 0] = tilt
    place = np.stack([0.05 + 0.05 * closed, 0.1 * tilt, np.zeros(n)], axis=-1)
    betas = np.repeat(rng.normal(scale=0.3, size=(n, 1, 10)), 2, axis=1)
    return tuple(torch.tensor(a, dtype=torch.float32) for a in (pose, betas, place))  # type: ignore[return-value]


@cache
def small_prior(
    representation: Representation = Representation("mano", "6d", with_translation=True),  # noqa: B008
    model: Model = "vae",
    steps: int = 400,
    rotation: Rotation = "none",
) -> InteractionPrior:
    """A prior trained for `steps` steps on `paired_hands`, half of them mirrored.

    Turned any way (rotation="uniform") it needs far more steps to learn anything.
    """
    torch.manual_seed(0)
    hands = HandLayer(synthetic_hands())
    x = representation.vectors(hands, *paired_hands(2000))
    draw = Draw(batch=128, latents=16, seed=0, rotation=rotation)
    normalisation = fit_normalisation(
        "block", representation, augmented(x, representation, draw, 0)
    )
    network = PriorNetwork(Architecture(representation.dim, model, latents=16, hidden=96))
    batches = Batches(
        ResidentRows(x), representation, normalisation, draw, device=torch.device("cpu")
    )
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step, (rows, noise) in enumerate(batches.from_step(0)):
        if step == steps:
            break
        loss = prior_loss(rows, *network(rows, noise), variational=model == "vae")
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    with torch.no_grad():
        mean, log_variance = network.encode(
            normalisation.applied(augmented(x, representation, draw, 1))
        )
        spread = torch.diag(log_variance.exp().mean(0))
        latents = {"mean": mean.mean(0), "covariance": torch.cov(mean.T) + spread}
    record = PriorRecord(
        architecture=network.architecture,
        representation=representation,
        normalisation=normalisation,
        weights=network.state_dict(),
        hand_model=hand_model(),
        latents=latents,
        training={
            "data": [{"folder": "pairs", "samples": 2000, "weight": 1.0}],
            "data_sha256": "ab" * 32,
            "split": "train",
            "options": {"weight": 100.0, "reduction": "sum", "batch": 128, "learning_rate": 2e-3},
            "steps": steps,
            "samples_seen": 128 * steps,
            "final": {"loss": 12.5, "kl": 3.25},
            "rotation": {"kind": rotation, "distribution": "as in the test"},
            "git_revision": "0" * 40,
            "versions": {"torch": torch.__version__},
            "date": "2023-10-02",
        },
    )
    return InteractionPrior(record, synthetic_hands(), "cpu")


def hand_model() -> dict[str, str]:
    """What a record says of the synthetic hands."""
    hands = synthetic_hands()
    return {
        "name": hands.right.name,
        "right_sha256": hands.right.sha256,
        "left_sha256": hands.left.sha256,
    }


def small_dataset(folder: Path) -> Path:
    """A dataset of about a hundred interactions of one split, as the toolkit writes them."""
    build(folder, units=3)
    return folder


def numpy_points(pose: Tensor, betas: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (n, 2, 21, 3), skin and regressed joints (n, 2, 16, 3) by `twohand500k.hand`.

    Joints and skin from each hand's own wrist, regressed joints from the regressed wrist.
    """
    hands = synthetic_hands()
    posed = [
        hands[s].with_shape(betas[:, s].numpy()).with_pose(pose[:, s].numpy())
        for s in (RIGHT, LEFT)
    ]
    joints = np.stack([p.joints for p in posed], axis=1)
    vertices = np.stack([p.vertices for p in posed], axis=1)
    regressed = np.stack([p.regressed_joints for p in posed], axis=1)
    wrist = joints[:, :, WRIST : WRIST + 1]
    return joints - wrist, vertices - wrist, regressed - regressed[:, :, :1]

"""Hands before a camera, and a network that answers truly of the views it is shown."""

from dataclasses import dataclass, field

import numpy as np
import torch

from interaction_prior.hands import HandLayer
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.reconstruction import Answer
from interaction_prior.reconstruction.crop import Crop
from twohand500k.hand import HandPair, load_hands
from twohand500k.hand.rotations import matrix_from_axis_angle as matrix_of

WIDTH, HEIGHT = 640, 480
K = np.array([[700.0, 0.0, 322.0], [0.0, 705.0, 236.0], [0.0, 0.0, 1.0]])
SIGMA = 2.0


@dataclass(frozen=True, eq=False)
class Truth:
    """N pairs before the camera: pose (N, 2, 16, 3), betas (N, 2, 10), wrist (N, 2, 3) m."""

    hands: HandPair
    pose: np.ndarray
    betas: np.ndarray
    wrist: np.ndarray

    @property
    def posed(self) -> list:
        J0 = [self.hands[s].with_shape(self.betas[:, s]).rest_joints[:, 0] for s in (0, 1)]
        return [
            self.hands[s].with_shape(self.betas[:, s]).with_pose(
                self.pose[:, s], self.wrist[:, s] - J0[s]
            )
            for s in (0, 1)
        ]  # fmt: skip

    @property
    def joints(self) -> np.ndarray:
        return np.stack([posed.joints for posed in self.posed], axis=1)

    def uv(self, K: np.ndarray = K) -> np.ndarray:
        p = self.joints @ K.T
        return p[..., :2] / p[..., 2:]

    def box(self, row: int, K: np.ndarray = K) -> np.ndarray:
        uv = self.uv(K)[row].reshape(-1, 2)
        return np.concatenate([uv.min(0), uv.max(0)])


def truth_of(places: np.ndarray, seed: int = 0) -> Truth:
    """Random hands whose right wrists lie at places (N, 3) m, the left ones some cm from there."""
    rng = np.random.default_rng(seed)
    n = len(places)
    hands = load_hands("open")
    pose = 0.35 * rng.normal(size=(n, 2, 16, 3))
    turn = rng.normal(size=(n, 2, 3))
    pose[:, :, 0] = (
        turn / np.linalg.norm(turn, axis=-1, keepdims=True) * rng.uniform(0.2, 3.0, (n, 2, 1))
    )
    wrist = np.stack([places, places + rng.uniform(-0.08, 0.08, (n, 3))], axis=1)
    return Truth(hands, pose, 0.7 * rng.normal(size=(n, 2, 10)), wrist)


@dataclass(eq=False)
class TrueAnswers:
    """Answers truly of the hands `truth`, for each view as it is told: `views` of (row, crop).

    noise: cells, added to the peaks. wrong: rows of joints (0..41) whose peak is another's.
    """

    truth: Truth
    views: list[tuple[int, Crop]]
    size: int = 256
    perfect_peak: float = 1.0 / (2.0 * SIGMA)
    noise: float = 0.0
    wrong: tuple[int, ...] = ()
    shown: list[torch.Tensor] = field(default_factory=list)
    form: str = "mano"
    blind: bool = False

    def __call__(self, image: torch.Tensor) -> Answer:
        self.shown.append(image)
        layer = HandLayer(self.truth.hands)
        views, self.views = self.views[: len(image)], self.views[len(image) :]
        m = self.size // 4
        rows = [row for row, _ in views]
        R = np.stack([crop.R_camera_crop for _, crop in views])
        turned = np.swapaxes(R, -1, -2)[:, None] @ matrix_of(self.truth.pose[rows][:, :, 0])
        rotations = matrix_from_axis_angle(torch.tensor(self.truth.pose[rows]))
        rotations[:, :, 0] = torch.tensor(turned)
        rotations = rotations.float()
        betas = torch.tensor(self.truth.betas[rows]).float()
        tau = self.truth.wrist[rows, 1] - self.truth.wrist[rows, 0]
        tau = np.einsum("bji,bj->bi", R, tau)
        cells = np.stack([c.from_picture(self.truth.uv(c.K)[r], m) for r, c in views])
        cells = cells.reshape(len(rows), 42, 2)
        cells += self.noise * np.random.default_rng(1).normal(size=cells.shape)
        cells[:, list(self.wrong)] = cells[:, [(k + 13) % 42 for k in self.wrong]]
        mano = self.form == "mano"
        return Answer(
            joints=layer.joints(rotations, betas),
            vertices=None if self.form == "joints" else layer.vertices(rotations, betas),
            rotations=rotations if mano else None,
            betas=betas if mano else None,
            tau=torch.tensor(tau).float(),
            heatmaps=laplacians(cells, m),
            saliency=torch.zeros(len(rows), 2, m, m) if self.blind else around(cells, m),
        )


def laplacians(cells: np.ndarray, m: int) -> torch.Tensor:
    """Equation 1 without neighbours (B, n, m, m) for points (B, n, 2)."""
    at = np.arange(m) + 0.5
    u = np.abs(at - cells[..., :1])[..., None, :]
    v = np.abs(at - cells[..., 1:])[..., :, None]
    return torch.tensor(np.exp(-(u + v) / SIGMA) / (2.0 * SIGMA)).float()


def around(cells: np.ndarray, m: int) -> torch.Tensor:
    """Masks (B, 2, m, m) that are 1 in the rectangle of each hand's joints (B, 42, 2)."""
    at = np.arange(m) + 0.5
    hands = cells.reshape(len(cells), 2, 21, 2)
    low, high = hands.min(2), hands.max(2)
    u = (at >= low[..., :1]) & (at <= high[..., :1])
    v = (at >= low[..., 1:]) & (at <= high[..., 1:])
    return torch.tensor(u[..., None, :] & v[..., :, None]).float()

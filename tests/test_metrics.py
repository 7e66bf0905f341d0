"""Protocols of pose errors: what each forgives and what it does not; PCK and its area."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("torch")

from interaction_prior.metrics import (
    PROTOCOLS,
    THRESHOLDS_MM,
    auc,
    errors,
    joint_errors,
    mrrpe_mm,
    pck,
)
from interaction_prior.metrics.protocols import regressed_joints
from twohand500k.hand import load_hands

pytestmark = pytest.mark.torch
HANDS = load_hands("open")


def _skins(seed: int = 0, n: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pose = 0.4 * rng.normal(size=(n, 2, 16, 3))
    return np.stack(
        [HANDS[s].with_shape(rng.normal(size=(n, 10))).with_pose(pose[:, s]).vertices
         for s in (0, 1)], axis=1,
    )  # fmt: skip


def _forgiven(change: str) -> dict[str, float]:
    true = _skins()
    moved = {
        "each hand moved": true + np.array([[[0.1, 0.2, 0.3]], [[-0.3, 0.0, 0.1]]]),
        "both moved": true + np.array([0.1, 0.2, 0.3]),
        "scaled": true * 1.2,
        "turned": true @ Rotation.from_rotvec([0.1, 0.5, -0.3]).as_matrix().T,
    }[change]
    return {name: float(errors(name, moved, true, HANDS).mpjpe_mm.mean()) for name in PROTOCOLS}


def test_each_protocol_forgives_what_it_says() -> None:
    exact = {
        "each hand moved": {"root9_scaled", "root9", "wrist", "wrist_scaled", "procrustes"},
        "both moved": set(PROTOCOLS),
        "scaled": {"root9_scaled", "wrist_scaled", "procrustes"},
        "turned": {"procrustes"},
    }
    for change, names in exact.items():
        for name, error in _forgiven(change).items():
            assert (error < 1e-6) == (name in names), (change, name, error)


def test_the_papers_protocol_by_hand() -> None:
    true, said = _skins(1), _skins(2)
    found = errors("root9_scaled", said, true, HANDS)
    J, P = (regressed_joints(x, HANDS, "intaghand") for x in (true, said))
    for row in range(3):
        for side in (0, 1):
            t, p = J[row, side], P[row, side]
            scale = np.linalg.norm(t[9] - t[0]) / np.linalg.norm(p[9] - p[0])
            by_hand = 1e3 * np.linalg.norm((p - p[9]) * scale - (t - t[9]), axis=-1).mean()
            skin = (said[row, side] - p[9]) * scale - (true[row, side] - t[9])
            assert found.mpjpe_mm[row, side] == pytest.approx(by_hand)
            assert found.mpvpe_mm[row, side] == pytest.approx(
                1e3 * np.linalg.norm(skin, axis=-1).mean()
            )


def test_joints_alone_have_no_mpvpe() -> None:
    true = _skins()
    found = joint_errors("wrist", regressed_joints(true, HANDS, "smplx"), true, HANDS)
    assert np.isnan(found.mpvpe_mm).all() and found.mpjpe_mm.max() < 1e-9


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ValueError, match="none of root9_scaled"):
        errors("mpjpe", _skins(), _skins(), HANDS)


def test_pck_and_its_area() -> None:
    share = pck(np.array([0.0, 10.0, 25.0, 60.0, np.nan]))
    assert share[0] == 0.25 and share[-1] == 0.75 and share[THRESHOLDS_MM == 25.0] == 0.75
    assert auc(pck(np.zeros(5))) == 1.0 and auc(pck(np.full(5, 100.0))) == 0.0
    assert np.isnan(pck(np.array([np.nan]))).all()
    assert mrrpe_mm(np.zeros((1, 3)), np.array([[0.0, 0.003, 0.004]])) == pytest.approx([5.0])

"""Pose correctives: what linear blend skinning loses at a bent joint, put back.

Linear blending averages positions, so skin over a joint bent by theta sinks towards the joint by
cos(theta / 2): knuckles flatten. The target here turns a vertex that follows a joint by the share
w through the w-th part of the joint's own rotation (same axis, w times the angle), which keeps its
distance from the joint, and lets a knuckle stand out a little, as a metacarpal head does in a fist.
`posedirs` are MANO's: linear in the nine entries of R - I of each joint. They are fitted by ridge
regression over flexions and abductions of one joint at a time.
"""

import numpy as np

from twohand500k.conventions import MANO_CHAINS, N_MANO_JOINTS
from twohand500k.hand.anatomy import ABDUCTION, FLEXION, TWIST, Anatomy
from twohand500k.hand.model import HandModel
from twohand500k.hand.rotations import Array, matrix_from_axis_angle

_FLEXION_DEG = (-30, -15, 15, 30, 45, 60, 75, 90, 105)
_ABDUCTION_DEG = (-20, 0, 20)
_THUMB_ABDUCTION_DEG = (-35, -15, 0, 15, 35)
_RIDGE = 0.02


def fit_posedirs(model: HandModel, anatomy: Anatomy) -> Array:
    """posedirs (V, 3, 135) metres for a model whose own are ignored."""
    posedirs = np.zeros((len(model.v_template), 3, 9 * (N_MANO_JOINTS - 1)))
    bases = [joint for chain in MANO_CHAINS[1:] for joint in chain]
    all_fingers = model.weights[:, bases].sum(axis=1)
    for finger, chain in enumerate(MANO_CHAINS):
        for k, joint in enumerate(chain):
            own = model.weights[:, list(chain[k:])].sum(axis=1)
            # Skin of the web follows two fingers. What they do together is corrected, and each
            # gets its part of it; otherwise a fist would be corrected twice.
            share = all_fingers if finger > 0 and k == 0 else own
            moving = np.nonzero((own > 0.005) & (share < 0.995))[0]
            fitted = _fit(
                model.v_template[moving] - model.J_template[joint],
                share[moving],
                _samples(anatomy, joint),
            )
            fitted *= (own[moving] / share[moving])[:, None, None]
            posedirs[moving, :, 9 * (joint - 1) : 9 * joint] = fitted
    return posedirs


def _samples(anatomy: Anatomy, joint: int) -> Array:
    """Axis-angles (N, 3) of one joint: flexion by abduction."""
    thumb_base = joint == MANO_CHAINS[0][0]
    hinge = joint not in [chain[0] for chain in MANO_CHAINS]
    spread = (0,) if hinge else (_THUMB_ABDUCTION_DEG if thumb_base else _ABDUCTION_DEG)
    flexion = [d for d in _FLEXION_DEG if not thumb_base or d <= 60]
    angles = np.zeros((len(flexion) * len(spread), N_MANO_JOINTS - 1, 3))
    grid = np.radians([(f, a) for f in flexion for a in spread])
    angles[:, joint - 1, FLEXION] = grid[:, 0]
    angles[:, joint - 1, ABDUCTION] = grid[:, 1]
    angles[:, joint - 1, TWIST] = 0.0
    return anatomy.pose_from_angles(angles)[:, joint]


def _fit(arm: Array, share: Array, axis_angles: Array) -> Array:
    """Nine directions (M, 3, 9) for vertices at `arm` (M, 3) from the joint."""
    R = matrix_from_axis_angle(axis_angles)  # (N, 3, 3)
    part = matrix_from_axis_angle(share[:, None, None] * axis_angles)  # (M, N, 3, 3)
    w = share[:, None, None, None]
    blend = (1.0 - w) * np.eye(3) + w * R
    wanted = np.einsum("mnab,mb->mna", part, arm)
    # The corrective acts before skinning: blend (arm + d) = wanted.
    d = np.linalg.solve(blend, wanted[..., None])[..., 0] - arm[:, None]
    feature = (R - np.eye(3)).reshape(len(R), 9)
    normal = feature.T @ feature + _RIDGE * np.eye(9)
    return np.einsum("fn,mna->maf", np.linalg.solve(normal, feature.T), d)

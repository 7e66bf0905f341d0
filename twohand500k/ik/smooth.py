"""Steadier motion: each frame is fitted again, close to what its neighbours say of it.

In: the frame-by-frame `Solution` of one hand and the frames' times. Out: a `Target` for a second
`solve`. For every frame a quadratic is fitted to the neighbours' orientation, wrist and angles,
weighted by a Gaussian in time; its value at the frame is the target. The second solve weighs the
target against the frame's own points by their uncertainties, so that a joint that is well seen
hardly moves and one that the points leave open follows its neighbours.

A target depends on at most `WINDOW` frames on either side, through sums taken in a fixed order: a
take cut into pieces that overlap by `WINDOW` frames gives, in the middle of the pieces, the same
bytes as the whole.
"""

import numpy as np

from twohand500k.conventions import N_MANO_JOINTS
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import ShapedHand
from twohand500k.hand.rotations import Array, axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.ik.solver import Solution, Target

WINDOW = 8
# Standard deviation of the Gaussian, s: a quadratic over about +-50 ms bends with the fastest
# voluntary hand motion (some 10 Hz). In frames where the recording has no times.
_KERNEL_S = 0.025
_KERNEL_FRAMES = 3.0
# The target's sigma relative to one frame's own: about what the quadratic leaves of white noise.
_SHARPER = 0.3


def smooth_target(solution: Solution, shaped: ShapedHand, timestamps: Array) -> Target:
    """The target of every frame of one hand's motion.

    solution: T frames in order; shaped: their one shape; timestamps (T,) s, NaN where unknown.
    Frames without a solution say nothing; a frame that has fewer than four solved frames about it
    gets no target (NaN).
    """
    n = len(solution.pose)
    anatomy = Anatomy.of(shaped.model)
    R0 = matrix_from_axis_angle(np.nan_to_num(solution.pose[:, 0]))
    wrist = solution.transl + shaped.rest_joints[0]
    solved = solution.solved
    offsets = range(-WINDOW, WINDOW + 1)
    # Per offset: weight (T,), time (T,) in kernel widths, and values (T, 51) relative to the frame.
    moments = np.zeros((n, 3, 3))
    sums = np.zeros((n, 3, 6 + 45))
    count = np.zeros(n)
    for k in offsets:
        other = np.clip(np.arange(n) + k, 0, n - 1)
        inside = (np.arange(n) + k == other) & solved[other] & solved
        lag = (timestamps[other] - timestamps) / _KERNEL_S
        lag = np.where(np.isfinite(lag), lag, k / _KERNEL_FRAMES)
        weight = np.where(inside, np.exp(-0.5 * lag * lag), 0.0)
        turn = axis_angle_from_matrix(np.swapaxes(R0, -1, -2) @ R0[other])
        values = np.concatenate(
            [
                turn,
                wrist[other] - wrist,
                (solution.angles[other] - solution.angles).reshape(n, 45),
            ],
            axis=1,
        )
        values = np.where(inside[:, None], values, 0.0)
        powers = np.stack([np.ones(n), lag, lag * lag], axis=1)
        moments += weight[:, None, None] * powers[:, :, None] * powers[:, None, :]
        sums += (weight[:, None] * powers)[:, :, None] * values[:, None, :]
        count += weight > 1e-3
    enough = count >= 4
    moments[~enough] = np.eye(3)
    # Frames crowded at one end of the window may leave a quadratic open; a trace of ridge decides.
    moments[:, [1, 2], [1, 2]] += 1e-6
    level = np.linalg.solve(moments, sums)[:, 0]

    pose = anatomy.pose_from_angles(
        np.nan_to_num(solution.angles) + level[:, 6:].reshape(n, N_MANO_JOINTS - 1, 3),
        axis_angle_from_matrix(R0 @ matrix_from_axis_angle(level[:, :3])),
    )
    pose[~enough] = np.nan
    base = solution.base_sigma
    return Target(
        pose=pose,
        wrist=wrist + level[:, 3:6],
        sigma_angle=_SHARPER * solution.angle_sigma,
        sigma_orientation=_SHARPER * np.sqrt((base[:, :3] ** 2).mean(axis=1)),
        sigma_wrist=_SHARPER * np.sqrt((base[:, 3:] ** 2).mean(axis=1)),
    )

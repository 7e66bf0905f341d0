"""A pair of hands as the repair moves it: two wrists and thirty joints' anatomical angles.

In: MANO parameters of a pair. Out: a `State`, and back. A joint's three angles are those of
`hand.anatomy`; each may move within its bounds, the anatomy's or the input's own value, whichever
is wider, so that a real pose is never snapped to a hinge and an excess never grows.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.hand import HandPair
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.rotations import Array, axis_angle_from_matrix, matrix_from_axis_angle
from twohand500k.physics._kernels import DOF, forward

# Angles are kept this far inside a bound (rad): stored in float32 they come back a little other.
_INSIDE = 2e-6


@dataclass(frozen=True, eq=False)
class State:
    """Where a pair is. R_world_wrist (2, 3, 3), wrist (2, 3) m, angles (2, 15, 3) rad."""

    R_world_wrist: Array
    wrist: Array
    angles: Array

    def moved(self, step: Array, low: Array, high: Array) -> "State":
        """After a step (102,), see `_kernels`; angles stay within low, high (2, 15, 3)."""
        step = step.reshape(2, DOF)
        return State(
            matrix_from_axis_angle(step[:, 3:6]) @ self.R_world_wrist,
            self.wrist + step[:, :3],
            np.clip(self.angles + step[:, 6:].reshape(2, 15, 3), low, high),
        )


@dataclass(frozen=True, eq=False)
class Frames:
    """Joint frames of a `State`. R (2, 16, 3, 3), p (2, 16, 3) m, axes (2, 16, 3, 3): axes[s, j, k]
    is the world axis about which the k-th angle turns joint j (for j = 0 the world's own axes)."""

    R: Array
    p: Array
    axes: Array


@dataclass(frozen=True, eq=False)
class Pair:
    """One pair of hands to be repaired, with all that does not change while it moves.

    pose (2, 16, 3), betas (2, 10), transl (2, 3): as given. rest (2, 16, 3) rest joints.
    A (2, 15, 3, 3) anatomical frames; low, high (2, 15, 3) bounds of the angles. start: its state.
    """

    pose: Array
    betas: Array
    transl: Array
    rest: Array
    A: Array
    low: Array
    high: Array
    start: State

    @staticmethod
    def of(
        hands: HandPair,
        anatomies: tuple[Anatomy, Anatomy],
        pose: Array,
        betas: Array,
        transl: Array,
    ) -> "Pair":
        """A pair from MANO parameters: pose (2, 16, 3), betas (2, 10), transl (2, 3)."""
        rest = np.stack([hands[s].with_shape(betas[s]).rest_joints for s in (0, 1)])
        angles = np.stack([anatomies[s].angles_from_pose(pose[s]) for s in (0, 1)])
        limits = np.stack([anatomy.limits for anatomy in anatomies])
        return Pair(
            pose=pose,
            betas=betas,
            transl=transl,
            rest=rest,
            A=np.stack([anatomy.A for anatomy in anatomies]),
            low=np.minimum(limits[..., 0] + _INSIDE, angles),
            high=np.maximum(limits[..., 1] - _INSIDE, angles),
            start=State(matrix_from_axis_angle(pose[:, 0]), rest[:, 0] + transl, angles),
        )

    def frames(self, state: State) -> Frames:
        """Forward kinematics of a state."""
        frames = Frames(np.empty((2, 16, 3, 3)), np.empty((2, 16, 3)), np.empty((2, 16, 3, 3)))
        for s in (0, 1):
            forward(
                self.rest[s], self.A[s], state.R_world_wrist[s], state.wrist[s], state.angles[s],
                frames.R[s], frames.p[s], frames.axes[s],
            )  # fmt: skip
        return frames

    def parameters(self, state: State) -> tuple[Array, Array]:
        """MANO pose (2, 16, 3) and transl (2, 3); what did not move keeps its very bits."""
        pose, transl = self.pose.copy(), self.transl.copy()
        for s in (0, 1):
            if not np.array_equal(state.R_world_wrist[s], self.start.R_world_wrist[s]):
                pose[s, 0] = axis_angle_from_matrix(state.R_world_wrist[s])
            if not np.array_equal(state.wrist[s], self.start.wrist[s]):
                transl[s] = state.wrist[s] - self.rest[s, 0]
            turned = (state.angles[s] != self.start.angles[s]).any(axis=1)
            anatomy = Anatomy(self.A[s], np.empty((15, 3, 2)))
            moved = anatomy.pose_from_angles(state.angles[s])
            pose[s, 1:][turned] = moved[1:][turned]
        return pose, transl

"""Where landmarks sit on a hand: the link between a take's landmarks and the solver's points.

In: OpenPose joints. Out: `Attachments`, K points each rigid on a MANO
joint or on a fingertip's skin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twohand500k.conventions import MANO_CARRIER, N_JOINTS, TIP_JOINTS
from twohand500k.hand.rotations import Array, mirror_points

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Attachments:
    """Where K landmarks sit on the hand.

    joint (K,): the OpenPose joint a landmark stands for (or is near to, for a marker).
    carrier (K,): the MANO joint it moves with. tip (K,): the finger (0 thumb .. 4 little) whose
    skin tip it is, -1 otherwise. offset (K, 3) m: from the carrier's origin, in the carrier's
    frame, on the model's own side; 0 for joints, unused for tips. weight (K,): 1 = `sigma_point`.
    """

    joint: Ints
    carrier: Ints
    tip: Ints
    offset: Array
    weight: Array

    @staticmethod
    def of_joints(joints: Sequence[int] = tuple(range(N_JOINTS))) -> "Attachments":
        """Landmarks that are joints themselves, by OpenPose index; all 21 by default."""
        index = np.asarray(joints, dtype=np.int64)
        tip = np.array([TIP_JOINTS.index(j) if j in TIP_JOINTS else -1 for j in index], np.int64)
        carrier = np.asarray(MANO_CARRIER, dtype=np.int64)[index]
        return Attachments(index, carrier, tip, np.zeros((len(index), 3)), np.ones(len(index)))

    def mirrored(self) -> "Attachments":
        """The same places on the other side's hand."""
        return replace(self, offset=mirror_points(self.offset))

    def __len__(self) -> int:
        return len(self.joint)

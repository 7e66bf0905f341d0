"""`DrawnPairs`: pairs of hands as something that draws hands speaks of them, in numpy.

Comes in: what a prior's decoder put out, in one of three forms: MANO parameters, 21 joints a hand,
or skins. Each hand is told from its own wrist, both in one frame of space; `place` says where the
left wrist is, where the prior knows. Goes out: a checked record, float64, that `fit_drawn` makes
hands of. Numbers that are not finite are let through: a draw may be no hand, and that is found
pair by pair.
"""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from twohand500k.conventions import N_BETAS, N_JOINTS, N_MANO_JOINTS

Array = np.ndarray
Form = Literal["mano", "joints", "vertices"]

_TAILS = {
    "place": (3,),
    "pose": (2, N_MANO_JOINTS, 3),
    "betas": (2, N_BETAS),
    "joints": (2, N_JOINTS, 3),
}


@dataclass(frozen=True, eq=False)
class DrawnPairs:
    """N pairs, right hand first, metres and radians; exactly one of three forms is given.

    sample_id (N,) str. place (N, 3): wrist_left - wrist_right, None where it is not known: then
    hands are judged one by one and make no interaction. pose (N, 2, 16, 3) axis-angle relative to
    the flat hand, entry 0 the orientation, with betas (N, 2, 10); or joints (N, 2, 21, 3), OpenPose
    order; or vertices (N, 2, V, 3). Raises ValueError for other shapes, and none or two forms.
    """

    sample_id: Array
    place: Array | None = None
    pose: Array | None = None
    betas: Array | None = None
    joints: Array | None = None
    vertices: Array | None = None

    def __post_init__(self) -> None:
        forms = [self.pose is not None, self.joints is not None, self.vertices is not None]
        if sum(forms) != 1 or (self.pose is None) != (self.betas is None):
            raise ValueError("give pose and betas, or joints, or vertices: exactly one form")
        n = len(self.sample_id)
        for f in fields(self):
            given = getattr(self, f.name)
            if given is None:
                continue
            if f.name == "sample_id":
                array = np.asarray(given, dtype=np.str_)
                tail: tuple[int, ...] = ()
            else:
                array = np.asarray(given, dtype=np.float64)
                tail = _TAILS.get(f.name, (2, *array.shape[2:3], 3))
            if array.shape != (n, *tail):
                raise ValueError(f"{f.name} must have shape {(n, *tail)}, got {array.shape}")
            object.__setattr__(self, f.name, array)

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def form(self) -> Form:
        """Which of the three was given."""
        if self.pose is not None:
            return "mano"
        return "joints" if self.joints is not None else "vertices"

    def rows(self, which: "slice | Array") -> "DrawnPairs":
        """The same for some of the pairs."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return DrawnPairs(**{k: v[which] for k, v in given.items() if v is not None})

    @property
    def finite(self) -> Array:
        """(N, 2) bool: hands all of whose numbers are finite, their place among them."""
        told = [self.pose, self.betas, self.joints, self.vertices]
        n = len(self)
        finite = np.ones((n, 2), dtype=np.bool_)
        for array in told:
            if array is not None:
                finite &= np.isfinite(array).reshape(n, 2, int(np.prod(array.shape[2:]))).all(2)
        if self.place is not None:
            finite &= np.isfinite(self.place).all(axis=1)[:, None]
        return finite
